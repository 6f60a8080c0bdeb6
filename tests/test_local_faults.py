"""The local backend when something of the keeper's is spoilt: records that are empty, damaged or gone, orders
in the air, a supervisor that others signal, a keeper that hangs. By real processes."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobd.backend import Phase, Placed, Report, Ticket
from jobd.backends.local import LocalBackend
from jobd.errors import Invalid, Unavailable
from jobd.keeper.persons import Order
from jobd.status import Condition
from tests.attempts import Attempts, gone, until


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    made = Attempts(tmp_path)
    yield made
    made.close()


def backend(attempts: Attempts) -> LocalBackend:
    return LocalBackend({}, attempts.persons)


def ticket(order: Order) -> Ticket:
    facts = {name: value for name, value in vars(order).items() if name in Ticket.__dataclass_fields__}
    return Ticket(name="test", **facts)


def place(attempts: Attempts, script: str) -> Placed:
    return backend(attempts).submit(ticket(attempts.shell(script)))


def polled(attempts: Attempts, placed: Placed) -> Report | None:
    return backend(attempts).poll([placed]).get(placed.tag)


def record(attempts: Attempts, placed: Placed) -> Path:
    return attempts.state / "attempts" / placed.tag


# orders in the air


def test_find_is_in_doubt_while_a_launch_is_at_it(attempts: Attempts) -> None:
    order = attempts.shell("exit 3")
    launched: list[Any] = []
    keeper = attempts.keeper
    os.kill(keeper, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=lambda: launched.append(attempts.persons.launch(order)))
        thread.start()
        until(lambda: order.tag in attempts.persons._launching or None, "it is ordered")
        for ask in (attempts.persons.find, lambda tag: attempts.persons.launch(order)):
            with pytest.raises(Unavailable, match="still under way"):
                ask(order.tag)
        assert attempts.persons.find("another") is None
    finally:
        os.kill(keeper, signal.SIGCONT)
    thread.join()
    assert launched[0].tag == order.tag
    assert attempts.persons.find(order.tag) is not None
    assert attempts.persons.launch(order).pid == launched[0].pid


def test_a_launch_that_outlives_the_close_starts_no_keeper(tmp_path: Path) -> None:
    """It would have descriptors that mean something else by then: no lock, say, of orders under way."""
    attempts = Attempts(tmp_path)
    order = attempts.shell("echo ran >> runs")
    attempts.persons.close()
    with pytest.raises(Unavailable, match="is ending"):
        attempts.persons.launch(order)
    assert attempts.persons._link is None
    attempts.persons = attempts.open()
    assert attempts.persons.find(order.tag) is None
    attempts.close()


# records that say nothing


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(4096))


def _junk(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"junk\n")


def _half(path: Path) -> None:
    os.truncate(path, 20)


def _deep(path: Path) -> None:
    with path.open("r+b") as file:
        file.write((b"[" * 4095) + b"\n")


def _other_json(path: Path) -> None:
    path.write_text('{"over": true, "exit_code": 0}\n[]\n')


def _linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILT = [_remove, _empty, _zeros, _junk, _half, _deep, _other_json, _linked, _directory]


@pytest.fixture(params=SPOILT)
def spoil(request: pytest.FixtureRequest) -> Any:
    return request.param


def clear_away(path: Path) -> None:
    """So that the fixture's end finds nothing to read."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def test_of_a_spoilt_record_nothing_is_said_while_its_supervisor_lives_and_kill_reaches_it(
    attempts: Attempts, spoil: Callable[[Path], None]
) -> None:
    placed = place(attempts, "exec sleep 600")
    spoil(record(attempts, placed))
    assert polled(attempts, placed) is None
    backend(attempts).kill(placed)
    until(lambda: gone(placed.handle["supervisor"]) or None, "its supervisor is gone")
    assert gone(int(placed.local_id))
    clear_away(record(attempts, placed))


def test_of_a_spoilt_record_whose_supervisor_is_gone_the_job_is_lost_and_nothing_is_left(
    attempts: Attempts, spoil: Callable[[Path], None]
) -> None:
    placed = place(attempts, "exec 9> alive; flock 9; setsid sleep 600 & setsid sleep 600 & sleep 600")
    spoil(record(attempts, placed))
    os.kill(attempts.keeper, signal.SIGKILL)  # which would clear up as well
    os.kill(placed.handle["supervisor"], signal.SIGKILL)
    report = until(lambda: polled(attempts, placed), "a report")
    assert (report.phase, report.condition, report.evidence) == (
        Phase.ENDED,
        Condition.LOST,
        "supervisor gone",
    )
    words = "missing" if spoil is _remove else "empty" if spoil in (_empty, _zeros) else "damaged"
    assert f"is {words}, and its supervisor is gone" in report.reason
    assert not attempts.held()
    clear_away(record(attempts, placed))


