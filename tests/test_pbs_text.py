"""What PBS prints, read: every recording of a real one, and whatever else hypothesis thinks of."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.backend import Phase
from jobd.backends import pbs_text, pbs_words
from jobd.backends.pbs_text import Row
from jobd.backends.pbs_words import OPENPBS, TORQUE
from jobd.errors import Down
from jobd.status import Condition

RECORDINGS = {
    recording["case"]: recording
    for recording in map(
        json.loads, (Path(__file__).parent / "recordings/openpbs.jsonl").read_text().splitlines()
    )
}
"""By case: cmd, stdout, stderr (bytes as Latin-1), exit. From OpenPBS 23.06, two builds of its clients."""


def said(case: str, stream: str = "stdout") -> str:
    return str(RECORDINGS[case][stream]).encode("latin-1").decode("utf-8", "replace")


def rows(case: str) -> dict[str, Row]:
    return {row.name: row for row in pbs_text.dsv(said(case))}


# ---- every recording


@pytest.mark.parametrize("case", RECORDINGS)
def test_nothing_that_was_recorded_is_misread(case: str) -> None:
    """As many jobs as lines that begin one, whatever the command was."""
    text = said(case)
    if "-F dsv" in RECORDINGS[case]["cmd"] and "-D" not in RECORDINGS[case]["cmd"]:
        told = pbs_text.dsv(text)
        assert len(told) == len(re.findall("^Job Id: ", text, re.MULTILINE))
        assert all(row.owner in ("alice", "bob") and row.submitted and row.state for row in told)
    else:
        pbs_text.dsv(text)
    assert pbs_text.dsv(said(case, "stderr")) == []


PHASES_OF_LIVE = {
    "cmd": (Phase.RUNNING, ""),
    "held": (Phase.HELD, "It is held."),
    "waiting": (Phase.QUEUED, "Its time to begin has not come."),
    "toobig": (
        Phase.QUEUED,
        "It can never start as it is: Insufficient amount of resource: ncpus (R: 1000 A: 32 T: 32).",
    ),
    "depheld": (Phase.QUEUED, "It waits for another job."),
    "suspended": (Phase.SUSPENDED, ""),
    "output-stuck": (Phase.RUNNING, ""),
    "busy": (
        Phase.QUEUED,
        "It waits for free resources (Insufficient amount of resource: ncpus (R: 32 A: 24 T: 32)).",
    ),
}


@pytest.mark.parametrize("name", PHASES_OF_LIVE)
def test_phases_and_reasons(name: str) -> None:
    row = rows("qstat-dsv-all-live")[name]
    assert (pbs_words.phase(row), pbs_words.why(row)) == PHASES_OF_LIVE[name]


def test_an_exit_status_of_a_job_that_is_not_over_is_none() -> None:
    exiting = rows("qstat-dsv-all-live")["output-stuck"]
    assert (exiting.state, exiting.status, pbs_words.phase(exiting)) == ("E", 0, Phase.RUNNING)
    requeued = rows("qstat-dsv-requeued-after-node-loss")["lost-rerunable"]
    assert (requeued.status, pbs_words.phase(requeued)) == (-20, Phase.QUEUED)
    assert "it waits for free nodes" in pbs_words.why(requeued).lower()


ENDINGS = {
    "qstat-x-dsv-ok": (None, "", (0, None)),
    "qstat-x-dsv-exit-3": (None, "", (3, None)),
    "qstat-x-dsv-kill-9-of-own-shell-137": (None, "", (137, None)),
    "qstat-x-dsv-walltime": (Condition.TIME_LIMIT, "its time limit was reached", (None, None)),
    "qstat-x-dsv-deleted-running": (Condition.KILLED, "terminated by alice@pbshost", (None, 15)),
    "qstat-x-dsv-deleted-queued": (Condition.KILLED, "deleted", (None, None)),
    "qstat-x-dsv-dependency-never": (Condition.LAUNCH_FAILED, "PBS ended it before it ran", (None, None)),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_endings(case: str) -> None:
    (row,) = pbs_text.dsv(said(case))
    condition, words, code = ENDINGS[case]
    assert row.state in pbs_words.OVER
    assert OPENPBS.how(row) == (condition, words)
    assert pbs_words.code(row.status) == code


@pytest.mark.parametrize("name", ["deltrap", "delrun", "delforce"])
def test_deleted_is_killed_whatever_the_program_found_time_to_say(name: str) -> None:
    row = rows("qstat-x-dsv-all")[name]
    assert row.status in (0, 271, 137)
    assert OPENPBS.how(row) == (Condition.KILLED, "terminated by alice@pbshost")


def test_usage_times_and_nodes() -> None:
    (row,) = pbs_text.dsv(said("qstat-x-dsv-walltime"))
    assert (row.wall, row.cpu, row.peak_memory, row.nodes, row.runs) == (17.0, 0.0, 5528 * 1024, "pbshost", 1)
    assert row.submitted == row.started == pbs_text.moment("Mon Nov 23 12:42:07 2026") == 1795437727
    assert row.ended == 1795437744


@pytest.mark.parametrize("client", ["qstat", "release-client"])
def test_no_environment_breaks_or_forges_anything(client: str) -> None:
    """It has a newline with `  Exit_status = 0`, bars, quotes, backslashes, and what is no UTF-8."""
    (row,) = pbs_text.dsv(said(f"{client}-dsv-awkward-environment"))
    assert (row.name, row.owner, row.state, row.status) == ("awkward", "alice", "H", None)


def test_names_stay_names() -> None:
    names = {case: next(iter(rows(f"qstat-dsv-name-{case}"))) for case in ("digits", "inf", "odd")}
    assert names == {"digits": "123", "inf": "inf", "odd": "-5.x_"}


def failures(*programs: str) -> dict[str, tuple[int, str]]:
    return {
        case: (recording["exit"], said(case, "stderr"))
        for case, recording in RECORDINGS.items()
        if recording["exit"] and re.search(rf"\b({'|'.join(programs)})\b", recording["cmd"])
    }


DOWN = re.compile("server-down|no-auth|no-configuration|unknown-server")
LATER = re.compile("queue-disabled|queue-limit|node-down")


@pytest.mark.parametrize("case", failures("qsub", "qdel", "qselect", "qhold", "qstat"))
def test_failures_are_told_apart_by_their_words(case: str) -> None:
    words = said(case, "stderr")
    if "frozen" not in case:  # which says nothing
        assert bool(pbs_words.DOWN.search(words)) == bool(DOWN.search(case))
        assert bool(pbs_words.LATER.search(words)) == bool(LATER.search(case))


@pytest.mark.parametrize("case", failures("qdel"))
def test_whether_qdel_says_that_it_is_over(case: str) -> None:
    expected = re.search("finished|unknown|exiting|mixed", case) is not None
    assert bool(pbs_words.ALREADY_OVER.search(said(case, "stderr"))) == expected


def test_a_query_with_ids_is_complete_only_when_all_it_says_is_that_it_does_not_know_some() -> None:
    for case, (_, words) in failures("qstat").items():
        complete = re.search("ids-|unknown-subjob|without-brackets|only-unknown|qstat-finished", case)
        assert pbs_text.only_unknown(words) == bool(complete and "illegal" not in case), case
    assert not pbs_text.only_unknown("")


@pytest.mark.parametrize("case", [case for case in RECORDINGS if case.startswith("history-off")])
def test_without_history_nothing_is_evidence(case: str) -> None:
    words = said(case, "stderr")
    assert pbs_words.NO_HISTORY.search(words) or pbs_words.ALREADY_OVER.search(words)
    assert pbs_text.dsv(said(case)) == []


def test_ids_of_qsub_and_qselect() -> None:
    assert pbs_text.ids(said("qsub-ok")) == ["1194.pbshost"]
    assert pbs_text.ids(said("qsub-array")) == ["1233[].pbshost"]
    assert pbs_text.ids(said("qselect-found")) == ["1222.pbshost", "1239.pbshost"]
    assert pbs_text.ids(said("qselect-not-found")) == []
    assert pbs_text.ids("warning: the project is nearly over its budget\n7.server\n") == ["7.server"]


def test_versions() -> None:
    assert pbs_words.dialect(said("qstat-version")) is OPENPBS
    assert pbs_words.dialect("Version: 6.1.3\nCommit: 662e\n") is TORQUE
    assert pbs_words.dialect("slurm-wlm 22.05.8") is None


def test_the_server() -> None:
    told = pbs_text.server(said("qstat-B-text-history-on"))
    assert (told["job_history_enable"], told["pbs_version"]) == ("True", "23.06.06")


# ---- tables


@pytest.mark.parametrize(
    ("dialect", "status", "expected"),
    [
        (OPENPBS, -29, Condition.TIME_LIMIT),
        (OPENPBS, -11, None),
        (OPENPBS, -27, Condition.MEMORY_LIMIT),
        (OPENPBS, -10, Condition.LAUNCH_FAILED),
        (OPENPBS, -20, Condition.NODE_LOST),
        (OPENPBS, -1, Condition.LAUNCH_FAILED),
        (OPENPBS, -4, Condition.NODE_LOST),
        (OPENPBS, 271, None),
        (TORQUE, -11, Condition.TIME_LIMIT),
        (TORQUE, -10, Condition.MEMORY_LIMIT),
        (TORQUE, -29, None),
        (TORQUE, 271, Condition.KILLED),
    ],
)
def test_statuses_mean_what_they_mean_in_their_dialect(
    dialect: pbs_words.Dialect, status: int, expected: Condition | None
) -> None:
    row = Row("7.s", "n", "alice", "F", status=status, started=1.0)
    condition, words = dialect.how(row)
    assert condition is expected
    assert words or status > 0


@pytest.mark.parametrize(("letter", "phase"), [("Z", Phase.QUEUED), ("", Phase.QUEUED), ("R", Phase.RUNNING)])
def test_a_letter_that_nobody_knows_never_ends_a_job(letter: str, phase: Phase) -> None:
    assert letter not in pbs_words.OVER
    assert pbs_words.phase(Row("7.s", "n", "alice", letter)) is phase
    assert pbs_words.phase(Row("7.s", "n", "alice", letter, nodes="n1")) is Phase.RUNNING


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00:17", 17), ("100:00:01", 360001), ("90", 90), ("", None), ("1:", None)]
)
def test_spans(text: str, seconds: float | None) -> None:
    assert pbs_text.span(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("5528kb", 5528 << 10), ("2gb", 2 << 30), ("7b", 7), ("3kw", 24 << 10), ("x", None)]
)
def test_sizes(text: str, size: int | None) -> None:
    assert pbs_text.size(text) == size


@pytest.mark.parametrize("text", ["Mon Nov 31 12:42:07 2026", "Mon Foo 23 12:42:07 2026", "soon", "", "0"])
def test_what_is_no_moment(text: str) -> None:
    assert pbs_text.moment(text) is None


# ---- Torque


def torque(**facts: str) -> str:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in facts.items())
    used = (
        "<resources_used><cput>00:00:02</cput><mem>10kb</mem><walltime>00:00:03</walltime></resources_used>"
    )
    return f"<Data><Job><Job_Id>7.srv.example</Job_Id>{inner}{used}</Job></Data>"


def test_torque_tells_in_xml() -> None:
    facts = {"Job_Name": "jx", "Job_Owner": "alice@head", "job_state": "C", "exit_status": "271"}
    facts |= {"ctime": "1795437727", "start_time": "1795437728", "comp_time": "1795437730"}
    facts |= {"exec_host": "n1/0+n1/1+n2/0"}
    (row,) = pbs_text.xml(torque(**facts))
    assert (row.local_id, row.name, row.owner, row.state, row.status) == (
        "7.srv.example",
        "jx",
        "alice",
        "C",
        271,
    )
    assert (row.submitted, row.started, row.ended) == (1795437727, 1795437728, 1795437730)
    assert (row.wall, row.cpu, row.peak_memory, row.nodes) == (3, 2, 10240, "n1,n2")


def test_torque_without_jobs_says_nothing_and_half_an_answer_is_none() -> None:
    assert pbs_text.xml("") == []
    whole = torque(Job_Name="jx", Job_Owner="alice@head", job_state="R")
    with pytest.raises(Down, match="XML"):
        pbs_text.xml(whole[:-20])


# ---- whatever there is

ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\1"), max_size=80)
NAMES = ["Job_Name", "Job_Owner", "job_state", "Variable_List", "comment", "Exit_status", "ctime", "substate"]


def dsv_line(facts: dict[str, str]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n")

    return "|".join(["Job Id: 7.s", *(f"{name}={escaped(value)}" for name, value in facts.items())]) + "\n"


@given(ANY, ANY, ANY)
def test_no_text_of_a_user_makes_another_job_or_another_ending(
    name: str, variables: str, comment: str
) -> None:
    name = name.replace("\n", " ")
    facts = {"Job_Name": name, "Job_Owner": "bob@x", "job_state": "R", "Variable_List": variables}
    (row,) = pbs_text.dsv(dsv_line(facts | {"comment": comment}))
    assert (row.name, row.owner, row.state, row.status) == (name, "bob", "R", None)


@given(ANY, ANY)
def test_nor_in_xml(variables: str, comment: str) -> None:
    facts = {"Job_Name": "jx", "Job_Owner": "bob@x", "job_state": "R", "Variable_List": variables}
    (row,) = pbs_text.xml(torque(**facts, comment=comment))
    assert (row.name, row.owner, row.state, row.status) == ("jx", "bob", "R", None)


@given(st.dictionaries(st.sampled_from(NAMES), ANY), ANY)
def test_any_facts_give_a_row_and_any_words_a_reason(facts: dict[str, str], more: str) -> None:
    for row in pbs_text.dsv(dsv_line(facts) + more):
        assert isinstance(pbs_words.phase(row), Phase)
        pbs_words.why(row)
        for dialect in (OPENPBS, TORQUE):
            dialect.how(row)


@given(st.binary(max_size=300))
def test_anything_at_all_is_read_without_harm(output: bytes) -> None:
    text = output.decode("utf-8", "replace")
    pbs_text.dsv(text)
    pbs_text.ids(text)
    pbs_text.server(text)
    for read in (pbs_text.span, pbs_text.size, pbs_text.moment, pbs_text.local_id):
        read(text)
    with suppress(Down):
        pbs_text.xml(text)


def test_recordings_are_all_there() -> None:
    facts: list[Any] = list(RECORDINGS.values())
    assert len(facts) > 150
