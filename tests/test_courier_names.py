"""What the courier makes of names: real lookups of a name server of the tests' own, which lies, changes its
mind and says nothing. In a mount namespace, whose resolver asks that one."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

import jobd
from tests import people
from tests.receivers import receiver

pytestmark = pytest.mark.skipif(not people.can_make(), reason="only root can have another resolver")

_A, _AAAA = 1, 28
_ENTER = """
mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf &&
shift && exec "$@"
"""
_HAVE_AN_ADDRESS = 'ip link set lo up && ip address add "$1" dev lo && shift && exec "$@"'
_INSIDE = """
import asyncio, json, sys
from jobd.config import Notifications
from jobd.courier.courier import Courier, Message

async def main():
    urls, settings = map(json.loads, sys.argv[1:])
    courier, ended = Courier(Notifications(**settings)), []

    async def send(url):
        outcome = await courier.send(Message(url, url, "", "{}", "application/json", b"k"))
        ended.append([url, outcome.delivered, outcome.for_good, outcome.words])

    await asyncio.gather(*map(send, urls))
    await courier.close()
    print(json.dumps(ended))

asyncio.run(main())
"""


class NameServer:
    """At an address of loopback that nobody else is likely to have."""

    def __init__(self, answers: dict[str, list[Sequence[str]]]) -> None:
        """By name: the addresses to tell at the first lookup, at the next .., the last ones for ever. A name
        that is not there has no answer at all."""
        self.answers = answers
        self.asked: Counter[tuple[str, int]] = Counter()
        """By name and kind."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.53"
        self._socket.bind((self.host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.sendto(b"", (self.host, 53))

    def _serve(self) -> None:
        with self._socket:
            while True:
                query, whence = self._socket.recvfrom(512)
                if not query:
                    return
                if answer := self._answer(query):
                    self._socket.sendto(answer, whence)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12)
        labels, at = [], 12
        while at < end:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind = ".".join(labels), int.from_bytes(query[end + 1 : end + 3])
        turn = self.asked[name, kind]
        self.asked[name, kind] += 1
        if name not in self.answers:
            return b""
        turns = self.answers[name]
        found = [ip_address(text) for text in turns[min(turn, len(turns) - 1)]]
        fit = [one.packed for one in found if one.version == (4 if kind == _A else 6)]
        records = [b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(data)) + data for data in fit]
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        return head + query[12 : end + 5] + b"".join(records)


@contextmanager
def name_server(answers: dict[str, list[Sequence[str]]]) -> Iterator[NameServer]:
    made = NameServer(answers)
    try:
        yield made
    finally:
        made.close()


def sent(directory: Path, server: NameServer, urls: list[str], **settings: Any) -> list[Any]:
    """As below, with that name server."""
    (directory / "resolv.conf").write_text(f"nameserver {server.host}\n")
    (directory / "nsswitch.conf").write_text("hosts: files dns\n")
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh", str(directory)]
    return sent_inside(enter, urls, settings)


def sent_inside(enter: list[str], urls: list[str], settings: dict[str, Any]) -> list[Any]:
    """Of each: URL, whether it was delivered, whether trying again is of no use, words. In the order of their
    ends."""
    inside = [sys.executable, "-c", _INSIDE, json.dumps(urls), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(Path(jobd.__file__).parents[1])}
    done = subprocess.run([*enter, *inside], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_name_that_leads_to_us_is_refused(tmp_path: Path) -> None:
    answers = {"a.test": [["127.0.0.1"]], "b.test": [["::1"]], "c.test": [["::ffff:127.0.0.1"]]}
    with receiver() as hook, name_server(answers) as server:
        urls = [f"http://{name}:{hook.port}/" for name in answers]
        for url, delivered, for_good, words in sent(tmp_path, server, urls, allow=["http://*:*"]):
            assert (delivered, for_good) == (False, True), url
            assert "notifications.allow would have to name" in words
        assert hook.connections == 0


def test_of_several_addresses_those_are_used_that_are_allowed(tmp_path: Path) -> None:
    with receiver() as hook, name_server({"a.test": [["127.0.0.1", "127.0.0.2"]]}) as server:
        url = f"http://a.test:{hook.port}/"
        ((_, delivered, for_good, words),) = sent(tmp_path, server, [url], allow=["http://127.0.0.2:*"])
        assert (delivered, for_good) == (False, False)
        assert "no connection to" in words
        assert hook.connections == 0
        ((_, delivered, *_),) = sent(tmp_path, server, [url], allow=["http://127.0.0.1:*"])
        assert delivered


def test_a_name_that_changes_its_mind(tmp_path: Path) -> None:
    """What was checked is what is connected to: nobody asks a second time."""
    with receiver() as hook, name_server({"a.test": [["127.0.0.2"], ["127.0.0.1"]]}) as server:
        sent(tmp_path, server, [f"http://a.test:{hook.port}/"], allow=["http://127.0.0.2:*"])
        assert server.asked["a.test", _A] == 1
        assert hook.connections == 0


def test_a_name_whose_server_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    with receiver() as hook, name_server({"good.test": [["127.0.0.1"]]}) as server:
        silent = [f"http://silent.test:{hook.port}/{number}" for number in range(100)]
        ended = sent(tmp_path, server, [*silent, f"http://good.test:{hook.port}/"], timeout=1)
        assert ended[0][:2] == [f"http://good.test:{hook.port}/", True]
        assert {words for _, delivered, _, words in ended if not delivered} == {
            f"http://silent.test:{hook.port} did not answer within 1 s"
        }
        assert server.asked["silent.test", _A] <= 2, "one lookup for all of them"


HAS_6 = Path("/proc/net/if_inet6").exists()


@pytest.mark.parametrize("host", ["9.9.9.9", "2606:4700::9"] if HAS_6 else ["9.9.9.9"])
def test_an_address_of_the_internet_that_is_this_machine(host: str) -> None:
    """In a network namespace, which has it, and from which nothing leads out."""
    url = f"http://[{host}]/" if ":" in host else f"http://{host}/"
    enter = ["unshare", "--net", "sh", "-c", _HAVE_AN_ADDRESS, "sh", host]
    ((_, delivered, for_good, words),) = sent_inside(enter, [url], {"allow": ["http://*"]})
    assert (delivered, for_good) == (False, True)
    assert f"is {host}, this machine" in words
    ((_, _, for_good, words),) = sent_inside(enter, [url], {"allow": [url.rstrip("/")]})
    assert not for_good
    assert "no connection to" in words
