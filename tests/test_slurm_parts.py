"""The parts of the Slurm backend that are pure: what commands printed, read; what failed, sorted; what waits,
in words. On outputs of a real Slurm 22.05 (tests/recordings/slurm), and on anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd import yamlfile
from jobd.backend import Phase, Ticket
from jobd.backends import slurm, slurm_text, slurm_words
from jobd.backends.batch import Programs, Scheduler
from jobd.backends.slurm import SlurmBackend
from jobd.errors import Down, Invalid, Refused, Unavailable
from jobd.keeper.commands import Finished
from jobd.keeper.persons import Persons, own_name
from jobd.status import Condition

RECORDINGS = Path(__file__).parent / "recordings" / "slurm"


def recorded(case: str) -> Finished:
    place = RECORDINGS / case
    code = int((place / "exit").read_text())
    return Finished(code, None, (place / "stdout").read_bytes(), (place / "stderr").read_bytes(), False)


def output(case: str) -> str:
    return recorded(case).out.decode()


# what is there


def test_squeue_as_it_was_recorded():
    rows = {row.name: row for row in slurm_text.squeue(output("squeue-as-jobd-asks"))}
    ok, seven, big, killed = (rows[f"jaaaaaaaaaaaa{n}"] for n in "2345")
    assert (ok.state, ok.code, ok.local_id, ok.owner) == ("COMPLETED", 0, "1", "root")
    assert (seven.code, big.code, big.signal, killed.code, killed.signal) == (7, 137, None, None, 9)
    assert ok.submitted == 1795536048.0
    assert (rows["jaaaaaaaaaaaa6"].reason, rows["jaaaaaaaaaaaa6"].started) == ("JobHeldUser", None)
    assert rows["jbaaaaaaaaaaa4"].state == "COMPLETING"
    assert rows["jbaaaaaaaaaaa5"].state == "SUSPENDED"


def test_a_name_that_looks_like_another_jobs_line_is_none():
    """It was recorded too: a name with a newline and a whole line of a job that is not its own."""
    text = output("squeue-as-jobd-asks")
    assert "\nx\njaaaaaaaaaaa|8|root|" in text
    assert [row.local_id for row in slurm_text.squeue(text) if row.name == "jaaaaaaaaaaaa2"] == ["1"]


def test_sacct_as_it_was_recorded():
    rows = {row.local_id: row for row in slurm_text.sacct(output("sacct-as-jobd-asks"))}
    assert (rows["1"].state, rows["1"].code, rows["1"].peak_memory) == ("COMPLETED", 0, 1076 * 1024)
    assert (rows["3"].code, rows["4"].signal) == (9, 9)  # exit 137, and kill -9
    assert (rows["11"].state, rows["7"].ended) == ("CANCELLED", None)
    assert {rows[one].name for one in ("12", "13", "14")} == {"arr"}


@pytest.mark.parametrize(
    ("state", "code", "ended", "settled"),
    [
        ("COMPLETED", 0, 1.0, True),
        ("FAILED", 0, 1.0, False),  # after an outage of the database the code comes later
        ("FAILED", 6, 1.0, True),
        ("FAILED", 6, None, False),
        ("PENDING", 0, None, False),  # the stub of a job that runs
        ("NONSENSE", 0, 1.0, False),
    ],
)
def test_accounts_are_believed_when_they_are_settled(state, code, ended, settled):
    row = slurm_text.Row("j", "1", "me", state, code, None, 1.0, 1.0, ended)
    assert slurm._is_settled(row) is settled


@pytest.mark.parametrize(
    ("case", "local_id"),
    [("sbatch-ok", "1"), ("sbatch-ok-cluster", "3"), ("sbatch-ok-not-parsable", "2"), ("sbatch-array", "4")],
)
def test_what_sbatch_prints(case, local_id):
    assert slurm_text.submitted(output(case)) == local_id
    assert slurm_text.submitted("sbatch: a message of the site's\n" + output(case)) == local_id


@pytest.mark.parametrize(
    ("text", "local_id"),
    [
        ("7", "7"),
        ("7;cluster", "7"),
        ("62_[2-5%2]", "62_[2-5%2]"),
        ("62_0", "62_0"),
        ("12+1", "12+1"),
        ("", None),
        ("abc", None),
        ("7_x", None),
    ],
)
def test_forms_of_local_ids(text, local_id):
    assert slurm_text.local_id(text) == local_id


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01.500", 1.5), ("01:02:03", 3723.0), ("2-00:00:01", 172801.0), ("", None), ("1", None)],
)
def test_spans(text, seconds):
    assert slurm_text.span(text) == seconds


@pytest.mark.parametrize(
    ("text", "at"), [("1", 1.0), ("1970-01-01T00:01:00", 60.0), ("N/A", None), ("Unknown", None)]
)
def test_moments(text, at):
    assert slurm_text.moment(text) == at


@given(st.text())
def test_any_text(text):
    for read in (slurm_text.squeue, slurm_text.sacct, slurm_text.submitted, slurm_text.config):
        read(text)
    for read in (
        slurm_text.local_id,
        slurm_text.moment,
        slurm_text.span,
        slurm_text.size,
        slurm_text.wait_status,
    ):
        read(text)
    slurm_words.why(text)


line = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=slurm_text.TAG_LENGTH)


@given(line, st.integers(1, 99))
def test_nobodys_name_can_forge_a_line(name, local_id):
    """Whatever another user calls a job, no row comes out of it that is not that user's own job."""
    forged = f"{name:14.14}|{local_id}|mallory|RUNNING|0|5|5|N/A|0|n1|None|"
    assert {(row.owner, row.local_id) for row in slurm_text.squeue(forged)} <= {("mallory", str(local_id))}


