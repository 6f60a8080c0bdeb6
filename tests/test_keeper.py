"""The keeper, by real processes: hostile trees, kill -9 of everybody, full disks, tricks at the logs, and
what leaks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobd.backend import Phase, Placed
from jobd.backends.local import LocalBackend
from jobd.errors import Forbidden, Invalid, NotFound, Refused, Unavailable
from jobd.keeper import containment, link, persons, procfs, record
from jobd.keeper.persons import Persons, Record
from jobd.machine import gpus, machine
from jobd.status import Condition
from tests.attempts import Attempts, gone, until

REPO = Path(__file__).parents[1]
HOLD = "exec 9> alive; flock 9; "
"""Everybody in the tree inherits the lock."""
HOPPER = """
import os, signal
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
"""


@pytest.fixture(params=["cgroup", "subreaper"])
def strong(request: pytest.FixtureRequest) -> str:
    """The rungs that promise to hold everything."""
    return str(request.param)


@contextmanager
def opened(root: Path, rung: str = "auto", **more: Any) -> Iterator[Attempts]:
    try:
        attempts = Attempts(root, rung, **more)
    except Invalid as why:
        pytest.skip(str(why))
    yield attempts
    attempts.close()


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path, strong: str) -> Iterator[Attempts]:
    with opened(tmp_path, strong) as made:
        yield made


# the tree

HOSTILE = {
    "plain": "sleep 600 & wait",
    "setsid": "setsid sleep 600 & wait",
    "deaf": "trap '' TERM; sleep 600 & wait; while :; do sleep 600; done",
    "double fork, empty environment, deaf": (
        """setsid env -i /bin/sh -c 'trap "" TERM; /bin/sh -c "while :; do /bin/sleep 1; done" &'"""
        "; while :; do sleep 600; done"
    ),
    "stopped": "sleep 600 & kill -STOP $!; wait",
    "pid hopper": f"{sys.executable} -c '{HOPPER}' & while :; do sleep 600; done",
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE.keys())
def test_T6_kill_leaves_nothing(held: Attempts, script: str) -> None:
    tag = held.launch(f"{HOLD} echo up > up; {script}").tag
    until(lambda: (held.work / "up").exists() or None, "it runs")
    held.persons.kill(tag)
    end = held.over(tag)
    assert (end.condition, end.survivors, held.held()) == ("KILLED", (), False)


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE.keys())
def test_T6_what_an_ended_job_leaves_running_is_ended_with_it(held: Attempts, script: str) -> None:
    end = held.run(f"{HOLD} ({script}) & sleep 0.1; exit 6")
    assert (end.exit_code, end.condition, held.held()) == (6, None, False)


def test_T6_kill_now_gives_no_grace(attempts: Attempts) -> None:
    tag = attempts.launch("trap '' TERM; echo up > up; while :; do sleep 1; done", kill_grace=600.0).tag
    until(lambda: (attempts.work / "up").exists() or None, "it runs")
    attempts.persons.kill(tag)
    attempts.persons.kill(tag, now=True)
    assert attempts.over(tag).signal == signal.SIGKILL


def test_T6_the_exit_code_that_a_killed_program_found_time_for_is_kept(attempts: Attempts) -> None:
    tag = attempts.launch("trap 'exit 9' TERM; echo up > up; while :; do sleep 0.01; done").tag
    until(lambda: (attempts.work / "up").exists() or None, "it runs")
    attempts.persons.kill(tag)
    end = attempts.over(tag)
    assert (end.exit_code, end.condition) == (9, "KILLED")


def test_T6_a_supervisor_that_is_asked_to_go_by_anybody_ends_its_job(attempts: Attempts) -> None:
    job = attempts.launch("exec sleep 600")
    os.kill(job.supervisor, signal.SIGTERM)
    end = attempts.over(job.tag)
    assert (end.condition, end.signal) == (None, signal.SIGTERM)
    assert "told to end by" in end.message


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.mark.skipif(
    not os.access(FREEZER / "cgroup.procs", os.W_OK), reason="no freezer (cgroup v1) to be had"
)
def test_T6_what_cannot_be_killed_yet_is_told_and_waited_for(held: Attempts) -> None:
    ice = FREEZER / f"jobd-test-{os.getpid()}"
    ice.mkdir()
    try:
        job = held.launch("exec sleep 600")
        (ice / "cgroup.procs").write_text(str(job.pid))
        (ice / "freezer.state").write_text("FROZEN")
        held.persons.kill(job.tag, now=True)
        seen = until(lambda: held.look(job.tag).record.survivors or None, "it is told")
        assert f"pid {job.pid}," in seen[0]
        assert not held.look(job.tag).record.over
    finally:
        (ice / "freezer.state").write_text("THAWED")
    end = held.over(job.tag)
    assert (end.condition, end.survivors) == ("KILLED", ())
    ice.rmdir()


def test_T7_kill_during_the_start_and_at_the_end_leaves_one_truth(attempts: Attempts) -> None:
    seen: Counter[str | None] = Counter()
    for _ in range(40):
        job = attempts.launch("exit 3")
        attempts.persons.kill(job.tag)
        end = attempts.over(job.tag)
        assert end.condition == "KILLED" or (end.exit_code, end.condition) == (3, None)
        seen[end.condition] += 1
        assert attempts.over(job.tag) == end


# kill -9


def test_T8_supervisor_killed_keeper_alive(held: Attempts) -> None:
    job = held.launch(f"{HOLD} setsid sleep 600 & {HOSTILE['double fork, empty environment, deaf']}")
    placed = Placed(str(job.pid), job.tag, "me", 0.0, {"boot_id": job.boot_id})
    os.kill(job.supervisor, signal.SIGKILL)
    until(lambda: job.tag in held.news or None, "news of it")

    def over() -> Any:
        report = LocalBackend({}, held.persons).poll([placed])[job.tag]
        return report if report.phase is Phase.ENDED else None

    report = until(over, "LOST")
    assert (report.condition, report.evidence) == (Condition.LOST, "supervisor gone")
    assert not held.held()


def test_T8_supervisor_and_keeper_killed(held: Attempts) -> None:
    job = held.launch(f"{HOLD} setsid sleep 600 & setsid sh -c 'sleep 600 & sleep 600' & sleep 600")
    os.kill(held.keeper, signal.SIGKILL)
    os.kill(job.supervisor, signal.SIGKILL)
    until(lambda: not held.look(job.tag).alive or None, "its lock is free")
    assert held.persons.clear_orphans(job.tag) == ()
    until(lambda: not held.held() or None, "nothing is left")


def test_T8_keeper_killed_jobs_live_on(attempts: Attempts) -> None:
    job = attempts.launch("while [ ! -e go ]; do sleep 0.02; done; exit 7")
    before = attempts.keeper
    os.kill(before, signal.SIGKILL)
    assert attempts.run("exit 2").exit_code == 2
    assert attempts.keeper != before
    (attempts.work / "go").touch()
    assert attempts.over(job.tag).exit_code == 7
    until(lambda: job.tag in attempts.news or None, "news of it")


def test_T8_keeper_is_started_again_without_being_asked(attempts: Attempts) -> None:
    for _ in range(2):
        before = until(lambda: attempts.persons._link, "a keeper")
        os.kill(before.process.pid, signal.SIGKILL)
        until(lambda before=before: attempts.persons._link is not before or None, "another one")  # type: ignore[misc]
    assert attempts.run("exit 2").exit_code == 2


def test_T8_daemon_gone_and_back(held: Attempts) -> None:
    stays = held.launch("while [ ! -e go ]; do sleep 0.02; done; exit 7")
    ends = held.launch("exit 5")
    held.reopen()
    assert held.over(ends.tag).exit_code == 5
    assert held.look(stays.tag).alive
    (held.work / "go").touch()
    assert held.over(stays.tag).exit_code == 7
    until(lambda: stays.tag in held.news or None, "news to the new one")
    killed = held.launch("exec sleep 600")
    held.reopen()
    held.persons.kill(killed.tag)
    assert held.over(killed.tag).condition == "KILLED"


def test_T8_nothing_of_a_boot_before_is_believed_alive_or_signalled(attempts: Attempts) -> None:
    """The record of a running job, as it looks after a reboot, when its pids mean other processes."""
    job = attempts.launch("exec sleep 600")
    path = attempts.state / "attempts" / "old"
    text = (
        (attempts.state / "attempts" / job.tag)
        .read_bytes()
        .replace(job.boot_id.encode(), b"0" * len(job.boot_id))
    )
    path.write_bytes(text)
    attempts.persons.kill("old", now=True)
    assert attempts.persons.clear_orphans("old") == ()
    placed = Placed(str(job.pid), "old", "me", 0.0, {"boot_id": "0"})
    report = LocalBackend({}, attempts.persons).poll([placed])["old"]
    assert (report.phase, report.condition) == (Phase.ENDED, Condition.NODE_LOST)
    assert attempts.look(job.tag).alive


def test_T8_a_record_that_the_power_cut_took_is_node_lost(attempts: Attempts) -> None:
    placed = Placed("4711", "vanished", "me", 0.0, {"boot_id": "another"})
    assert LocalBackend({}, attempts.persons).poll([placed])["vanished"].condition is Condition.NODE_LOST
    here = Placed("4711", "vanished", "me", 0.0, {"boot_id": attempts.persons.boot_id})
    assert LocalBackend({}, attempts.persons).poll([here]) == {}
    assert attempts.persons.find("vanished") is None
    attempts.persons.close()
    (attempts.state / "attempts" / ".boot").write_text("another")
    attempts.persons = attempts.open()
    lost = attempts.persons.find("vanished")
    assert lost is not None
    assert not lost.same_boot


# taken once, and certainty


def test_T2_one_tag_runs_once_however_often_it_is_ordered(attempts: Attempts) -> None:
    order = attempts.shell("echo ran >> runs; exec sleep 600")

    def launch(_: int) -> Record | None:
        try:
            return attempts.persons.launch(order)
        except Unavailable:
            return None

    with ThreadPoolExecutor(8) as threads:
        records = [found for found in threads.map(launch, range(24)) if found]
    assert len({found.pid for found in records}) == 1
    assert launch(0) == attempts.look(order.tag).record
    until(lambda: (attempts.work / "runs").exists() or None, "it ran")
    assert (attempts.work / "runs").read_text() == "ran\n"


def test_T2_forgotten_means_unknown(attempts: Attempts) -> None:
    tag = attempts.run("exit 0").tag
    running = attempts.launch("exec sleep 600").tag
    attempts.persons.forget([tag, running, "never"])
    until(lambda: attempts.persons.look(tag) is None or None, "forgotten")
    assert attempts.look(running).alive
    assert attempts.persons.find(tag) is None


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_T2_an_order_is_in_doubt_until_it_is_answered(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persons, "LAUNCH_WAIT", 0.2)
    order = attempts.shell("exit 3")
    with stopped(attempts.keeper):
        with pytest.raises(Unavailable):
            attempts.persons.launch(order)
        with pytest.raises(Unavailable):
            attempts.persons.find(order.tag)
        with pytest.raises(Unavailable):
            attempts.persons.launch(order)
    assert until(lambda: found(attempts, order.tag), "it was taken").record.tag == order.tag
    assert attempts.over(order.tag).exit_code == 3


def found(attempts: Attempts, tag: str) -> Any:
    try:
        return attempts.persons.find(tag)
    except Unavailable:
        return None


def never(attempts: Attempts, tag: str) -> bool | None:
    """True once it is certain that it was never taken."""
    try:
        assert attempts.persons.find(tag) is None
    except Unavailable:
        return None
    return True


def test_T2_an_order_past_its_time_never_runs(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persons, "LAUNCH_WAIT", 0.2)
    monkeypatch.setattr(link, "ORDER_LIFETIME", 0.1)
    order = attempts.shell("echo ran >> runs")
    with stopped(attempts.keeper), pytest.raises(Unavailable):
        attempts.persons.launch(order)
    assert until(lambda: never(attempts, order.tag), "certainty")
    assert not (attempts.work / "runs").exists()


def test_T2_an_order_in_a_keeper_that_died_never_runs(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persons, "LAUNCH_WAIT", 0.2)
    order = attempts.shell("echo ran >> runs")
    keeper = attempts.keeper
    os.kill(keeper, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        attempts.persons.launch(order)
    os.kill(keeper, signal.SIGKILL)
    assert until(lambda: never(attempts, order.tag), "certainty")
    assert not (attempts.work / "runs").exists()


DAEMON = """
import os, pickle, signal, sys
from pathlib import Path
from jobd.keeper import persons
persons.LAUNCH_WAIT = 0.2
order = pickle.loads(bytes.fromhex(sys.argv[2]))
daemon = persons.Persons(Path(sys.argv[1]))
daemon.start()
keeper = daemon.doctor()["keeper"]
os.kill(keeper, signal.SIGSTOP)
try:
    daemon.launch(order)