def test_of_a_spoilt_record_of_another_boot_the_job_is_node_lost(
    attempts: Attempts, spoil: Callable[[Path], None]
) -> None:
    placed = place(attempts, "exec sleep 600")
    spoil(record(attempts, placed))
    before = replace(placed, handle={**placed.handle, "boot_id": "another"})
    report = polled(attempts, before)
    assert report is not None
    assert report.condition is Condition.NODE_LOST
    backend(attempts).kill(before)  # a pid of another boot is nobody's
    another = replace(placed, tag=f"{placed.tag}x")  # a handle says nothing of another attempt
    backend(attempts).kill(another)
    assert polled(attempts, another) is None
    nobody = replace(placed, handle={**placed.handle, "boot_id": None})
    assert polled(attempts, nobody) is None
    wrong = replace(placed, handle={**placed.handle, "supervisor_ticks": 1})
    backend(attempts).kill(wrong)
    assert polled(attempts, placed) is None
    assert not gone(int(placed.local_id))
    backend(attempts).kill(placed)
    until(lambda: gone(placed.handle["supervisor"]) or None, "its supervisor is gone")
    clear_away(record(attempts, placed))


def test_a_job_that_was_taken_and_left_no_record_to_read_is_lost_not_looked_for_for_ever(
    attempts: Attempts,
) -> None:
    """As a power cut leaves it, before anybody has heard of the start."""
    order = attempts.shell("exec sleep 600")
    launched = attempts.persons.launch(order)
    path = attempts.state / "attempts" / order.tag
    _empty(path)
    with pytest.raises(Unavailable, match="is empty"):
        backend(attempts).find(ticket(order))
    os.kill(launched.supervisor, signal.SIGKILL)
    until(lambda: not attempts.persons.is_held(order.tag) or None, "its lock is free")
    placed = backend(attempts).find(ticket(order))
    assert placed is not None
    assert placed.report is not None
    for report in placed.report, polled(attempts, placed):
        assert report is not None
        assert (report.phase, report.condition) == (Phase.ENDED, Condition.LOST)
    assert launched.pid is not None
    assert gone(launched.pid)
    path.unlink()


def test_no_descriptor_left_ends_no_job(attempts: Attempts) -> None:
    placed = place(attempts, "exec sleep 600")
    held: list[int] = []
    local = backend(attempts)
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        report = local.poll([placed])
    finally:
        for fd in held:
            os.close(fd)
    assert report == {}
    assert not gone(int(placed.local_id))


def test_a_spoilt_record_does_not_silence_the_listener(attempts: Attempts) -> None:
    spoilt = place(attempts, "exec sleep 600")
    other = place(attempts, "exec sleep 600")
    _empty(record(attempts, spoilt))
    os.kill(attempts.keeper, signal.SIGKILL)
    backend(attempts).kill(spoilt)
    backend(attempts).kill(other)
    until(lambda: {spoilt.tag, other.tag} <= set(attempts.news) or None, "news of both")
    record(attempts, spoilt).unlink()


def test_one_spoilt_record_does_not_keep_the_others(
    attempts: Attempts, caplog: pytest.LogCaptureFixture
) -> None:
    over = attempts.run("exit 0").tag
    junk = attempts.state / "attempts" / "junk"
    junk.write_bytes(b"junk\n")
    running = place(attempts, "exec sleep 600")
    _empty(record(attempts, running))
    (attempts.state / "attempts" / "odd").mkdir()
    until(lambda: not attempts.look(over).alive or None, "its supervisor is gone")
    with caplog.at_level(logging.WARNING):
        attempts.persons.forget(["../x", "junk", "odd", running.tag, over])
        attempts.persons.forget(["junk"])
    assert attempts.persons.look(over) is None
    assert not junk.exists()
    assert caplog.text.count("record of junk is damaged") == 1
    assert record(attempts, running).exists()
    backend(attempts).kill(running)
    until(lambda: gone(running.handle["supervisor"]) or None, "its supervisor is gone")
    record(attempts, running).unlink()
    (attempts.state / "attempts" / "odd").rmdir()


# a supervisor that others signal


def test_a_job_that_ends_its_own_supervisor_was_not_killed_through_jobd(attempts: Attempts) -> None:
    end = attempts.run("kill -TERM $PPID; sleep 5")
    assert (end.condition, end.exit_code, end.signal) == (None, None, signal.SIGTERM)
    assert f"told to end by pid {end.pid} (uid {os.geteuid()})" in end.message


def test_what_the_program_makes_of_its_supervisors_end_is_kept(attempts: Attempts) -> None:
    job = attempts.launch("trap 'exit 9' TERM; echo up > up; while :; do sleep 0.01; done")
    until(lambda: (attempts.work / "up").exists() or None, "it runs")
    os.kill(job.supervisor, signal.SIGTERM)
    end = attempts.over(job.tag)
    assert (end.condition, end.exit_code) == (None, 9)
    assert f"by pid {os.getpid()} (uid {os.geteuid()})" in end.message


# a keeper that hangs


def test_close_does_not_wait_long_for_a_keeper_that_hangs(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    job = attempts.launch("exec sleep 600")
    keeper = attempts.keeper
    os.kill(keeper, signal.SIGSTOP)
    began = time.monotonic()
    attempts.persons.close()
    took = time.monotonic() - began
    assert gone(keeper)
    assert took < 0.8
    attempts.persons = attempts.open()
    assert attempts.look(job.tag).alive
    attempts.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"maxProcess": 1}, "no option 'maxProcess' (expected one of maxProcesses"),
        ({"maxProcesses": 0}, "above 0, or -1"),
        ({"maxProcesses": "many"}, "above 0, or -1"),
        ({"limitProcessors": 1}, "true or false"),
    ],
)
def test_options_that_are_none(options: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=re.escape(words)):
        LocalBackend(options, None)
