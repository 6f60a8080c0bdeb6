"""Two jobs beside each other: in what they differ, and whether what they have made agrees."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.api import wire
from jobd.client import Client
from jobd.errors import Conflict, Invalid, NotFound
from jobd.keeper import digesting
from jobd.verbs import diff as module
from jobd.verbs.diff import differences
from tests.attempts import gone
from tests.daemon import RunningDaemon, until
from tests.people import SystemDaemon, machine, needs_people
from tests.talk import ask
from tests.transfers import CONFIG, add_job, item

PATH = {"PATH": os.environ["PATH"]}
EXAMPLES = Path(__file__).parent.parent / "config/apps"


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name), CONFIG) as running:
        yield running


def run(served: RunningDaemon, script: str, **request: Any) -> dict[str, Any]:
    """In a directory of its own."""
    request = {"environment": PATH, "directory": None, **request}
    return served.run("sh", "-c", script, **request)


def diff(served: RunningDaemon, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    answer = ask(served.socket, "GET", f"/jobs/v2/{first['id']}/diff/{second['id']}").result
    wire.Diff.model_validate(answer)
    return dict(answer)


def what_differs(found: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of what counts."""
    rows = [one for one in found["differences"] if one["counts"]]
    return {f"{one['group']}.{one['name']}": (one["first"], one["second"]) for one in rows}


def verify(
    served: RunningDaemon, first: dict[str, Any], second: dict[str, Any], *ignore: str
) -> tuple[bool, dict[str, str], list[str]]:
    answer = served.client().verify(first["id"], second["id"], ignore)
    wire.Verification.model_validate(answer)
    return answer["verified"], {one["name"]: one["verdict"] for one in answer["files"]}, answer["problems"]


def verdicts(served: RunningDaemon, job: dict[str, Any]) -> list[tuple[str, str]]:
    """In its history."""
    events = served.client().history(job["id"])
    return [(e["status"], e["description"]) for e in events if "VERIFIED" in e["status"]]


# ---- diff

facts = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 2))
)


@given(facts, facts)
def test_a_difference_is_what_is_not_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    found = list(differences(first, second))
    assert all(one.first != one.second for one in found)
    assert list(differences(first, first)) == []
    mended = {group: dict(names) for group, names in first.items()}
    for one in found:
        mended.setdefault(one.group, {})[one.name] = one.second
    assert list(differences(mended, second)) == []
    turned = {(one.group, one.name, one.second, one.first) for one in differences(second, first)}
    assert turned == {(one.group, one.name, one.first, one.second) for one in found}


def test_a_job_and_its_resubmission_do_not_differ(served: RunningDaemon) -> None:
    job = run(served, "echo out; echo made > made", maxRunTime="01:00:00")
    again = served.ended(served.client().resubmit(job["id"])["id"])
    for pair in ((job, job), (job, again)):
        found = diff(served, *pair)
        assert (what_differs(found), found["same"], found["missing"]) == ({}, True, [])


def test_all_that_can_differ(served: RunningDaemon) -> None:
    first = run(served, "echo out; echo same > same; echo 1 > made; echo x > ./stdout", maxRunTime="01:00:00")
    script = "echo out; echo same > same; echo 22 > made; echo only > only; exit 3"
    request = {"name": "other", "processorsPerNode": 2, "memoryPerNode": "1GB", "umask": "077"}
    second = run(served, script, environment={**PATH, "THREADS": "8"}, **request)
    found = diff(served, first, second)
    assert found["same"] is False
    differs = what_differs(found)
    outputs = {name: differs.pop(name) for name in list(differs) if name.startswith("outputs.")}
    assert differs.pop("request.command")[0] == first["command"]
    assert differs == {
        "request.name": ("test", "other"),
        "request.processorsPerNode": (1, 2),
        "request.memoryPerNode": (None, 1.0),
        "request.umask": ("0022", "0077"),
        "request.maxRunTime": ("01:00:00", None),
        "exit.status": ("FINISHED", "FAILED"),
        "exit.exitCode": (0, 3),
        "exit.condition": ("NORMAL", "EXIT_CODE"),
        "environment.THREADS": (None, "8"),
    }
    assert outputs.keys() == {"outputs.made", "outputs.only", "outputs../stdout"}
    assert [one and one["size"] for one in outputs["outputs.made"]] == [2, 3]
    assert outputs["outputs.only"][0] is None
    assert {one["group"] for one in found["differences"] if not one["counts"]} == {"usage"}


