"""The daemon: wires the rooms together, and ends them in order.

    lock the state directory > store > keeper > engine > socket > ready

A foreground process. SIGTERM and SIGINT end it, in under two seconds; jobs run on, and the next daemon finds
them. SIGHUP reads the configuration again, all or nothing, and the apps, file by file (`jobd reload` sends
it, and says what came of it). What it refuses to start with is one line on stderr, and an exit code:

    0   ended by a signal       75  another daemon holds the socket or the state directory, a disk is full, or
    2   usage                       something else that may be better soon: systemd tries again
                                78  the configuration or the store is not right (see the line)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import faulthandler
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

import jobd
from jobd import backup, config, install, journal, places, reload
from jobd.api.app import make_app
from jobd.api.listener import Listener
from jobd.api.serve import Server
from jobd.apps import files
from jobd.config import Settings
from jobd.difference import differences
from jobd.engine.engine import Engine, backend
from jobd.engine.notify import Notifier
from jobd.errors import Conflict, Invalid, JobdError, Unavailable
from jobd.keeper.persons import Persons
from jobd.people import Served
from jobd.service import Service
from jobd.store.store import Store, leave_word, lock, open_store, still_held
from jobd.verbs import apps
from jobd.verbs.desk import Desk

OK, USAGE, HELD, WRONG = 0, 2, 75, 78
_MAY_PASS = {
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
}
"""Of a machine that is short of something at present, or of a disk that may do better the next time."""

_CLEAR_UP_EVERY = 60.0
_PURGE_EVERY = 3600.0
_FORGET_EVERY = 3600.0
_WATCH_EVERY = 5.0
_CLOCK_STEP = 5.0
"""Seconds by which the wall clock has to leave the monotonic one to count as set."""
_FIXED = ("state_dir", "socket", "mode", "containment", "cgroup_parent", "idle_timeout", "max_body")
"""What only a restart can change."""

log = logging.getLogger("jobd")


_ELSEWHERE = {
    "backup": backup.main,
    "restore": backup.main,
    "install": install.main,
    "uninstall": install.main,
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in _ELSEWHERE:
        return _ELSEWHERE[argv[0]](argv)
    arguments = _parser().parse_args(argv)
    if arguments.verb == "check-config":
        return _check(arguments)
    if arguments.verb == "reload":
        named = {"JOBD_CONFIG": str(arguments.config)} if arguments.config else {}
        return reload.main(places.state_dir({**os.environ, **named}, arguments.system))
    return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    service = Service()
    faulthandler.enable()  # a watchdog's SIGABRT leaves word of where we hung
    try:
        settings = _settings(arguments)
    except Invalid as error:
        return _refuse(error, WRONG)
    try:
        _log_to(arguments.log_file, settings.log_level)
        daemon = Daemon(settings, lambda: _settings(arguments), lambda: _apps(arguments), service)
        asyncio.run(daemon.run())
    except (Conflict, Unavailable) as error:
        return _refuse(error, HELD)
    except JobdError as error:
        return _refuse(error, WRONG)
    except OSError as error:
        where = error.filename or settings.state_dir
        code = HELD if error.errno in _MAY_PASS else WRONG
        return _refuse(Invalid(f"cannot start: {where}: {error.strerror or error}"), code)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jobd", description="The job daemon. jobctl is what people use.")
    parser.add_argument(
        "verb",
        nargs="?",
        choices=["check-config", "reload", "backup", "restore", "install", "uninstall"],
        help="say what is wrong with the configuration; have the running daemon read it again; copy the"
        " store, or bring a copy back; put units for systemd in place, or take them away"
        " (`jobd backup --help` and `jobd install --help` say more)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of the usual one")
    parser.add_argument(
        "--system",
        action="store_true",
        help="use /etc/jobd, /var/lib/jobd, /run/jobd, and run everybody's jobs as themselves (as root)",
    )
    parser.add_argument("--log-file", type=Path, metavar="FILE", help="instead of stderr")
    parser.add_argument("--version", action="version", version=f"jobd {jobd.__version__}")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    return config.load(arguments.config, os.environ, arguments.system)


def _apps(arguments: argparse.Namespace) -> files.Found:
    file = os.path.abspath(arguments.config or places.config_path(os.environ, arguments.system))
    return files.read_all(file)


def _check(arguments: argparse.Namespace) -> int:
    """Also tries to make each backend, which a daemon would refuse to start without; and reads the apps, of
    which it would leave out the faulty ones."""
    fine, text = config.check(arguments.config, os.environ, arguments.system)
    apps = _apps(arguments)
    if apps.faults:
        fine, text = False, "\n".join([*([] if fine else [text]), *map(str, apps.faults)])
    if fine:
        text += "".join(f"\napp            {app.id}, {path}" for path, (app, _) in apps.apps.items())
        settings = _settings(arguments)
        try:
            for system in settings.systems:
                backend(system, Persons(settings.state_dir))
        except Invalid as error:
            fine, text = False, f"system {system.id}: {error}"
    print(text, file=sys.stdout if fine else sys.stderr)
    return OK if fine else WRONG


def _refuse(error: Exception, code: int) -> int:
    faults = error.faults if isinstance(error, Invalid) else [error]
    for fault in faults:
        line = f"jobd: {fault}"
        print(journal.prefixed(logging.ERROR, line) if journal.is_stderr() else line, file=sys.stderr)
    return code


def _log_to(file: Path | None, level: str) -> None:
    """To the journal, if that is where stderr goes; to stderr; or to a file that is kept small."""
    logging.basicConfig(level=level.upper(), handlers=[_handler(file)])
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.getLogger("peewee").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _handler(file: Path | None) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler()
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if file:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(file, maxBytes=4_000_000, backupCount=1)
    elif journal.is_stderr():
        handler, form = journal.JournalHandler(), "%(message)s"
    handler.setFormatter(logging.Formatter(form))
    return handler


class Daemon:
    def __init__(
        self,
        settings: Settings,
        read_again: Callable[[], Settings],
        read_apps: Callable[[], files.Found],
        service: Service,
    ) -> None:
        self._settings = settings
        self._read_again = read_again
        self._read_apps = read_apps
        self._service = service
        self._started = time.time()
        self._lag = 0.0
        """Seconds by which the event loop came too late to the last look."""
        self._end = asyncio.Event()
        self._fault: JobdError | None = None
        """Why it ends, where that was not a signal."""
        self._timers = AsyncIOScheduler(
            timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    async def run(self) -> None:
        """Until a signal. Raises Conflict or Invalid when it must not start."""
        async with contextlib.AsyncExitStack() as stack:
            await self._build(stack)
            self._listen_to_signals()
            self._service.notify("READY=1", f"STATUS=listening on {self._settings.socket}")
            log.info(
                "jobd %s listens on %s, state in %s",
                jobd.__version__,
                self._settings.socket,
                self._settings.state_dir,
            )
            await self._end.wait()
            self._service.notify("STOPPING=1")
            if self._fault:
                raise self._fault

    async def _build(self, stack: contextlib.AsyncExitStack) -> None:
        """Everything in its order; `stack` takes it down in the opposite one."""
        settings = self._settings
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._word: dict[str, Any] = {"pid": os.getpid(), "socket": str(settings.socket), "reloads": 0}
        self._lock = lock(settings.state_dir, self._word)
        stack.callback(os.close, self._lock)
        mode = 0o666 if settings.mode == "system" else 0o600
        self._listener = Listener(settings.socket, mode, self._service.sockets)
        socket = self._listener.bind()
        stack.callback(self._listener.close)
        self._store: Store = open_store(settings.state_dir)
        stack.push_async_callback(self._store.close)
        self._persons = self._make_persons()
        self._persons.start()
        stack.callback(self._persons.close)
        self._engine = Engine(self._store, settings, self._persons)
        stack.push_async_callback(self._engine.stop)
        self._notifier = Notifier(self._store, settings, self._persons)
        stack.push_async_callback(self._notifier.stop)
        self._desk = Desk(self._store, settings, self._persons, self._engine, self._notifier)
        for fault in (await self._publish_apps())[1]:
            log.error("%s", fault)
        await self._engine.start()
        self._notifier.start()
        self._server = Server(make_app(self._desk, self._about), settings.idle_timeout)
        stack.push_async_callback(self._server.stop)
        await self._server.start(socket)
        self._start_timers(stack)

    def _make_persons(self) -> Persons:
        settings = self._settings
        return Persons(
            settings.state_dir,
            served=_served(settings),
            containment=settings.containment,
            cgroup_parent=str(settings.cgroup_parent) if settings.cgroup_parent else None,
            on_news=lambda tag: self._engine.news(tag),
        )

    def _about(self) -> dict[str, Any]:
        """Facts for those who ask how the daemon is."""
        settings = self._settings
        return {
            "version": jobd.__version__,
            "pid": os.getpid(),
            "mode": settings.mode,
            "stateDir": str(settings.state_dir),
            "socket": str(settings.socket),
            "configFile": str(settings.config_file) if settings.config_file else None,
            "started": self._started,
            "lag": self._lag,
            "containment": self._persons.doctor(),
        }

    # timers

    def _start_timers(self, stack: contextlib.AsyncExitStack) -> None:
        self._set_timers()
        self._timers.start()
        stack.callback(self._timers.shutdown, wait=False)
        for task in self._watch(), self._ping():
            stack.callback(asyncio.create_task(task).cancel)

    def _set_timers(self) -> None:
        self._timers.remove_all_jobs()
        self._timers.add_job(self._engine.clear_up, "interval", seconds=_CLEAR_UP_EVERY)
        self._timers.add_job(self._notifier.forget, "interval", seconds=_FORGET_EVERY)
        if self._settings.upkeep_at:
            hour, minute = self._settings.upkeep_at
            self._timers.add_job(self._look_after_store, CronTrigger(hour=hour, minute=minute))
        if after := self._settings.purge_after:
            every = min(max(after / 10, 1.0), _PURGE_EVERY)
            self._timers.add_job(self._engine.purge, "interval", [after], seconds=every)

    async def _look_after_store(self) -> None:
        try:
            await self._store.upkeep()
        except JobdError as error:
            log.warning("the store could not be looked after: %s", error)
        if self._store.damage:
            log.error("the store is damaged: %s; `jobd restore` brings a backup back", self._store.damage)

    async def _ping(self) -> None:
        """To systemd's watchdog: the event loop goes round."""
        while self._service.watchdog:
            self._service.notify("WATCHDOG=1")
            await asyncio.sleep(self._service.watchdog / 3)

    async def _watch(self) -> None:
        """What a timer of the wall clock cannot see: that the clock was set, and that the socket or the
        state directory was removed under us."""
        offset = time.time() - time.monotonic()
        while True:
            asleep = time.monotonic()
            await asyncio.sleep(_WATCH_EVERY)
            self._lag = max(0.0, time.monotonic() - asleep - _WATCH_EVERY)
            now = time.time() - time.monotonic()
            if abs(now - offset) > _CLOCK_STEP:
                log.warning("the clock was set by %+.0f seconds", now - offset)
                self._set_timers()
            if now - offset < -_CLOCK_STEP:
                await self._notifier.clock_was_put_back(offset - now)
            offset = now
            if not still_held(self._lock, self._settings.state_dir):
                self._fault = Invalid(f"{self._settings.state_dir} was removed or replaced under the daemon")
                self._end.set()
                return
            if self._listener.vanished():
                await self._listen_again()

    async def _listen_again(self) -> None:
        try:
            await self._server.start(self._listener.bind())
        except (OSError, JobdError) as error:
            log.warning(
                "the socket %s is gone and cannot be made again yet: %s", self._settings.socket, error
            )
        else:
            log.warning("the socket %s was gone and has been made again", self._settings.socket)

    # signals

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        self._reloads: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        loop.add_signal_handler(signal.SIGHUP, self._begin_reload)

    def _begin_reload(self) -> None:
        task = asyncio.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        """One after the other; what came of it is said to systemd, in the log, and beside the lock."""
        async with self._reloading:
            self._service.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            changes, faults = await self._read_all_again()
            for fault in faults:
                log.error("%s", fault)
            for change in changes:
                log.info("the configuration has changed: %s", change)
            if not faults:
                log.info("the configuration was read again: %d changes", len(changes))
            self._word |= {"reloads": self._word["reloads"] + 1, "changes": changes, "faults": faults}
            self._service.notify("READY=1")
            with contextlib.suppress(OSError):  # a full disk: then `jobd reload` cannot be told
                leave_word(self._lock, self._word)

    async def _read_all_again(self) -> tuple[list[str], list[str]]:
        """What has changed, and what is wrong."""
        changes: list[str] = []
        faults: list[str] = []
        try:
            changes = await self._read_configuration()
        except JobdError as error:
            wrong = error.faults if isinstance(error, Invalid) else [error]
            faults = [f"the configuration stays as it was: {fault}" for fault in wrong]
        try:
            more, unfit = await self._publish_apps()
        except JobdError as error:
            return changes, [*faults, f"the apps stay as they were: {error}"]
        return changes + more, faults + unfit

    async def _publish_apps(self) -> tuple[list[str], list[str]]:
        """File by file."""
        found = await asyncio.to_thread(self._read_apps)
        changes = await apps.publish(self._store, found)
        return changes, [f"an app stays as it was: {fault}" for fault in found.faults]

    async def _read_configuration(self) -> list[str]:
        """All or nothing. Returns what has changed, in words. Raises Invalid or Conflict, and all stays as it
        was."""
        settings = await asyncio.to_thread(self._read_again)
        self._refuse_fixed(settings)
        renew_notifier = self._notifier.prepared(settings)
        await self._engine.reload(settings)
        renew_notifier()
        before, self._settings = self._settings, settings
        self._desk.settings = settings
        self._persons.served = _served(settings)
        logging.getLogger().setLevel(settings.log_level.upper())
        self._set_timers()
        return list(differences(before.model_dump(by_alias=True), settings.model_dump(by_alias=True)))

    def _refuse_fixed(self, settings: Settings) -> None:
        for name in _FIXED:
            if getattr(settings, name) != getattr(self._settings, name):
                raise Invalid(f"{name} is another one now, which only a restart can bring about")


def _served(settings: Settings) -> Served | None:
    """For whom a daemon with root's rights works; any other one, and a root's own, for itself alone."""
    if settings.mode == "user" or os.geteuid() != 0:
        return None
    return Served(settings.min_uid, settings.also_users)


if __name__ == "__main__":
    sys.exit(main())
