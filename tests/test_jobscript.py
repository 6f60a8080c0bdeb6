"""The script that a scheduler gets, run as one would run it, under each shell that is here: exact words,
exact codes, and at most one run, whoever else was handed the same job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobd.backend import Ticket
from jobd.backends import jobscript
from jobd.backends.contract import new_tag
from jobd.backends.jobscript import UNCLAIMED, Records
from jobd.keeper.attempt import Ran, prepare
from tests.daemon import until

SHELLS = [shell for shell in ("bash", "dash", "busybox") if shutil.which(shell)]


@dataclass
class Node:
    """Where scripts are run, by one shell, in the place of a scheduler."""

    shell: str
    directory: Path

    def ticket(self, *argv: str, **more: object) -> Ticket:
        workspace = self.directory / "job"
        facts = {"tag": new_tag(), "job_id": "1-007", "name": "n", "user": "me", "argv": argv}
        facts |= {"directory": str(self.directory), "workspace": str(workspace)}
        facts |= {"stdout": f"{workspace}/out", "stderr": f"{workspace}/err"}
        facts |= {"environment": {"PATH": os.environ["PATH"]}}
        return Ticket(**(facts | more))  # type: ignore[arg-type]

    def hand_over(self, ticket: Ticket) -> Ran | None:
        """What is done before a scheduler is asked."""
        return prepare(ticket.workspace, ticket.job_id, ticket.tag)

    def start(
        self, ticket: Ticket, local_id: str = "7", streams: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        text = jobscript.script(ticket, ["#DIRECTIVE"], ticket.environment, "LOCAL_ID", "RESTARTS")
        if self.shell != "bash":
            text = text.replace(jobscript.BASH.encode(), b"")
        path = self.directory / f"script-{ticket.tag}-{local_id}"
        path.write_bytes(text)
        return subprocess.Popen(
            [self.shell, *(["sh"] if self.shell == "busybox" else []), str(path)],
            env={"LOCAL_ID": local_id, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=streams,
            stderr=streams,
        )

    def run(self, ticket: Ticket, local_id: str = "7") -> tuple[int, bytes, bytes]:
        self.hand_over(ticket)
        process = self.start(ticket, local_id, subprocess.PIPE)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def records(self, ticket: Ticket) -> Records:
        root = Path(ticket.workspace, jobscript.attempt(ticket.tag))
        files = [root / name for name in jobscript.FILES]
        return jobscript.records(*(path.read_bytes() if path.exists() else None for path in files))


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    return Node(request.param, tmp_path)


@pytest.mark.parametrize("code", [0, 7, 127, 129, 137, 139, 200, 255])
def test_T5_the_code_is_exact(node, code):
    ticket = node.ticket("/bin/sh", "-c", f"exit {code}")
    assert node.run(ticket)[0] == code
    known = node.records(ticket)
    assert (known.code, known.signal, known.local_id, known.failed) == (code, None, "7", None)


@pytest.mark.parametrize("name", ["SEGV", "KILL", "ABRT", "XCPU"])
def test_T5_a_signal_is_told_from_its_code(node, name):
    # Shells but bash say so only of a child that they already wait for.
    ticket = node.ticket("/bin/sh", "-c", f"sleep 0.3; kill -{name} $$")
    code, _, _ = node.run(ticket)
    number = signal.Signals[f"SIG{name}"]
    assert code == 128 + number
    assert (node.records(ticket).code, node.records(ticket).signal) == (None, number)


STRANGE = ["a b", "", "$HOME", "`id`", "é\n\t", "'\"\\", "\r\n", "*", "%s", "#", "-n", "\udce9\udcff", "{x}"]


def test_words_arrive_as_they_are(node):
    ticket = node.ticket("/bin/sh", "-c", 'printf "%s\\0" "$@"', "sh", *STRANGE)
    code, out, _ = node.run(ticket)
    assert code == 0
    assert out.split(b"\0")[:-1] == [os.fsencode(word) for word in STRANGE]


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(text, min_size=1, max_size=5),
    values=st.dictionaries(text.filter(lambda t: t and "=" not in t), text),
)
def test_any_words_and_variables_arrive_as_they_are(node, words, values):
    environment = {"PATH": os.environ["PATH"], **values}
    ticket = node.ticket("/bin/bash", "-c", 'printf "%s\\0" "$@"', "sh", *words)
    assert node.run(ticket)[1].split(b"\0")[:-1] == [word.encode() for word in words]
    ticket = node.ticket("/bin/cat", "/proc/self/environ", environment=environment)
    code, out, err = node.run(ticket)
    assert code == 0, err
    there = {entry.partition(b"=")[0]: entry.partition(b"=")[2] for entry in out.split(b"\0")}
    assert {name: there.get(name.encode()) for name in values} == {
        name: value.encode() for name, value in values.items()
    }


def test_variables_that_a_shell_keeps_for_itself(node):
    names = ("UID", "EUID", "PPID", "IFS", "OPTIND", "PWD", "SHLVL", "_", "LINENO", "RANDOM", "jobd_attempt")
    names += ("BASH_FUNC_f%%", "a.b", "SHELLOPTS", "ENV", "PS4", "GROUPS")
    environment = {"PATH": os.environ["PATH"], **{name: f"of {name}\n" for name in names}}
    code, out, err = node.run(node.ticket("/bin/cat", "/proc/self/environ", environment=environment))
    assert code == 0, err
    there = dict(entry.split("=", 1) for entry in out.decode().split("\0") if "=" in entry)
    assert {name: there.get(name) for name in names} == {name: f"of {name}\n" for name in names}


def test_no_variable_is_on_a_command_line(node):
    ticket = node.ticket("true", environment={"SECRET": "hush", "PATH": os.environ["PATH"]})
    text = jobscript.script(ticket, [], ticket.environment, "A", "B").decode()
    assert [line for line in text.splitlines() if "hush" in line] == ["export SECRET=hush"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"directory": "/no/such place"}, "directory '/no/such place' does not exist"),
        ({"stdin": "no such"}, "no standard input 'no such'"),
        ({"argv": ("/no/such",)}, "command '/no/such' does not exist"),
        ({"argv": ("/etc/passwd",)}, "'/etc/passwd' is not executable"),
        ({"argv": ("no-such-program",)}, "command 'no-such-program' was not found in PATH"),
    ],
)
def test_what_cannot_start_says_why(node, more, words):
    ticket = replace(node.ticket("true"), **more)
    code, _, err = node.run(ticket)
    assert code == 127
    assert words in (node.records(ticket).failed or "")
    assert words in err.decode()


def test_the_streams_and_the_umask(node):
    (node.directory / "in").write_text("given\n")
    ticket = node.ticket("/bin/sh", "-c", "cat; umask; echo err >&2; ls /proc/$$/fd", stdin="in", umask=0o027)
    code, out, err = node.run(ticket)
    assert (code, err) == (0, b"err\n")
    assert out.decode().split()[:2] == ["given", "0027"]
    assert "4" not in out.decode().split()[2:]


def test_its_signals_are_as_at_a_login(node):
    _, out, _ = node.run(node.ticket("grep", "-E", "SigIgn|SigBlk", "/proc/self/status"))
    ignored = {int(line.split()[1], 16) for line in out.decode().splitlines()}
    assert ignored == ({0} if node.shell == "bash" else {0, 0b110})  # others: INT and QUIT are, for ever


def test_T6_a_signal_for_the_script_reaches_the_program(node):
    script = "trap 'echo bye > bye; exit 3' TERM; echo up > up; while :; do sleep 0.05; done"
    ticket = node.ticket("/bin/sh", "-c", script)
    node.hand_over(ticket)
    process = node.start(ticket)
    until(lambda: (node.directory / "up").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 3
    assert (node.directory / "bye").exists()
    assert node.records(ticket).code == 3


def test_T6_a_signal_to_everybody_at_once_leaves_the_program_s_own_code(node):
    """Bash loses it at times, and then has 143 for it."""
    codes = []
    for number in range(15):
        script = "trap 'exit 3' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.01; done"
        ticket = node.ticket("/bin/sh", "-c", script, workspace=f"{node.directory}/job-{number}")
        node.hand_over(ticket)
        process = node.start(ticket)
        until((node.directory / "pid").exists)
        for pid in int((node.directory / "pid").read_text()), process.pid:
            os.kill(pid, signal.SIGTERM)
        codes.append(process.wait(timeout=20))
        assert node.records(ticket).code == codes[-1] or codes[-1] == 143
        (node.directory / "pid").unlink()
    assert codes.count(3) >= (10 if node.shell == "bash" else 15)
    assert set(codes) <= {3, 143}


# once (T2)


def counted(node: Node) -> tuple[Ticket, Path]:
    ran = node.directory / "ran"
    return node.ticket("/bin/sh", "-c", f"echo x >> {ran}; exit 4"), ran


def test_T2_a_second_submission_does_not_run(node):
    ticket, ran = counted(node)
    assert node.run(ticket, "7")[0] == 4
    assert node.run(ticket, "8")[0] == UNCLAIMED
    assert ran.read_text() == "x\n"
    assert (node.records(ticket).local_id, node.records(ticket).code) == ("7", 4)


def test_T2_of_many_at_once_one_runs(node):
    ticket, ran = counted(node)
    node.hand_over(ticket)
    ends = [process.wait(timeout=30) for process in [node.start(ticket, str(n)) for n in range(12)]]
    assert sorted(ends) == [4] + [UNCLAIMED] * 11
    assert ran.read_text() == "x\n"


def test_T2_a_requeue_goes_on_with_its_claim(node):
    ticket, ran = counted(node)
    node.run(ticket)
    assert node.run(ticket)[0] == 4
    assert ran.read_text() == "x\nx\n"


def test_T2_an_attempt_handed_over_again_revokes_the_one_before(node):
    ticket, ran = counted(node)
    again = replace(ticket, tag=new_tag())
    node.hand_over(ticket)
    assert node.run(again, "8")[0] == 4
    assert node.start(ticket, "7").wait(timeout=30) == UNCLAIMED
    assert ran.read_text() == "x\n"


def test_T2_an_attempt_that_ran_after_all_is_told_and_not_repeated(node):
    ticket, ran = counted(node)
    node.run(ticket, "7")
    assert node.hand_over(replace(ticket, tag=new_tag())) == Ran("7", ticket.tag)
    assert ran.read_text() == "x\n"


def test_T2_without_its_records_nothing_runs(node):
    """A directory that is gone, as on a node that does not see it."""
    ticket, ran = counted(node)
    assert node.start(ticket).wait(timeout=30) == UNCLAIMED
    assert not ran.exists()


# records are claims: anything may be in them


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=50))
def test_any_bytes_as_records(start, exit, failed):
    jobscript.records(start, exit, failed)


@pytest.mark.parametrize(
    "exit",
    [
        b"",
        b"id=7\ncode=256\ntime=9\n",
        b"id=7\ncode=-1\ntime=9\n",
        b"id=8\ncode=1\ntime=9\n",
        b"id=7\ncode=1\n",
    ],
)
def test_a_record_that_is_not_right_is_none(exit):
    assert not jobscript.records(b"id=7\ntime=1\n", exit, None).over


def test_times_with_and_without_fractions():
    known = jobscript.records(
        b"id=7\ntime=100.5\n", b"id=7\ncode=0\ntime=102.75\n0m0s 0m0s\n1m1.5s 0m0.25s\n", None
    )
    assert (known.wall, known.cpu) == (2.25, 61.75)
    assert jobscript.records(b"id=7\ntime=100.N\n", b"id=7\ncode=0\ntime=102.N\n", None).wall is None