except persons.Unavailable:
    print(keeper, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_T2_the_order_of_a_daemon_that_died_is_in_doubt_until_it_is_taken(tmp_path: Path) -> None:
    import pickle

    with opened(tmp_path) as attempts:
        attempts.persons.close()
        order = attempts.shell("exit 3")
        argv = [sys.executable, "-c", DAEMON, str(attempts.state), pickle.dumps(order).hex()]
        died = subprocess.run(argv, cwd=REPO, stdout=subprocess.PIPE, check=False)
        attempts.persons = attempts.open()
        with pytest.raises(Unavailable):
            attempts.persons.find(order.tag)
        os.kill(int(died.stdout), signal.SIGCONT)
        assert until(lambda: found(attempts, order.tag), "it was taken").record.tag == order.tag
        assert attempts.over(order.tag).exit_code == 3
        assert attempts.persons.find("another") is None


def test_many_threads(attempts: Attempts) -> None:
    orders = [attempts.shell(f"exit {number % 50}") for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attempts.persons.launch, orders))
    ends = [attempts.over(order.tag).exit_code for order in orders]
    assert ends == [number % 50 for number in range(100)]
    until(lambda: set(attempts.news) == set(attempts.tags) or None, "news of all")


# launching


def test_launch_failures_say_what_and_where(attempts: Attempts) -> None:
    work = attempts.work
    (work / "plain").write_text("no program")
    (work / "text").write_text("no program\n")
    (work / "text").chmod(0o755)
    (work / "orphan").write_text("#!/no/such/interpreter\n")
    (work / "orphan").chmod(0o755)
    (work / "file").touch()
    os.mkfifo(work / "fifo")
    cases: list[tuple[Any, str]] = [
        (attempts.order("no-such-command"), "'no-such-command' was not found in PATH"),
        (attempts.order("/no/such"), "'/no/such' does not exist"),
        (attempts.order("./plain"), "'./plain' is not executable"),
        (attempts.order("./text"), "'./text' cannot be run: exec format error"),
        (attempts.order("./orphan"), "the interpreter in the first line of './orphan' does not exist"),
        (attempts.order("true", "x" * 200_000), "too long"),
        (attempts.order("true", "a\0b"), "null byte"),
        (attempts.order("true", directory=str(work / "gone")), f"directory '{work}/gone' does not exist"),
        (attempts.order("true", directory=str(work / "file")), f"directory '{work}/file' is not a directory"),
        (attempts.order("true", stdin="gone"), "standard input 'gone' does not exist"),
        (attempts.order("true", stdin="fifo"), "standard input 'fifo' is not a regular file"),
        (attempts.order("true", stdin="."), "standard input '.' is not a regular file"),
        (attempts.order("true", workspace=str(work / "file" / "x")), "cannot be made: Not a directory"),
        (attempts.order("true", workspace="/proc/x"), "cannot be made"),
        (attempts.order("true", stdout=str(work)), "cannot be opened: Is a directory"),
    ]
    for order, words in cases:
        end = attempts.persons.launch(order)
        assert end.over, words
        assert end.condition == "LAUNCH_FAILED", words
        assert words in end.message
        assert (end.exit_code, end.signal, end.wall) == (None, None, None)


