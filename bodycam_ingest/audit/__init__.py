"""Whether what the dock claims is true: ledger, states, staged files, stores."""

from bodycam_ingest.audit.report import Report
from bodycam_ingest.audit.self_check import SelfCheck
from bodycam_ingest.audit.verify import Audit, Scope

__all__ = ["Audit", "Report", "Scope", "SelfCheck"]