def test_inputs_by_their_content(served: RunningDaemon, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("1")
    jobs = []
    for content in ("1", "2"):
        source.write_text(content)
        plan = item(source)
        job = add_job(served, "cat", "data", staging=(plan,), inputs={"dataset": [str(source)]})
        jobs.append(served.ended(job["id"]))
    differs = what_differs(diff(served, *jobs))
    assert differs.keys() == {"inputs.dataset: data", "outputs.stdout"}
    assert [one["size"] for one in differs["inputs.dataset: data"]] == [1, 1]


def test_parameters_and_the_revision_of_the_app(served: RunningDaemon) -> None:
    jobs = [
        served.ended(add_job(served, app_id="plot-1.0", app_revision=revision, parameters=parameters)["id"])
        for revision, parameters in ((3, {"ylabel": "A", "old": 1}), (4, {"ylabel": "B", "new": [True]}))
    ]
    assert what_differs(diff(served, *jobs)) == {
        "app.revision": (3, 4),
        "parameters.ylabel": ("A", "B"),
        "parameters.old": (1, None),
        "parameters.new": (None, [True]),
    }


def test_one_that_runs_is_compared_as_far_as_it_goes(served: RunningDaemon) -> None:
    over = run(served, "echo out")
    running = served.submit("sleep", "1000", environment=PATH)
    served.in_status(running["id"], "RUNNING")
    found = diff(served, over, running)
    assert not [one for one in found["differences"] if one["group"] == "outputs"]
    assert found["missing"] == [f"job {running['id']}: it is RUNNING, so its outputs are not compared"]
    served.client().kill(running["id"])


def test_a_long_list_of_differences_is_cut(served: RunningDaemon) -> None:
    many = run(served, "for i in $(seq 1010); do echo > file-$i; done")
    found = diff(served, many, run(served, ""))
    assert len([one for one in found["differences"] if one["group"] == "outputs"]) == module.MOST
    assert found["omitted"] == 10


def test_diff_on_the_command_line(served: RunningDaemon) -> None:
    first, second = run(served, "echo a"), run(served, "echo b", name="second")
    done = served.jobctl("diff", first["id"], second["id"])
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["WHAT", first["id"][:8], second["id"][:8]]
    assert ["request.name", "test", "second"] in lines
    assert "outputs.stdout" in done.stdout
    assert "stdout, stderr, in" in done.stderr
    same = served.jobctl("diff", first["id"], first["id"])
    assert (same.returncode, same.stdout) == (0, "")
    told = json.loads(served.jobctl("diff", "--json", first["id"], second["id"]).stdout)
    assert told["jobs"] == [first["id"], second["id"]]
    assert served.jobctl("diff", first["id"], "nowhere").returncode == 66


# ---- verify


def test_a_job_that_makes_the_same_again_is_verified(served: RunningDaemon) -> None:
    job = run(
        served, "echo out; mkdir sub; echo made > sub/made; ln -s sub/made link", notifications="ann@lab"
    )
    done = served.jobctl("verify", job["id"])
    assert done.returncode == 0, done
    rerun = served.client().show(next(iter(served.client().list({"resubmitOf": job["id"]})))["id"])
    assert f"verified: {job['id']} and {rerun['id']}" in done.stdout
    flags = rerun["details"]["resubmit"]
    assert set(flags.values()) == {False}
    assert served.client().notifications(rerun["id"]) == []
    for one, other in ((job, rerun), (rerun, job)):
        words = f"Its outputs and those of {other['id']} agree: 3 files by SHA-256."
        assert verdicts(served, one) == [("VERIFIED", words)]


@pytest.mark.parametrize(
    ("second", "ignore", "files", "problem"),
    [
        ("echo out; echo b > made", [], {"made": "differs"}, ""),
        ("echo out; echo b > made", ["ma?e"], {}, ""),
        ("echo no; echo a > made", [], {"stdout": "differs"}, ""),
        ("echo no; echo a > made", ["std*"], {}, ""),
        ("echo out", [], {"made": "only in the first"}, ""),
        ("echo out; echo a > made; mkdir d; echo > d/new.log", [], {"d/new.log": "only in the second"}, ""),
        ("echo out; echo a > made; mkdir d; echo > d/new.log", ["*.log"], {}, ""),
        ("echo out; echo a > made; mkfifo pipe", [], {"pipe": "only in the second"}, ""),
        ("echo out; echo a > made; exit 3", [], {}, "exit code 3 (EXIT_CODE)"),
        ("echo out; echo a > made; kill -9 $$", [], {}, "signal 9 (SIGNAL)"),
        ("echo out; echo a > made", ["*"], {}, "nothing that was compared"),
    ],
)
def test_what_does_not_agree(
    served: RunningDaemon, second: str, ignore: list[str], files: dict[str, str], problem: str
) -> None:
    first, other = run(served, "echo out; echo a > made"), run(served, second)
    agrees = not files and not problem
    verified, found, problems = verify(served, first, other, *ignore)
    assert verified is agrees
    wrong = {name: verdict for name, verdict in found.items() if verdict not in ("same", "left out")}
    assert wrong == files
    assert problem in " ".join(problems)
    assert bool(problem) == bool(problems)
    for job in (first, other):
        ((status, words),) = verdicts(served, job)
        assert status == ("VERIFIED" if agrees else "NOT_VERIFIED")
        assert all(name in words for name in files)
        assert all(pattern in words for pattern in ignore)
    told = served.jobctl(
        "verify", first["id"], "--against", other["id"], *(f"--ignore={one}" for one in ignore)
    )
    assert told.returncode == (0 if agrees else 1)
    assert ("NOT verified" in told.stdout) is not agrees


def test_what_has_no_digest_is_no_agreement(served: RunningDaemon) -> None:
    jobs = [run(served, "mkfifo pipe") for _ in range(2)]
    assert verify(served, *jobs)[:2] == (False, {"stdout": "same", "stderr": "same", "pipe": "no digest"})
    assert verify(served, *jobs, "pipe")[0] is True


def test_archived_outputs_are_compared_by_their_record(served: RunningDaemon, tmp_path: Path) -> None:
    """Also with a job that has none, and when the archive has been changed since."""
    jobs = [
        run(served, "echo out; echo a > made", archive=True, archivePath=str(tmp_path / name))
        for name in "ab"
    ]
    assert jobs[0]["status"] == "FINISHED"
    (tmp_path / "a" / "made").write_text("changed")
    expected = {"stdout": "same", "stderr": "same", "made": "same"}
    assert verify(served, *jobs) == (True, expected, [])
    assert verify(served, jobs[0], run(served, "echo out; echo a > made")) == (True, expected, [])


def test_inputs_are_none_of_the_outputs_unless_the_job_has_changed_them(
    served: RunningDaemon, tmp_path: Path
) -> None:
    source = tmp_path / "data"
    source.write_text("input")
    first, second, third = (
        served.ended(add_job(served, "sh", "-c", script, staging=(item(source),))["id"])
        for script in ("cat data", "cat data", "cat data; echo more >> data")
    )
    assert verify(served, first, second)[:2] == (True, {"stdout": "same", "stderr": "same"})
    assert verify(served, first, third)[1]["data"] == "only in the second"


def test_a_directory_that_a_person_named_is_not_looked_into(served: RunningDaemon, tmp_path: Path) -> None:
    job = served.run("sh", "-c", "date +%N > made; echo out", environment=PATH, directory=str(tmp_path))
    done = served.jobctl("verify", job["id"])
    assert done.returncode == 0
    assert f"not what it wrote to {tmp_path}, where it ran" in done.stderr
    assert "made" not in done.stdout


def test_verify_refuses_what_is_not_over(served: RunningDaemon) -> None:
    over, running = run(served, "true"), served.submit("sleep", "1000", environment=PATH)
    for pair in ((over, running), (running, over)):
        with pytest.raises(Conflict, match="only what is over"):
            served.client().verify(pair[0]["id"], pair[1]["id"])
    assert served.jobctl("verify", running["id"]).returncode == 1
    assert not list(served.client().list({"resubmitOf": running["id"]}))
    served.client().kill(running["id"])


def test_a_rerun_that_takes_too_long_goes_on(served: RunningDaemon) -> None:
    job = served.submit("sleep", "1000", environment=PATH)
    served.in_status(job["id"], "RUNNING")
    served.client().kill(job["id"])
    done = served.jobctl("verify", job["id"], "--timeout", "0.1s")
    assert done.returncode == 124
    (rerun,) = served.client().list({"resubmitOf": job["id"]})
    served.client().kill(rerun["id"])
    assert served.jobctl("verify", job["id"], "--against", rerun["id"]).returncode == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "against"),
        ({"against": 5}, "against"),
        ({"against": "x", "ignore": "*.log"}, "ignore"),
        ({"against": "x", "ignore": ["x"] * 101}, "ignore"),
        ({"against": "x", "ignore": ["x" * 201]}, "ignore"),
        ({"against": "x", "ignored": []}, "ignored"),
    ],
)
def test_faults_of_a_request_to_verify(served: RunningDaemon, body: dict[str, Any], field: str) -> None:
    job = run(served, "true")
    assert ask(served.socket, "POST", f"/jobs/v2/{job['id']}/verify", body).fields == [field]
    with pytest.raises(Invalid, match="same job"):
        served.client().verify(job["id"], job["id"])


