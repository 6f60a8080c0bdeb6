"""Short commands and files, as the daemon's own user and as others: one face for both, and what each
refuses."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.errors import Forbidden, NotFound, Refused, Unavailable
from jobd.keeper import commands
from jobd.keeper.errands import Errands
from jobd.keeper.persons import Persons, Ran
from jobd.people import Person, Served
from tests import processes
from tests.attempts import gone
from tests.daemon import until
from tests.people import needs_people

NOBODY_ELSE = 61200
"""A uid that is nobody's."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def run(script: str, timeout: float = 10.0, stdin: bytes = b"") -> commands.Finished:
    return commands.run(["/bin/sh", "-c", script], ENVIRONMENT, "/", stdin, timeout)


def test_what_a_command_says_and_how_it_ends():
    done = run("cat; echo err >&2; exit 3", stdin=b"\0in\xff")
    assert (done.code, done.signal, done.out, done.err) == (3, None, b"\0in\xff", b"err\n")
    assert not done.timed_out
    assert (run("kill -9 $$").code, run("kill -9 $$").signal) == (None, 9)


def test_a_command_that_is_late_is_killed_with_its_process_group():
    done = run("sleep 600 & echo $!; wait", timeout=0.3)
    assert (done.timed_out, done.signal) == (True, signal.SIGKILL)
    until(lambda: gone(int(done.out)), what="what it started is gone")


def test_a_process_that_a_command_leaves_behind_holds_nobody():
    done = run("setsid sleep 600 & echo $!", timeout=5)
    assert not done.timed_out
    processes.kill9(int(done.out))


def test_a_command_that_does_not_exist_did_not_run():
    with pytest.raises(Unavailable, match="No such file"):
        commands.run(["/nowhere/sbatch"], {}, "/", b"", 5)
    with pytest.raises(Unavailable, match="nowhere"):
        commands.run(["true"], ENVIRONMENT, "/nowhere", b"", 5)
    with pytest.raises(Unavailable, match="null"):
        commands.run(["true", "a\0b"], ENVIRONMENT, "/", b"", 5)


def test_a_command_can_not_fill_the_memory():
    with pytest.raises(Unavailable, match="said more than 16 MB"):
        run("exec head -c 20000000 /dev/zero")


@pytest.fixture
def errands() -> Iterator[Errands]:
    made = Errands()
    yield made
    made.close()


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of that user's, reachable for them, whatever pytest thinks of its own."""
    import shutil
    import tempfile

    root = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(root, NOBODY_ELSE, NOBODY_ELSE)
    yield root
    shutil.rmtree(root)


IDENTITY = (NOBODY_ELSE, NOBODY_ELSE, (NOBODY_ELSE,))


def errand(errands: Errands, script: str, limit: float = 10.0) -> dict[str, object]:
    arguments = {"argv": ["/bin/sh", "-c", script], "environment": ENVIRONMENT, "directory": "/", "stdin": ""}
    value, _ = errands.do(IDENTITY, "run", {**arguments, "timeout": limit}, limit)
    return dict(value)


@needs_people
def test_an_errand_is_done_as_the_person(errands):
    said = errand(
        errands, "id -u; id -g; id -G; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l; echo $HOME"
    )
    assert str(said["out"]).split("\n")[:3] == [str(NOBODY_ELSE)] * 3
    assert int(str(said["out"]).split("\n")[4]) == 4  # the three streams, and ls's own


@needs_people
def test_a_file_is_opened_as_the_person(errands, place):
    (place / "mine").write_text("mine")
    os.chown(place / "mine", NOBODY_ELSE, NOBODY_ELSE)
    (place / "roots").write_text("root's")
    (place / "roots").chmod(0o600)
    _, (fd,) = errands.do(IDENTITY, "open", {"root": str(place), "path": "mine"}, 5)
    assert os.read(fd, 100) == b"mine"
    os.close(fd)
    with pytest.raises(Forbidden):
        errands.do(IDENTITY, "open", {"root": str(place), "path": "roots"}, 5)
    with pytest.raises(NotFound):
        errands.do(IDENTITY, "open", {"root": str(place), "path": "none"}, 5)


@needs_people
def test_many_files_are_read_in_one_errand(errands, place):
    (place / "there").write_bytes(b"\xff\0x")
    (place / "link").symlink_to("there")
    os.mkfifo(place / "fifo")
    places = [(str(place), name) for name in ("there", "link", "fifo", "none")]
    found, _ = errands.do(IDENTITY, "read", {"places": places, "limit": 2}, 5)
    assert found == ["\xff\0", None, None, None]