def test_an_unwritable_directory_of_its_own_is_a_clear_failure(tmp_path: Path) -> None:
    """Root is not bound by permissions, but by what sysfs can do."""
    with opened(tmp_path) as attempts:
        attempts.work.chmod(0o500)
        place = attempts.work / "own" if os.geteuid() else "/sys/kernel/own"
        end = attempts.launch("exit 0", workspace=str(place))
        attempts.work.chmod(0o700)
        assert end.condition == "LAUNCH_FAILED"
        assert f"{str(place)!r} cannot be made" in end.message


def test_only_as_ones_own_user(attempts: Attempts) -> None:
    with pytest.raises(Refused, match="somebody-else"):
        attempts.persons.launch(attempts.shell("exit 0", user="somebody-else"))
    with pytest.raises(Forbidden):
        attempts.persons.listing("somebody-else", "/")


def test_path_lookup_is_in_the_jobs_own_path_and_directory(attempts: Attempts) -> None:
    for place in "first", "second":
        (attempts.work / place).mkdir()
        (attempts.work / place / "tool").write_text(f"#!/bin/sh\necho {place}\n")
    (attempts.work / "second" / "tool").chmod(0o755)
    order = attempts.order("tool", environment={"PATH": "gone:first:second:/bin"})
    attempts.persons.launch(order)
    assert attempts.over(order.tag).exit_code == 0
    assert attempts.out(order.tag) == "second\n"


