"""All other schemes, by apprise, if it is there. It is large: nobody loads it who does not need it."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from jobd.courier.message import Message, Outcome, failed
from jobd.courier.threads import Threads
from jobd.targets import Allow

_AT_ONCE = 4


class Others:
    def __init__(self, allow: Allow, timeout: float) -> None:
        self._allow, self._timeout = allow, timeout
        self._threads = Threads("what apprise does", _AT_ONCE)

    def load_while_root(self) -> None:
        """Whom root becomes may not be able to read it; so that it is loaded now if it may ever be needed."""
        if self._allow.has_others():
            with suppress(ImportError):  # said to whoever needs it
                import apprise

                apprise.Apprise.instantiate("json://localhost")  # which loads all others

    async def deliver(self, message: Message) -> Outcome:
        if refusal := self._allow.refusal(message.url):
            return failed(refusal, for_good=True)
        return await self._threads.do(lambda: _deliver(message), self._timeout)


def _deliver(message: Message) -> Outcome:
    scheme = message.url.partition(":")[0]
    try:
        import apprise
    except ImportError as error:
        return failed(f"{scheme}:// needs apprise, which is not installed beside jobd ({error})")
    with _Words() as words:
        try:
            asset = apprise.AppriseAsset(app_id="jobd", async_mode=False, plugin_paths=[])
            target = apprise.Apprise.instantiate(message.url, asset=asset)
            if target is None:
                return failed(f"apprise makes nothing of this {scheme}:// address", for_good=True)
            delivered = target.notify(body=message.body, title=message.title)
        except Exception as error:
            return failed(f"apprise: {type(error).__name__}: {error}")
    return Outcome(True) if delivered else failed(f"apprise could not deliver it: {words}")


class _Words(logging.Handler):
    """What apprise's log says of this thread's doing, which is all that one learns of a failure."""

    def __enter__(self) -> _Words:
        self._thread = threading.get_ident()
        self._said: list[str] = []
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and record.levelno >= logging.WARNING:
            self._said.append(record.getMessage())

    def __str__(self) -> str:
        return "; ".join(self._said)
