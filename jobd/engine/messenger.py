"""The ways in which something is told.

Web addresses, and mail by SMTP, go through the courier, a process without rights. A command, and mail where
there is only sendmail, run as whoever asked for them.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from jobd.config import Settings
from jobd.courier.courier import Courier, Message, Outcome
from jobd.courier.mail import mail
from jobd.courier.message import failed, printable
from jobd.engine import message
from jobd.errors import Invalid, JobdError, Unavailable
from jobd.keeper.commands import Finished
from jobd.keeper.persons import Persons
from jobd.people import person
from jobd.signing import Keyring
from jobd.store.outbox import Due
from jobd.targets import Allow

P = ParamSpec("P")
T = TypeVar("T")

COMMAND_LIMIT = 30.0
"""Seconds that a command has."""
_EXCERPT = 4096
"""Bytes of what a command says."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WHERE_SENDMAIL_IS = "/usr/sbin:/usr/lib:/usr/bin"


log = logging.getLogger(__name__)


class Messenger:
    def __init__(self, settings: Settings, persons: Persons) -> None:
        """Raises Invalid for a key that cannot be used."""
        self._keys = Keyring(settings.notifications.key_file, settings.state_dir)
        self._settings = settings.notifications
        self._persons = persons
        self._courier = Courier(settings.notifications)

    def prepared(self, settings: Settings) -> Callable[[], None]:
        """For a configuration that was read again; what is returned has it hold. Raises Invalid as above."""
        keys = Keyring(settings.notifications.key_file, settings.state_dir)

        def renew() -> None:
            self._keys = keys
            self._settings = settings.notifications
            self._courier.renew(settings.notifications)

        return renew

    async def close(self) -> None:
        await self._courier.close()

    def key(self, owner: str) -> bytes:
        """What webhooks for that person are signed with."""
        return self._keys.of(owner)

    async def tell(self, together: Sequence[Due]) -> Outcome:
        """Several only if they are to be told as one."""
        first = together[0]
        try:
            if first.wanted.url is None:
                return await in_thread(self._run, first)
            return await self._send(together, first.wanted.url)
        except Invalid as fault:
            return failed(str(fault), for_good=True)
        except JobdError as trouble:
            return failed(str(trouble))
        except Exception:  # or what is due would be tried again at once, for ever
            log.exception("%s cannot be told of %s", first.owner, first.facts["id"])
            return failed("jobd itself has failed; its log says how")

    async def _send(self, together: Sequence[Due], url: str) -> Outcome:
        owner, public_url = together[0].owner, self._settings.public_url
        said = message.message(together, url, public_url, self._keys.of(owner))
        if url.startswith("mailto:") and self._settings.smtp is None:
            return await in_thread(self._sendmail, owner, said)
        return await self._courier.send(said)

    def _run(self, delivery: Due) -> Outcome:
        variables, stdin = message.for_command(delivery, self._settings.public_url)
        return self._as_person(delivery.owner, delivery.wanted.command, variables, stdin)

    def _sendmail(self, owner: str, said: Message) -> Outcome:
        """The mail is from the person then."""
        if refusal := Allow(self._settings.allow).refusal(said.url):
            return Outcome(False, words=refusal, for_good=True)
        program = sendmail()
        if program is None:
            words = "this machine has no sendmail, and the configuration has no notifications.smtp"
            return failed(words, for_good=True)
        letter = mail(said, f"{owner}@{socket.getfqdn()}", said.url.removeprefix("mailto:"))
        return self._as_person(owner, [program, "-i", "-t"], {}, letter.as_bytes())

    def _as_person(
        self, owner: str, argv: Sequence[str], variables: Mapping[str, str], stdin: bytes
    ) -> Outcome:
        who = person(owner)
        if who is None:
            raise Unavailable(f"there is no user {owner} on this machine at present")
        own = {"HOME": who.home, "USER": owner, "LOGNAME": owner, "SHELL": who.shell, "PATH": _PATH}
        environment = {**own, "XDG_RUNTIME_DIR": f"/run/user/{who.uid}", **variables}
        done = self._persons.run(
            owner, argv, environment=environment, directory=who.home, stdin=stdin, timeout=COMMAND_LIMIT
        )
        return _outcome(argv[0], done)


async def in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """In one that a daemon which ends does not wait for: a command has long. (How many there are at once is
    the caller's to bound.)"""
    loop = asyncio.get_running_loop()
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(function(*arguments, **options))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="messenger", daemon=True).start()
    return await asyncio.wrap_future(done, loop=loop)


def sendmail() -> str | None:
    """The program that this machine sends mail with, if it has one."""
    return shutil.which("sendmail", path=_WHERE_SENDMAIL_IS)


def _outcome(program: str, done: Finished) -> Outcome:
    if done.timed_out:
        return failed(f"{program} was ended after {COMMAND_LIMIT:g} s")
    how = f"exit code {done.code}" if done.signal is None else f"ended by signal {done.signal}"
    said = printable((done.err or done.out)[:_EXCERPT].decode(errors="replace"))
    return Outcome(done.code == 0, done.code, printable(f"{how}: {said}" if said else how))
