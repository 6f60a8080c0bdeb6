"""Which targets are allowed, as data; and whatever the spelling, what is connected to is allowed."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobd import config
from jobd.errors import Invalid
from jobd.targets import Allow, NoTarget, entry, is_public, place, real
from jobd.units import BadUnit

SYSTEM = Allow(["https://*", "http://*", "mailto:*"])
"""The default of the system's daemon."""


# ---- by name


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        # a host
        ("https://hooks.example.org", "https://hooks.example.org/x?y", True),
        ("https://hooks.example.org", "https://HOOKS.Example.ORG./", True),
        ("https://hooks.example.org", "https://hooks.example.org:443/", True),
        ("https://hooks.example.org", "https://user:word@hooks.example.org/", True),
        ("https://hooks.example.org", "http://hooks.example.org/", False),
        ("https://hooks.example.org", "https://hooks.example.org:8443/", False),
        ("https://hooks.example.org", "https://hooks.example.org.evil.test/", False),
        ("https://hooks.example.org", "https://evil-hooks.example.org/", False),
        ("https://hooks.example.org", "https://hooks.example.org@evil.test/", False),
        ("https://hooks.example.org", "https://evil.test/?https://hooks.example.org", False),
        ("https://hooks.example.org", "https://evil.test#@hooks.example.org/", False),
        ("HTTPS://Hooks.Example.ORG", "https://hooks.example.org/", True),
        # ports
        ("http://a.test:8080", "http://a.test:8080/", True),
        ("http://a.test:8080", "http://a.test/", False),
        ("http://a.test:*", "http://a.test:12345/", True),
        ("http://*", "http://a.test:22/", False),
        ("http://*:*", "http://a.test:22/", True),
        # below a name
        ("https://*.lab.example", "https://x.lab.example/", True),
        ("https://*.lab.example", "https://x.y.lab.example/", True),
        ("https://*.lab.example", "https://lab.example/", False),
        ("https://*.lab.example", "https://evillab.example/", False),
        ("https://*.lab.example", "https://9.9.9.9/", False),
        # addresses
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("http://127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080/", True),
        ("http://127.0.0.1:8080", "http://127.0.0.2:8080/", False),
        ("http://127.0.0.1:*", "http://localhost:99/", True),
        ("http://localhost", "http://localhost/", True),
        ("http://localhost", "http://127.0.0.1/", False),
        ("http://10.1.0.0/16", "http://10.1.255.1/", True),
        ("http://10.1.0.0/16", "http://10.2.0.1/", False),
        ("http://10.1.0.0/16", "http://printer.test/", True),  # until its address is known
        ("http://[fd00::]/8:*", "http://[fd12::1]:9/", True),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]/", True),
        ("http://*", "http://9.9.9.9/", True),
        ("http://*", "http://[2606:4700::1111]/", True),
        # mail
        ("mailto:*", "mailto:ada@lab.example", True),
        ("mailto:*@lab.example", "MAILTO:ada@LAB.example", True),
        ("mailto:*@lab.example", "mailto:ada@x.lab.example", False),
        ("mailto:*@*.lab.example", "mailto:ada@x.lab.example", True),
        ("mailto:ada@lab.example", "mailto:eve@lab.example", False),
        ("mailto:*@lab.example", "mailto:eve@evil.test?cc=ada@lab.example", False),
        ("https://*", "mailto:ada@lab.example", False),
        # other schemes
        ("tgram://*", "tgram://token/chat", True),
        ("tgram://*", "TGRAM://token/chat", True),
        ("tgram://*", "json://127.0.0.1/", False),
        ("https://*", "tgram://token/chat", False),
        ("http://*", "unix:/run/x.sock", False),
        ("http://*", "http+unix://%2Frun%2Fx.sock/", False),
        ("http://*", "file:///etc/passwd", False),
        # anything at all
        ("*", "http://127.0.0.1:1/", True),
        ("*", "mailto:root@localhost", True),
        ("*", "json://127.0.0.1/", True),
        ("*", "nothing of the kind", False),
    ],
)
def test_what_an_entry_allows(allowed: str, url: str, may: bool) -> None:
    refusal = Allow([allowed]).refusal(url)
    assert (refusal == "") is may, refusal


