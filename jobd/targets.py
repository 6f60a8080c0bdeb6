"""Which targets of notifications are allowed: entries such as these, and whether a URL, and then an address
that its host has, may be gone to.

    https://hooks.example.org     that host; its port is the scheme's own
    http://10.1.0.0/16:8080       addresses of that network, that port; `:*` is any port
    https://*.lab.example         hosts below that name, https://*  all: where they are on the public internet
    mailto:*@lab.example          mailto:name@host, mailto:*@*.host and mailto:* are others
    tgram://*                     another scheme as a whole: where it goes to is nothing that we could see
    *                             anything at all

Whoever allows a wildcard does not know where a name may lead: to this machine, to the services of its own
that a cloud has at 169.254.169.254, into the lab's network. Hence only an entry that names the host itself,
or a network that the address is in, allows such addresses. Nothing here asks anybody: whoever connects looks
a name up, and connects to what was checked.

URLs are read strictly: one that two parsers could read in two ways (0x7f.1, a backslash, an IDN that is not
written in ASCII) is refused. What is not public are the networks of IANA's special-purpose registries.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from jobd.units import BadUnit, shown

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WEB_PORTS = {"http": 80, "https": 443}
SETTING = "notifications.allow"
_FORMS = "https://HOST, http://HOST:PORT, https://*.DOMAIN, http://NETWORK, mailto:*@DOMAIN, SCHEME://* or *"
_FLAGS = re.ASCII | re.IGNORECASE
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?", re.ASCII)
"""A host that ends in a number is an address, as browsers have it. C's functions read many spellings."""
_LOGIN = r"(?:([A-Za-z0-9._~!$&'()*+,;=:%-]*)@)?"
_WEB = re.compile(
    rf"(https?)://{_LOGIN}(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{{1,5}}))?([/?#][!-~]*)?", _FLAGS
)
_PERSON = r"[A-Za-z0-9.!#$&'*+=^_`{|}~-]{1,64}"
_DOMAIN = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
MAILBOX = f"{_PERSON}@{_DOMAIN}"
_MAIL = re.compile(f"mailto:({_PERSON})@({_DOMAIN})", _FLAGS)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", _FLAGS)
_WEB_ENTRY = re.compile(
    r"(https?)://(\*|(?:\*\.)?[a-z0-9._-]+(?:/\d+)?|\[[0-9a-f:.]+\](?:/\d+)?)(?::(\d{1,5}|\*))?", _FLAGS
)
_MAIL_ENTRY = re.compile(rf"mailto:(?:\*|(\*|{_PERSON})@(\*|(?:\*\.)?{_DOMAIN}))", _FLAGS)
_OTHER_ENTRY = re.compile(r"([a-z][a-z0-9+.-]*)://\*", _FLAGS)

_NOT_PUBLIC_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20")]
_CARRIERS = [
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
]
"""Networks whose addresses stand for one of IPv4, and by how many bits that is to be shifted."""


class NoTarget(ValueError):
    """What is wrong with a URL, for people."""


@dataclass(frozen=True)
class Place:
    """Where a URL of the web leads."""

    scheme: str
    host: str | Address
    port: int
    path: str = "/"
    login: str = ""
    """name:password, as the URL has it."""

    @property
    def authority(self) -> str:
        """As HTTP's Host has it."""
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return host if self.port == WEB_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def place(url: str) -> Place:
    """Raises NoTarget."""
    found = _WEB.fullmatch(url)
    if not found:
        raise NoTarget(f"{shown(url)} is no address of the web: https://host/path or http://host:port/path")
    scheme = found[1].lower()
    port = int(found[4] or WEB_PORTS[scheme])
    if not 0 < port < 65536:
        raise NoTarget(f"there is no port {port}")
    path = (found[5] or "/").partition("#")[0]
    path = path if path.startswith("/") else f"/{path}"
    return Place(scheme, _host(found[3].lower()), port, path, found[2] or "")


def _host(text: str) -> str | Address:
    try:
        if text.startswith("["):
            return real(IPv6Address(text[1:-1]))
        if _NUMBER.fullmatch(text):
            return IPv4Address(text)
    except ValueError:
        raise NoTarget(f"{text} is no address as one writes it: 192.0.2.1, [2001:db8::1]") from None
    if len(text) > 253 or not _NAME.fullmatch(text):
        raise NoTarget(f"{shown(text)} is no name of a host (other letters than ASCII's are written xn--..)")
    return text.rstrip(".")


