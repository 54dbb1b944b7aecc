"""What was asked for and waits for an answer: a few bounded queues, each with threads of its own.

A look at the dock never waits for an admin's request, and a short request never for a long one.
"""

from __future__ import annotations

import contextlib
import enum
import queue
from dataclasses import dataclass
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

    `done_bytes` and `begun` are written by the kind's thread and read by the socket's; `reply`, the
    last line, is set once.
    """

    request: Request
    user: str
    begun: bool = False
    done_bytes: int = 0
    reply: bytes | None = None

    def moved(self, count_bytes: int) -> None:
        """Note that so many bytes more are done."""
        self.done_bytes += count_bytes


class JobQueues:
    """The queues; `answered` hears of each job that has its reply, from the thread that made it."""

    def __init__(self, answered: Callable[[Job], None]) -> None:
        self._answered = answered
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

    def finish(self, job: Job, reply: bytes) -> None:
        """Give a job its reply."""
        job.reply = reply
        self._answered(job)

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
                    self.finish(
                        job, refuse(AbandonedError("the daemon is stopping; it was not done"))
                    )
