"""What lies between jobd and systemd, each part by itself: variables, sockets, the journal, the words of a
reload, and what `jobd install` writes. tests/test_systemd.py has all of it under a real systemd."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobd import journal
from jobd.api.listener import Listener, listening_on
from jobd.difference import differences
from jobd.errors import Conflict, Invalid
from jobd.install import UNITS, unit
from jobd.reload import holder
from jobd.service import Service
from tests.daemon import RunningDaemon, until
from tests.processes import has_in_environment, keeper

ROOT = Path(__file__).parent.parent


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


# what systemd hands over


def test_what_is_for_us_is_taken_and_leaves_the_environment() -> None:
    environ = {
        "PATH": "/bin",
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "0",
        "LISTEN_FDNAMES": "jobd.socket",
    }
    assert Service(environ).watchdog == 3.0
    assert environ == {"PATH": "/bin"}


def test_what_was_for_a_parent_is_not_used_and_leaves_it_too() -> None:
    environ = {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "LISTEN_PID": "1", "LISTEN_FDS": "3"}
    service = Service(environ)
    assert (service.watchdog, service.sockets, environ) == (0, [], {})


def test_notify_says_it_to_whom_the_variable_names(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{short_dir}/notify")
        Service({"NOTIFY_SOCKET": f"{short_dir}/notify"}).notify("READY=1", "STATUS=well")
        assert manager.recv(100) == b"READY=1\nSTATUS=well"
    Service({"NOTIFY_SOCKET": f"{short_dir}/notify"}).notify("READY=1")  # nobody is there


# the listening socket


def test_a_given_socket_is_used_and_stays_where_it_is(short_dir: Path) -> None:
    given = listening(short_dir / "jobd.sock")
    listener = Listener(short_dir / "jobd.sock", 0o600, [given])
    assert listener.bind() is given
    assert not listener.vanished()
    listener.close()
    assert (short_dir / "jobd.sock").is_socket()
    given.close()


def test_a_given_socket_that_was_removed_is_made_again(short_dir: Path) -> None:
    path = short_dir / "jobd.sock"
    with listening(path) as given:
        listener = Listener(path, 0o600, [given])
        listener.bind()
        path.unlink()
        assert listener.vanished()
        with listener.bind() as made:
            assert made is not given
            assert not listener.vanished()
        listener.close()
    assert not path.exists()


def test_a_given_socket_elsewhere_is_refused(short_dir: Path) -> None:
    with (
        listening(short_dir / "other.sock") as given,
        pytest.raises(Invalid, match=r"other\.sock.*jobd\.socket"),
    ):
        Listener(short_dir / "jobd.sock", 0o600, [given])


def test_a_socket_that_somebody_listens_on_is_not_taken_away(short_dir: Path) -> None:
    """systemd, say, which holds no lock, while its service is stopped."""
    path = short_dir / "jobd.sock"
    with listening(path):
        assert listening_on(path)
        with pytest.raises(Conflict, match="somebody listens"):
            Listener(path, 0o600).bind()
        assert path.is_socket()
    assert not listening_on(path)
    listener = Listener(path, 0o600)
    listener.bind().close()
    listener.close()


# the journal


def record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("jobd.test", level, "file", 1, text, None, None)


def test_a_line_goes_to_the_journal_with_priority_and_job(short_dir: Path) -> None:
    job = "76641c9d-a138-4991-ae1b-4812883eda0b-007"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(f"{short_dir}/journal")
        handler = journal.JournalHandler(f"{short_dir}/journal")
        handler.emit(record(logging.WARNING, f"kill of {job} is not through"))
        handler.emit(record(logging.ERROR, "two\nlines"))
        of_a_job = record(logging.INFO, f"ended {job}")
        of_a_job.facts = {"owner": "alice", "exit_code": 7}
        handler.emit(of_a_job)
        handler.close()
        first, second, third = (journald.recv(1000) for _ in range(3))
    assert f"MESSAGE=kill of {job} is not through\nPRIORITY=4\n".encode() in first
    assert f"JOBD_JOB_ID={job}\n".encode() in first
    assert b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\n" in second
    assert b"JOB_ID" not in second
    assert b"JOBD_OWNER=alice\nJOBD_EXIT_CODE=7\n" in third


def test_a_line_that_the_journal_does_not_take_goes_to_stderr(
    short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = journal.JournalHandler(f"{short_dir}/nobody")
    handler.emit(record(logging.ERROR, "two\nlines"))
    handler.close()
    assert capsys.readouterr().err == "<3>two\n<3>lines\n"


def test_stderr_is_the_journal_only_if_it_is_that_very_stream() -> None:
    found = os.fstat(2)
    assert journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
    assert not journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
    assert not journal.is_stderr({})


# reload


def test_differences_name_each_option_and_show_no_secrets() -> None:
    old = {
        "killWait": 15.0,
        "adminGroup": None,
        "systems": [
            {"id": "local", "environment": {"TOKEN": "abc"}, "queues": [{"name": "a", "maxJobs": 1}]},
            {"id": "gone"},
        ],
    }
    new = {
        "killWait": 20.0,
        "adminGroup": "lab",
        "systems": [
            {"id": "new"},
            {"id": "local", "environment": {"TOKEN": "xyz"}, "queues": [{"name": "a", "maxJobs": None}]},
        ],
    }
    assert list(differences(old, new)) == [
        "killWait: 15.0 -> 20.0",
        "adminGroup: none -> lab",
        "systems.local.environment.TOKEN: changed",
        "systems.local.queues.a.maxJobs: 1 -> none",
        "systems.gone: removed",
        "systems.new: added",
    ]
    assert list(differences(old, old)) == []


def reload(daemon: RunningDaemon) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobd.daemon", "reload"]
    return subprocess.run(
        command, env=daemon.environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_reload_waits_for_the_result_and_says_it(daemon: RunningDaemon) -> None:
    daemon.config.write_text("killWait: 3\n")
    found = reload(daemon)
    assert (found.returncode, found.stdout) == (0, "changed: killWait: 15.0 -> 3.0\n")
    assert "the configuration has changed: killWait: 15.0 -> 3.0" in daemon.logged()
    assert reload(daemon).stdout == "nothing has changed\n"


@pytest.mark.parametrize("config", ["killWiat: 3\n", "maxBody: 1MB\n"])
def test_reload_fails_where_the_configuration_is_not_right(daemon: RunningDaemon, config: str) -> None:
    """The file itself, or what only a restart can change."""
    daemon.config.write_text(config)
    found = reload(daemon)
    assert found.returncode == 78
    assert "the configuration stays as it was" in found.stderr
    assert "the configuration stays as it was" in daemon.logged()
    assert daemon.run("true")["status"] == "FINISHED"


def test_reload_without_a_daemon(daemon: RunningDaemon) -> None:
    assert daemon.process is not None
    assert holder(str(daemon.state)) == daemon.process.pid
    daemon.stop()
    assert holder(str(daemon.state)) == 0
    found = reload(daemon)
    assert (found.returncode, "no daemon" in found.stderr) == (75, True)


def test_what_is_for_the_daemon_alone_reaches_none_that_it_starts(short_dir: Path) -> None:
    with RunningDaemon(
        short_dir, NOTIFY_SOCKET=f"{short_dir}/nobody", LISTEN_FDS="0", LISTEN_PID="1"
    ) as daemon:
        pid = keeper(daemon)
        assert has_in_environment(pid, f"HOME={short_dir}")
        assert not has_in_environment(pid, f"NOTIFY_SOCKET={short_dir}/nobody")
        assert not has_in_environment(pid, "LISTEN_FDS=0")


# install


class Package:
    """What `jobd install --root` puts below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units = root / "usr/local/lib/systemd/system"
        self.config = root / "etc/jobd/jobd.yaml"

    def jobd(self, *words: str) -> list[list[str]]:
        """The lines it says, in words."""
        command = [sys.executable, "-m", "jobd.daemon", *words, "--root", str(self.root)]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert found.returncode == 0, found.stderr
        return [line.split() for line in found.stdout.splitlines()]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "root")


