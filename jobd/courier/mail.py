"""Mail, given to the server that the configuration names."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any

from jobd import __version__
from jobd.courier.message import Message, Outcome, failed, printable
from jobd.courier.threads import Threads
from jobd.targets import Allow

_AT_ONCE = 4
_LONGEST_SUBJECT = 200


@dataclass(frozen=True)
class Server:
    """As the configuration has it; `password`: what its file says, read when we could."""

    host: str
    port: int
    security: str
    user: str
    password: str
    sender: str
    timeout: float


class Mail:
    def __init__(self, allow: Allow, server: Server | str, trusted: ssl.SSLContext) -> None:
        """`server`: words say why there is none."""
        self._allow, self._server, self._trusted = allow, server, trusted
        self._threads = Threads("mail", _AT_ONCE)

    async def deliver(self, message: Message) -> Outcome:
        if refusal := self._allow.refusal(message.url):
            return failed(refusal, for_good=True)
        if isinstance(self._server, str):
            return failed(self._server)
        to = message.url.partition(":")[2]
        sending = _Sending(self._server, self._trusted, to, mail(message, self._server.sender, to))
        return await self._threads.do(sending.run, self._server.timeout, sending.cut)


def mail(message: Message, sender: str, to: str) -> EmailMessage:
    """What looks encoded in a subject is taken apart: Python would decode it, and write out as more headers
    what it may hold after an end of line."""
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"] = sender, to
    made["Subject"] = printable(message.title, _LONGEST_SUBJECT).replace("=?", "= ?")
    made["Date"] = formatdate(localtime=True)
    made["Message-ID"] = f"<{re.sub('[^A-Za-z0-9._-]', '-', message.id)}@{sender.partition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made["User-Agent"] = f"jobd/{__version__}"
    made.set_content(message.body.encode(errors="replace").decode())
    return made


class _Sending:
    """One mail, in a thread; `cut` ends it from another one."""

    def __init__(self, server: Server, trusted: ssl.SSLContext, to: str, made: EmailMessage) -> None:
        self._server, self._trusted = server, trusted
        self._to, self._made = to, made
        self._smtp: smtplib.SMTP | None = None

    def run(self) -> Outcome:
        try:
            return self._send()
        except smtplib.SMTPRecipientsRefused as error:
            return _refused(f"{self._to} was refused", *error.recipients[self._to])
        except smtplib.SMTPDataError as error:
            return _refused("the mail was refused", error.smtp_code, error.smtp_error)
        except smtplib.SMTPResponseException as error:
            code = error.smtp_code
            return failed(f"{self._server.host} will not have us: {code} {_text(error.smtp_error)}", code)
        except (OSError, ValueError, smtplib.SMTPException) as error:
            return failed(f"{self._server.host}: {error}")

    def cut(self) -> None:
        """Whatever is being read or written, is so no more."""
        sock = self._smtp.sock if self._smtp else None
        with suppress(OSError, ValueError):
            if sock:
                with socket.socket(fileno=socket.dup(sock.fileno())) as other:
                    other.shutdown(socket.SHUT_RDWR)

    def _send(self) -> Outcome:
        server = self._server
        with self._connected() as smtp:
            if server.security == "starttls":
                smtp.starttls(context=self._trusted)
            if server.user:
                smtp.login(server.user, server.password)
            smtp.send_message(self._made, server.sender, [self._to])
        return Outcome(True, 250, f"taken by {server.host}")

    def _connected(self) -> smtplib.SMTP:
        """Known to `cut` from its first moment."""
        kind: Callable[..., smtplib.SMTP] = _Plain
        more: dict[str, Any] = {}
        if self._server.security == "tls":
            kind, more = _Safe, {"context": self._trusted}
        server = self._server
        return kind(self._know, server.host, server.port, _our_name(), timeout=server.timeout, **more)

    def _know(self, smtp: smtplib.SMTP) -> None:
        self._smtp = smtp


class _Plain(smtplib.SMTP):
    def __init__(self, know: Callable[[smtplib.SMTP], None], *arguments: Any, **more: Any) -> None:
        know(self)
        super().__init__(*arguments, **more)


class _Safe(smtplib.SMTP_SSL):
    def __init__(self, know: Callable[[smtplib.SMTP], None], *arguments: Any, **more: Any) -> None:
        know(self)
        super().__init__(*arguments, **more)


def _our_name() -> str:
    """For HELO. (smtplib would ask the resolver, which may take its time.)"""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _refused(what: str, code: int, words: bytes | str) -> Outcome:
    return failed(f"{what}: {code} {_text(words)}", code, for_good=500 <= code < 600)


def _text(words: bytes | str) -> str:
    return words.decode(errors="replace") if isinstance(words, bytes) else words
