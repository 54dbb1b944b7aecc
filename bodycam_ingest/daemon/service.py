"""The daemon: builds the parts, wires them, watches that they move, ends them in time."""

from __future__ import annotations

import contextlib
import functools
import gc
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest import __version__
from bodycam_ingest.config import changes, digest, load, portions, settings
from bodycam_ingest.custody import entries
from bodycam_ingest.daemon import status
from bodycam_ingest.daemon.components import Components
from bodycam_ingest.daemon.control import JobKind, Request, StatusRequest
from bodycam_ingest.daemon.control.server import ControlServer
from bodycam_ingest.daemon.workers import Supervisor, heartbeat
from bodycam_ingest.db import stops, store_health
from bodycam_ingest.db.projected import all_of
from bodycam_ingest.db.soundness import explain
from bodycam_ingest.errors import ConfigError, IngestError
from bodycam_ingest.linux import clock, sd_notify
from bodycam_ingest.log import configure, log, set_level
from bodycam_ingest.model import subjects
from bodycam_ingest.model.rows import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from pathlib import Path

    from bodycam_ingest.config import Config
    from bodycam_ingest.db.ledger import Txn


STOP_WITHIN_S: Final = 8.0
_RECOVERED_S: Final = 60.0
_TICK_S: Final = 1.0
_SILENCE_MAX_S: Final = 60.0
# The socket's step ends now and then, so that its worker is seen to be well.
_SERVE_FOR_S: Final = 5.0


