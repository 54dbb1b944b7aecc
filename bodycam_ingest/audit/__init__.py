"""Whether what the dock claims is true: ledger, states, staged files, stores."""

from bodycam_ingest.audit.self_check import SelfCheck
from bodycam_ingest.audit.verify import Report, Scope, Verification

__all__ = ["Report", "Scope", "SelfCheck", "Verification"]
