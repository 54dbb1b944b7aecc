"""The control socket: how a command reaches the running daemon.

One JSON object a line, both ways, on a Unix socket in the state directory. A request is typed and
bounded when it is read, and everybody behind the edge handles values that are what they say.
While a request is worked on, its sender gets a line `{"waiting": …}` every few seconds; the last
line has `ok`. The daemon's side is `control.server`; no command imports it.
"""

from bodycam_ingest.daemon.control.client import ask, user_name
from bodycam_ingest.daemon.control.requests import (
    AssignRequest,
    BackfillRequest,
    CloseFindingRequest,
    ConfirmClockRequest,
    JobKind,
    QuarantineRequest,
    ReinstateRequest,
    Request,
    RequeueRequest,
    RetireStoreRequest,
    RetryRequest,
    StatusRequest,
    parse,
)

__all__ = [
    "AssignRequest",
    "BackfillRequest",
    "CloseFindingRequest",
    "ConfirmClockRequest",
    "JobKind",
    "QuarantineRequest",
    "ReinstateRequest",
    "Request",
    "RequeueRequest",
    "RetireStoreRequest",
    "RetryRequest",
    "StatusRequest",
    "ask",
    "parse",
    "user_name",
]