# logs and the job's own directory


def test_logs_are_appended_private_and_marked(attempts: Attempts) -> None:
    order = attempts.shell("echo once")
    again = attempts.shell(
        "echo twice; echo err >&2", workspace=order.workspace, stdout=order.stdout, stderr=order.stdout
    )
    for each in order, again:
        attempts.persons.launch(each)
        attempts.over(each.tag)
    assert attempts.out(order.tag) == "once\ntwice\nerr\n"
    workspace = Path(order.workspace)
    assert (workspace / ".jobd").read_text() == f"{order.job_id}\n"
    assert [path.stat().st_mode & 0o777 for path in (workspace, workspace / "out")] == [0o700, 0o640]


def test_a_directory_that_somebody_else_filled_gets_no_mark(attempts: Attempts) -> None:
    (attempts.work / "keep").touch()
    logs = {stream: str(attempts.work / stream) for stream in ("stdout", "stderr")}
    assert attempts.run("exit 0", workspace=str(attempts.work), **logs).exit_code == 0
    assert not (attempts.work / ".jobd").exists()


def _link(log: Path) -> None:
    log.symlink_to(log.parent / "precious")


def _dangling(log: Path) -> None:
    log.symlink_to(log.parent / "new")


def _hard_link(log: Path) -> None:
    log.hardlink_to(log.parent / "precious")


