"""The whole life of the service, under a real systemd: installed, restarted, killed, hung, stopped, reloaded,
upgraded, rebooted; each job runs on, and each exit code arrives (T8)."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.daemon import until
from tests.lab import PYTHON, SOCKET, Lab, public_python
from tests.systemd import ROOT, why_not

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.skipif(not public_python(), reason="no Python that other users may run"),
    pytest.mark.timeout(300),
]

Job = dict[str, Any]
CONFIG = "killWait: 5\nsystems: [{id: local, killGrace: 1, slots: {processors: 64}}]\n"
_JOBS = "/jobd.slice/jobd-jobs.service"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as booted:
        booted.serve(CONFIG)
        yield booted


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """For tests after which it cannot be used any more."""
    with Lab() as booted:
        booted.serve(CONFIG)
        yield booted


class Gate:
    """A job that runs until it may end, with that code."""

    def __init__(self, lab: Lab, code: int = 7) -> None:
        self.lab = lab
        self.place = f"/var/tmp/{uuid.uuid4()}"
        script = f"while [ ! -e {self.place} ]; do sleep 0.02; done; exit {code}"
        self.id = lab.submit("sh", "-c", script)["id"]
        self.job = lab.in_status(self.id, "RUNNING")

    def open(self) -> None:
        self.lab.path(self.place).touch()

    def ended(self) -> Job:
        self.open()
        return self.lab.ended(self.id)


# restarts


def restart(lab: Lab) -> None:
    lab.do("systemctl", "restart", "jobd")


def kill9(lab: Lab) -> None:
    """systemd starts another one."""
    before = lab.main_pid()
    lab.do("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "jobd.service")
    until(lambda: lab.main_pid() not in ("0", before), what="it is started again")


def hang(lab: Lab) -> None:
    """The watchdog ends it, and it is started again."""
    drop_in(lab, "jobd.service", "[Service]\nWatchdogSec=2\n")
    lab.do("systemctl", "restart", "jobd")
    before = lab.main_pid()
    lab.do("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "jobd.service")
    until(lambda: lab.main_pid() not in ("0", before), 60.0, "the watchdog has done its work")
    log = lab.log("-u", "jobd")
    assert "watchdog timeout" in log.lower()
    assert "Fatal Python error: Aborted" in log  # and where every thread was
    drop_in(lab, "jobd.service", "")


def stop_and_call(lab: Lab) -> None:
    """The first call starts it again."""
    lab.do("systemctl", "stop", "jobd.service")
    assert lab.property("jobd.service", "ActiveState") == "inactive"


def replace_units(lab: Lab) -> None:
    lab.do("systemctl", "daemon-reload")
    lab.do("systemctl", "try-restart", "jobd.service", "jobd.socket")


def drop_in(lab: Lab, unit: str, text: str) -> None:
    place = lab.path(f"/run/systemd/system/{unit}.d")
    place.mkdir(parents=True, exist_ok=True)
    (place / "test.conf").write_text(text)
    lab.do("systemctl", "daemon-reload")


@pytest.mark.parametrize("blow", [restart, kill9, hang, stop_and_call, replace_units])
def test_T8_a_job_runs_on_and_its_exit_code_arrives(lab: Lab, blow: Callable[[Lab], None]) -> None:
    gate, over_meanwhile = Gate(lab), Gate(lab, code=9)
    before = lab.main_pid()
    holder = lab.main_pid("jobd-jobs.service")
    over_meanwhile.open()
    blow(lab)
    assert lab.ended(over_meanwhile.id)["exitCode"] == 9
    job = lab.job(gate.id)
    assert (job["status"], job["localId"]) == ("RUNNING", gate.job["localId"])
    assert lab.main_pid() not in ("0", before)
    assert lab.main_pid("jobd-jobs.service") == holder
    assert gate.ended()["exitCode"] == 7


def test_units_cannot_be_stopped_by_a_slip(lab: Lab) -> None:
    """needrestart does it, too, after an upgrade of libc."""
    gate = Gate(lab)
    for words in (
        ("stop", "jobd-jobs"),
        ("restart", "jobd-jobs"),
        ("restart", "jobd*"),
        ("stop", "jobd.slice"),
    ):
        assert "refused" in lab.run("systemctl", *words).stderr
    assert gate.ended()["exitCode"] == 7


@pytest.mark.slow
def test_no_call_is_lost_in_20_restarts(lab: Lab) -> None:
    """Each call a connection of its own, by a caller who does not try again."""
    with Calls(str(lab.socket)) as calls:
        for _ in range(20):
            restart(lab)
            until(lambda seen=calls.answered[200]: calls.answered[200] > seen, what="calls are answered")
    assert set(calls.answered) == {200}, calls.answered
    assert calls.answered[200] > 40


class Calls:
    """A stream of them from three threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answered: Counter[Any] = Counter()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def __enter__(self) -> Calls:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            self.answered[self._call()] += 1

    def _call(self) -> object:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(60)
                connection.connect(self.path)
                connection.sendall(b"GET /jobs/v2?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                head = connection.makefile("rb").readline()
            return int(head.split()[1]) if head else "closed without an answer"
        except OSError as error:
            return str(error)


# where things are


def test_everybody_is_where_they_belong(lab: Lab) -> None:
    gate = Gate(lab)
    doctor = lab.client().doctor()["containment"]
    names = {processes.name(pid) for pid in lab.pids(f"{_JOBS}/keeper")}
    job = lab.pids(f"{doctor['cgroup'].removeprefix('/sys/fs/cgroup')}/{gate.job['tag']}")
    assert names == {"sleep", "jobd-keeper", "jobd-job"}
    assert [processes.name(pid) for pid in lab.pids("/system.slice/jobd.service")] == ["python"]
    assert (doctor["rung"], doctor["endsWith"]) == ("cgroup", "")
    assert doctor["cgroup"].startswith(f"/sys/fs/cgroup{_JOBS}/jobd-0-")
    assert job
    assert set(job).isdisjoint(lab.pids(f"{_JOBS}/keeper"))
    assert not lab.path(f"/sys/fs/cgroup{_JOBS}/cgroup.procs").read_text()
    gate.ended()


def test_jobs_have_the_controllers_that_there_are(lab: Lab) -> None:
    offered = set(lab.path(f"/sys/fs/cgroup{_JOBS}/cgroup.controllers").read_text().split())
    wanted = offered & {"memory", "cpu", "pids"}
    assert set(lab.client().doctor()["containment"]["controllers"]) == wanted
    if not offered:  # a machine that binds them to cgroup v1
        assert not lab.client().doctor()["containment"]["memory_limit"]


def test_the_guard_against_the_oom_killer_is_not_the_jobs(lab: Lab) -> None:
    assert lab.property("jobd-jobs.service", "OOMScoreAdjust") == "-900"
    assert lab.property("jobd-jobs.service", "OOMPolicy") == "continue"
    job = lab.ended(lab.submit("sh", "-c", 'exit "$(cat /proc/self/oom_score_adj)"')["id"])
    assert job["exitCode"] == 0


def test_doctor_says_what_to_do_where_jobs_would_end_with_the_daemon(own_lab: Lab) -> None:
    """An older unit, or one of an admin's own."""
    drop_in(own_lab, "jobd.service", "[Unit]\nBindsTo=\n")
    text = own_lab.path("/usr/local/lib/systemd/system/jobd.service").read_text()
    own_lab.path("/etc/systemd/system/jobd.service").write_text(text.replace("BindsTo=jobd-jobs.service", ""))
    own_lab.do("systemctl", "kill", "jobd-jobs.service")
    until(lambda: own_lab.property("jobd-jobs.service", "ActiveState") == "inactive")
    own_lab.do("systemctl", "daemon-reload")
    restart(own_lab)
    found = own_lab.jobctl("doctor")
    assert found.returncode == 1
    assert "! jobs are in the control group of jobd.service and end with it" in found.stdout
    own_lab.path("/etc/systemd/system/jobd.service").unlink()
    own_lab.do("systemctl", "daemon-reload")
    restart(own_lab)
    assert own_lab.jobctl("doctor").returncode == 0


def test_two_people_do_what_the_readme_says(lab: Lab) -> None:
    for user in "alice", "bob":
        found = lab.jobctl("run", "--", "sh", "-c", 'echo "hello from $(id -un) in $HOME"; exit 3', user=user)
        assert (found.returncode, found.stdout) == (3, f"hello from {user} in /home/{user}\n"), found.stderr
        listed = lab.jobctl("show", "last", "--json", user=user)
        assert json.loads(listed.stdout)["owner"] == user
        assert f"unix://{SOCKET} answers" in lab.jobctl("doctor", user=user).stdout


def test_T8_on_a_lower_rung_jobs_outlive_the_daemon_too(own_lab: Lab) -> None:
    own_lab.path("/etc/jobd/jobd.yaml").write_text(f"containment: subreaper\n{CONFIG}")
    restart(own_lab)
    gate = Gate(own_lab)
    kill9(own_lab)
    assert own_lab.job(gate.id)["status"] == "RUNNING"
    doctor = own_lab.client().doctor()["containment"]
    assert (doctor["rung"], doctor["endsWith"]) == ("subreaper", "")
    assert gate.ended()["exitCode"] == 7


# reload


def test_a_reload_waits_and_says_what_has_changed(lab: Lab) -> None:
    config = lab.path("/etc/jobd/jobd.yaml")
    config.write_text(CONFIG.replace("killGrace: 1", "killGrace: 2"))
    lab.do("systemctl", "reload", "jobd")
    said = [line for line in lab.log("-u", "jobd").splitlines() if "killGrace" in line]
    assert said == ["the configuration has changed: systems.local.killGrace: 1.0 -> 2.0"]
    config.write_text(CONFIG)
    lab.do("systemctl", "reload", "jobd")


def test_a_reload_of_a_bad_configuration_fails_and_changes_nothing(lab: Lab) -> None:
    config = lab.path("/etc/jobd/jobd.yaml")
    before = lab.main_pid()
    config.write_text("nonsense: 1\n")
    found = lab.run("systemctl", "reload", "jobd")
    assert found.returncode != 0
    assert "/etc/jobd/jobd.yaml:1:1: nonsense" in lab.log("-u", "jobd", "-p", "err")
    assert lab.property("jobd.service", "ActiveState") == "active"
    assert lab.main_pid() == before
    config.write_text(CONFIG)
    lab.do("systemctl", "reload", "jobd")


def test_a_bad_configuration_at_the_start_is_not_tried_again_and_again(own_lab: Lab) -> None:
    gate = Gate(own_lab)
    config = own_lab.path("/etc/jobd/jobd.yaml")
    config.write_text("nonsense: 1\n")
    assert own_lab.run("systemctl", "restart", "jobd").returncode != 0
    assert own_lab.property("jobd.service", "ExecMainStatus") == "78"
    assert own_lab.property("jobd.service", "NRestarts") == "0"
    assert "/etc/jobd/jobd.yaml:1:1: nonsense" in own_lab.log("-u", "jobd", "-p", "err")
    config.write_text(CONFIG)
    restart(own_lab)
    assert own_lab.job(gate.id)["status"] == "RUNNING"
    assert gate.ended()["exitCode"] == 7


def test_calls_that_find_a_bad_configuration_do_not_start_it_for_ever(own_lab: Lab) -> None:
    """The socket gives up, the caller hears it, and once the fault is mended one restart is enough."""
    own_lab.do("systemctl", "stop", "jobd")
    own_lab.path("/etc/jobd/jobd.yaml").write_text("nonsense: 1\n")
    assert own_lab.jobctl("list").returncode == 75
    until(lambda: own_lab.property("jobd.socket", "ActiveState") == "failed", 60.0, "the socket gives up")
    own_lab.path("/etc/jobd/jobd.yaml").write_text(CONFIG)
    until(lambda: own_lab.run("systemctl", "restart", "jobd").returncode == 0, 60.0, "it starts again")
    assert own_lab.jobctl("list").returncode == 0


def test_a_second_daemon_is_refused_and_takes_nothing_away(lab: Lab) -> None:
    found = lab.run(PYTHON, "-P", "-m", "jobd.daemon", "--system", PYTHONPATH="/srv/jobd")
    assert found.returncode == 75, found.stderr
    lab.do("systemctl", "stop", "jobd")
    found = lab.run(
        *(PYTHON, "-P", "-m", "jobd.daemon", "--system"),
        PYTHONPATH="/srv/jobd",
        JOBD_STATE_DIR="/var/tmp/other",
    )
    assert (found.returncode, "somebody listens" in found.stderr) == (75, True), found.stderr
    assert lab.jobctl("list").returncode == 0


# the journal


@pytest.mark.slow
def test_the_journal_has_priorities_and_jobs(lab: Lab) -> None:
    """Of a job whose hand-over is in doubt, for its keeper hangs."""
    keeper = next(pid for pid in lab.pids(f"{_JOBS}/keeper") if processes.name(pid) == "jobd-keeper")
    processes_signal(keeper, signal.SIGSTOP)
    job = lab.submit("true")

    def entries() -> list[dict[str, Any]]:
        lines = lab.log("-o", "json", "-p", "warning", f"JOBD_JOB_ID={job['id']}").splitlines()
        return [json.loads(line) for line in lines]

    (entry, *_) = until(entries, 60.0, "there is a warning about it")
    processes_signal(keeper, signal.SIGCONT)
    assert (entry["PRIORITY"], entry["_SYSTEMD_UNIT"]) == ("4", "jobd.service")
    assert (entry["SYSLOG_IDENTIFIER"], entry["JOBD_LOGGER"]) == ("jobd", "jobd.engine.handover")
    assert job["id"] in entry["MESSAGE"]
    assert lab.ended(job["id"])["exitCode"] == 0


def processes_signal(pid: int, number: signal.Signals) -> None:
    subprocess.run(["kill", f"-{number.value}", str(pid)], check=True)


# upgrade


def newer(place: Path) -> Path:
    """This checkout with a later version's number, and records with something more in them."""
    shutil.copytree(
        ROOT / "jobd", place / "jobd", symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in "backends", "config", "systemd":
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    edit(place / "jobd/__init__.py", '__version__ = "', '__version__ = "9.')
    edit(place / "jobd/keeper/record.py", "VERSION = 1", "VERSION = 2")
    edit(place / "jobd/keeper/record.py", '{"version": VERSION,', '{"version": VERSION, "added_later": [1],')
    return place


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_T8_an_upgrade_and_the_way_back_with_running_jobs(tmp_path: Path) -> None:
    place = newer(tmp_path / "newer")
    with Lab(share={place: "/srv/newer"}) as lab:
        lab.serve(CONFIG)
        first = Gate(lab, code=3)
        assert "next: systemctl restart jobd" in lab.jobd("install", source="/srv/newer")
        restart(lab)
        assert lab.client().health()["version"].startswith("9.")
        second = Gate(lab, code=4)
        assert versions(lab, first, second) == [1, 2]
        assert first.ended()["exitCode"] == 3
        third = Gate(lab, code=5)
        lab.jobd("install")
        restart(lab)
        assert second.ended()["exitCode"] == 4
        assert third.ended()["exitCode"] == 5


def versions(lab: Lab, *gates: Gate) -> list[int]:
    """Of the records that their supervisors write."""
    attempts = lab.path("/var/lib/jobd/attempts")
    return [
        json.loads((attempts / gate.job["tag"]).read_bytes().split(b"\n")[0])["version"] for gate in gates
    ]


# the end of the unit, and of the machine


def test_when_the_holder_dies_jobs_are_told_lost_and_all_starts_anew(own_lab: Lab) -> None:
    gate, holder = Gate(own_lab), own_lab.main_pid("jobd-jobs.service")
    own_lab.do("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "jobd-jobs.service")
    until(lambda: own_lab.main_pid("jobd-jobs.service") not in ("0", holder), what="there is a holder again")
    job = own_lab.ended(gate.id)
    assert (job["status"], job["condition"] in ("NODE_LOST", "SIGNAL")) == ("FAILED", True), job
    assert Gate(own_lab).ended()["exitCode"] == 7
    assert own_lab.client().doctor()["containment"]["endsWith"] == ""


def test_T8_after_a_reboot_running_jobs_are_lost_and_queued_ones_run(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    share = {tmp_path / "state": "/var/lib/jobd"}
    one = "systems: [{id: local, slots: {processors: 1}}]\n"
    with Lab(share=share) as lab:
        lab.serve(one)
        running = Gate(lab)
        queued = lab.submit("sh", "-c", "exit 5")
        lab.in_status(queued["id"], "STAGED")
    with Lab(share=share, boot_id=str(uuid.uuid4())) as lab:
        lab.serve(one)
        lost = lab.ended(running.id)
        assert (lost["status"], lost["condition"]) == ("FAILED", "NODE_LOST")
        assert lab.ended(queued["id"])["exitCode"] == 5


def test_at_shutdown_jobs_are_told_and_the_record_says_why(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    share = {tmp_path / "state": "/var/lib/jobd"}
    with Lab(share=share) as lab:
        lab.serve(CONFIG)
        script = "trap 'echo told; exit 6' TERM; while :; do sleep 0.02; done"
        job = lab.submit("sh", "-c", script)
        lab.in_status(job["id"], "RUNNING")
        lab.run("systemctl", "poweroff")
        until(lab.is_off, 60.0, "the machine is off")
    with Lab(share=share, boot_id=str(uuid.uuid4())) as lab:
        lab.serve(CONFIG)
        lost = lab.ended(job["id"])
        assert (lost["condition"], lost["exitCode"]) == ("NODE_LOST", 6), lost
        assert "being stopped" in lost["reason"]


# taken away


def test_uninstall_leaves_jobs_store_and_configuration(own_lab: Lab) -> None:
    gate = Gate(own_lab)
    own_lab.jobd("uninstall")
    assert own_lab.jobctl("list").returncode == 75
    assert own_lab.property("jobd-jobs.service", "ActiveState") == "active"
    gate.open()
    own_lab.serve()
    assert own_lab.path("/etc/jobd/jobd.yaml").read_text() == CONFIG
    assert own_lab.ended(gate.id)["exitCode"] == 7


# a person's own


def test_a_person_has_the_same_by_their_own_systemd(lab: Lab) -> None:
    uid = lab.do("id", "-u", "alice").strip()
    lab.do("systemctl", "start", f"user@{uid}")
    alice: dict[str, str] = {"user": "alice", "XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    assert "next: systemctl --user enable --now jobd" in lab.jobd("install", "--user", **alice)
    lab.do("systemctl", "--user", "enable", "--now", "jobd", **alice)
    script = "while [ ! -e gate ]; do sleep 0.02; done; exit 4"
    submitted = lab.jobctl("--user", "submit", "-q", "--", "sh", "-c", f"cd; {script}", **alice)
    assert submitted.returncode == 0, submitted.stderr
    until(lambda: "RUNNING" in lab.jobctl("--user", "list", **alice).stdout, what="it runs")
    lab.do("systemctl", "--user", "restart", "jobd", **alice)
    doctor = lab.jobctl("--user", "doctor", **alice)
    assert "app.slice/jobd-jobs.service/jobd-" in doctor.stdout
    assert "RUNNING" in lab.jobctl("--user", "list", **alice).stdout
    lab.do("touch", "/home/alice/gate", user="alice")
    assert lab.jobctl("--user", "wait", "last", **alice).returncode == 4
    said = lab.jobd("uninstall", "--user", **alice)
    assert "/home/alice/.config/jobd/jobd.yaml stay" in said