# what failed


def scheduler() -> Scheduler:
    return Scheduler(None, Programs.read({}, slurm.PROGRAMS), {}, slurm_words.TRANSIENT)  # type: ignore[arg-type]


REFUSALS = [
    "sbatch-bad-partition",
    "sbatch-bad-constraint",
    "sbatch-bad-gres",
    "sbatch-bad-memory",
    "sbatch-bad-node",
    "sbatch-bad-time",
    "sbatch-bad-dependency",
    "sbatch-comment-too-long",
    "sbatch-partition-not-permitted",
    "sbatch-too-much-memory",
    "sbatch-unknown-option",
    "sbatch-script-crlf",
    "enforced-time-limit",
    "enforced-too-many-nodes",
    "enforced-too-many-tasks",
    "scancel-others",
]


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_in_slurms_own_words(case):
    with pytest.raises(Refused) as refusal:
        scheduler().outcome("sbatch", recorded(case))
    assert str(refusal.value)
    assert "error:" not in str(refusal.value)


@pytest.mark.parametrize(
    "case",
    [
        f"{who}-{command}"
        for who in ("slurmctld-down", "slurmctld-frozen", "munge-down")
        for command in ("sbatch", "scancel")
    ]
    + ["no-configuration-sbatch"],
)
def test_what_passes_is_down(case):
    with pytest.raises(Down):
        scheduler().outcome("sbatch", recorded(case))


def test_a_command_that_was_ended_says_nothing_of_the_system():
    for done in (
        Finished(None, 9, b"", b"", True),
        Finished(None, 15, b"", b"", False),
        Finished(127, None, b"", b"", False),
    ):
        with pytest.raises(Unavailable) as trouble:
            scheduler().outcome("sbatch", done)
        assert not isinstance(trouble.value, Down)


def test_accounting_that_is_off_is_known_by_its_words():
    assert slurm_words.ACCOUNTING_OFF.search(recorded("accounting-disabled-sacct").err.decode())
    assert not slurm_words.ACCOUNTING_OFF.search(recorded("slurmdbd-down-sacct").err.decode())


# words


def test_every_reason_that_was_recorded_has_words():
    reasons = {line.split("|")[3] for line in output("squeue-pending-reasons").splitlines()}
    assert {"PartitionConfig", "Resources", "job requeued in held state"} <= reasons
    for reason in reasons:
        assert reason in slurm_words.WAITS.keys() | slurm_words.NEVER.keys()
        assert f"({reason})" in slurm_words.why(reason)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PartitionTimeLimit", "It can never start as it is: it asks for more time"),
        ("Priority", "Jobs with a higher priority go first (Priority)."),
        ("ReqNodeNotAvail, UnavailableNodes:n3", "(ReqNodeNotAvail, UnavailableNodes:n3)"),
        ("QOSMaxCpuPerUserLimit", "A limit of its account"),
        ("AssocGrpGRES", "A limit of its account"),
        ("SomethingNew", "SomethingNew."),
        ("", ""),
    ],
)
def test_reasons_in_words(reason, words):
    assert words in slurm_words.why(reason)


