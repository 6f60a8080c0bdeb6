"""The addresses of a host that may be connected to.

The system's own resolver answers in its own time, in threads that nobody can end. Who asks for a name that is
being looked up waits with the others, so that a name whose server never answers has one thread, however often
it is asked for.
"""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - of host names; later, without rights, we may not be able to read it
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

from jobd.courier.message import Outcome, failed
from jobd.targets import Address, Allow, Place, real

_MOST_LOOKUPS = 64


class Refused(Exception):
    """What is not to be tried, or to be tried again; `outcome` says it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.words)
        self.outcome = outcome


class Names:
    def __init__(self, allow: Allow) -> None:
        self._allow = allow
        self._threads = ThreadPoolExecutor(_MOST_LOOKUPS, "name")
        self._under_way: dict[str, asyncio.Future[list[Address]]] = {}

    async def allowed(self, url: str, place: Place) -> list[Address]:
        """Of the URL's host, in the order in which they are to be tried. Raises Refused, and OSError when the
        name has no address."""
        found = [place.host] if not isinstance(place.host, str) else await self._look_up(place.host)
        refusals = {address: self._allow.refusal_at(url, address, is_own(address)) for address in found}
        fit = [address for address, refusal in refusals.items() if not refusal]
        if not fit:
            raise Refused(failed(next(iter(refusals.values())), for_good=True))
        return fit

    async def _look_up(self, name: str) -> list[Address]:
        future = self._under_way.get(name)
        if future is None:
            loop = asyncio.get_running_loop()
            self._under_way[name] = future = loop.run_in_executor(self._threads, _addresses, name)
            future.add_done_callback(lambda done: self._found(name, done))
        return await asyncio.shield(future)

    def _found(self, name: str, future: asyncio.Future[list[Address]]) -> None:
        del self._under_way[name]
        future.exception()  # nobody may be waiting any more


def _addresses(name: str) -> list[Address]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [real(ipaddress.ip_address(place[0])) for *_, place in found]


def is_own(address: Address) -> bool:
    """Does it lead to this machine? The kernel would then speak to it from itself."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as ours:
        try:
            ours.connect((str(address), 9))  # sends nothing
        except OSError:
            return False
        return ipaddress.ip_address(ours.getsockname()[0]) == address
