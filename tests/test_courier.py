"""The courier: a real process that carries real messages to real receivers on loopback, good and bad."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from email.header import decode_header, make_header
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

import jobd
from jobd.config import Notifications, Smtp
from jobd.courier import courier as module
from jobd.courier import mail as letters
from jobd.courier import rights
from jobd.courier.courier import Courier, Message, Outcome, libraries
from jobd.courier.message import printable
from jobd.courier.names import is_own
from tests import processes, receivers
from tests.daemon import until
from tests.people import User
from tests.receivers import HANGING, MISBEHAVING, Authority, Behaviour, Visit, mail_server, receiver

T = TypeVar("T")

KEY = bytes(range(32))
MOST_MEMORY = 128 << 20
"""A courier that does its work has half of that."""
Work = Callable[[Courier], Awaitable[T]]


def carried(work: Work[T], **settings: Any) -> T:
    """What `work` returns, of a courier that it gets."""

    async def run() -> T:
        courier = Courier(Notifications(**settings))
        try:
            async with asyncio.timeout(60):
                return await work(courier)
        finally:
            await courier.close()

    return asyncio.run(run())


def sent(message: Message, **settings: Any) -> Outcome:
    return carried(lambda courier: courier.send(message), **settings)


def message(url: str, id: str = "delivery-1", body: str = '{"status": "FINISHED"}', **other: str) -> Message:
    rest = {"title": "Job 7 is over", "content_type": "application/json", **other}
    return Message(id=id, url=url, body=body, key=KEY, **rest)


def process() -> psutil.Process:
    """The courier that we have."""
    (found,) = processes_of_couriers()
    return found


def processes_of_couriers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "jobd-courier"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


# ---- webhooks


def test_a_webhook_as_the_specification_has_it() -> None:
    body = '{"status": "FINISHED", "name": "größer"}'
    with receiver() as hook:
        assert sent(message(hook.url("/a/b?c=d#e"), body=body)) == Outcome(True, 200, "200 Word")
    (taken,) = hook.taken
    assert (taken.path, taken.body) == ("/a/b?c=d", body.encode())
    assert taken.headers["content-type"] == "application/json"
    assert taken.headers["user-agent"] == f"jobd/{jobd.__version__}"
    assert taken.headers["host"] == f"127.0.0.1:{hook.port}"
    secret = f"whsec_{base64.b64encode(KEY).decode()}"
    assert Webhook(secret).verify(taken.body, taken.headers) == json.loads(body)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret).verify(taken.body + b" ", taken.headers)


def test_every_try_has_the_same_id() -> None:
    async def twice(courier: Courier) -> list[Outcome]:
        return [await courier.send(message(hook.url(), id="d7")) for _ in range(2)]

    with receiver(receivers.fails_at_first) as hook:
        first, second = carried(twice)
    assert (first.delivered, first.code, first.words, second.delivered) == (
        False,
        500,
        "500 Word: busy",
        True,
    )
    assert [taken.headers["webhook-id"] for taken in hook.taken] == ["d7", "d7"]


def test_each_has_a_connection_of_its_own() -> None:
    async def ten(courier: Courier) -> None:
        for number in range(10):
            assert (await courier.send(message(hook.url(f"/{number}")))).delivered

    with receiver() as hook:
        carried(ten)
    assert [taken.path for taken in hook.taken] == [f"/{number}" for number in range(10)]
    assert hook.connections == 10


def test_many_at_a_time() -> None:
    async def all_of_them(courier: Courier) -> list[Outcome]:
        return await asyncio.gather(*(courier.send(message(hook.url(), id=f"d{n}")) for n in range(300)))

    with receiver() as hook:
        assert all(outcome.delivered for outcome in carried(all_of_them))
    assert {taken.headers["webhook-id"] for taken in hook.taken} == {f"d{n}" for n in range(300)}


def test_what_is_text_says_in_what_letters() -> None:
    with receiver() as hook:
        sent(message(hook.url(), body="größer", content_type="text/plain"))
    assert hook.taken[0].headers["content-type"] == "text/plain; charset=utf-8"
    assert hook.taken[0].body.decode() == "größer"


def test_a_login_in_the_address_goes_into_its_header() -> None:
    with receiver() as hook:
        sent(message(hook.url().replace("//", "//ada:p%40ss@")))
    assert base64.b64decode(hook.taken[0].headers["authorization"].removeprefix("Basic ")) == b"ada:p@ss"
    assert hook.taken[0].headers["host"] == f"127.0.0.1:{hook.port}"


@pytest.mark.parametrize(
    ("code", "headers", "for_good", "retry_after"),
    [
        (410, {}, True, None),
        (404, {}, False, None),
        (503, {"Retry_After": "120"}, False, 120.0),
        (429, {"Retry_After": "999999"}, False, 3600.0),
        (429, {"Retry_After": "Mon, 01 Jan 2001 00:00:00 GMT"}, False, 0.0),
        (429, {"Retry_After": formatdate(time.time() + 10**6, usegmt=True)}, False, 3600.0),
        (503, {"Retry_After": "tomorrow"}, False, None),
        (500, {"Retry_After": "5"}, False, None),
    ],
)
def test_what_a_receiver_asks_for(
    code: int, headers: dict[str, str], for_good: bool, retry_after: float | None
) -> None:
    with receiver(receivers.answers(code, b"no", **headers)) as hook:
        outcome = sent(message(hook.url()))
    assert outcome == Outcome(False, code, f"{code} Word: no", for_good, retry_after)


def test_words_are_short_and_do_nothing_to_a_terminal() -> None:
    with receiver(receivers.answers(500, b"\x1b[31mred\r\n\xe2\x80\xae" + b"long " * 1000)) as hook:
        words = sent(message(hook.url())).words
    assert words.startswith("500 Word: [31mred long long")
    assert words.isprintable()
    assert len(words) <= 300
    assert printable("a" * 301) == "a" * 298 + ".."


# ---- receivers that misbehave


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> Any:
    return authority.server() if request.param == "tls" else None


@pytest.mark.parametrize("behaviour", MISBEHAVING, ids=lambda behaviour: behaviour.__name__)
def test_a_receiver_that_misbehaves(behaviour: Behaviour, tls: Any, authority: Authority) -> None:
    """It has its outcome in time, takes no memory, and holds up nobody: those that come later are delivered
    while it still hangs."""

    async def beside_others(courier: Courier) -> tuple[Outcome, int]:
        body = "x" * (8 * receivers.MEGABYTE if behaviour is receivers.reads_nothing else 10)
        late = asyncio.create_task(courier.send(message(bad.url(), body=body)))
        await asyncio.to_thread(until, lambda: bad.connections)
        for _ in range(3):
            assert (await courier.send(message(good.url()))).delivered
        assert behaviour not in HANGING or not late.done()
        outcome = await late
        assert (await courier.send(message(good.url()))).delivered
        memory = process().memory_info().rss
        await asyncio.to_thread(until, lambda: not connections(process(), bad.port))
        return outcome, memory

    with receiver() as good, receiver(behaviour, tls) as bad:
        outcome, memory = carried(beside_others, timeout=2, ca_file=authority.file)
    assert not outcome.delivered
    assert MISBEHAVING[behaviour] in outcome.words
    assert memory < MOST_MEMORY
    assert bad.connections <= 2


@pytest.mark.parametrize("behaviour", [receivers.answers_unread, receivers.answers_unasked])
def test_what_a_receiver_does_after_its_answer(behaviour: Behaviour, tls: Any, authority: Authority) -> None:
    """It has neither memory of us nor a connection for itself."""

    async def afterwards(courier: Courier) -> int:
        body = "x" * (8 * receivers.MEGABYTE if behaviour is receivers.answers_unread else 10)
        assert (await courier.send(message(odd.url(), body=body))).delivered
        for _ in range(3):
            await asyncio.sleep(0.5)  # in which it may do what it likes
            assert (await courier.send(message(good.url()))).delivered
        memory = process().memory_info().rss
        if behaviour is receivers.answers_unread:
            await asyncio.to_thread(until, lambda: not connections(process(), odd.port))
        return memory

    with receiver() as good, receiver(behaviour, tls) as odd:
        assert carried(afterwards, ca_file=authority.file) < MOST_MEMORY


def connections(of: psutil.Process, port: int) -> list[Any]:
    return [one for one in of.net_connections() if one.raddr and one.raddr.port == port]


def test_a_redirect_is_not_followed() -> None:
    with receiver(receivers.redirects) as hook:
        outcome = sent(message(hook.url("/0")))
    words = "it redirects to /1: give that address instead (302 Word)"
    assert outcome == Outcome(False, 302, words)
    assert len(hook.taken) == 1


def test_a_slow_body_does_not_undo_what_was_delivered() -> None:
    def thanks_slowly(visit: receivers.Visit) -> None:
        visit.take()
        visit.say(200, Content_Length=1000)
        visit.wait()

    with receiver(thanks_slowly) as hook:
        assert sent(message(hook.url())).delivered


# ---- TLS


def test_one_address_has_the_certificates_of_its_names(authority: Authority) -> None:
    async def by_both(courier: Courier) -> list[Outcome]:
        return [await courier.send(message(hook.url(host=host))) for host in ("localhost", "127.0.0.1")]

    with receiver(tls=authority.server("localhost")) as hook:
        right, wrong = carried(by_both, ca_file=authority.file)
    assert right.delivered
    assert "has a certificate that is not trusted: IP address mismatch" in wrong.words


def test_an_authority_that_the_configuration_names_is_trusted(authority: Authority) -> None:
    with receiver(tls=authority.server()) as hook:
        assert sent(message(hook.url()), ca_file=authority.file).delivered
        assert sent(message(hook.url(host="localhost")), ca_file=authority.file).delivered


@pytest.mark.parametrize(
    ("names", "words"),
    [(("127.0.0.1",), "unable to get local issuer certificate"), (("other.test",), "IP address mismatch")],
)
def test_a_certificate_that_is_not_right(
    authority: Authority, tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    strange = Authority(tmp_path) if "127.0.0.1" in names else authority
    with receiver(tls=strange.server(*names)) as hook:
        outcome = sent(message(hook.url()), ca_file=authority.file)
    assert "has a certificate that is not trusted" in outcome.words
    assert words in outcome.words
    assert hook.taken == []


def test_a_receiver_that_refuses_tls_or_never_comes_to_it() -> None:
    def answers_plainly(visit: receivers.Visit) -> None:
        visit.request.sendall(b"HTTP/1.1 400 Speak plainly\r\n\r\n")

    with receiver(answers_plainly) as hook:
        assert "no TLS with" in sent(message(hook.url().replace("http:", "https:"))).words

    async def hang(courier: Courier) -> Outcome:
        outcome = await courier.send(message(hook.url().replace("http:", "https:")))
        await asyncio.to_thread(until, lambda: not connections(process(), hook.port))
        return outcome

    with receiver(receivers.reads_nothing) as hook:
        assert "did not answer within 1 s" in carried(hang, timeout=1).words


# ---- targets


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_loopback_is_refused_where_only_the_internet_is_allowed(host: str) -> None:
    with receiver() as hook:
        outcome = sent(message(hook.url(host=host)), allow=["http://*:*"])
        assert (outcome.delivered, outcome.for_good) == (False, True)
        assert "127.0.0.1, no address of the public internet: notifications.allow" in outcome.words
        assert hook.connections == 0
        assert sent(message(hook.url(host=host)), allow=["http://127.0.0.0/8:*"]).delivered


def test_this_machines_own_addresses_are_known() -> None:
    for host in "127.0.0.1", *_addresses_of_interfaces():
        assert is_own(ip_address(host)), host
    for host in "192.0.2.1", "2001:db8::1":
        assert not is_own(ip_address(host)), host


def _addresses_of_interfaces() -> list[str]:
    families = socket.AF_INET, socket.AF_INET6
    known = [one for each in psutil.net_if_addrs().values() for one in each if one.family in families]
    return [one.address for one in known if "%" not in one.address]


def test_nothing_reaches_a_unix_socket() -> None:
    for url in ("unix:///run/x.sock", "http+unix://%2Frun%2Fx.sock/", "http://unix:/run/x.sock"):
        outcome = sent(message(url), allow=["http://*"])
        assert outcome.for_good


# ---- the process


def test_it_is_started_at_the_first_message_and_ends_with_close() -> None:
    async def one(courier: Courier) -> psutil.Process:
        assert not processes_of_couriers()
        await courier.send(message(hook.url()))
        return process()

    with receiver() as hook:
        found = carried(one)
    until(lambda: not found.is_running(), what="the courier ends")


def test_what_a_courier_has_under_way_when_it_is_killed_the_next_one_carries() -> None:
    async def kill_it(courier: Courier) -> list[Outcome]:
        tasks = [asyncio.create_task(courier.send(message(hook.url(), str(number)))) for number in range(3)]
        await asyncio.to_thread(until, lambda: len(hook.taken) == 3)
        process().kill()
        return await asyncio.gather(*tasks)

    def hangs_at_first(visit: Visit) -> None:
        while visit.take():
            if len(visit.server.taken) <= 3:
                visit.wait()
            visit.say(200)

    with receiver(hangs_at_first) as hook:
        outcomes = carried(kill_it)
    assert all(outcome.delivered for outcome in outcomes)
    assert sorted(one.headers["webhook-id"] for one in hook.taken) == ["0", "0", "1", "1", "2", "2"]


def test_what_kills_one_courier_after_another_has_failed() -> None:
    async def kill_each(courier: Courier) -> tuple[Outcome, Outcome]:
        sending = asyncio.create_task(courier.send(message(bad.url())))
        for number in range(3):
            await asyncio.to_thread(until, lambda number=number: len(bad.taken) > number)
            process().kill()
        return await sending, await courier.send(message(good.url()))

    with receiver() as good, receiver(receivers.hangs) as bad:
        outcome, after = carried(kill_each)
    assert outcome == Outcome(False, words="the process that delivers has ended under way")
    assert after.delivered


def test_a_configuration_that_is_read_again_and_again_fails_and_delays_nothing() -> None:
    async def renew_often(courier: Courier) -> list[Outcome]:
        outcomes = []
        for _ in range(8):
            sending = asyncio.create_task(courier.send(message(hook.url())))
            await asyncio.sleep(0)
            courier.renew(Notifications())
            outcomes.append(await sending)
        return outcomes

    with receiver() as hook:
        assert all(outcome.delivered for outcome in carried(renew_often))


def test_one_that_does_nothing_but_die_is_started_more_and_more_slowly() -> None:
    async def kill_each(courier: Courier) -> set[int]:
        killed, end = set(), time.monotonic() + 4
        while (left := end - time.monotonic()) > 0:
            await asyncio.wait([asyncio.create_task(courier.send(message(hook.url())))], timeout=left)
            for one in processes_of_couriers():
                one.kill()
                killed.add(one.pid)
        return killed

    with receiver() as hook:
        assert 1 <= len(carried(kill_each)) <= 4, "at once, and after 1, 2 and 4 seconds"


def test_a_courier_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stop_it(courier: Courier) -> tuple[Outcome, Outcome]:
        await courier.send(message(hook.url()))
        process().suspend()
        return await courier.send(message(hook.url())), await courier.send(message(hook.url()))

    monkeypatch.setattr(module, "SILENCE", 0.5)
    with receiver() as hook:
        first, second = carried(stop_it, timeout=0.5)
    assert first.words == "the process that delivers said nothing of this"
    assert second.delivered


def test_one_that_cannot_start_says_so_to_all_who_wait(tmp_path: Path) -> None:
    async def three(courier: Courier) -> list[Outcome]:
        return await asyncio.gather(*(courier.send(message("http://127.0.0.1:1/")) for _ in range(3)))

    outcomes = carried(three, ca_file=tmp_path / "none.pem")
    words = f"notifications.caFile: {tmp_path}/none.pem: No such file or directory"
    assert {outcome.words for outcome in outcomes} == {f"notifications cannot be delivered: {words}"}


def test_a_new_configuration_holds_for_what_comes_then() -> None:
    """What is under way is ended by the old courier, which then goes."""

    async def renew(courier: Courier) -> tuple[Outcome, Outcome, Outcome]:
        first = await courier.send(message(good.url()))
        old = process()
        slow = asyncio.create_task(courier.send(message(bad.url())))
        await asyncio.to_thread(until, lambda: bad.taken)
        courier.renew(Notifications(allow=["https://*"], timeout=2))
        refused = await courier.send(message(good.url()))
        outcome = await slow
        await asyncio.to_thread(until, lambda: not old.is_running())
        return first, refused, outcome

    with receiver() as good, receiver(receivers.hangs) as bad:
        first, refused, slow = carried(renew, timeout=2)
    assert first.delivered
    assert refused.for_good
    assert "did not answer within 2 s" in slow.words


def test_after_close_nothing_is_sent() -> None:
    async def closed(courier: Courier) -> list[Outcome]:
        waiting = asyncio.create_task(courier.send(message(hook.url())))
        await asyncio.to_thread(until, lambda: hook.taken)
        await courier.close()
        return [await waiting, await courier.send(message(hook.url()))]

    with receiver(receivers.hangs) as hook:
        under_way, later = carried(closed)
    assert not under_way.delivered
    assert later == Outcome(False, words="the daemon is ending")


_OF_A_DAEMON = """
import asyncio, sys
from jobd.config import Notifications
from jobd.courier.courier import Courier, Message

