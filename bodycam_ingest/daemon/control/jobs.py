"""What was asked for and waits for an answer: a few bounded queues, each with threads of its own.

A look at the dock never waits for an admin's request, and a short request never for a long one.
"""

from __future__ import annotations

import contextlib
import enum
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import AbandonedError, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.daemon.control.requests import Request

WAITING_MAX: Final = 64
_TAKE_TIMEOUT_S: Final = 5.0
# Of one kind.
_THREADS_MAX: Final = 2


class JobKind(enum.StrEnum):
    """Which threads a request is for."""

    LOOK = "look"
    ADMIN = "admin"
    LONG = "long"


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way to its answer.

    `done_bytes` and `begun` are written by the kind's thread and read by its client's; `reply`, the
    last line, is set once, before `answered`.
    """

    request: Request
    user: str
    begun: bool = False
    done_bytes: int = 0
    reply: bytes = b""
    answered: threading.Event = field(default_factory=threading.Event)

    def moved(self, count_bytes: int) -> None:
        """Note that so many bytes more are done."""
        self.done_bytes += count_bytes

    def finish(self, reply: bytes) -> None:
        """Give its sender the last line."""
        self.reply = reply
        self.answered.set()


class JobQueues:
    """The queues."""

    def __init__(self) -> None:
        self._queues: dict[JobKind, queue.Queue[Job | None]] = {
            kind: queue.Queue(WAITING_MAX) for kind in JobKind
        }

    def put(self, job: Job) -> None:
        """Have a job done by its kind.

        Raises:
            ControlError: too many wait already; nothing was done.
        """
        try:
            self._queues[job.request.kind].put_nowait(job)
        except queue.Full:
            raise ControlError(
                f"{WAITING_MAX} requests wait already; nothing was done", hint="Try again later."
            ) from None

    def take(self, kind: JobKind) -> Job | None:
        """The next job of a kind, None when none came for a moment."""
        try:
            return self._queues[kind].get(timeout=_TAKE_TIMEOUT_S)
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Have every thread that waits in `take` return: the daemon ends."""
        for kind in self._queues.values():
            for _ in range(_THREADS_MAX):
                with contextlib.suppress(queue.Full):
                    kind.put_nowait(None)

    def clear(self, refuse: Callable[[AbandonedError], bytes]) -> None:
        """Refuse what nobody began: the daemon ends."""
        for kind in self._queues.values():
            while not kind.empty():
                try:
                    job = kind.get_nowait()
                except queue.Empty:
                    break
                if job is not None:
                    job.finish(refuse(AbandonedError("the daemon is stopping; it was not done")))