def test_no_state_is_both_alive_and_over():
    assert not slurm_words.PHASES.keys() & slurm_words.ENDINGS.keys()
    assert Phase.ENDED not in slurm_words.PHASES.values()


@pytest.mark.parametrize("word", ["FROBBING", "", "COMPLETED_BY_MAGIC"])
def test_an_unknown_word_is_kept_and_never_ends_a_job(word):
    row = slurm_text.Row("j", "1", "me", word, 0, None, 1.0, None, 2.0)
    report = slurm._alive(row)
    assert report.phase is Phase.QUEUED
    assert word in report.reason


def test_preempted_is_an_ending_of_its_own():
    assert slurm_words.ENDINGS["PREEMPTED"] is Condition.PREEMPTED


# what goes to sbatch


def ticket(**more: object) -> Ticket:
    facts = {
        "tag": "j" * 14,
        "job_id": "1-007",
        "name": "n",
        "user": "me",
        "argv": ("true",),
        "directory": "/",
    }
    return Ticket(**(facts | {"workspace": "/w", "stdout": "/w/o", "stderr": "/w/e", "queue": "q"} | more))  # type: ignore[arg-type]


def test_directives_of_resources_and_of_the_queue():
    asked = ticket(nodes=2, processors=4, memory=10**9, time_limit=90.5, gpu_count=1, options={"qos": "high"})
    assert slurm._directives(asked) == [
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --mem=954M",
        "#SBATCH --time=1:31",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --qos=high",
    ]


def test_a_queues_own_directives_come_last_and_so_count():
    script = slurm._script(ticket(directives="#SBATCH --mem=1G\nmodule load x\n", memory=10**9)).decode()
    lines = script.splitlines()
    assert lines.index("#SBATCH --mem=954M") < lines.index("#SBATCH --mem=1G") < lines.index("module load x")


def test_names_and_patterns_of_log_files():
    assert slurm._log("/a%b/c") == "/a%%b/c"
    with pytest.raises(Refused):
        slurm._log("/a\\b")


def test_variables_of_another_job_are_left_out():
    environment = {"SLURM_JOB_ID": "1", "SBATCH_PARTITION": "x", "CUDA_VISIBLE_DEVICES": "3", "A": "1"}
    assert slurm._environment(ticket(environment=environment)) == {"CUDA_VISIBLE_DEVICES": "3", "A": "1"}
    assert slurm._environment(ticket(environment=environment, gpu_count=1)) == {"A": "1"}


def test_the_example_has_every_option_and_all_are_taken():
    text = (Path(__file__).parent.parent / "config/systems/slurm.yaml").read_text()
    switched_on = re.sub(r"^#  (?=[a-z]+:)", "  ", text.replace("options: {}\n", "options:\n"), flags=re.M)
    shown: Any = yamlfile.parse(switched_on, "slurm.yaml").value
    assert set(shown["options"]) == slurm.OPTIONS
    backend = SlurmBackend(shown["options"], None)
    for queue in shown["queues"]:
        backend.check_queue(queue["options"])


@pytest.mark.parametrize(
    "options", [{"account": "a b"}, {"qos": "x\n#SBATCH -p y"}, {"gres": 3}, {"what": "x"}]
)
def test_options_of_queues_are_single_words(options):
    with pytest.raises(Invalid):
        SlurmBackend({}, None).check_queue(options)


def test_one_persons_limit_makes_them_wait_and_the_cluster_is_not_sick(tmp_path: Path) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    backend = SlurmBackend({"sbatch": str(sbatch)}, Persons(tmp_path))
    with pytest.raises(Unavailable, match="QOSMaxSubmit") as raised:
        backend.submit(ticket(user=own_name(), workspace=str(tmp_path / "job")))
    assert not isinstance(raised.value, Down)
