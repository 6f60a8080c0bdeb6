"""The PBS backend on the stand-in, and all that was seen to go wrong with a real one: each trap a test."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobd import yamlfile
from jobd.backend import Finding, Phase, Placed, load
from jobd.backends import pbs
from jobd.backends.contract import Site
from jobd.backends.pbs import PbsBackend
from jobd.errors import Conflict, Down, Invalid, Refused, Unavailable
from jobd.keeper.persons import Persons, own_name
from jobd.status import Condition
from tests.daemon import until
from tests.standin_pbs import StandIn

QUICK = {"timeouts": {"qstat": "0.7s", "qsub": "0.7s", "qdel": "0.7s", "qselect": "0.7s"}}
"""Not for what a busy machine may take longer for."""


@pytest.fixture
def persons(tmp_path: Path) -> Iterator[Persons]:
    one = Persons(tmp_path / "state")
    one.start()
    yield one
    one.close()


@pytest.fixture(params=["openpbs"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandIn]:
    (tmp_path / "pbs").mkdir()
    with StandIn(tmp_path / "pbs", request.param) as one:
        yield one


@pytest.fixture
def site(cluster: StandIn, persons: Persons) -> Site:
    return Site(PbsBackend(cluster.options, persons), cluster.shared)


both = pytest.mark.parametrize("cluster", ["openpbs", "torque"], indirect=True)
torque = pytest.mark.parametrize("cluster", ["torque"], indirect=True)


def options(cluster: StandIn, site: Site, **more: Any) -> Site:
    """The same with other options."""
    return replace(site, backend=PbsBackend({**cluster.options, **more}, site.backend.persons))


def up(site: Site, script: str = "sleep 60", first: str = ":") -> Placed:
    """A job that runs."""
    ticket = site.shell(f"{first}; echo up > up; {script}")
    directory = site.directory / f"work-{ticket.tag}"
    directory.mkdir()
    placed = site.backend.submit(replace(ticket, directory=str(directory)))
    return site.running(placed, directory / "up")


def number(placed: Placed) -> str:
    return placed.local_id.partition(".")[0]


# ---- a server that does not answer


@both
def test_T4_no_server_is_no_answer(cluster: StandIn, site: Site) -> None:
    """qstat prints no jobs then, as when there are none; only its exit code tells."""
    placed = up(site)
    cluster.go_down()
    ticket = site.shell("true")
    for ask in (
        lambda: site.backend.poll([placed]),
        lambda: site.backend.submit(ticket),
        lambda: site.backend.find(ticket),
        lambda: site.backend.kill(placed),
    ):
        with pytest.raises(Unavailable):
            ask()
    cluster.come_up()
    report = site.report(placed)
    assert report is not None
    assert report.phase is Phase.RUNNING


def test_T4_who_cannot_be_authenticated_gets_no_answer(cluster: StandIn, site: Site) -> None:
    placed = up(site)
    cluster.set(auth=False)
    with pytest.raises(Down, match="authenticate"):
        site.backend.poll([placed])
    with pytest.raises(Unavailable, match="authenticate"):
        site.backend.submit(site.shell("true"))


def test_T2_a_frozen_server_may_take_the_job_of_a_qsub_that_was_killed(cluster: StandIn, site: Site) -> None:
    site = options(cluster, site, **QUICK)
    ticket = site.shell("echo ran >> ran; exit 4", directory=str(site.directory))
    cluster.freeze()
    with pytest.raises(Unavailable, match="did not answer in time"):
        site.backend.submit(ticket)
    with pytest.raises(Unavailable, match="did not answer in time"):
        site.backend.find(ticket)
    with pytest.raises(Down, match="did not answer in time"):
        site.backend.poll([Placed("7.standin", ticket.tag, ticket.user, time.time())])
    cluster.thaw()
    found = site.until(lambda: site.backend.find(ticket), "the job of the killed qsub is found")
    assert site.end(found).exit_code == 4
    assert (site.directory / "ran").read_text() == "ran\n"


def test_T2_a_job_whose_id_was_never_printed_is_found(cluster: StandIn, site: Site) -> None:
    site = options(cluster, site, **QUICK)
    cluster.set(after=2)
    ticket = site.shell("exit 4")
    with pytest.raises(Unavailable, match="did not answer in time"):
        site.backend.submit(ticket)
    found = site.backend.find(ticket)
    assert found is not None
    assert site.end(found).exit_code == 4


def test_T2_handed_over_twice_it_runs_once_and_the_claim_says_which(cluster: StandIn, site: Site) -> None:
    cluster.set(slots=0)
    ticket = site.shell("echo ran >> ran; exit 4", directory=str(site.directory))
    first, second = (site.backend.submit(ticket) for _ in range(2))
    assert first.local_id != second.local_id
    assert site.backend.find(ticket) is not None
    cluster.set()
    ends = [site.end(each) for each in (first, second)]
    assert [end.exit_code for end in ends] == [4, 4]
    assert len({end.local_id for end in ends}) == 1
    assert (site.directory / "ran").read_text() == "ran\n"


def test_a_call_that_waits_for_a_free_port_is_waited_for(cluster: StandIn, site: Site) -> None:
    cluster.set(delay=1.5)
    placed = site.backend.submit(site.shell("true"))
    assert site.backend.poll([placed])[placed.tag]
    assert pbs._TIMEOUT > 40


def test_T9_one_call_at_a_time(cluster: StandIn, site: Site) -> None:
    cluster.set(delay=0.1)
    with ThreadPoolExecutor(4) as threads:
        placed = list(threads.map(lambda _: site.backend.submit(site.shell("true")), range(4)))
        list(threads.map(lambda each: site.backend.poll([each]), placed))
    assert {line[0] for line in cluster.asked()} == {1}


# ---- one query for everybody


@both
def test_T9_one_poll_is_one_qstat_without_ids(cluster: StandIn, site: Site) -> None:
    placed = [up(site) for _ in range(5)]
    before = len(cluster.asked())
    assert len(site.backend.poll(placed)) == 5
    (query,) = cluster.asked()[before:]
    assert query[1] == "qstat"
    assert not any(word[0].isdigit() for word in query[2:])


def test_T9_history_is_asked_of_a_few_at_a_time(cluster: StandIn, site: Site) -> None:
    with ThreadPoolExecutor(4) as threads:
        placed = list(threads.map(lambda _: site.backend.submit(site.shell("exit 2")), range(57)))
    until(lambda: not live(cluster), what="all are over")
    rounds = [site.backend.poll(placed) for _ in range(2)]
    assert [sum(report is None for report in told.values()) for told in rounds] == [7, 7]
    assert site.end(placed[-1]).exit_code == 2
    assert all(len(line) < 60 for line in cluster.asked("qstat"))


def live(cluster: StandIn) -> str:
    command = [cluster.options["qstat"], "-f", "-F", "dsv"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"}).stdout


def test_T4_what_nobody_knows_is_absent_and_asked_about_ever_more_seldom(
    cluster: StandIn, site: Site
) -> None:
    unknown = Placed("999.standin", "jaaaaaaaaaaaaa", own_name(), time.time(), workspace=str(site.directory))
    for _ in range(5):
        assert site.backend.poll([unknown]) == {}
    assert len([line for line in cluster.asked("qstat") if "999.standin" in line]) == 1


def test_T3_nobody_else_s_text_is_believed(cluster: StandIn, site: Site) -> None:
    """A stranger's job of the same name; one whose variables look like our job's end, in no UTF-8."""
    placed = up(site)
    end = f"Job Id: {placed.local_id}|Job_Name={placed.tag}|Job_Owner={placed.owner}@x|job_state=F"
    stranger = (
        f"Job Id: 9.standin|Job_Name={placed.tag}|Job_Owner=bob@x|job_state=F|substate=92|Exit_status=0\n"
    )
    forged = (
        f"Job Id: 8.standin|Job_Name=n|Job_Owner=bob@x|job_state=R|Variable_List=A=\\n{end}|comment=\xe9\n"
    )
    cluster.set(also=stranger + forged)
    report = site.report(placed)
    assert report is not None
    assert (report.phase, report.local_id) == (Phase.RUNNING, placed.local_id)


# ---- without a history


@both
def test_without_history_a_job_that_runs_runs(cluster: StandIn, site: Site) -> None:
    """With it off, `qstat -x` prints nothing at all, not even of live jobs, and exits with 0."""
    cluster.set(history=False)
    placed = up(site, "exec sleep 60")
    report = site.report(placed)
    assert report is not None
    assert report.phase is Phase.RUNNING
    assert site.backend.find(replace(site.shell("true"), tag=placed.tag)) is not None


@both
def test_without_history_a_queued_job_is_killed_by_qdel_s_word(cluster: StandIn, site: Site) -> None:
    cluster.set(history=False, slots=0)
    placed = site.backend.submit(site.shell("true"))
    site.backend.kill(placed)
    report = site.end(placed)
    assert (report.condition, report.exit_code, report.started) == (Condition.KILLED, None, None)
    assert "qdel took it" in report.evidence
    after = replace(site, backend=PbsBackend(cluster.options, site.backend.persons)).report(placed)
    assert after is not None, "another daemon knows, too"
    assert after.condition is Condition.KILLED


def test_without_history_what_vanished_is_not_over(cluster: StandIn, site: Site) -> None:
    cluster.set(history=False, slots=0)
    placed = site.backend.submit(site.shell("true"))
    site.backend.poll([placed])
    subprocess.run([cluster.options["qdel"], placed.local_id], check=True)
    for _ in range(3):
        assert site.report(placed) is None


def test_history_that_does_not_answer_now_leaves_the_end_open(cluster: StandIn, site: Site) -> None:
    placed = site.backend.submit(site.shell("exit 3"))
    site.end(placed)
    slow = options(cluster, site, qstat=str(_half(cluster)))
    assert slow.backend.poll([placed]) == {placed.tag: None}
    assert site.end(placed).exit_code == 3


def _half(cluster: StandIn) -> Path:
    """A qstat that has no answer to questions about history."""
    path = cluster.directory / "bin" / "half"
    real = cluster.options["qstat"]
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *-x*) echo "qstat: End of File" >&2; exit 1;; esac\nexec {real} "$@"\n'
    )
    path.chmod(0o755)
    return path


# ---- how it ended


def test_an_exit_status_does_not_end_a_job_whose_output_is_still_copied(cluster: StandIn, site: Site) -> None:
    cluster.set(copying=60)
    placed = site.backend.submit(site.shell("exit 3"))
    until(lambda: (Path(placed.workspace) / f".jobd-{placed.tag}/exit").exists(), what="its script is over")
    for _ in range(3):
        report = site.report(placed)
        assert report is not None
        assert report.phase in (Phase.QUEUED, Phase.RUNNING)
    cluster.set()


def test_a_job_that_lost_its_node_and_is_queued_again_goes_on(cluster: StandIn, site: Site) -> None:
    """It has an exit status (-20) while it waits; and the same claim when it runs again."""
    placed = up(site, 'echo up >> runs; [ "$(wc -l < runs)" = 2 ] || sleep 60; exit 6')
    cluster.set(slots=0)
    cluster.control("lose-node", number(placed), "requeue")
    waiting = site.until_phase(placed, Phase.QUEUED)
    assert "It waits for free nodes" in waiting.reason
    cluster.set()
    end = site.end(placed)
    assert (end.exit_code, end.details["restarts"]) == (6, 1)


def test_a_job_that_lost_its_node_for_good(cluster: StandIn, site: Site) -> None:
    placed = up(site)
    cluster.control("lose-node", number(placed), "end")
    end = site.end(placed)
    assert (end.condition, end.exit_code) == (Condition.NODE_LOST, None)
    assert "lost its node" in end.reason


@pytest.mark.parametrize("script", ["trap 'exit 5' TERM", "trap 'exit 0' TERM", "trap '' TERM", "true"])
def test_a_foreign_qdel_is_killed_by_whom_and_whatever_its_code(
    cluster: StandIn, site: Site, script: str
) -> None:
    placed = up(site, "while :; do sleep 0.05; done", first=script)
    subprocess.run([cluster.options["qdel"], placed.local_id], check=True)
    end = site.end(placed)
    assert (end.condition, end.reason) == (Condition.KILLED, f"terminated by {own_name()}@standin")
    if "exit" in script:
        assert end.exit_code in (int(script.split()[2].strip("'")), 143)  # see jobscript.py


@both
def test_a_queued_job_can_be_killed(cluster: StandIn, site: Site) -> None:
    cluster.set(slots=0)
    placed = site.backend.submit(site.shell("true"))
    waits = site.until_phase(placed, Phase.QUEUED)
    site.until(lambda: "free resources" in (site.report(placed) or waits).reason or None, "it says why")
    site.backend.kill(placed)
    assert site.end(placed).condition is Condition.KILLED


def test_force_is_the_last_rung_and_only_where_it_is_asked_for(cluster: StandIn, site: Site) -> None:
    def orders(site: Site) -> list[list[str]]:
        placed = up(site, "while :; do sleep 0.05; done", first="trap '' TERM")
        before = len(cluster.asked("qdel"))
        for _ in range(2):
            site.backend.kill(placed)
        return [line[2:-1] for line in cluster.asked("qdel")[before:]]

    assert orders(site) == [[], []]
    assert orders(options(cluster, site, forceAfter=0)) == [[], ["-W", "force"]]


def test_the_script_that_nobody_started_says_so(cluster: StandIn, site: Site) -> None:
    ticket = site.shell("true")
    cluster.set(slots=0)
    placed = site.backend.submit(ticket)
    attempt = Path(ticket.workspace) / f".jobd-{ticket.tag}"
    (attempt / "claim").symlink_to("revoked")
    cluster.set()
    end = site.end(placed)
    assert end.condition is Condition.LAUNCH_FAILED
    assert "another submission" in end.reason


# ---- holding


def test_hold_and_release(cluster: StandIn, site: Site) -> None:
    cluster.set(slots=0)
    placed = site.backend.submit(site.shell("exit 3"))
    site.backend.hold(placed)
    assert site.until_phase(placed, Phase.HELD).reason
    site.backend.release(placed)
    site.until_phase(placed, Phase.QUEUED)
    cluster.set()
    assert site.end(placed).exit_code == 3
    with pytest.raises(Conflict, match="any more"):
        site.backend.hold(placed)


def test_suspended_is_shown(cluster: StandIn, site: Site) -> None:
    placed = up(site)
    cluster.control("suspend", number(placed))
    assert site.until_phase(placed, Phase.SUSPENDED)


# ---- what is asked for


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((170, "qsub: Unknown queue"), Refused),
        ((187, "qsub: Unknown resource: nosuch"), Refused),
        ((188, "qsub: Job violates queue and/or server resource limits"), Refused),
        ((175, "qsub: Bad UID for job execution"), Refused),
        ((159, "qsub: Unauthorized Request "), Refused),
        ((173, "qsub: Queue is not enabled"), Unavailable),
        ((38, "qsub: would exceed queue generic's per-user limit"), Unavailable),
        ((160, "Unknown Host.\nqsub: cannot connect to server x (errno=15008)"), Down),
    ],
)
def test_refusals_and_troubles(
    cluster: StandIn, site: Site, answer: tuple[int, str], error: type[Exception]
) -> None:
    cluster.set(refuse=answer)
    with pytest.raises((Refused, Unavailable)) as raised:
        site.backend.submit(site.shell("true"))
    assert type(raised.value) is error, "Down is for what concerns everybody"
    assert str(raised.value).endswith(answer[1].splitlines()[-1].strip())


def asked_for(cluster: StandIn, site: Site, **more: Any) -> dict[str, list[str]]:
    """The options that qsub got."""
    cluster.set(slots=0)
    site.backend.submit(site.shell("true", **more))
    words = iter(cluster.asked("qsub")[-1][2:])
    found: dict[str, list[str]] = {}
    for word in words:
        found.setdefault(word, []).append("" if word == "-f" else next(words))
    return found


def test_select_is_asked_for_by_chunks(cluster: StandIn, site: Site) -> None:
    more = {
        "nodes": 2,
        "processors": 4,
        "memory": 3 << 30,
        "gpu_count": 1,
        "time_limit": 90.5,
        "queue": "long",
    }
    found = asked_for(cluster, site, **more, name="two words, é")
    assert found["-l"] == [
        "select=2:ncpus=4:mpiprocs=4:ngpus=1:mem=3145728kb",
        "place=scatter",
        "walltime=91",
    ]
    assert (found["-q"], found["-r"], found["-o"], found["-f"]) == (["long"], ["n"], ["/dev/null"], [""])
    assert found["-v"][0].endswith("JOBD_JOB_NAME=two_words___")
    assert len(found["-N"][0]) <= 15


def test_a_queue_can_say_more(cluster: StandIn, site: Site) -> None:
    site.options = {"account": "a1", "project": "p1", "place": "excl", "chunk": "mpiprocs=1:arch=linux"}
    site.backend.check_queue(site.options)
    found = asked_for(cluster, site, processors=8)
    assert found["-l"] == ["select=1:ncpus=8:mpiprocs=1:arch=linux", "place=excl"]
    assert (found["-A"], found["-P"]) == (["a1"], ["p1"])


@both
def test_the_old_form(cluster: StandIn, site: Site) -> None:
    site.options = {"request": "nodes", "chunk": "bigmem"}
    found = asked_for(cluster, site, nodes=2, processors=4, memory=1 << 30)
    assert found["-l"] == ["nodes=2:ppn=4:bigmem", "mem=2097152kb"]


@torque
def test_torque_is_asked_in_its_own_way(cluster: StandIn, site: Site) -> None:
    found = asked_for(cluster, site, processors=4)
    assert found["-l"] == ["nodes=1:ppn=4"]
    assert "-f" not in found, "which means something else there"


def test_directives_of_a_command_do_not_act_and_those_of_the_queue_do(site: Site) -> None:
    ticket = site.shell("true\n#PBS -q nope\n", directives="#PBS -p 3\nmodule load x")
    lines = pbs._script(ticket).decode().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert [line for line in lines[:first] if line.startswith("#PBS")] == ["#PBS -p 3"]
    assert "#PBS -q nope" in lines[first:]
    assert "module load x" in lines[first:]


def test_logs_can_be_followed_while_it_runs(site: Site) -> None:
    ticket = site.shell("echo out; echo err >&2; sleep 60", umask=0o027)
    placed = site.backend.submit(ticket)
    logs = [Path(ticket.stdout), Path(ticket.stderr)]
    until(lambda: all(log.exists() and log.read_text() for log in logs), what="both logs have their line")
    assert [log.read_text() for log in logs] == ["out\n", "err\n"]
    assert {log.stat().st_mode & 0o777 for log in logs} == {0o640}
    site.backend.kill(placed)


def test_the_environment_has_nothing_of_the_job_that_submitted_it(site: Site) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PBS_JOBID": "1.other", "PBS_O_HOST": "other", "MINE": "x"}
    ticket = site.shell('echo "$PBS_JOBID $PBS_O_HOST $MINE"', environment=environment)
    placed = site.backend.submit(ticket)
    site.end(placed)
    assert Path(ticket.stdout).read_text() == f"{placed.local_id}  x\n"


# ---- options


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dialect": "pro"}, "openpbs, torque or auto"),
        ({"qsub": "qsub"}, "absolute path"),
        ({"forceAfter": "soon"}, "forceAfter"),
        ({"host": "x"}, "no such option"),
        ({"server": "a b"}, "one server"),
    ],
)
def test_wrong_options_are_told(persons: Persons, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        load("pbs", wrong, persons)


@pytest.mark.parametrize("wrong", [{"account": "a b"}, {"request": "all"}, {"chunk": "a b"}, {"select": "1"}])
def test_wrong_options_of_a_queue_are_told(persons: Persons, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="options"):
        load("pbs", {}, persons).check_queue(wrong)


def test_the_example_has_every_option_and_all_are_taken(persons: Persons) -> None:
    text = (Path(__file__).parent.parent / "config/systems/pbs.yaml").read_text()
    switched_on = re.sub(
        r"^#  (?=[a-z]+[A-Za-z]*:)", "  ", text.replace("options: {}\n", "options:\n"), flags=re.M
    )
    shown: Any = yamlfile.parse(switched_on, "pbs.yaml").value
    assert set(shown["options"]) == pbs.OPTIONS
    backend = load("pbs", shown["options"], persons)
    for queue in shown["queues"]:
        backend.check_queue(queue["options"])
    assert {name for queue in shown["queues"] for name in queue["options"]} == set(pbs.QUEUE_OPTIONS)


def test_a_dialect_that_cannot_be_told_is_asked_for(cluster: StandIn, site: Site) -> None:
    (cluster.directory / "bin/true").symlink_to("/bin/true")
    strange = {"qstat": str(cluster.directory / "bin/true")}
    placed = Placed("7", "jaaaaaaaaaaaaa", own_name(), time.time())
    with pytest.raises(Down, match=r"options\.dialect"):
        options(cluster, site, **strange).backend.poll([placed])
    assert options(cluster, site, **strange, dialect="torque").backend.poll([placed]) == {}


# ---- doctor


def marks(findings: Any) -> dict[str, str]:
    found: list[Finding] = list(findings)
    return {finding.message: finding.mark for finding in found}


@both
def test_doctor_of_a_good_system(cluster: StandIn, site: Site) -> None:
    found = marks(site.backend.doctor(own_name(), str(site.directory), 10.0))
    assert set(found.values()) == {"ok"}, found
    assert any(cluster.dialect in message for message in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"history": False}, "job_history_enable"),
        ({"visible": False}, "query_other_jobs"),
        ({"auth": False}, "pbs_iff"),
    ],
)
def test_doctor_says_what_is_worse(
    cluster: StandIn, site: Site, settings: dict[str, Any], words: str
) -> None:
    cluster.set(**settings)
    found = marks(site.backend.doctor(own_name(), str(site.directory), 10.0))
    assert [mark for message, mark in found.items() if words in message] == ["!"]


@torque
def test_doctor_of_a_torque_that_forgets(cluster: StandIn, site: Site) -> None:
    cluster.set(history=False)
    found = marks(site.backend.doctor(own_name(), str(site.directory), 10.0))
    assert [mark for message, mark in found.items() if "keep_completed" in message] == ["!"]


def test_doctor_without_a_server(cluster: StandIn, site: Site) -> None:
    cluster.go_down()
    (finding,) = site.backend.doctor(own_name(), str(site.directory), 10.0)
    assert finding.mark == "!"
    assert "cannot connect" in finding.message