@pytest.mark.parametrize(
    "url",
    [
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://127.0.0.01/",
        "http://[::ffff:7f00:1]/",
        "http://[::1]/",
        "http://[::]/",
        "http://0.0.0.0/",
        "http://0/",
        "http://LOCALHOST/",
        "http://localhost./",
        "http://x.localhost/",
        "http://user@127.0.0.1/",
        "http://9.9.9.9@127.0.0.1/",
        "http://9.9.9.9\\@127.0.0.1/",
        "http://127.0.0.1\\@9.9.9.9/",
        "http://9.9.9.9 @127.0.0.1/",
        "http://a@9.9.9.9@127.0.0.1/",
        "http://127.0.0.1\t/",
        "http://\t127.0.0.1/",
        "http://127.0.0.1\n/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/",
        "http://localho\u017ft/",
        "http://%6c%6f%63alhost/",
        "http://[fe80::1%25eth0]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::1]/",
        "http://[::127.0.0.1]/",
        "http://[2001:0:7f00:1::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[ff02::1]/",
        "http://[fd00:ec2::254]/",
        "http:///etc/passwd",
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "http://",
        "http://a.test:99999/",
        "http://a.test:0/",
        "//127.0.0.1/",
        "http://b\u00fccher.test/",
        "http://a..test/",
        "http://-a.test/",
        "",
    ],
)
def test_where_the_systems_daemon_never_goes(url: str) -> None:
    assert SYSTEM.refusal(url) != ""


def test_words_name_the_setting_and_what_would_help() -> None:
    assert SYSTEM.refusal("http://localhost/") == (
        "localhost is 127.0.0.1, no address of the public internet: notifications.allow would have to name "
        "localhost itself, or its network"
    )
    assert Allow([]).refusal("http://[::1]:80/") == "http://[::1] is not among what notifications.allow has"
    assert "other letters than ASCII's are written xn--" in SYSTEM.refusal("http://a..test/")


# ---- by address, when one connects


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ("http://*", "9.9.9.9", True),
        ("http://*", "127.0.0.1", False),
        ("http://*", "::ffff:10.0.0.1", False),
        ("http://*.test", "10.0.0.1", False),
        ("http://*.test", "9.9.9.9", True),
        ("http://a.test", "10.0.0.1", True),
        ("http://10.0.0.0/8", "10.0.0.1", True),
        ("http://10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("http://10.0.0.0/8", "9.9.9.9", False),
        ("http://10.0.0.0/8:8080", "10.0.0.1", False),
        ("*", "169.254.169.254", True),
    ],
)
def test_a_name_and_the_address_that_it_has(allowed: str, address: str, may: bool) -> None:
    assert (Allow([allowed]).refusal_at("http://a.test/", ip_address(address)) == "") is may


def test_a_public_address_of_this_machine_is_as_private_as_the_others() -> None:
    public = ip_address("9.9.9.9")
    assert "a.test is 9.9.9.9, this machine" in SYSTEM.refusal_at("http://a.test/", public, is_own=True)
    assert Allow(["http://9.9.9.9"]).refusal_at("http://a.test/", public, is_own=True) == ""


