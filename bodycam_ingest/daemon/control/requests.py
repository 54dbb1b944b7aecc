"""Every request there is, each a type; checked once, where it is read.

The command line makes the same values, so that a command executed without a daemon is held to the
same rules.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from bodycam_ingest.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_BYTES_MAX: Final = 64 * 1024

# An item, a camera, a store, a finding: what there is not is told by whoever looks it up.
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
# What a person writes for others to read; an entry of the ledger holds 65,535 bytes.
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class JobKind(enum.StrEnum):
    """Which threads a request is for."""

    LOOK = "look"
    ADMIN = "admin"
    LONG = "long"


class Request(BaseModel):
    """What all requests have in common; unknown keys and values of another type are refused."""

    # Built when first used: a command makes one of them, and most make none.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)
    kind: ClassVar[JobKind] = JobKind.ADMIN
    # Each request narrows it to its own word.
    command: str

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, values: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        """A value that is missing, empty, too long or of another type is a `UsageError`."""
        try:
            return check(values)
        except ValidationError as error:
            raise _refusal(error) from None

    def line(self) -> bytes:
        """The request as it goes over the socket."""
        return self.model_dump_json().encode() + b"\n"


class StatusRequest(Request):
    """What `status` shows."""

    command: Literal["status"] = "status"
    kind: ClassVar[JobKind] = JobKind.LOOK


class RetryRequest(Request):
    """Make one item, or all, due now; at one store, or at all."""

    command: Literal["retry"] = "retry"
    item: Name | None = None
    store: Name | None = None


class QuarantineRequest(Request):
    """Set an item apart."""

    command: Literal["quarantine"] = "quarantine"
    item: Name
    reason: Words


class RequeueRequest(Request):
    """Have a quarantined item read from its camera again."""

    command: Literal["requeue"] = "requeue"
    item: Name
    reason: Words


class ReinstateRequest(Request):
    """Take a quarantined item back, after its whole copy was read."""

    command: Literal["reinstate"] = "reinstate"
    kind: ClassVar[JobKind] = JobKind.LONG
    item: Name


class AssignRequest(Request):
    """Say who carries a camera."""

    command: Literal["assign"] = "assign"
    camera: Name
    officer: Annotated[Words, StringConstraints(max_length=255)]


class CloseFindingRequest(Request):
    """Close a finding that a person looked into."""

    command: Literal["close-finding"] = "close-finding"
    finding: Name
    reason: Words


class ConfirmClockRequest(Request):
    """Vouch for the dock's clock as it stands now."""

    command: Literal["confirm-clock"] = "confirm-clock"
    reason: Words


class RetireStoreRequest(Request):
    """Give up a store that was taken out of the configuration and will not come back."""

    command: Literal["retire-store"] = "retire-store"
    store: Name
    reason: Words


class BackfillRequest(Request):
    """Queue what staging still has for one store, or for all, that never got it."""

    command: Literal["backfill"] = "backfill"
    store: Name | None = None


_ANY: Final[TypeAdapter[Request]] = TypeAdapter(
    Annotated[
        StatusRequest
        | RetryRequest
        | QuarantineRequest
        | RequeueRequest
        | ReinstateRequest
        | AssignRequest
        | CloseFindingRequest
        | ConfirmClockRequest
        | RetireStoreRequest
        | BackfillRequest,
        Field(discriminator="command"),
    ],
    config=ConfigDict(defer_build=True),
)


def parse(line: bytes) -> Request:
    """The request that one line of at most `REQUEST_BYTES_MAX` bytes holds.

    Raises:
        UsageError: it is no JSON, nested too deeply, no request, or one of another shape.
    """
    try:
        return _ANY.validate_json(line)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> UsageError:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = "; ".join(_words(fault) for fault in faults[:5])
    return UsageError(f"the request was not understood: {told}")


def _words(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    return f"{key}: {fault['msg']}" if key else str(fault["msg"])
