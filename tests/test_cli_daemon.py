"""jobctl and the Client with a real daemon: what a person types, what comes out, and with which exit code."""

from __future__ import annotations

import contextlib
import doctest
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobd.client
from jobd.client import Client, hosts
from jobd.errors import Unavailable
from tests.daemon import RunningDaemon, until

ENDED = ("FINISHED", "FAILED", "STOPPED")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """One daemon for the tests that do it no harm."""
    import tempfile

    config = "systems:\n- id: local\n  backend: local\n  killGrace: 1s\n  queues:\n  - name: default\n"
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name), config) as running:
        yield running


def submitted(daemon: RunningDaemon, *arguments: str) -> str:
    done = daemon.jobctl("submit", "-q", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_terminal(daemon: RunningDaemon, *arguments: str, columns: int = 60) -> str:
    """What a terminal of that width is sent."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environ = {**daemon.environment, "TERM": "xterm"}
    command = [sys.executable, "-m", "jobd.cli", *arguments]
    process = subprocess.Popen(command, env=environ, cwd=daemon.directory, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # which is how the end of a terminal's other side looks
        while piece := os.read(master, 65536):
            shown += piece
    process.wait(60)
    os.close(master)
    return shown.decode().replace("\r\n", "\n")


# ---- run


def test_run_is_like_running_it_here(shared: RunningDaemon) -> None:
    done = shared.jobctl("run", "--", "sh", "-c", "echo out; echo err >&2; pwd; exit 7")
    assert (done.returncode, done.stdout) == (7, f"out\n{shared.directory}\n")
    assert done.stderr == "err\n"


def test_run_for_programs(shared: RunningDaemon) -> None:
    done = shared.jobctl("run", "--json", "--", "sh", "-c", "echo out; exit 2")
    job = json.loads(done.stdout)
    assert (done.returncode, job["exitCode"], job["condition"]) == (2, 2, "EXIT_CODE")


def test_run_hands_the_environment_on(shared: RunningDaemon) -> None:
    environ = {**shared.environment, "MINE": "a b\nc"}
    shown = shared.jobctl("run", "-e", "MORE=1", "--", "sh", "-c", 'echo "$MINE$MORE"', env=environ).stdout
    assert shown == "a b\nc1\n"
    assert (
        shared.jobctl("run", "--clean-env", "--", "/bin/sh", "-c", 'echo "<$MINE>"', env=environ).stdout
        == "<>\n"
    )


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["--", "sh", "-c", "kill -9 $$"], 137, "SIGNAL, by signal 9"),
        (["--", "no-such-program"], 125, "was not found"),
        (["-d", "/no/such/place", "--", "true"], 125, "/no/such/place"),
        (["--time", "1h", "--", "true"], 125, "--time: "),
        (["--queue", "none", "--", "true"], 125, "--queue: "),
        (["--name", "x" * 65, "--", "true"], 125, "--name: "),
    ],
)
def test_run_that_fails(shared: RunningDaemon, command: list[str], code: int, words: str) -> None:
    done = shared.jobctl("run", *command)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_run_of_much_output_loses_none_of_it(shared: RunningDaemon) -> None:
    done = shared.jobctl("run", "--", "seq", "300000")
    assert done.stdout.split() == [str(number) for number in range(1, 300001)]


def test_run_passes_bytes_that_are_no_text(shared: RunningDaemon) -> None:
    command = [sys.executable, "-m", "jobd.cli", "run", "--", "printf", r"\377\000\n"]
    done = subprocess.run(
        command, env=shared.environment, cwd=shared.directory, capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"\xff\x00\n"


def started(daemon: RunningDaemon, *command: str, **options: Any) -> tuple[subprocess.Popen[str], str]:
    """A `jobctl run` whose job has started, and the job's id."""
    before = {job["id"] for job in daemon.client().list()}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobd.cli", "run", "--", *command],
        env=daemon.environment,
        cwd=daemon.directory,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )

    def new() -> str | None:
        jobs = daemon.client().list({"status": "RUNNING"})
        return next((job["id"] for job in jobs if job["id"] not in before), None)

    job_id = until(new, what="it runs")
    assert job_id
    return process, job_id


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_kills_the_job(shared: RunningDaemon, number: int, code: int) -> None:
    process, job_id = started(shared, "sleep", "1000")
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, "killing sleep" in told) == (code, True)
    assert shared.client().show(job_id)["status"] == "STOPPED"