# ---- as the person


def test_digests_of_a_directory_follow_nothing_out_of_it(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.write_text("secret")
    (work / "link").symlink_to(outside)
    (work / ".jobd").write_text("mark")
    os.mkfifo(work / "pipe")
    os.mkdir(work / "sub")
    (work / "sub" / os.fsdecode(b"\xff")).write_text("abc")
    found = digesting.digests(lambda **_: None, str(work))
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found == {
        "files": [{"path": os.fsdecode(b"sub/\xff"), "size": 3, "sha256": sha}],
        "more": 0,
        "left": ["pipe"],
    }
    nothing = {"files": [], "more": 0, "left": []}
    assert digesting.digests(lambda **_: None, str(tmp_path / "none")) == nothing


@needs_people
def test_each_with_their_own_rights() -> None:
    script = "echo out; umask 077; echo private > private; ln -s /etc/shadow shadow; mkdir -m 0 closed; true"
    with machine() as lab, SystemDaemon(lab) as daemon:
        jobs = [
            daemon.run_as(lab.alice, "/bin/sh", "-c", script, environment={"PATH": "/bin", "TOKEN": value})
            for value in ("s3cret-1", "s3cret-2")
        ]
        ids = [job["id"] for job in jobs]

        def hers(client: Client) -> Any:
            return client.diff(*ids)

        with pytest.raises(AssertionError, match=r"Conflict: .*closed.*Permission denied"):
            daemon.as_user(lab.alice, hers)
        for job in jobs:
            (Path(job["workPath"]) / "closed").rmdir()
        (found,) = (one for one in daemon.as_user(lab.alice, hers)["differences"] if one["counts"])
        assert (found["name"], found["first"], found["second"]) == ("TOKEN", "s3cret-1", "s3cret-2")
        admins = daemon.client().diff(*ids)
        assert "s3cret" not in json.dumps(admins)
        (found,) = (one for one in admins["differences"] if one["counts"])
        assert (found["name"], found["withheld"]) == ("TOKEN", True)

        def others(client: Client) -> str:
            for ask_for in (client.diff, client.verify):
                with pytest.raises(NotFound):
                    ask_for(*ids)
            return "refused"

        assert daemon.as_user(lab.bob, others) == "refused"
        assert daemon.as_user(lab.alice, lambda client: client.verify(*ids)["verified"]) is True


# ---- an app


def test_verifying_a_job_of_an_app_until_the_app_changes(short_dir: Path) -> None:
    apps = short_dir / "apps"
    shutil.copytree(EXAMPLES, apps)
    data = short_dir / "data.csv"
    data.write_text("year,height\n2000,3\n2001,5\n")
    with RunningDaemon(short_dir) as daemon:
        submit = ["submit", "-q", "--wait", "--app", "pyplot-0.1.0", "--input", f"dataset={data}"]
        job_id = daemon.jobctl(*submit).stdout.strip()
        verified = daemon.jobctl("verify", job_id)
        assert verified.returncode == 0, verified
        assert "plot.svg  same" in verified.stdout

        text = (apps / "pyplot.yaml").read_text()
        (apps / "pyplot.yaml").write_text(text.replace("default: white", "default: black"))
        daemon.hangup()
        until(lambda: daemon.client().app("pyplot-0.1.0")["revision"] == 2)
        refused = daemon.jobctl("verify", job_id)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "parameters.background" in refused.stderr

        again = daemon.ended(daemon.client().resubmit(job_id)["id"])
        differs = what_differs(daemon.client().diff(job_id, again["id"]))
        assert differs.keys() == {"app.revision", "parameters.background", "outputs.plot.svg"}
        assert differs["parameters.background"] == ("white", "black")
        assert daemon.jobctl("verify", job_id, "--against", again["id"]).returncode == 1
        data.write_text("year,height\n2000,4\n2001,5\n")
        other = daemon.ended(daemon.client().resubmit(again["id"])["id"])
        differs = what_differs(daemon.client().diff(again["id"], other["id"]))
        assert differs.keys() == {"inputs.dataset: data.csv", "outputs.plot.svg"}
        assert daemon.client().verify(again["id"], other["id"])["verified"] is False


# ---- much to read


def test_nobody_waits_for_what_another_has_read_and_the_daemon_ends_in_the_middle(
    daemon: RunningDaemon,
) -> None:
    """A file of holes, which takes minutes to digest."""
    large = run(daemon, "truncate -s 200G hole; echo large")
    small = run(daemon, "echo small")
    command = [sys.executable, "-m", "jobd.cli", "diff", large["id"], small["id"]]
    environment = {**daemon.environment, "JOBD_AUTOSTART": "0"}
    asking = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    runner = until(lambda: reader_of(large), what="it is being read")
    assert b"".join(daemon.client().logs(small["id"])) == b"small\n"
    assert daemon.stop() == 0
    until(lambda: gone(runner), what="nobody reads it any more")
    asking.terminate()
    asking.communicate(timeout=20)


def reader_of(job: dict[str, Any]) -> int | None:
    """The process that has the file open."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == f"{job['outputPath']}/hole" for file in process.open_files()):
                return int(process.pid)
    return None
