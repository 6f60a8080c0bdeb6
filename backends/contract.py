"""What every backend must keep, as tests. A site runs them over its own backend, in one command:

    $ python -m jobd.backends.contract ours.OurBackend --directory /shared/tmp --options '{"host": "c"}'

or, to say more of its system, from a file of its own, which pytest then runs:

    class TestOurs(BackendContract):
        @pytest.fixture
        def site(self, tmp_path):
            yield Site(OurBackend({"host": "cluster"}, persons), tmp_path, enforces_time=False)

(`persons` is a started jobd.keeper.persons.Persons; a backend that does nothing as a person can have None.)

Real jobs run on the real system: the directory given to `Site` must be one that its nodes see. Nothing is
taken for granted of how fast the system is but `patience`. What a system cannot do (tell a signal, say) is
left out by the flags of `Site`. The T-numbers are those of the README's table of truths.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jobd.backend import Backend, Phase, Placed, Report, Ticket, load
from jobd.keeper.persons import Persons
from jobd.status import Condition, judge

T = TypeVar("T")

_NAMED = "JOBD_CONTRACT"


@dataclass
class Site:
    """A backend, and what the suite needs to know of its system."""

    backend: Backend
    directory: Path
    """Seen by the nodes; the jobs work below it."""
    user: str = field(default_factory=getpass.getuser)
    queue: str = ""
    patience: float = 30.0
    """Seconds within which the system does what it is asked."""
    again: Callable[[], Backend] | None = None
    """Another backend object on the same system, as after a restart of the daemon; None: `backend` serves."""
    tells_signals: bool = True
    enforces_time: bool = True
    contains_everything: bool = True
    """Kill reaches processes that have left their session."""
    options: dict[str, Any] = field(default_factory=dict)

    def ticket(self, *argv: str, **more: Any) -> Ticket:
        tag = new_tag()
        workspace = self.directory / f"job-{tag}"
        facts: dict[str, Any] = {
            "tag": tag,
            "job_id": f"{tag}-007",
            "name": "contract",
            "user": self.user,
            "argv": argv,
            "directory": str(self.directory),
            "workspace": str(workspace),
            "stdout": str(workspace / "contract.out"),
            "stderr": str(workspace / "contract.err"),
            "environment": {"PATH": os.environ.get("PATH", os.defpath)},
            "queue": self.queue,
            "kill_grace": 1.0,
            "options": self.options,
        }
        return Ticket(**(facts | more))

    def shell(self, script: str, **more: Any) -> Ticket:
        return self.ticket("/bin/sh", "-c", script, **more)

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Looks until there is something to see."""
        deadline = time.monotonic() + self.patience
        while (found := look()) is None:
            assert time.monotonic() < deadline, f"not within {self.patience:g} s: {what}"
            time.sleep(0.01)
        return found

    def report(self, placed: Placed) -> Report | None:
        """The backend's word on one job; silence is not an answer."""
        return self.backend.poll([placed]).get(placed.tag)

    def until_phase(self, placed: Placed, *phases: Phase) -> Report:
        def look() -> Report | None:
            report = self.report(placed)
            return report if report and report.phase in phases else None

        return self.until(look, f"{placed.tag} {' or '.join(phases)}")

    def end(self, placed: Placed) -> Report:
        return self.until_phase(placed, Phase.ENDED)

    def running(self, placed: Placed, sign: Path) -> Placed:
        """The job, once its program has made that file; with the local id it has by then."""
        self.until(lambda: sign.exists() or None, f"{placed.tag} made {sign.name}")
        report = self.until_phase(placed, Phase.RUNNING)
        return replace(placed, local_id=report.local_id or placed.local_id)


def new_tag() -> str:
    return "j" + base64.b32encode(secrets.token_bytes(9)).decode().lower()[:13]


def condition(report: Report) -> Condition:
    return report.condition or judge(report.exit_code, report.signal)


def lines(path: Path | str) -> list[str]:
    return Path(path).read_text().splitlines()