NOT_PUBLIC = [
    "0.0.0.1", "10.0.0.1", "100.64.0.1", "127.8.8.8", "169.254.1.1", "172.31.0.1", "192.0.0.8",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.251",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::8.8.8.8", "fe80::1", "fec0::1", "fd00::1",
    "ff02::1", "100::1", "2001:db8::1", "2001::1", "2001:20::1", "3fff::1", "5f00::1", "64:ff9b:1::1",
    "64:ff9b::10.0.0.1", "2002:a00:1::", "::ffff:10.0.0.1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "100.63.255.255", "172.32.0.1", "223.255.255.255", "2606:4700::1111", "2a00::1",
    "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_private(address: IPv4Address | IPv6Address) -> None:
    """Python of this version; and what carries an address of IPv4 is known by that."""
    if is_public(address) and not any(address in carrier for carrier in CARRIERS):
        known = real(address)
        assert not any((known.is_private, known.is_loopback, known.is_link_local, known.is_multicast))


CARRIERS = [ip_network("64:ff9b::/96"), ip_network("2002::/16")]


# ---- whatever the spelling


PIECES = [
    "http", "https", "://", ":", "/", "//", "\\", "@", "#", "?", "%", ".", "..", "127.0.0.1", "0x7f",
    "127.1", "2130706433", "017700000001", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]",
    "[", "]", "9.9.9.9", "a.test", "10.0.0.1", "169.254.169.254", ":80", ":8080", "%00", "%2e", "\t",
    "\n", "\x00", "user:", "\u3002", "\uff11", "\u017f", "\u212a", "xn--", "-", "_", ",",
]  # fmt: skip
SPELLINGS = st.builds(
    lambda scheme, pieces: scheme + "".join(pieces),
    st.sampled_from(["http://", "HTTP://", "http:", "http:/", "https://", ""]),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=6),
)


@given(SPELLINGS)
@example("http://9.9.9.9\\@127.0.0.1/")
@example("http://9.9.9.9#@127.0.0.1/")
@example("http://localho\u017ft/")
def test_whatever_the_spelling_what_is_connected_to_is_allowed(url: str) -> None:
    """Who connects goes by `place`: to its host's address itself, or to those that its name has. Whatever it
    reads, no function of C's makes an address of that name behind our back."""
    if SYSTEM.refusal(url):
        return
    where = place(url)
    assert where.port == {"http": 80, "https": 443}[where.scheme]
    if not isinstance(where.host, str):
        assert is_public(where.host)
        return
    assert where.host.isascii()
    with pytest.raises(OSError):  # noqa: PT011 - it is a name to C as well
        socket.inet_aton(where.host)
    for private in "127.0.0.1", "::1", "10.0.0.1", "169.254.169.254":
        assert SYSTEM.refusal_at(url, ip_address(private))


@given(SPELLINGS)
def test_other_parsers_find_the_same_host(url: str) -> None:
    try:
        where = place(url)
    except NoTarget:
        return
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    assert parts.scheme == where.scheme
    assert (host if isinstance(where.host, str) else real(ip_address(host))) == where.host
    assert (parts.port or where.port) == where.port


def test_the_parts_of_a_place() -> None:
    where = place("HTTP://ada:p%40@A.Test.:8080?x=1#y")
    assert (where.scheme, where.host, where.port) == ("http", "a.test", 8080)
    assert (where.path, where.login, where.authority) == ("/?x=1", "ada:p%40", "a.test:8080")
    assert str(place("https://[2606:4700::1111]:443/x")) == "https://[2606:4700::1111]"


# ---- entries


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hooks.example.org", "allows nothing"),
        ("https://hooks.example.org/services", "allows nothing"),
        ("https://", "allows nothing"),
        ("http://10.1.0.1/16", "has host bits set"),
        ("http://0x7f.1", "no address as one writes it"),
        ("http://a b", "allows nothing"),
        ("http://*:8*", "allows nothing"),
        ("mailto://*", "allows nothing"),
        ("json://127.0.0.1", "allows nothing"),
        ("**", "allows nothing"),
        ("", "allows nothing"),
    ],
)
def test_an_entry_that_means_nothing(text: str, words: str) -> None:
    with pytest.raises(BadUnit, match=words):
        entry(text)


def test_a_faulty_entry_is_found_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "jobd.yaml"
    file.write_text("notifications:\n  allow: ['https://*', 'http://10.1.0.1/16']\n")
    with pytest.raises(Invalid) as caught:
        config.load(file, {"HOME": "/"})
    (fault,) = caught.value.faults
    assert str(fault).startswith(f'{file}:2:24: notifications.allow.1: "http://10.1.0.1/16" allows nothing')