def _socket(log: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(log))


@pytest.mark.parametrize("trick", [_link, _dangling, _hard_link, os.mkfifo, os.mkdir, _socket])
@pytest.mark.parametrize("stream", ["out", "err"])
def test_tricks_at_the_logs_are_refused_and_touch_nothing(short_dir: Path, trick: Any, stream: str) -> None:
    with opened(short_dir) as attempts:
        order = attempts.shell("echo overwritten; echo overwritten >&2")
        workspace = Path(order.workspace)
        workspace.mkdir(parents=True)
        (workspace / "precious").write_text("precious")
        trick(workspace / stream)
        end = attempts.persons.launch(order)
        assert (end.over, end.condition) == (True, "LAUNCH_FAILED")
        assert f"{workspace}/{stream}" in end.message
        assert (workspace / "precious").read_text() == "precious"
        assert not (workspace / "new").exists()


def test_a_job_that_closes_its_output_or_kills_its_group_or_forks_a_daemon(held: Attempts) -> None:
    assert held.run("exec >&- 2>&- <&-; exit 4").exit_code == 4
    end = held.run("kill -KILL 0")
    assert (end.signal, end.condition) == (signal.SIGKILL, None)
    end = held.run(f"{HOLD} setsid sh -c 'sleep 600 & exit 0'; exit 5")
    assert (end.exit_code, held.held()) == (5, False)
    assert held.run("kill -TERM $$").signal == signal.SIGTERM


# what leaks


def test_the_job_sees_nothing_of_the_daemons(tmp_path: Path) -> None:
    """Not its descriptors, signals, environment or session, whatever the daemon was started with."""
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(REPO)!r})
        from pathlib import Path
        from tests.attempts import Attempts
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
        os.dup2(0, 77, inheritable=True)
        os.umask(0o077)
        os.environ["NOTIFY_SOCKET"] = "/run/secret"
        attempts = Attempts(Path({str(tmp_path)!r}))
        order = attempts.order(
            sys.executable, "-I", "-S", "-c",
            "import os; print(sorted(os.listdir('/proc/self/fd'))); print(open('/proc/self/status').read()); "
            "print(dict(os.environ)); print(oct(os.umask(0))); "
            "print(os.getsid(0) == os.getpgid(0) == os.getpid())",
            environment={{"A": "1"}},
        )
        attempts.persons.launch(order)
        attempts.over(order.tag)
        print(attempts.out(order.tag))
        print(order.tag)
        attempts.close()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    text, tag = ran.stdout.rsplit("\n", 2)[:2]
    assert "['0', '1', '2', '3']" in text  # 3 is the listing's own
    for mask in "SigBlk", "SigIgn", "SigPnd":
        value = int(text.split(f"{mask}:")[1].split()[0], 16)
        # Python, which is the job here, ignores two signals by itself.
        assert value & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0, mask
    environment = text.split("\n{")[1].split("}")[0]
    assert sorted(
        name for name in environment.replace("'", "").split(", ") if not name.startswith("LC_CTYPE")
    ) == [
        "A: 1",
        f"JOBD_TAG: {tag}",
    ]
    assert text.rstrip().endswith("0o22\nTrue")