def test_second_interrupt_leaves_at_once(shared: RunningDaemon) -> None:
    process, job_id = started(shared, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "killing sh" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - began < 5) == (130, True)
    assert f"jobctl wait {job_id}" in told
    assert shared.ended(job_id)["status"] == "STOPPED"


def on_a_full_disk(daemon: RunningDaemon, *arguments: str) -> tuple[int, str]:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "jobd.cli", *arguments],
            env=daemon.environment, cwd=daemon.directory, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    return done.returncode, done.stderr


def test_run_never_says_well_of_output_that_it_could_not_write(shared: RunningDaemon) -> None:
    code, said = on_a_full_disk(shared, "run", "--", "echo", "out")
    assert (code, "cannot be written: No space left on device" in said) == (125, True)
    assert "Traceback" not in said
    assert on_a_full_disk(shared, "run", "--", "sh", "-c", "echo out; exit 7")[0] == 7
    assert on_a_full_disk(shared, "run", "--", "true") == (0, "")


def test_a_full_disk_under_what_is_printed_is_one_line(shared: RunningDaemon) -> None:
    shared.jobctl("run", "--", "echo", "out")
    words = "jobctl: standard output: No space left on device\n"
    for verb, code in {"list": 1, "show": 1, "logs": 1, "wait": 125}.items():
        assert on_a_full_disk(shared, verb) == (code, words), verb


def test_job_lives_on_when_the_terminal_is_closed(shared: RunningDaemon) -> None:
    process, job_id = started(shared, "sleep", "2")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert shared.ended(job_id)["status"] == "FINISHED"


def test_run_tells_a_person_what_it_waits_for(short_dir: Path) -> None:
    config = (
        "systems:\n- id: local\n  backend: local\n  slots: {processors: 1}\n  queues:\n  - name: default\n"
    )
    with RunningDaemon(short_dir, config) as daemon:
        submitted(daemon, "--", "sleep", "2")
        shown = in_terminal(daemon, "run", "--name", "second", "--", "echo", "its output")
        assert "second is STAGED" in shown
        assert shown.splitlines()[-1].rpartition("\r")[2] == "its output"