HOSTILE = """
trap '' TERM
/bin/sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done' &
setsid /bin/sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done' &
setsid env -i /bin/sh -c '/bin/sh -c "trap \\"\\" TERM; echo \\$\\$ >> pids; while :; do /bin/sleep 1; done" &
exit 0' & echo $$ >> pids
wait
"""
"""A plain child, one in a session of its own, a double-forked one with an empty environment; none hears
TERM."""


class BackendContract:
    """Subclass it and give it a fixture `site`, or name a backend on the command line."""

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        """What the command line named."""
        named = json.loads(os.environ[_NAMED])
        directory = Path(tempfile.mkdtemp(prefix="jobd-contract-", dir=named["directory"]))
        persons = Persons(directory / "state")
        persons.start()
        yield Site(load(named["backend"], named["options"], persons), directory, queue=named["queue"])
        persons.close()
        shutil.rmtree(directory, ignore_errors=True)

    # taken once, and found

    def test_T2_submitted_job_is_found_by_its_tag(self, site: Site) -> None:
        ticket = site.shell("exit 0")
        placed = site.backend.submit(ticket)
        site.end(placed)
        found = (site.again() if site.again else site.backend).find(ticket)
        assert found is not None
        assert (found.tag, found.owner) == (ticket.tag, ticket.user)
        if placed.local_id:
            assert found.local_id == placed.local_id

    def test_T2_never_submitted_is_known_for_certain(self, site: Site) -> None:
        assert site.backend.find(site.shell("exit 0")) is None

    def test_T2_the_same_ticket_twice_runs_once(self, site: Site) -> None:
        ticket = site.shell("echo ran >> runs; exit 4")
        ticket = replace(ticket, directory=str(_directory(site, ticket)))
        placed = site.backend.submit(ticket)
        try:
            second = site.backend.submit(ticket)
        except Exception as refusal:
            second = site.backend.find(ticket) or pytest.fail(f"{refusal}, and not found")
        ends = [site.end(each) for each in (placed, second)]
        assert 4 in [end.exit_code for end in ends]
        assert lines(Path(ticket.directory) / "runs") == ["ran"]

    def test_T3_placed_names_tag_owner_and_a_string_of_an_id(self, site: Site) -> None:
        ticket = site.shell("echo up > up; sleep 60", directory=str(_directory(site)))
        placed = site.backend.submit(ticket)
        running = site.running(placed, Path(ticket.directory) / "up")
        assert (placed.tag, placed.owner) == (ticket.tag, ticket.user)
        assert isinstance(running.local_id, str)
        assert running.local_id
        assert abs(placed.submitted - time.time()) < 3600
        site.backend.kill(running)
        site.end(running)

    def test_T3_a_job_of_another_tag_under_the_same_id_is_not_touched(self, site: Site) -> None:
        ticket = site.shell("echo up > up; sleep 60", directory=str(_directory(site)))
        placed = site.running(site.backend.submit(ticket), Path(ticket.directory) / "up")
        stale = replace(placed, tag=new_tag(), handle={})
        with _any_error():
            site.backend.kill(stale)
        for _ in range(20):
            report = site.report(placed)
            assert report is None or report.phase is Phase.RUNNING
            time.sleep(0.02)
        site.backend.kill(placed)
        assert condition(site.end(placed)) is Condition.KILLED

    # silence

    def test_T4_an_unknown_job_is_absent_and_not_ended(self, site: Site) -> None:
        placed = site.backend.submit(site.shell("exit 0"))
        site.end(placed)
        unknown = replace(placed, tag=new_tag(), local_id="999999999")
        reports = site.backend.poll([unknown, placed])
        unheard, ended = reports.get(unknown.tag), reports[placed.tag]
        assert unheard is None or unheard.phase is not Phase.ENDED
        assert ended is not None
        assert ended.phase is Phase.ENDED

    def test_T4_a_poll_of_nothing_is_empty(self, site: Site) -> None:
        assert dict(site.backend.poll([])) == {}

    def test_T9_many_jobs_in_one_poll(self, site: Site) -> None:
        tickets = [site.shell(f"exit {code}") for code in range(8)]
        with ThreadPoolExecutor(8) as threads:
            placed = list(threads.map(site.backend.submit, tickets))

        def all_over() -> bool | None:
            reports = site.backend.poll(placed)
            over = [tag for tag, report in reports.items() if report and report.phase is Phase.ENDED]
            return len(over) == len(placed) or None

        site.until(all_over, "all over")
        reports = site.backend.poll(placed)
        told = [report and report.exit_code for report in map(reports.get, (each.tag for each in tickets))]
        assert told == list(range(8))

    # the ending

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            (0, Condition.NORMAL),
            (1, Condition.EXIT_CODE),
            (137, Condition.EXIT_CODE),
            (255, Condition.EXIT_CODE),
        ],
    )
    def test_T5_exit_code_is_exact(self, site: Site, code: int, expected: Condition) -> None:
        report = site.end(site.backend.submit(site.shell(f"exit {code}")))
        assert (report.exit_code, report.signal, condition(report)) == (code, None, expected)
        assert report.evidence

    def test_T5_signal_is_told(self, site: Site) -> None:
        if not site.tells_signals:
            pytest.skip("this system does not tell signals")
        report = site.end(site.backend.submit(site.shell("kill -SEGV $$")))
        assert (report.signal, condition(report)) == (signal.SIGSEGV, Condition.SIGNAL)

    def test_T5_times_are_in_order(self, site: Site) -> None:
        before = time.time()
        report = site.end(site.backend.submit(site.shell("sleep 0.3")))
        assert report.started is not None
        assert report.ended is not None
        assert before - 2 <= report.started <= report.ended <= time.time() + 2
        assert report.usage.wall is None or report.usage.wall >= 0.2

    def test_T8_an_ending_is_told_again_to_a_new_daemon(self, site: Site) -> None:
        placed = site.backend.submit(site.shell("exit 7"))
        site.end(placed)
        if site.again:
            site.backend = site.again()
        assert site.end(placed).exit_code == 7
        assert site.end(placed).exit_code == 7

    # what the job sees

    def test_streams_directory_and_arguments(self, site: Site) -> None:
        directory = _directory(site)
        (directory / "in").write_text("given\n")
        script = 'cat; pwd; printf "%s|" "$@"; echo err >&2'
        strange = ["a b", "", "$HOME", "é", "'\"\\"]
        ticket = site.ticket("/bin/sh", "-c", script, "sh", *strange, directory=str(directory), stdin="in")
        report = site.end(site.backend.submit(ticket))
        assert report.exit_code == 0, report
        assert Path(ticket.stdout).read_text() == f"given\n{directory}\n{'|'.join(strange)}|"
        assert Path(ticket.stderr).read_text() == "err\n"

    def test_environment_is_the_tickets(self, site: Site) -> None:
        ticket = site.shell('echo "$GREETING"; env')
        ticket = replace(ticket, environment={**ticket.environment, "GREETING": "two\nlines = $x"})
        site.end(site.backend.submit(ticket))
        assert Path(ticket.stdout).read_text().startswith("two\nlines = $x\n")

    def test_without_standard_input_it_is_empty(self, site: Site) -> None:
        ticket = site.shell("wc -c")
        site.end(site.backend.submit(ticket))
        assert lines(ticket.stdout)[0].strip() == "0"

    def test_workspace_is_made_and_private(self, site: Site) -> None:
        ticket = site.shell("exit 0")
        site.end(site.backend.submit(ticket))
        assert Path(ticket.workspace).stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("argv", [("/no/such/program",), ("no-such-program-anywhere",), ("/etc/passwd",)])
    def test_a_command_that_cannot_run_ends_and_says_so(self, site: Site, argv: tuple[str, ...]) -> None:
        report = site.end(site.backend.submit(site.ticket(*argv)))
        assert condition(report) in (Condition.LAUNCH_FAILED, Condition.EXIT_CODE)
        assert argv[0] in report.reason or report.exit_code in (126, 127)

    def test_a_directory_that_is_not_there_ends_and_says_so(self, site: Site) -> None:
        report = site.end(site.backend.submit(site.shell("exit 0", directory=str(site.directory / "gone"))))
        assert condition(report) in (Condition.LAUNCH_FAILED, Condition.EXIT_CODE)
        assert report.exit_code != 0

    # killed means gone

    def test_T6_kill_ends_it_and_says_killed(self, site: Site) -> None:
        ticket = site.shell("echo up > up; sleep 60", directory=str(_directory(site)))
        placed = site.running(site.backend.submit(ticket), Path(ticket.directory) / "up")
        site.backend.kill(placed)
        site.backend.kill(placed)
        assert condition(site.end(placed)) is Condition.KILLED
        site.backend.kill(placed)  # and again when it is long over

    def test_T6_kill_gives_time_to_tidy_up(self, site: Site) -> None:
        script = "trap 'echo bye > bye; exit 3' TERM; echo up > up; while :; do sleep 0.05; done"
        ticket = site.shell(script, directory=str(_directory(site)), kill_grace=10.0)
        placed = site.running(site.backend.submit(ticket), Path(ticket.directory) / "up")
        site.backend.kill(placed)
        assert condition(site.end(placed)) is Condition.KILLED
        assert (Path(ticket.directory) / "bye").exists()

    def test_T6_nothing_is_left_of_a_hostile_tree(self, site: Site) -> None:
        if not site.contains_everything:
            pytest.skip("what leaves its session escapes here")
        ticket = site.shell(HOSTILE, directory=str(_directory(site)), kill_grace=0.2)
        pids = Path(ticket.directory) / "pids"
        placed = site.backend.submit(ticket)
        site.until(lambda: (pids.exists() and len(lines(pids)) == 4) or None, "four processes")
        site.backend.kill(placed)
        assert condition(site.end(placed)) is Condition.KILLED
        assert [pid for pid in lines(pids) if _is_alive(int(pid))] == []

    def test_T7_a_kill_that_comes_late_changes_nothing(self, site: Site) -> None:
        placed = site.backend.submit(site.shell("exit 5"))
        before = site.end(placed)
        site.backend.kill(placed)
        after = site.end(placed)
        assert (
            (after.exit_code, condition(after))
            == (before.exit_code, condition(before))
            == (5, Condition.EXIT_CODE)
        )

    def test_time_limit_ends_it_whatever_it_ignores(self, site: Site) -> None:
        if not site.enforces_time:
            pytest.skip("this system enforces no time limit as short as that")
        ticket = site.shell("trap '' TERM; while :; do sleep 0.1; done", time_limit=0.5, kill_grace=0.3)
        assert condition(site.end(site.backend.submit(ticket))) is Condition.TIME_LIMIT

    def test_forget_is_harmless(self, site: Site) -> None:
        placed = site.backend.submit(site.shell("exit 0"))
        site.end(placed)
        site.backend.forget([placed])
        site.backend.forget([placed])
        report = site.report(placed)
        assert report is None or report.phase is Phase.ENDED


def _directory(site: Site, ticket: Ticket | None = None) -> Path:
    path = site.directory / f"work-{ticket.tag if ticket else new_tag()}"
    path.mkdir()
    return path


class _any_error:
    """A backend may refuse or pass over what it does not know; the job that it does know is what counts."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, Exception)


def _is_alive(pid: int) -> bool:
    """On this machine; on a cluster the suite asks what it can see."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m jobd.backends.contract", description="Tests a backend.")
    parser.add_argument("backend", help="local, or the dotted path of a class")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="one that the system's nodes see")
    parser.add_argument("--options", type=json.loads, default={}, help="the system's options, as JSON")
    parser.add_argument("--queue", default="")
    named, rest = parser.parse_known_args()
    os.environ[_NAMED] = json.dumps(vars(named))
    return pytest.main(["--pyargs", "jobd.backends.contract", "-o", "python_classes=BackendContract", *rest])


if __name__ == "__main__":
    sys.exit(main())