def test_an_environment_is_on_no_disk_and_no_command_line(attempts: Attempts) -> None:
    secret = "hush" + os.urandom(8).hex()
    job = attempts.launch("exec sleep 600", environment={"PATH": os.environ["PATH"], "SECRET": secret})
    for path in attempts.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret.encode() not in path.read_bytes()
    for pid in job.pid, job.supervisor, attempts.keeper:
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_private_files(attempts: Attempts) -> None:
    tag = attempts.launch("exec sleep 600").tag
    paths = [attempts.state / "attempts", attempts.state / "attempts" / tag, attempts.state / "news.sock"]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o700, 0o600, 0o600]


def test_the_keeper_stays_small() -> None:
    """It imports what it needs: each job pays for it."""
    code = f"import sys; sys.path.insert(0, {str(REPO)!r}); import jobd.keeper.main; print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert not loaded & {
        "typing",
        "dataclasses",
        "json",
        "re",
        "socket",
        "psutil",
        "logging",
        "subprocess",
        "pathlib",
    }
    assert {name for name in loaded if name.startswith("jobd")} == {
        "jobd", "jobd.keeper", "jobd.keeper.bare", "jobd.keeper.child", "jobd.keeper.containment",
        "jobd.keeper.identity", "jobd.keeper.logs", "jobd.keeper.main", "jobd.keeper.prctl",
        "jobd.keeper.procfs", "jobd.keeper.record", "jobd.keeper.supervisor",
    }  # fmt: skip


def test_a_running_job_costs_no_wake_ups(attempts: Attempts) -> None:
    job = attempts.launch("exec sleep 600", time_limit=600.0)

    def switches() -> int:
        return int(
            Path(f"/proc/{job.supervisor}/status").read_text().split("voluntary_ctxt_switches:")[1].split()[0]
        )

    asleep = Path(f"/proc/{job.supervisor}/stat")
    until(lambda: asleep.read_text().rpartition(")")[2].split()[0] == "S" or None, "it is at rest")
    before = switches()
    for _ in range(10):
        attempts.run("sleep 0.02")
    assert switches() == before


# limits and usage


def test_usage_is_of_the_whole_tree(held: Attempts) -> None:
    burn = f"{sys.executable} -I -S -c 'x = bytearray(64 << 20)\nfor i in range(6_000_000): pass'"
    end = held.run(f'sh -c "{burn}" & sh -c "{burn}" & wait; sleep 0.1')
    assert end.wall is not None
    assert end.cpu is not None
    assert end.peak_memory is not None
    assert end.wall >= 0.1
    assert end.cpu > 0.1
    assert 64 << 20 <= end.peak_memory < 256 << 20
    assert end.started is not None
    assert end.ended is not None
    assert abs(end.ended - end.started - end.wall) < 0.001


def test_a_memory_limit_that_nothing_enforces_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, "subreaper") as attempts:
        job = attempts.launch("exec sleep 600", memory=64 << 20, processors=1, processes=100)
        assert job.notes == (
            "memory limit not enforced: no memory controller",
            "cpu limit not enforced: no cpu controller",
        )


@pytest.mark.parametrize(
    ("asked", "limit"),
    [
        ({"memory": 1 << 30}, ("memory", "memory.max", b"1073741824")),
        ({"processors": 3}, ("cpu", "cpu.max", b"300000 100000")),
        ({"processes": 100}, ("process", "pids.max", b"100")),
    ],
)
def test_a_limit_and_its_file(asked: dict[str, int], limit: tuple[str, str, bytes]) -> None:
    order: dict[str, object] = dict.fromkeys(("memory", "processors", "processes"))
    assert containment.limits(order) == []
    assert containment.limits(order | asked) == [limit]


LIMITS = [
    # what the job does; its limits; what its record must say
    ("exec python3 -c 'x = bytearray(1 << 30)'", {"memory": 64 << 20}, "MEMORY_LIMIT"),
    (
        ": & : & : & : & : & wait; (for i in 1 2 3 4 5 6 7 8; do sleep 5 & done) || exit 7",
        {"processes": 4},
        None,
    ),
]


@pytest.mark.parametrize(("script", "limits", "condition"), LIMITS)
def test_limits_where_there_are_controllers(
    tmp_path: Path, script: str, limits: dict[str, int], condition: str | None
) -> None:
    with opened(tmp_path, "cgroup") as attempts:
        controllers = attempts.persons.doctor().get("controllers", [])
        if not {"memory", "pids"} <= set(controllers):
            pytest.skip("this machine's cgroup v2 has no controllers: the rung's limits were not tried")
        end = attempts.run(script, **limits)
        assert end.condition == condition
        assert (end.exit_code, end.signal) != (0, None)