def test_install_says_what_it_would_do_and_does_it_and_then_has_nothing_to_do(package: Package) -> None:
    would = package.jobd("install", "--dry-run")
    assert package.files() == set()
    done = package.jobd("install")
    assert [line[0] for line in done] == ["wrote"] * 5
    assert [line[-1] for line in would] == [line[-1] for line in done]
    assert package.files() == {
        "etc/jobd/jobd.yaml",
        *(f"usr/local/lib/systemd/system/{name}" for name in UNITS),
    }
    assert [line[0] for line in package.jobd("install")] == ["unchanged"] * 4 + ["kept"]


def test_install_replaces_units_and_keeps_a_configuration(package: Package) -> None:
    package.jobd("install")
    package.config.write_text("killWait: 3\n")
    (package.units / "jobd.service").write_text("old")
    assert [line[0] for line in package.jobd("install")] == ["wrote", *["unchanged"] * 3, "kept"]
    assert package.config.read_text() == "killWait: 3\n"
    assert f"{os.path.abspath(sys.executable)} -P -m jobd.daemon --system" in (
        (package.units / "jobd.service").read_text()
    )


def test_uninstall_takes_away_the_units_alone(package: Package) -> None:
    package.jobd("install")
    package.config.write_text("killWait: 3\n")
    said = package.jobd("uninstall")
    assert [line[0] for line in said] == ["removed"] * 4 + ["Jobs"]
    assert package.files() == {"etc/jobd/jobd.yaml"}
    assert len(package.jobd("uninstall")) == 1