@needs_people
def test_sources_are_looked_at_as_the_person(errands, place):
    """What only root can see says nothing to somebody else, nor does what cannot be reached."""
    (place / "open").write_bytes(b"12345")
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sources = [str(place / "open"), str(hidden / "file"), str(place / "nothing"), url]
        found, _ = errands.do(IDENTITY, "facts", {"sources": sources}, 10.0)
    modified = (place / "open").stat().st_mtime
    assert found[sources[0]] == {"directory": False, "size": 5, "modified": modified}
    assert [found[source] for source in sources[1:]] == [{}, None, {}]


@needs_people
def test_a_runner_that_dies_is_started_again(errands):
    errand(errands, "true")
    runner = errands._process
    assert runner is not None
    processes.kill9(runner.pid)
    assert errand(errands, "echo again")["out"] == "again\n"


@needs_people
def test_an_errand_that_is_ended_has_no_answer(errands):
    """By the person, who may end what runs as them: whether the command did its work nobody knows."""
    with pytest.raises(Unavailable, match="before it could answer"):
        errand(errands, "kill -9 $PPID; sleep 1")


@needs_people
def test_whoever_hangs_waits_alone(errands):
    """No more than so many at once for one person, and each only so long."""
    answers: list[object] = []

    def hang() -> None:
        try:
            answers.append(errand(errands, "sleep 3", 30))
        except Unavailable as trouble:
            answers.append(str(trouble))

    threads = [threading.Thread(target=hang) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert len(refused) == 4
    assert "at once already" in refused[0]


def test_a_persons_own_daemon_needs_no_errand(tmp_path):
    persons = Persons(tmp_path)
    (tmp_path / "file").write_text("text")
    me = persons.whom().split()[3]
    assert persons.read(me, [(str(tmp_path), "file"), (str(tmp_path), "none")]) == [b"text", None]
    assert persons.run(me, ["id", "-un"], environment=ENVIRONMENT).out.decode().strip() == me
    assert persons.run(None, ["true"], environment=ENVIRONMENT).code == 0
    with pytest.raises(Refused, match="this daemon serves"):
        persons.run("daemon", ["true"], environment=ENVIRONMENT)


@needs_people
def test_what_an_attempt_needs_is_made_as_the_person(place):
    persons = Persons(place, served=Served(also=("daemon",)))
    place.chmod(0o777)
    job = place / "jobs" / "job"
    place.joinpath("jobs").mkdir()
    argv = ["/bin/sh", "-c", "umask; id -un; cat"]
    more = {"environment": ENVIRONMENT, "stdin": b"#!", "timeout": 10.0}
    with pytest.raises(Refused, match="job' cannot be made: Permission denied"):
        persons.submit("daemon", str(job), "1-007", "ja", argv, **more)
    place.joinpath("jobs").chmod(0o777)
    done = persons.submit("daemon", str(job), "1-007", "ja", argv, **more)
    assert (done.code, done.out) == (0, b"0077\ndaemon\n#!")
    assert (job / ".jobd").read_text() == "1-007\n"
    for made in job, job / ".jobd-ja":
        assert (made.owner(), stat.S_IMODE(made.stat().st_mode)) == ("daemon", 0o700)
    (job / ".jobd-ja" / "claim").symlink_to("7")
    assert persons.submit("daemon", str(job), "1-007", "jb", argv, **more) == Ran("7", "ja")
    persons._errands.close()


def test_whom_a_daemon_serves():
    served = Served(1000, ("www-data",))
    for name, uid, expected in (
        ("ada", 1000, True),
        ("root", 0, False),
        ("daemon", 1, False),
        ("www-data", 33, True),
        ("nobody", 65534, False),
    ):
        assert served.includes(Person(name, uid, uid, "/")) is expected


GONE = """
import sys
from pathlib import Path
from jobd.errors import Unavailable
from jobd.keeper.persons import Persons
from jobd.people import Served
passwd = Path("/etc/passwd")
before = passwd.read_text()
passwd.write_text(before + "ghost:x:4242:4242::/:/bin/sh\\n")
persons = Persons(Path(sys.argv[1]), served=Served())
assert persons.may_run_as("ghost")
passwd.write_text(before)
try:
    print("it ran as", persons.run("ghost", ["id", "-u"], environment={"PATH": "/usr/bin:/bin"}).out)
except Unavailable as why:
    print(why)
"""


@needs_people
def test_somebody_who_was_removed_a_moment_ago_is_waited_for_and_never_is_root(tmp_path):
    (tmp_path / "passwd").write_text(Path("/etc/passwd").read_text())
    inside = f'mount --bind {tmp_path}/passwd /etc/passwd && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside, GONE], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("there is no user ghost on this machine at present\n", 0), (
        done.stderr
    )