def test_time_limit_reaches_the_deaf(held: Attempts) -> None:
    end = held.run(f"{HOLD} trap '' TERM; setsid sleep 600 & while :; do sleep 600; done", time_limit=0.2)
    assert (end.condition, held.held()) == ("TIME_LIMIT", False)
    assert "0.2 s" in end.message


# the state directory


def test_long_state_directory(tmp_path: Path) -> None:
    with opened(tmp_path / ("x" * 120) / ("y" * 120)) as attempts:
        assert attempts.run("exit 3").exit_code == 3
        until(lambda: attempts.news or None, "news")


FULL = """
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", root / "state"], check=True)
from jobd.errors import Unavailable
from tests.attempts import Attempts

attempts = Attempts(root, "subreaper")
runs = attempts.launch("while [ ! -e go ]; do sleep 0.02; done; exit 7")

def fill():
    with open(root / "state" / "ballast", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            print("full:", error.strerror)

fill()
order = attempts.shell("echo ran >> runs")
try:
    attempts.persons.launch(order)
except Unavailable as error:
    print("refused:", error)
print("found:", attempts.persons.find(order.tag))
fill()
(attempts.work / "go").touch()
print("ended:", attempts.over(runs.tag).exit_code)
(root / "state" / "ballast").unlink()
attempts.persons.launch(order)
print("then:", attempts.over(order.tag).exit_code)
attempts.close()
print("ran:", (attempts.work / "runs").read_text())
"""