async def main():
    message = Message("d1", sys.argv[1], "", "{}", "application/json", b"k")
    await Courier(Notifications(timeout=300)).send(message)

asyncio.run(main())
"""


def test_it_ends_when_its_daemon_is_killed() -> None:
    with receiver(receivers.hangs) as hook:
        root = str(Path(jobd.__file__).parents[1])
        argv = [sys.executable, "-c", _OF_A_DAEMON, hook.url()]
        daemon = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": root})
        until(lambda: hook.taken, what="it is under way")
        (courier,) = psutil.Process(daemon.pid).children()
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        until(lambda: processes.gone(courier.pid), what="the courier ends")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_gives_up_its_rights_before_it_speaks() -> None:
    async def look(courier: Courier) -> tuple[dict[str, str], list[str], str]:
        await courier.send(message(hook.url()))
        pid = process().pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(f"Max data size +{512 << 20} +{512 << 20} ", limits)
        assert re.search("Max open files +512 +512 ", limits)
        text = Path(f"/proc/{pid}/status").read_text()
        files = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.name != "2"]
        return (
            dict(line.split(":\t", 1) for line in text.splitlines()),
            files,
            os.readlink(f"/proc/{pid}/cwd"),
        )

    with receiver() as hook:
        status, files, directory = carried(look)
    for ids in status["Uid"], status["Gid"]:
        assert ids.split() == ["65534"] * 4
    assert status["Groups"].split() == []
    assert status["NoNewPrivs"] == "1"
    assert {int(status[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert directory == "/"
    assert not [name for name in files if name.startswith("/") and not name.startswith("/dev/")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_anybody_else_stays_who_they_are(tmp_path: Path) -> None:
    def give_up() -> list[int]:
        rights.give_up("nobody")
        return [*os.getresuid(), os.nice(0)]

    before = os.nice(0)
    assert User("ada", 61300, tmp_path).call(give_up) == [61300] * 3 + [min(before + 10, 19)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("user", "words"), [("root", "is root"), ("nosuch", "there is no user nosuch")])
def test_it_speaks_to_nobody_with_roots_rights(user: str, words: str) -> None:
    with receiver() as hook:
        outcome = sent(message(hook.url()), user=user)
        assert words in outcome.words
        assert hook.connections == 0


def test_it_has_nothing_of_our_environment() -> None:
    async def environment(courier: Courier) -> bytes:
        await courier.send(message("http://127.0.0.1:1/"))
        return Path(f"/proc/{process().pid}/environ").read_bytes()

    found = {entry.partition(b"=")[0] for entry in carried(environment).split(b"\0") if entry}
    assert found <= {
        b"LD_LIBRARY_PATH",
        b"SSL_CERT_FILE",
        b"SSL_CERT_DIR",
        b"MALLOC_ARENA_MAX",
        b"RES_OPTIONS",
    }


def test_it_has_no_heavy_libraries() -> None:
    heavy = {"pydantic", "peewee", "apscheduler", "psutil", "yaml", "apprise", "requests"}
    program = "import sys; sys.path += sys.argv[1:]; import jobd.courier.main; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(jobd.__file__).parents[1]), *libraries()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not heavy & set(answer.stdout.split())


# ---- mail


def smtp(port: int, **other: Any) -> Smtp:
    facts = {"host": "127.0.0.1", "security": "none", "sender": "jobd@lab.example", **other}
    return Smtp(port=port, **facts)


def letter(**other: str) -> Message:
    facts = {"url": "mailto:ada@lab.example", "body": "Grüße\n", "content_type": "text/plain", **other}
    return message(**facts)


def test_a_mail() -> None:
    with mail_server() as server:
        outcome = sent(letter(title="Job «7» is over"), smtp=smtp(server.port))
    assert outcome == Outcome(True, 250, "taken by 127.0.0.1")
    (mail,) = server.taken
    assert (mail["X-MailFrom"], mail["X-RcptTo"]) == ("jobd@lab.example", "ada@lab.example")
    assert (mail["From"], mail["To"]) == ("jobd@lab.example", "ada@lab.example")
    assert mail["Message-ID"] == "<delivery-1@lab.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    assert str(make_header(decode_header(mail["Subject"]))) == "Job «7» is over"
    assert mail.get_payload(decode=True).decode().strip() == "Grüße"


def test_nobody_puts_a_header_into_a_mail() -> None:
    with mail_server() as server:
        bad = letter(title="over\r\nBcc: eve@evil.example\n\nbody", id="1>\r\nX-Evil: yes")
        assert sent(bad, smtp=smtp(server.port)).delivered
    (mail,) = server.taken
    assert (mail["Bcc"], mail["X-Evil"]) == (None, None)
    assert mail["Subject"] == "over Bcc: eve@evil.example body"
    assert mail["X-RcptTo"] == "ada@lab.example"


PIECES = [*"=?_.aé\r\n ", "utf-8", "?q?", "?b?", "?=", "=0A", "Bcc:", "CkJjYzo="]
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "User-Agent", "MIME-Version",
    "Content-Type", "Content-Transfer-Encoding",
}  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)).map("".join))
@example("[jobd] =?utf-8?q?=0ABcc:_eve?=: FINISHED")
@settings(deadline=None)
def test_whatever_a_subject_looks_like_it_is_one_header(title: str) -> None:
    """Receivers take a bare end of line for one too."""
    made = letters.mail(letter(title=title), "jobd@lab.example", "ada@lab.example")
    head = made.as_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode()
    names = [line.partition(":")[0] for line in head.split("\n") if line[:1] not in " \t"]
    assert sorted(names) == sorted(HEADERS)


@pytest.mark.parametrize(
    "url", ["mailto:ada@lab.example?cc=eve@x", "mailto:a@b,c@d", "mailto:", "mailto://a@b"]
)
def test_what_is_no_mail_address(url: str) -> None:
    with mail_server() as server:
        outcome = sent(letter(url=url), smtp=smtp(server.port))
    assert outcome.for_good
    assert "is no mail address" in outcome.words
    assert server.taken == []


@pytest.mark.parametrize("always", [False, True], ids=["starttls", "tls"])
def test_mail_over_tls_by_somebody_who_says_who_they_are(
    authority: Authority, tmp_path: Path, always: bool
) -> None:
    password = tmp_path / "password"
    password.write_text("sesame\n")
    security = "tls" if always else "starttls"
    with mail_server(authority.server(), always, accounts={"jobd": "sesame"}) as server:
        facts = smtp(server.port, security=security, user="jobd", password_file=password)
        assert sent(letter(), smtp=facts, ca_file=authority.file).delivered
        assert "certificate verify failed" in sent(letter(), smtp=facts).words
        password.write_text("wrong")
        outcome = sent(letter(), smtp=facts, ca_file=authority.file)
    assert (outcome.code, outcome.for_good) == (535, False)
    assert len(server.taken) == 1


@pytest.mark.parametrize(
    ("how", "code", "for_good"),
    [
        ({"refuse": "450 try later"}, 450, False),
        ({"refuse": "550 no such user"}, 550, True),
        ({"refuse_mail": "451 busy"}, 451, False),
        ({"refuse_mail": "554 this is spam"}, 554, True),
    ],
)
def test_a_server_that_refuses(how: dict[str, str], code: int, for_good: bool) -> None:
    with mail_server(**how) as server:
        outcome = sent(letter(), smtp=smtp(server.port))
    assert (outcome.delivered, outcome.code, outcome.for_good) == (False, code, for_good)
    assert next(iter(how.values())) in outcome.words


def says_one_letter_after_the_other(visit: receivers.Visit) -> None:
    visit.repeat(b"2", 0.1)


@pytest.mark.parametrize("behaviour", [receivers.reads_nothing, says_one_letter_after_the_other])
def test_a_mail_server_that_hangs_holds_up_mail_alone(behaviour: Behaviour) -> None:
    """Its threads come free again."""

    async def beside(courier: Courier) -> list[Outcome]:
        mails = [asyncio.create_task(courier.send(letter())) for _ in range(6)]
        await asyncio.to_thread(until, lambda: server.connections == 4)
        assert (await courier.send(message(hook.url()))).delivered
        assert not any(mail.done() for mail in mails)
        outcomes = await asyncio.gather(*mails)
        await asyncio.to_thread(until, lambda: not connections(process(), server.port))
        return outcomes

    with receiver(behaviour) as server, receiver() as hook:
        outcomes = carried(beside, smtp=smtp(server.port, timeout=2))
    assert {outcome.delivered for outcome in outcomes} == {False}
    assert server.connections == 6


def test_without_a_server_or_its_password_mail_says_so(tmp_path: Path) -> None:
    assert "notifications.smtp is not set" in sent(letter()).words
    facts = smtp(25, user="jobd", password_file=tmp_path / "none")
    assert "passwordFile cannot be read" in sent(letter(), smtp=facts).words
    assert "Connection refused" in sent(letter(), smtp=smtp(1)).words


# ---- apprise


def test_what_apprise_speaks() -> None:
    with receiver() as hook:
        outcome = sent(message(hook.url().replace("http:", "json:"), body="it is over"), allow=["json://*"])
    assert outcome.delivered, outcome.words
    (taken,) = hook.taken
    assert (taken.json["title"], taken.json["message"]) == ("Job 7 is over", "it is over")


def test_what_apprise_says_when_it_fails() -> None:
    with receiver(receivers.answers(500)) as hook:
        outcome = sent(message(hook.url().replace("http:", "json:")))
        assert outcome.words.startswith("apprise could not deliver it: Failed to send JSON")
        assert not outcome.for_good
    assert sent(message("nosuch://host")).for_good


def test_apprise_that_hangs_holds_up_nobody() -> None:
    async def beside(courier: Courier) -> Outcome:
        late = asyncio.create_task(courier.send(message(bad.url().replace("http:", "json:"))))
        await asyncio.to_thread(until, lambda: bad.taken)
        assert (await courier.send(message(good.url()))).delivered
        assert not late.done()
        return await late

    with receiver() as good, receiver(receivers.drips_its_head) as bad:
        outcome = carried(beside, timeout=2)
    assert outcome.words == "what apprise does was not over within 2 s"


def test_other_schemes_than_those_that_are_allowed() -> None:
    with receiver() as hook:
        outcome = sent(message(hook.url().replace("http:", "json:")), allow=["http://*", "tgram://*"])
        assert outcome == Outcome(
            False, words="json:// is not among what notifications.allow has", for_good=True
        )
        assert hook.connections == 0


def test_without_apprise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "site-packages" / "apprise.py"
    library.parent.mkdir()
    library.write_text("raise ImportError('there is none')")
    monkeypatch.syspath_prepend(library.parent)
    words = sent(message("json://127.0.0.1:1")).words
    assert "json:// needs apprise, which is not installed beside jobd" in words