def test_run_into_a_pipe_that_closes(shared: RunningDaemon) -> None:
    command = f"{sys.executable} -m jobd.cli run --name endless -- yes | head -2"
    done = subprocess.run(
        command, shell=True, env=shared.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "y\ny\n"
    (job,) = shared.client().list({"name": "endless"})
    assert shared.ended(job["id"])["condition"] == "KILLED"


# ---- submit


def test_submit_prints_the_id_first(shared: RunningDaemon) -> None:
    shown = shared.jobctl("submit", "--name", "a b", "--", "true").stdout
    job_id, rest = shown.split("  ", 1)
    assert shared.ended(job_id)["name"] == "a b"
    assert rest.startswith("a b  ")


def test_submit_waits(shared: RunningDaemon) -> None:
    assert shared.jobctl("submit", "--wait", "--", "sh", "-c", "exit 3").returncode == 3


def test_submit_of_a_file(shared: RunningDaemon) -> None:
    job = shared.directory / "job.yaml"
    job.write_text(
        "# two\n- name: one\n  command: [sh, -c, pwd]\n  directory: .\n- name: two\n  command: ['true']\n"
    )
    first, second = shared.jobctl("submit", "-q", "-f", "job.yaml").stdout.split()
    assert shared.ended(first)["directory"].rstrip("/.") == str(shared.directory)
    assert shared.ended(second)["name"] == "two"


def test_submit_of_a_faulty_file_names_lines_and_submits_nothing(shared: RunningDaemon) -> None:
    (shared.directory / "bad.yaml").write_text(
        "- name: fine-but\n  command: ['true']\n- nmae: x\n  maxRunTime: 1h\n"
    )
    done = shared.jobctl("submit", "-f", "bad.yaml")
    assert done.returncode == 2
    assert "bad.yaml:3:3: 1.nmae: " in done.stderr
    assert "bad.yaml:4:3: 1.maxRunTime: " in done.stderr
    assert list(shared.client().list({"name": "fine-but"})) == []


def test_submit_of_broken_files(shared: RunningDaemon) -> None:
    (shared.directory / "broken.json").write_text('{"name": "x",}')
    (shared.directory / "bomb.yaml").write_text("a: &a [x, x]\nb: [*a, *a]\n")
    for name, words in (("broken.json", "broken.json:1:"), ("bomb.yaml", "bomb.yaml:2:5: b.0: aliases")):
        done = shared.jobctl("submit", "-f", name)
        assert (done.returncode, words.split(": b")[0] in done.stderr, "Traceback" in done.stderr) == (
            2,
            True,
            False,
        )


def test_submit_of_many_commands_at_once(shared: RunningDaemon) -> None:
    lines = "\n".join(f"sh -c 'exit {number % 3}'" for number in range(300))
    done = shared.jobctl("submit", "--each", "-", "-q", "--name", "many", input=lines)
    ids = done.stdout.split()
    assert len(set(ids)) == 300
    codes = [shared.client().wait(job_id, 60)["exitCode"] for job_id in ids[:6]]
    assert codes == [0, 1, 2, 0, 1, 2]
    assert shared.jobctl("wait", "-q", "-", input=done.stdout).returncode == 1


# ---- looking


def test_list_for_programs(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--name", "listed", "--", "true")
    shared.ended(job_id)
    rows = [
        json.loads(line) for line in shared.jobctl("list", "--json", "--name", "list*").stdout.splitlines()
    ]
    assert [(row["id"], row["status"]) for row in rows] == [(job_id, "FINISHED")]
    assert shared.jobctl("list", "-q", "--name", "listed", "-s", "finished,failed").stdout.split() == [job_id]
    shown = shared.jobctl("list", "-o", "id,status,maxRunTime", "--name", "listed").stdout.splitlines()
    assert [line.split() for line in shown] == [["ID", "STATUS", "maxRunTime"], [job_id, "FINISHED", "-"]]
    assert shared.jobctl("list", "--where", "exitCode.gt=x").returncode == 2
    assert "there is no such column" in shared.jobctl("list", "-o", "stauts").stderr


def test_list_in_a_terminal_fits(shared: RunningDaemon) -> None:
    submitted(shared, "--name", "a-very-long-name-" * 3, "--", "true")
    for columns in (60, 100):
        shown = in_terminal(shared, "list", "--color", "never", columns=columns)
        rows = [line for line in shown.splitlines() if not line.startswith("jobctl: ")]
        assert max(map(len, rows)) <= columns
        assert "…" in shown


def test_what_is_said_of_notifications_fits_a_terminal_and_short_ids_do(shared: RunningDaemon) -> None:
    url = f"http://127.0.0.1:9/{'x' * 100}"
    wish = {"event": "FINISHED", "url": url, "policy": {"retryStrategy": "NONE"}}
    job_id = shared.run("true", notifications=[wish, {**wish, "event": "*"}])["id"]
    until(lambda: len(shared.client().deliveries(job_id, "FAILED")) == 2)
    ids = {}
    for verb in ("notifications", "deliveries"):
        shown = in_terminal(shared, verb, job_id, "--color", "never", columns=80).splitlines()
        assert len(shown) == 3
        assert max(map(len, shown)) <= 80
        ids[verb] = shown[1].split()[0]
        assert len(ids[verb]) == 8
    asked = ("notifications", "--attempts", ids["notifications"], "--color", "never")
    tries = in_terminal(shared, *asked, columns=80).splitlines()
    assert "failed" in tries[1]
    assert max(map(len, tries)) <= 80
    assert shared.jobctl("deliveries", "--retry", ids["deliveries"]).returncode == 0
    assert shared.jobctl("deliveries", "--drop", ids["deliveries"]).returncode == 0
    gone = shared.jobctl("deliveries", "--drop", ids["deliveries"])
    assert (gone.returncode, "begins with" in gone.stderr) == (66, True)
    slip = shared.jobctl("notifications", "--remove", ids["notifications"][:3])
    assert (slip.returncode, "too short" in slip.stderr) == (2, True)
    assert shared.jobctl("notifications", "--remove", ids["notifications"]).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "foo"], ["--to: nothing can be delivered"]),
        (["--to", "a@lab", "--digest", "3d", "--retry", "-1"], ["--retry: -1", '--digest: "3d"']),
        (["--to", "a@lab", "--on", "FINISHT,LOSTT"], ['--on: there is no event "FINISHT"', "--on: "]),
        (["--to", "a@lab", "--on", ""], ["--on: it names no event"]),
        (["--to", "a@lab", "--", "ls"], ["it says both"]),
        ([], ["say where to"]),
    ],
)
def test_a_mistaken_notification_is_told_once_with_the_option(
    shared: RunningDaemon, words: list[str], told: list[str]
) -> None:
    job_id = submitted(shared, "--", "true")
    done = shared.jobctl("notify", job_id, *words)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == len(told)
    assert all(line.startswith(f"jobctl: {start}") for line, start in zip(lines, told, strict=True)), lines


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--digest", "1h"], "--digest: it does not say whom to tell"),
        (["--notify", "foo"], "--notify: nothing can be delivered"),
        (["--notify", "foo", "--digest", "1h"], "--notify: nothing can be delivered"),
        (["--notify", "a@lab", "--digest", "9d"], '--digest: "9d" will not do'),
        (["--notify", "https://lab/x", "--digest", "1h"], "--digest: only mail is gathered"),
    ],
)
def test_so_is_one_of_a_submission(shared: RunningDaemon, words: list[str], told: str) -> None:
    done = shared.jobctl("submit", *words, "--", "true")
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith(f"jobctl: {told}")) == (2, True), line