def test_T10_a_full_disk_refuses_a_job_and_loses_no_ending(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    argv = [*unshare, sys.executable, "-c", FULL, str(tmp_path), str(REPO)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if "unshare failed" in ran.stderr:
        pytest.skip("no mount namespace to be had")
    assert ran.stdout.splitlines() == [
        "full: No space left on device",
        "refused: no record of the job can be made: No space left on device",
        "found: None",
        "full: No space left on device",
        "ended: 7",
        "then: 0",
        "ran: ran",
        "",
    ], ran.stderr


def test_a_torn_or_strange_record_is_no_ending(attempts: Attempts) -> None:
    job = attempts.launch("exec sleep 600")
    page = (attempts.state / "attempts" / job.tag).read_bytes()
    torn = page.rstrip(b"\0") + b'{"over": true, "exit_code": 0'
    (attempts.state / "attempts" / "torn").write_bytes(torn.ljust(record.SIZE, b"\0"))
    assert not attempts.look("torn").record.over
    (attempts.state / "attempts" / "junk").write_bytes(b"junk\n")
    with pytest.raises(Unavailable):
        attempts.persons.look("junk")
    placed = [Placed("1", tag, "me", 0.0, {}) for tag in ("junk", job.tag)]
    reports = LocalBackend({}, attempts.persons).poll(placed)
    assert {report.phase for report in reports.values()} == {Phase.RUNNING}
    newer = page.rstrip(b"\0") + b'{"over": true, "exit_code": 3, "condition": "MELTED", "moon": "full"}\n'
    (attempts.state / "attempts" / "newer").write_bytes(newer)
    report = LocalBackend({}, attempts.persons).poll([Placed("1", "newer", "me", 0.0, {})])["newer"]
    assert (report.phase, report.exit_code, report.condition) == (Phase.ENDED, 3, None)


@pytest.mark.parametrize("tag", ["", ".boot", "../lock", "a/b", "a\0b", "a" * 200])
def test_a_tag_is_no_path(attempts: Attempts, tag: str) -> None:
    with pytest.raises(Unavailable):
        attempts.persons.look(tag)


@pytest.mark.parametrize(
    "value",
    ['quote " and \\', "control \x00\x1f\x7f", "é ☃ 🐢", "lone \udc80", "", 1.5, -3, True, None, ["a", 'b"']],
)
def test_the_records_json_is_json(value: object) -> None:
    text = record.to_json({"key": value})
    assert json.loads(text) == {"key": value}
    assert text.isascii()


def test_long_words_leave_room_for_the_end(attempts: Attempts) -> None:
    end = attempts.persons.launch(attempts.order("☃" * 900))
    assert (end.over, end.condition) == (True, "LAUNCH_FAILED")
    assert len((attempts.state / "attempts" / end.tag).read_bytes()) == record.SIZE


def test_junk_at_the_news_socket_is_passed_over(attempts: Attempts) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for junk in b"junk", b"[]", b'{"tag": "../x"}', b"":
            sender.sendto(junk, str(attempts.state / "news.sock"))
    tag = attempts.run("exit 0").tag
    until(lambda: tag in attempts.news or None, "news")


# rungs


def test_rungs_are_told(tmp_path: Path) -> None:
    with opened(tmp_path / "a", "subreaper") as attempts:
        doctor = attempts.persons.doctor()
        assert (doctor["rung"], doctor["memory_limit"]) == ("subreaper", False)
        assert doctor["escapes"]
        assert attempts.launch("exec sleep 600").rung == "subreaper"
    with pytest.raises(Invalid, match="expected auto, cgroup"):
        Persons(tmp_path, containment="jail")


def test_without_a_usable_cgroup_the_next_rung_holds(tmp_path: Path) -> None:
    with opened(tmp_path / "a", "auto", cgroup_parent="/proc/no/such") as attempts:
        doctor = attempts.persons.doctor()
        assert doctor["rung"] == "subreaper"
        assert doctor["why"]
    with pytest.raises(Invalid, match="not to be had"):
        Attempts(tmp_path / "b", "cgroup", cgroup_parent="/proc/no/such")


def test_close_ends_the_keeper_and_its_threads_and_can_be_repeated(tmp_path: Path) -> None:
    threads, fds = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with opened(tmp_path) as attempts:
        keeper = attempts.keeper
        attempts.run("exit 0")
    attempts.persons.close()
    assert gone(keeper)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, fds)


# files beneath a root


@pytest.fixture
def tree(attempts: Attempts) -> Path:
    root = attempts.root / "outputs"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    (attempts.root / "secret").write_text("secret")
    (root / "link").symlink_to("sub/file")
    (root / "out").symlink_to(attempts.root)
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    (root / "null").symlink_to("/dev/null")
    return root


def read(attempts: Attempts, root: Path, path: str) -> str:
    with open(attempts.persons.open(persons.own_name(), str(root), path)) as file:
        return file.read()


def test_open_beneath(attempts: Attempts, tree: Path) -> None:
    assert read(attempts, tree, "sub/file") == read(attempts, tree, "./sub//file") == "inside"
    for path in "/etc/passwd", "../secret", "sub/../../secret", "sub/file\0":
        with pytest.raises(Invalid):
            read(attempts, tree, path)
    for path in "gone", "sub/gone", "sub/file/x", "out/secret", "x" * 300:
        with pytest.raises(NotFound):
            read(attempts, tree, path)
    for path in "link", "loop", "fifo", "null", "sub", "":
        with pytest.raises(Forbidden):
            read(attempts, tree, path)
    (attempts.root / "way").symlink_to(tree)
    with pytest.raises(NotFound):
        read(attempts, attempts.root / "way", "sub/file")


def test_listing_beneath(attempts: Attempts, tree: Path) -> None:
    def names(path: str) -> list[tuple[str, str]]:
        return [
            (entry.name, entry.kind)
            for entry in attempts.persons.listing(persons.own_name(), str(tree), path)
        ]

    links = [(name, "link") for name in ("link", "loop", "null", "out")]
    assert names("") == [("fifo", "other"), *links, ("sub", "dir")]
    assert names("sub/") == [("deep", "dir"), ("file", "file")]
    assert names("sub/file") == [("file", "file")]
    assert names("out") == [("out", "link")]
    entry = attempts.persons.listing(persons.own_name(), str(tree), "sub/file")[0]
    assert entry.size == 6
    for path, error in ("..", Invalid), ("gone", NotFound), ("out/state", NotFound):
        with pytest.raises(error):
            names(path)


# the machine


def test_machine(tmp_path: Path) -> None:
    found = machine()
    assert found.processors == len(os.sched_getaffinity(0))
    assert found.memory > 0
    for name in "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm":
        (tmp_path / name).touch()
    assert gpus(tmp_path / "gone", tmp_path) == (0, 1)
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    assert gpus(tmp_path / "gpus", tmp_path) == (0,)


def test_process_names_with_brackets_do_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert procfs.parent(process.pid) == os.getpid()
        assert procfs.start_ticks(process.pid)
        assert process.pid in procfs.children(os.getpid())
        assert process.pid in procfs._children_by_scan(os.getpid())
        process.communicate(b"\n")
    assert containment.key_value("/no/such", b"key") is None