class Daemon:
    """Everything that runs while the daemon runs.

    Args:
        stopping: set where it is to finish or abandon what runs, and end.
        hangup: set where it is to read the configuration again at its next tick.

    Raises:
        IngestError: a part cannot be built; nothing was begun.
    """

    def __init__(
        self,
        config: Config,
        reload_config: Callable[[], Config],
        stopping: threading.Event,
        hangup: threading.Event,
    ) -> None:
        self._config = config
        self._reload_config = reload_config
        self._halted: IngestError | None = None
        self._stopping = stopping
        self._hangup = hangup
        self._components = components = Components(config, self.halt)
        self._supervisor = Supervisor(components.engine, components.ledger, self.halt)
        self._standing = status.Standing(
            components.engine,
            config.dock.id,
            lambda: components.ledger.commits,
            lambda: len(components.manager.live()),
        )

    def halt(self, error: IngestError) -> None:
        """End the process: going on could lose or forge something."""
        if self._halted is None:
            self._halted = error
            log.critical("daemon.halted", error=error.code, message=error.message, hint=error.hint)
        self._stopping.set()

    def run(self) -> int:
        """Work until it is to end; returns the exit code.

        Raises:
            IngestError: the start failed; nothing was begun.
        """
        try:
            self._begin()
            self._components.recover(sd_notify.still_starting)
            control = self._start()
            sd_notify.notify("READY=1", f"STATUS=dock {self._config.dock.id} is up")
            log.info("daemon.ready", version=__version__, dock=self._config.dock.id)
            self._supervise()
            self._end(control)
        except IngestError as error:
            self._note_halt(error)
            raise
        finally:
            self._components.close()
        return self._halted.exit_code if self._halted else 0

    def _note_halt(self, error: IngestError) -> None:
        # For `status`, which has no log to read. Where the fault is that nothing can be written,
        # the log alone has it.
        with contextlib.suppress(IngestError), self._components.ledger.transaction() as txn:
            stops.note_halt(txn.conn, clock.now_text(), error)

    # -- start --

    def _begin(self) -> None:
        components = self._components
        with components.ledger.transaction() as txn:
            stops.note_start(txn.conn)
            # A start is what a person does who fixed something: nothing waits out an old pause.
            store_health.hurry(txn, list(components.stores))
            txn.append(
                "daemon.started",
                subjects.DAEMON,
                {
                    "version": __version__,
                    "dock": self._config.dock.id,
                    "config_sha256": digest(settings(self._config)),
                    "ntp_synchronised": clock.synchronised(),
                },
            )
            _record_config(txn, self._config, (), at="start")

    def _start(self) -> ControlServer:
        config, components, add = self._config, self._components, self._supervisor.add
        control = ControlServer(
            config.dock.state_dir, self._answer, lambda: explain(components.engine)
        )

        def serve() -> float:
            control.serve(heartbeat, for_s=_SERVE_FOR_S)
            return 0.0

        def carry_out(kind: JobKind) -> float:
            control.work(kind)
            return 0.0

        add("control", serve, _SILENCE_MAX_S)
        for kind, threads in ((JobKind.LOOK, 2), (JobKind.ADMIN, 1), (JobKind.LONG, 1)):
            for number in range(threads):
                add(f"control-{kind}-{number}", functools.partial(carry_out, kind))
        bays = add("bays", components.bays_step)
        add("recovery", self._recover)
        add("verifier", components.verify_step)
        add("housekeeping", self._housekeeping)
        at_commits = [add("purge", components.purge_step())]
        add("stores", components.store_changes.step)
        add("self-check", components.self_check_step)
        for store in config.stores:
            for number in range(config.workers(store)):
                name, step = f"upload-{store.name}-{number}", components.upload_step(store.name)
                at_commits.append(add(name, step))

        def wake() -> None:
            for worker in at_commits:
                worker.wake()

        components.ledger.on_commit = wake
        components.source.start(bays.wake)
        self._supervisor.start()
        return control

    def _recover(self) -> float:
        wait_s = self._components.recovery_step()
        return _RECOVERED_S if wait_s is None else wait_s

    def _housekeeping(self) -> float:
        self._components.housekeeping()
        if words := self._standing.change():
            sd_notify.notify(f"STATUS={words}")
        return 1.0

    # -- while it runs --

    def _supervise(self) -> None:
        while not self._stopping.wait(_TICK_S):
            if self._hangup.is_set():
                self._hangup.clear()
                self._try_reload()
            self._supervisor.look()

    def _try_reload(self) -> None:
        try:
            self._reload()
        except IngestError as error:
            self.halt(error)
        except Exception:  # a defect must not leave threads that work on a closed ledger
            log.exception("config.reload_failed")

    def _reload(self) -> None:
        components = self._components
        sd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = self._reload_config()
        except ConfigError as error:
            log.warning("config.reload_refused", message=error.message, hint=error.hint)
            sd_notify.notify("READY=1")
            return
        # What of it waits for a restart is recorded and told once.
        waits = components.config.waiting(fresh)
        with components.ledger.transaction() as txn:
            keys = _record_config(txn, fresh, waits, at="reload")
        waiting = [key for key in keys if key in waits]
        applied = [key for key in keys if key not in waits]
        components.config.reload(fresh)
        set_level(fresh.log.level)
        if waiting:
            log.warning("config.needs_restart", keys=waiting)
        log.info("config.reloaded", applied=applied)
        sd_notify.notify("READY=1")

    def _answer(
        self, request: Request, user: str, progress: Callable[[int], None]
    ) -> Mapping[str, Any]:
        components = self._components
        if isinstance(request, StatusRequest):
            return status.dock_status(
                components.engine,
                dock_id=self._config.dock.id,
                required=components.required,
                live=components.manager.live(),
                progress=components.manager.progress(),
                limits=components.config.now.store_limits(),
            )

        def moved(count_bytes: int) -> None:
            heartbeat()
            progress(count_bytes)

        log.info("control.request", command=request.command, user=user)
        done = components.admin.execute(request, user, moved)
        components.store_changes.look_again()
        self._supervisor.retry()
        components.manager.wake()
        return done

    # -- end --

    def _end(self, control: ControlServer) -> None:
        components = self._components
        sd_notify.notify("STOPPING=1")
        log.info("daemon.stopping")
        until_s = time.monotonic() + STOP_WITHIN_S
        components.abandon()
        control.stop()
        self._supervisor.stop()
        components.source.stop()
        left = self._supervisor.join(until_s)
        if not components.manager.join(max(0.1, until_s - time.monotonic())):
            left.append("dockings")
        if left:
            # Their work is abandoned: it is durable up to its last step, and begun again.
            log.warning("daemon.abandoned", workers=left)
        if self._halted is None:
            try:
                with components.ledger.transaction() as txn:
                    txn.append("daemon.stopped", subjects.DAEMON, {"abandoned": left})
            except IngestError as error:
                self.halt(error)
        if self._halted is not None:
            self._note_halt(self._halted)
        log.info("daemon.stopped")


def _record_config(txn: Txn, config: Config, waits: Container[str], *, at: str) -> list[str]:
    """Record what differs from the configuration recorded last; returns the keys of that.

    Keys in `waits` come into force at the next start; `at` is `start` or `reload`.
    """
    before = {row.key: row.value for row in all_of(txn.conn, Setting) if row.value}
    now = settings(config)
    changed = changes(before, now)
    for values in portions(changed):
        txn.add(
            entries.config_changed(
                sha256=digest(now),
                before=digest(before) if before else "",
                values=values,
                waits=[key for key in values if key in waits],
                at=at,
            )
        )
    return list(changed)


def run(config_path: Path) -> int:
    """Run the daemon in this process until SIGTERM or SIGINT.

    Returns 0, or the exit code of the fault on which it halted.

    Raises:
        IngestError: it could not start.
    """
    # A card makes rows by the ten thousand: what came with the modules need not be gone through.
    gc.freeze()
    config = load(config_path)
    configure(config.log.level, config.log.format, dock=config.dock.id)
    stopping, hangup = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    signal.signal(signal.SIGHUP, lambda *_: hangup.set())
    return Daemon(config, lambda: load(config_path), stopping, hangup).run()