def test_a_person_who_may_not_is_told_what_to_do(package: Package) -> None:
    package.root.parent.chmod(0o755)
    command = [sys.executable, "-m", "jobd.daemon", "install", "--root", "/proc/nowhere"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 78
    assert "/proc/nowhere" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_python_with_a_strange_name_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", '/srv/my "100%" $HOME/python')
    assert 'ExecStart="/srv/my \\"100%%\\" $$HOME/python" -P' in unit("jobd.service", user=False)


# the units themselves

SYSTEM = [ROOT / "systemd" / name for name in UNITS]
PERSONAL = [ROOT / "systemd/user" / name for name in UNITS[:3]]
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": "/run", "HOME": "/nonexistent"}
    command = ["systemd-analyze", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@needs_analyze
@pytest.mark.parametrize(("units", "whose"), [(SYSTEM, []), (PERSONAL, ["--user"])], ids=["system", "user"])
def test_systemd_finds_nothing_wrong_with_the_units(
    tmp_path: Path, units: list[Path], whose: list[str]
) -> None:
    for path in units:
        text = path.read_text().replace("/opt/jobd/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text)
    found = analyze(
        "verify", *whose, "--man=no", "--recursive-errors=no", *(tmp_path / one.name for one in units)
    )
    assert (found.returncode, found.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("jobd.service", 89),  # what it cannot be denied, since jobs inherit it, is said in the unit
        ("jobd-jobs.service", 18),
    ],
)
def test_they_are_exposed_no_more_than_they_must_be(name: str, threshold: int) -> None:
    found = analyze("security", "--offline=true", f"--threshold={threshold}", ROOT / "systemd" / name)
    assert found.returncode == 0, found.stdout
    assert analyze("security", "--offline=true", "--threshold=1", ROOT / "systemd" / name).returncode != 0


def test_nothing_that_works_by_the_control_group_keeps_from_jobs_what_they_need() -> None:
    """Jobs come into the control group of jobd-jobs.service, and inherit all else from jobd.service."""
    forbidden = {
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "ProtectClock",
        "MemoryMax",
        "IPAddressDeny",
    }
    assert not forbidden & settings("jobd-jobs.service")
    assert settings("jobd-jobs.service") >= {"Delegate", "OOMPolicy", "TasksMax", "RefuseManualStop"}
    inherited = {"NoNewPrivileges", "ProtectHome", "ProtectSystem", "PrivateTmp", "SystemCallFilter", "User"}
    assert not (forbidden | inherited) & settings("jobd.service")


def settings(name: str) -> set[str]:
    lines = (ROOT / "systemd" / name).read_text().splitlines()
    return {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}


def test_jobs_are_never_stopped_because_the_daemon_is() -> None:
    assert not settings("jobd-jobs.service") & {"PartOf", "BindsTo", "Requires", "Wants", "StopWhenUnneeded"}


def test_lock_and_word_survive_each_other(daemon: RunningDaemon) -> None:
    """Whoever looks for the daemon finds whole facts, before and after a reload."""
    before = json.loads((daemon.state / "lock").read_text())
    daemon.hangup()
    until(lambda: json.loads((daemon.state / "lock").read_text())["reloads"] == 1, what="it has reloaded")
    after = json.loads((daemon.state / "lock").read_text())
    assert (after["pid"], after["socket"]) == (before["pid"], before["socket"])