def real(address: Address) -> Address:
    """What the kernel makes of it: ::ffff:127.0.0.1 is one of IPv4."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_public(address: Address) -> bool:
    """Is it one of the internet's, which means the same to everybody?"""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    for network, shift in _CARRIERS:
        if address in network:
            return is_public(IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


@dataclass(frozen=True)
class Entry:
    scheme: str
    host: str | Network = "*"
    """Of the web: a name, `*.name`, `*` or a network. Of a mail address: the same without networks."""
    port: int | None = None
    """None: any."""
    name: str = "*"
    """Of a mail address, what stands before the @."""

    def is_wild(self) -> bool:
        return isinstance(self.host, str) and self.host.startswith("*")

    def has_host(self, host: str) -> bool:
        """Is it that name, or below it?"""
        own = self.host
        return isinstance(own, str) and (own in ("*", host) or (own[:2] == "*." and host.endswith(own[1:])))


def entry(text: str) -> Entry:
    """Raises BadUnit."""
    if text == "*":
        return Entry("*")
    if found := _WEB_ENTRY.fullmatch(text):
        scheme = found[1].lower()
        port = None if found[3] == "*" else int(found[3] or WEB_PORTS[scheme])
        return Entry(scheme, _entry_host(found[2].lower(), text), port)
    if found := _MAIL_ENTRY.fullmatch(text):
        return Entry("mailto", (found[2] or "*").lower(), name=(found[1] or "*").lower())
    found = _OTHER_ENTRY.fullmatch(text)
    if not found or found[1].lower() == "mailto":
        raise BadUnit(f"{shown(text)} allows nothing", _FORMS)
    return Entry(found[1].lower())


def _entry_host(text: str, whole: str) -> str | Network:
    try:
        if "/" in text:
            return ipaddress.ip_network(text.replace("[", "").replace("]", ""))
        host = _host(text.removeprefix("*.")) if text != "*" else text
    except ValueError as error:
        raise BadUnit(f"{shown(whole)} allows nothing: {error}", _FORMS) from None
    if isinstance(host, str):
        return f"*.{host}" if text.startswith("*.") else host
    return ipaddress.ip_network(host)


class Allow:
    """By entries of the setting. Raises BadUnit."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries: Sequence[Entry] = [entry(text) for text in entries]
        self._anything = any(entry.scheme == "*" for entry in self._entries)

    def refusal(self, url: str) -> str:
        """Why nothing may be sent there, for people; empty: it may, if its host's address may, too."""
        scheme = _SCHEME.match(url)
        if not scheme:
            return f"{shown(url)} is no address: it begins with no scheme, such as https:"
        kind = scheme[1].lower()
        try:
            if kind in WEB_PORTS:
                return self._web_refusal(place(url))
            if kind == "mailto":
                return self._mail_refusal(url)
        except NoTarget as error:
            return str(error)
        return self._unless(self._of(kind), f"{kind}://")

    def refusal_at(self, url: str, address: Address, is_own: bool = False) -> str:
        """The same of an address that the URL's host has; `is_own`: it is one of this machine's."""
        try:
            there = place(url)
        except NoTarget as error:
            return str(error)
        return self._refusal_at(there, real(address), is_own)

    def has_others(self) -> bool:
        """May anything go to another scheme than those of the web and of mail?"""
        return any(entry.scheme not in (*WEB_PORTS, "mailto") for entry in self._entries)

    def _web_refusal(self, there: Place) -> str:
        """A name may have an address in any network that an entry names."""
        if not isinstance(there.host, str):
            return self._refusal_at(there, there.host, False)
        if there.host == "localhost" or there.host.endswith(".localhost"):
            return self._refusal_at(there, IPv4Address("127.0.0.1"), False)
        name = there.host
        fit = [e for e in self._at(there) if not isinstance(e.host, str) or e.has_host(name)]
        return self._unless(fit, str(there))

    def _refusal_at(self, there: Place, address: Address, is_own: bool) -> str:
        fit, public = self._at(there), is_public(address) and not is_own
        name = there.host if isinstance(there.host, str) else ""
        if self._anything or any(_allows(entry, name, address, public) for entry in fit):
            return ""
        if public or not any(entry.is_wild() and entry.has_host(name) for entry in fit):
            return self._unless([], str(there))
        what = "this machine" if is_own else "no address of the public internet"
        return (
            f"{name or 'the host'} is {address}, {what}: {SETTING} would have to name"
            f" {name or address} itself, or its network"
        )

    def _mail_refusal(self, url: str) -> str:
        found = _MAIL.fullmatch(url)
        if not found:
            raise NoTarget(f"{shown(url)} is no mail address: mailto:name@host")
        name, host = found[1].lower(), found[2].lower()
        fit = [e for e in self._of("mailto") if e.name in ("*", name) and e.has_host(host)]
        return self._unless(fit, f"mail to {name}@{host}")

    def _of(self, scheme: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.scheme == scheme]

    def _at(self, there: Place) -> list[Entry]:
        return [entry for entry in self._of(there.scheme) if entry.port in (None, there.port)]

    def _unless(self, fit: Sequence[Entry], what: str) -> str:
        return "" if self._anything or fit else f"{what} is not among what {SETTING} has"


def _allows(entry: Entry, name: str, address: Address, public: bool) -> bool:
    """`name`: empty where the URL has an address itself."""
    if not isinstance(entry.host, str):
        return address in entry.host
    return entry.has_host(name) and (public or not entry.is_wild())
