"""The daemon: builds the parts, wires them, watches that they move, ends them in time."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest import __version__
from bodycam_ingest.config import changes, digest, load, portions, settings
from bodycam_ingest.custody import entries
from bodycam_ingest.daemon import status
from bodycam_ingest.daemon.components import Components, assemble
from bodycam_ingest.daemon.control import JobKind, Request, StatusRequest
from bodycam_ingest.daemon.control.server import ControlServer
from bodycam_ingest.daemon.supervision import Supervisor
from bodycam_ingest.daemon.workers import heartbeat
from bodycam_ingest.db import stops, storehealth
from bodycam_ingest.db.damage import explain
from bodycam_ingest.db.projected import all_of
from bodycam_ingest.errors import ConfigError, ControlError, IngestError
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
_TICK_S: Final = 0.5
_SILENCE_MAX_S: Final = 60.0
# One part over a slow line, or a large copy read back, is one step.
_LONG_SILENCE_MAX_S: Final = 1800.0
# The socket's step ends now and then, so that its worker is seen to be well.
_SERVE_FOR_S: Final = 5.0
# Objects allocated, then collections of each younger generation, before one is gone through.
_COLLECTED_AT: Final = (10_000, 20, 50)


class Daemon:
    """Everything that runs while the daemon runs.

    Args:
        config: the configuration as loaded.
        reload_config: reads it again, for SIGHUP.
    """

    def __init__(self, config: Config, reload_config: Callable[[], Config]) -> None:
        self._config = config
        self._reload_config = reload_config
        self._halted: IngestError | None = None
        self._stopping = threading.Event()
        self._hangup = threading.Event()
        self._components: Components | None = None
        self._supervisor: Supervisor | None = None
        self._control: ControlServer | None = None
        self._standing: status.Standing | None = None

    def halt(self, error: IngestError) -> None:
        """End the process: going on could lose or forge something."""
        if self._halted is None:
            self._halted = error
            log.critical("daemon.halted", error=error.code, message=error.message, hint=error.hint)
        self._stopping.set()

    def stop(self, *_signal: object) -> None:
        """Finish or abandon what runs, then return from `run`."""
        self._stopping.set()

    def hangup(self, *_signal: object) -> None:
        """Read the configuration again at the next tick."""
        self._hangup.set()

    def run(self) -> int:
        """Work until `stop`; returns the exit code.

        Raises:
            IngestError: the start failed; nothing was begun.
        """
        components = self._components = assemble(self._config, self.halt)
        try:
            self._begin(components)
            components.recover(sd_notify.still_starting)
            supervisor = self._start(components)
            sd_notify.notify("READY=1", f"STATUS=dock {self._config.dock.id} is up")
            log.info("daemon.ready", version=__version__, dock=self._config.dock.id)
            self._supervise(components, supervisor)
            self._end(components, supervisor)
        except IngestError as error:
            self._note_halt(components, error)
            raise
        finally:
            components.close()
        return self._halted.exit_code if self._halted else 0

    @staticmethod
    def _note_halt(components: Components, error: IngestError) -> None:
        # For `status`, which has no log to read. Where the fault is that nothing can be written,
        # the log alone has it.
        with contextlib.suppress(IngestError), components.ledger.transaction() as txn:
            stops.note_halt(txn.conn, clock.now_text(), error)

    # -- start --

    def _begin(self, components: Components) -> None:
        with components.ledger.transaction() as txn:
            stops.note_start(txn.conn)
            # A start is what a person does who fixed something: nothing waits out an old pause.
            storehealth.hurry(txn, list(components.stores))
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

    def _start(self, components: Components) -> Supervisor:
        config = self._config
        supervisor = self._supervisor = Supervisor(components.engine, components.ledger, self.halt)
        self._standing = status.Standing(
            components.engine,
            config.dock.id,
            lambda: components.ledger.commits,
            lambda: len(components.manager.live()),
        )
        self._control = ControlServer(
            config.dock.state_dir, self._answer, lambda: explain(components.engine)
        )
        add = supervisor.add
        add("control", self._serve_control, _SILENCE_MAX_S)
        for kind, number in (
            (JobKind.LOOK, 0),
            (JobKind.LOOK, 1),
            (JobKind.ADMIN, 0),
            (JobKind.LONG, 0),
        ):
            add(f"control-{kind}-{number}", self._carry_out(kind), _LONG_SILENCE_MAX_S)
        bays = add("bays", components.bays_step, _LONG_SILENCE_MAX_S)
        add("recovery", self._recover, _LONG_SILENCE_MAX_S)
        add("verifier", components.verify_step, _LONG_SILENCE_MAX_S)
        add("housekeeping", self._housekeeping, _LONG_SILENCE_MAX_S)
        add("purge", components.purge_step, _LONG_SILENCE_MAX_S)
        add("stores", components.stores_step, _LONG_SILENCE_MAX_S)
        add("self-check", components.self_check_step, _LONG_SILENCE_MAX_S)
        for store in config.stores:
            for number in range(config.workers(store)):
                add(
                    f"upload-{store.name}-{number}",
                    components.upload_step(store.name),
                    _LONG_SILENCE_MAX_S,
                )
        components.source.start(bays.wake)
        supervisor.start()
        return supervisor

    def _recover(self) -> float:
        components = self._components
        wait_s = components.recovery_step() if components is not None else None
        return _RECOVERED_S if wait_s is None else wait_s

    def _serve_control(self) -> float:
        if self._control is not None:
            self._control.serve(heartbeat, for_s=_SERVE_FOR_S)
        return 0.0

    def _carry_out(self, kind: JobKind) -> Callable[[], float]:
        def step() -> float:
            if self._control is not None:
                self._control.work(kind)
            return 0.0

        return step

    def _housekeeping(self) -> float:
        components = self._components
        if components is not None:
            components.housekeeping()
            if self._standing and (words := self._standing.change()):
                sd_notify.notify(f"STATUS={words}")
        return 1.0

    # -- while it runs --

    def _supervise(self, components: Components, supervisor: Supervisor) -> None:
        while not self._stopping.wait(_TICK_S):
            if self._hangup.is_set():
                self._hangup.clear()
                self._try_reload(components)
            supervisor.look()

    def _try_reload(self, components: Components) -> None:
        try:
            self._reload(components)
        except IngestError as error:
            self.halt(error)
        except Exception:  # a defect must not leave threads that work on a closed ledger
            log.exception("config.reload_failed")

    def _reload(self, components: Components) -> None:
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
        if components is None:
            raise ControlError("the daemon is starting", hint="Try again in a moment.")
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
        if self._supervisor is not None:
            self._supervisor.retry()
        components.manager.wake()
        return done

    # -- end --

    def _end(self, components: Components, supervisor: Supervisor) -> None:
        sd_notify.notify("STOPPING=1")
        log.info("daemon.stopping")
        until_s = time.monotonic() + STOP_WITHIN_S
        components.abandon()
        if self._control is not None:
            self._control.stop()
        supervisor.stop()
        components.source.stop()
        left = supervisor.join(until_s)
        if not components.manager.join(max(0.1, until_s - time.monotonic())):
            left.append("dockings")
        if left:
            # Their work is abandoned: it is durable up to its last step, and begun again.
            log.warning("daemon.abandoned", workers=left)
        if self._halted is None:
            try:
                with components.ledger.transaction() as txn:
                    txn.append("daemon.stopped", "daemon", {"abandoned": left})
            except IngestError as error:
                self.halt(error)
        if self._halted is not None:
            self._note_halt(components, self._halted)
        log.info("daemon.stopped")


def _record_config(txn: Txn, config: Config, waits: Container[str], *, at: str) -> list[str]:
    """Record what differs from the configuration recorded last.

    Args:
        txn: the open transaction.
        config: as read.
        waits: keys that the next start will bring into force.
        at: `start` or `reload`.

    Returns:
        The keys that differ.
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

    Args:
        config_path: the configuration file.

    Returns:
        The exit code: 0, or that of the fault on which it halted.

    Raises:
        IngestError: it could not start.
    """
    # A card makes rows by the ten thousand: what came with the modules need not be gone through.
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AT)
    config = load(config_path)
    configure(config.log.level, config.log.format, dock=config.dock.id)
    daemon = Daemon(config, lambda: load(config_path))
    signal.signal(signal.SIGTERM, daemon.stop)
    signal.signal(signal.SIGINT, daemon.stop)
    signal.signal(signal.SIGHUP, daemon.hangup)
    return daemon.run()