def test_list_without_jobs_tells_what_to_do(daemon: RunningDaemon) -> None:
    assert "jobctl run" in in_terminal(daemon)
    done = daemon.jobctl()
    assert (done.returncode, done.stdout.split()[:2], done.stderr) == (0, ["ID", "NAME"], "")


def test_terminal_is_not_at_a_names_mercy(shared: RunningDaemon) -> None:
    name = "\x1b[2Jowned\u202e"
    shared.client().submit(["true"], name=name)
    for verb in ("list", "show", "history", "why", "status"):
        shown = in_terminal(shared, verb, "--color", "never")
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
    assert r"\x1b[2Jowned" in in_terminal(shared, "show")


def test_show_status_history_why(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--name", "looked-at", "--", "sh", "-c", "exit 4")
    shared.ended(job_id)
    shown = shared.jobctl("show", job_id[:13]).stdout
    for words in (
        job_id,
        "looked-at",
        "exit code 4 (EXIT_CODE)",
        "sh -c 'exit 4'",
        f"unix://{shared.socket}",
    ):
        assert words in shown
    assert shared.jobctl("status", "looked-at").stdout == "FAILED\n"
    assert "exit code 4" in shared.jobctl("why", job_id).stdout
    statuses = [line.split()[2] for line in shared.jobctl("history", job_id).stdout.splitlines()[1:]]
    assert (statuses[0], statuses[-1]) == ("PENDING", "FAILED")
    assert json.loads(shared.jobctl("show", "--json", job_id).stdout)["exitCode"] == 4


def test_names_that_fit_several_jobs_are_refused(shared: RunningDaemon) -> None:
    first, second = (submitted(shared, "--name", "twins", "--", "sleep", "100") for _ in range(2))
    done = shared.jobctl("kill", "twins")
    assert done.returncode == 2
    assert first[:13] in done.stderr
    assert second[:13] in done.stderr
    assert shared.jobctl("kill", first, second).returncode == 0


def test_what_is_changed_is_named_with_care(shared: RunningDaemon) -> None:
    first = submitted(shared, "--name", "careful", "--", "sleep", "1000")
    for words in (
        ["kill", ""],
        ["delete", " "],
        ["kill", first[:3]],
        ["delete", first[:1]],
        ["resolve", "", "--never-submitted"],
    ):
        done = shared.jobctl(*words)
        assert (done.returncode, done.stdout) == (2, ""), done
    assert "at least 4 characters" in shared.jobctl("kill", first[:3]).stderr
    there = [job["id"] for job in shared.client().list(fields=["id"])]
    short = next(first[:n] for n in range(1, 37) if sum(one.startswith(first[:n]) for one in there) == 1)
    assert shared.jobctl("status", short).stdout
    by_name = submitted(shared, "--name", "ab", "--", "sleep", "1000")
    assert by_name in shared.jobctl("kill", "ab").stdout
    assert shared.jobctl("kill", first[:8]).returncode == 0


def test_run_without_standard_output(shared: RunningDaemon) -> None:
    command = f"{sys.executable} -m jobd.cli run -- sh -c 'echo out; echo err >&2; exit 3' >&-"
    done = subprocess.run(
        ["sh", "-c", command],
        env=shared.environment,
        cwd=shared.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "err\n")


def test_last_is_the_one_submitted_last(shared: RunningDaemon) -> None:
    older = submitted(shared, "--", "sleep", "0.3")
    newer = submitted(shared, "--", "true")
    shared.ended(newer)
    shared.ended(older)
    assert shared.jobctl("show", "-q").stdout.split() == [newer]


def test_no_such_job(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--", "true")
    for verb in ("show", "kill", "logs", "why", "history", "delete", "restore", "resubmit", "hold", "status"):
        assert shared.jobctl(verb, "no-such-job").returncode == 66, verb
    assert shared.jobctl("show", "no-such-job", job_id).returncode == 3
    assert shared.jobctl("wait", "no-such-job").returncode == 125
    failed = shared.jobctl("wait", submitted(shared, "--", "no-such-program"))
    assert (failed.returncode, failed.stdout.split("  ")[-1]) == (125, "no exit code\n")
    told = json.loads(shared.jobctl("show", "--json", "f" * 36 + "-007").stderr)["error"]
    assert (told["kind"], told["code"], told["exit"]) == ("NotFound", 404, 66)


# ---- logs


def test_logs(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--", "sh", "-c", "seq 5; echo oops >&2")
    shared.ended(job_id)
    assert shared.jobctl("logs", job_id).stdout == "1\n2\n3\n4\n5\n"
    assert shared.jobctl("logs", "--stderr", job_id).stdout == "oops\n"
    assert shared.jobctl("logs", "-n", "2", job_id).stdout == "4\n5\n"
    assert shared.jobctl("logs", "-n", "0", job_id).stdout == ""
    assert shared.jobctl("logs", "-n", "99", "-f", job_id).stdout == "1\n2\n3\n4\n5\n"


def test_last_lines_of_a_long_log(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--", "sh", "-c", "seq 200000; printf end")
    shared.ended(job_id)
    wanted = [str(number) for number in range(200001 - 49999, 200001)] + ["end"]
    assert shared.jobctl("logs", "-n", "50000", job_id).stdout.split("\n") == wanted


def test_followed_log_comes_as_it_is_written(shared: RunningDaemon) -> None:
    gate = shared.directory / "gate"
    job_id = submitted(
        shared, "--", "sh", "-c", f"echo one; while [ ! -e {gate} ]; do sleep 0.05; done; echo two"
    )
    command = [sys.executable, "-m", "jobd.cli", "logs", "-f", job_id]
    with subprocess.Popen(command, env=shared.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "one\n"
        gate.touch()
        assert process.stdout.read() == "two\n"
    assert process.returncode == 0


# ---- waiting and changing


def test_wait(shared: RunningDaemon) -> None:
    ids = [
        submitted(shared, "--", "sh", "-c", f"sleep 0.{number}; exit {code}")
        for number, code in ((3, 0), (2, 5), (1, 6))
    ]
    assert shared.jobctl("wait", *ids).returncode == 5
    slow = submitted(shared, "--", "sleep", "100")
    began = time.monotonic()
    done = shared.jobctl("wait", "--timeout", "0.5", slow)
    assert (done.returncode, time.monotonic() - began < 10) == (124, True)
    assert "still RUNNING; it goes on" in done.stderr
    shared.jobctl("kill", slow)
    assert shared.jobctl("wait", slow).returncode == 143


def test_wait_shows_a_person_how_it_goes(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--name", "slow", "--", "sleep", "1.5")
    shown = in_terminal(shared, "wait", job_id)
    assert "slow is RUNNING" in shown
    assert shown.splitlines()[-1].endswith("FINISHED")


def test_kill(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--", "sleep", "1000")
    done = shared.jobctl("stop", job_id)
    assert (done.returncode, done.stdout.split()[-1]) == (0, "STOPPED")
    again = shared.jobctl("kill", job_id)
    assert again.returncode == 0
    over = submitted(shared, "--", "true")
    shared.ended(over)
    assert "was over already" in shared.jobctl("cancel", over).stdout


def test_kill_of_all_that_standard_input_names(shared: RunningDaemon) -> None:
    ids = [submitted(shared, "--name", "herd", "--", "sleep", "1000") for _ in range(3)]
    listed = shared.jobctl("list", "--name", "herd", "--active", "--no-header").stdout
    assert len(listed.splitlines()) == 3
    assert shared.jobctl("kill", "-", input=listed).returncode == 0
    assert {shared.client().show(job_id)["status"] for job_id in ids} == {"STOPPED"}


def test_delete_and_restore(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--name", "hidden-one", "--", "sh", "-c", "echo kept; sleep 1000")
    until(lambda: shared.jobctl("logs", job_id).stdout, what="it has written")
    done = shared.jobctl("rm", job_id)
    assert (done.returncode, "deleted" in done.stdout) == (0, True)
    assert shared.jobctl("show", job_id).returncode == 66
    assert shared.jobctl("list", "-q", "--hidden", "--name", "hidden-one").stdout.split() == [job_id]
    assert shared.jobctl("restore", "hidden-one").returncode == 0
    assert shared.jobctl("restore", job_id).returncode == 1
    assert shared.jobctl("logs", "hidden-one").stdout == "kept\n"


def test_resubmit(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--name", "again", "-e", "V=kept", "--", "sh", "-c", "echo $V")
    new_id = shared.jobctl("resubmit", "-q", job_id).stdout.strip()
    assert shared.ended(new_id)["resubmitOf"] == job_id
    assert shared.jobctl("logs", new_id).stdout == "kept\n"


def test_hold_and_release(short_dir: Path) -> None:
    config = (
        "systems:\n- id: local\n  backend: local\n  slots: {processors: 1}\n  queues:\n  - name: default\n"
    )
    with RunningDaemon(short_dir, config) as daemon:
        first = submitted(daemon, "--", "sleep", "1000")
        second = submitted(daemon, "--", "true")
        assert daemon.jobctl("hold", second).returncode == 0
        assert daemon.jobctl("hold", first).returncode == 1
        assert daemon.jobctl("status", second).stdout == "PAUSED\n"
        assert "eld by" in daemon.jobctl("why", second).stdout
        assert daemon.jobctl("release", second).returncode == 0
        daemon.jobctl("kill", first)
        assert daemon.jobctl("wait", second).returncode == 0


def test_resolve_is_refused_where_nothing_is_in_doubt(shared: RunningDaemon) -> None:
    job_id = submitted(shared, "--", "true")
    shared.ended(job_id)
    done = shared.jobctl("resolve", "--never-submitted", job_id)
    assert (done.returncode, "finds that out without help" in done.stderr) == (1, True)


# ---- around


def test_list_imports_nothing_heavy(shared: RunningDaemon) -> None:
    """Each of these costs as much as a tenth to a half of a bare Python's start."""
    heavy = "dataclasses email http inspect pathlib shutil ssl subprocess threading typing urllib yaml"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from jobd.cli import command; command(['list'])\n"
        "print(*sorted(set(sys.argv[2].split()) & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, shared.environment["PYTHONPATH"], heavy]
    done = subprocess.run(
        command, env=shared.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.split() == []


def test_systems_queues_version_doctor(shared: RunningDaemon) -> None:
    assert shared.jobctl("systems", "-q").stdout.split() == ["local"]
    assert "default" in shared.jobctl("queues").stdout
    assert shared.jobctl("queues", "no-such").returncode == 66
    version = json.loads(shared.jobctl("version", "--json").stdout)
    assert version["jobctl"] == version["jobd"]
    done = shared.jobctl("doctor")
    assert (done.returncode, "held together by" in done.stdout) == (0, True)
    assert json.loads(shared.jobctl("doctor", "--json").stdout)["well"] is True
    assert shared.jobctl("-H", "/nonexistent/s", "doctor").returncode == 1


def test_client_does_what_its_docstring_says(shared: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBD_HOST", f"unix://{shared.socket}")
    outcome = doctest.testmod(jobd.client)
    assert (outcome.failed, outcome.attempted > 5) == (0, True)


def test_client_verbs(shared: RunningDaemon) -> None:
    with shared.client() as client:
        job = client.run(
            ["sh", "-c", "echo x > made; mkdir sub; echo y > sub/file"], directory=None, timeout=60
        )
        files = {entry["name"] for entry in client.outputs(job["id"])}
        assert {"made", "sub"} <= files
        assert [entry["name"] for entry in client.outputs(job["id"], "sub")] == ["file"]
        assert b"".join(client.download(job["id"], "sub/file")) == b"y\n"
        assert client.me()["username"] == job["owner"]
        assert [system["id"] for system in client.systems()] == ["local"]
        assert client.queues("local")[0]["name"] == "default"
        assert client.status(job["id"]) == "FINISHED"
        assert "exit code 0" in client.why(job["id"])["why"]
        assert next(client.history(job["id"]))["status"] == "PENDING"
        key = "the same"
        twice = [client.submit(["true"], key=key, environment={})["id"] for _ in range(2)]
        assert twice[0] == twice[1]


# ---- a daemon that is not always there


def test_run_survives_a_killed_daemon(daemon: RunningDaemon) -> None:
    gate = daemon.directory / "gate"
    script = f"echo before; while [ ! -e {gate} ]; do sleep 0.05; done; echo after; exit 7"
    process, job_id = started(daemon, "sh", "-c", script)
    daemon.kill9()
    gate.touch()
    daemon.start()
    out, told = process.communicate(timeout=60)
    assert (process.returncode, out) == (7, "before\nafter\n")
    assert [line for line in told.splitlines() if "; trying again for" not in line] == []
    assert daemon.client().show(job_id)["exitCode"] == 7


def test_wait_survives_a_restart(daemon: RunningDaemon) -> None:
    """Once it has met the daemon: whoever comes while there is none is told so after a few seconds."""
    gate = daemon.directory / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 9"
    jobs = [submitted(daemon, "--", "true"), submitted(daemon, "--", "sh", "-c", script)]
    command = [sys.executable, "-u", "-m", "jobd.cli", "wait", *jobs]
    process = subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert jobs[0] in process.stdout.readline()
    daemon.restart()
    gate.touch()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, jobs[1] in out) == (9, True)


class Own:
    """A person without a daemon."""

    def __init__(self, home: Path) -> None:
        self.state = home / ".local/state/jobd"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jobd.cli", "--user", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def jobctl(self, *arguments: str) -> tuple[int, str, str]:
        process = self.spawn(*arguments)
        out, told = process.communicate(timeout=60)
        return process.returncode, out, told

    def pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(json.loads((self.state / "lock").read_text())["pid"])
        return None

    def end(self) -> None:
        """By pid; the state directory says whose it is."""
        self._terminate()
        while hosts._started:
            hosts._started.pop().wait(20)

    def _terminate(self) -> None:
        pid = self.pid()
        if pid and str(self.state) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGTERM)
            until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or _zombie(pid), what="the daemon ends")


def _zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


@pytest.fixture
def own(short_dir: Path) -> Iterator[Own]:
    person = Own(short_dir)
    yield person
    person.end()


def test_run_starts_a_daemon_where_none_is(own: Own) -> None:
    assert own.jobctl("list")[0] == 75
    code, out, told = own.jobctl("run", "--", "sh", "-c", "echo hello; exit 3")
    assert (code, out, told) == (3, "hello\n", "")
    assert own.jobctl("status")[1] == "FAILED\n"
    assert "own" in own.jobctl("doctor")[1]


def test_two_that_start_it_at_the_same_moment(own: Own) -> None:
    processes = [own.spawn("run", "--", "sh", "-c", f"exit {number}") for number in range(3, 7)]
    told = [process.communicate(timeout=60)[1] for process in processes]
    assert ([process.returncode for process in processes], told) == ([3, 4, 5, 6], [""] * 4)


def test_daemon_is_found_when_the_runtime_directory_is_another(own: Own, short_dir: Path) -> None:
    own.jobctl("run", "--", "true")
    pid = own.pid()
    own.environment["XDG_RUNTIME_DIR"] = str(short_dir / "elsewhere")
    assert own.jobctl("run", "--", "true")[0] == 0
    assert own.pid() == pid


def test_daemon_that_cannot_start_says_why(own: Own, short_dir: Path) -> None:
    (short_dir / ".config/jobd").mkdir(parents=True)
    (short_dir / ".config/jobd/jobd.yaml").write_text("nonsense: 1\n")
    code, out, told = own.jobctl("submit", "--", "true")
    assert (code, out) == (75, "")
    assert "jobd.yaml:1:1" in told


def test_autostart_turned_off(own: Own) -> None:
    own.environment["JOBD_AUTOSTART"] = "0"
    code, _, told = own.jobctl("run", "--", "true")
    assert (code, "no jobd of yours is running" in told) == (125, True)
    assert not own.state.exists()


def test_client_of_a_program_starts_one_if_asked(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("JOBD_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    with Client(user=True, start=True) as client:
        assert client.run(["true"], timeout=60)["status"] == "FINISHED"


def test_no_daemon_is_started_inside_a_job(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in the job's control group."""
    for name in [name for name in os.environ if name.startswith(("JOBD_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in {**own.environment, "JOBD_JOB_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with (
        Client(user=True, start=True, patience=1) as client,
        pytest.raises(Unavailable, match="this is itself a job, and its daemon does not answer"),
    ):
        client.run(["true"])
    assert time.monotonic() - began >= 0.5
    assert own.pid() is None


def test_inside_a_job_its_daemon_is_waited_for(own: Own) -> None:
    job = {**own.environment, "JOBD_TAG": "x", "JOBD_JOB_ID": "x"}
    command = [sys.executable, "-m", "jobd.cli", "--user", "submit", "-q", "--", "true"]
    inside = subprocess.Popen(command, env=job, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert own.jobctl("submit", "--name", "outside", "--", "true")[0] == 0
    out, told = inside.communicate(timeout=60)
    assert (inside.returncode, told) == (0, "")
    assert own.jobctl("status", out.strip())[0] == 0


def test_a_daemon_knows_nothing_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBD_STATE_DIR", "/kept")
    for name in ("JOBD_TAG", "JOBD_JOB_ID", "JOBD_WORKDIR"):
        monkeypatch.setenv(name, "x")
    assert {name for name in hosts._environment() if name.startswith("JOBD_")} - hosts.PLACES <= {"JOBD_HOST"}
    assert hosts._environment()["JOBD_STATE_DIR"] == "/kept"
