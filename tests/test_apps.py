"""Apps in a real daemon: their files and revisions, submission to them, resubmission under a changed one."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from jobd.errors import Conflict, Forbidden, Invalid, NotFound
from tests.daemon import RunningDaemon
from tests.people import SystemDaemon, machine, needs_people
from tests.talk import ask
from tests.test_migrate import ANY_GIVEN, any_fields

CONFIG = """
systems:
  - id: local
    queues: [{name: small, maxRequestedTime: 60s}, {name: large}]
  - id: other
storageSystems: {lab: /srv/lab}
"""
SAY = """
name: say
version: "1.0"
label: Says what it is given
command: printf '%s|' ${word} ${tone}
executionSystems: [local]
parameters:
  - {id: word, value: {required: true}, semantics: {maxCardinality: 3}}
  - {id: tone, value: {default: low, visible: false}}
"""


class Apps(RunningDaemon):
    """A daemon, and the apps beside its configuration."""

    def __init__(self, directory: Path, config: str = CONFIG) -> None:
        super().__init__(directory, config)
        (directory / "apps").mkdir()
        self.write("say", SAY)

    def write(self, name: str, text: str) -> None:
        (self.directory / f"apps/{name}.yaml").write_text(text)

    def remove(self, name: str) -> None:
        (self.directory / f"apps/{name}.yaml").unlink()

    def reload(self) -> str:
        """What it says of that."""
        command = [*self.command(), "reload"]
        found = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return found.stdout + found.stderr

    def say(self, *words: str, **fields: Any) -> dict[str, Any]:
        body = {"name": "test", "appId": "say-1.0", "parameters": {"word": list(words)}, **fields}
        return self.client().submit(**body)

    def printed(self, job: dict[str, Any]) -> str:
        self.ended(job["id"])
        return b"".join(self.client().logs(job["id"])).decode()

    def revision(self, app_id: str = "say-1.0") -> int | None:
        try:
            return int(self.client().app(app_id)["revision"])
        except NotFound:
            return None


@pytest.fixture
def served(short_dir: Path) -> Iterator[Apps]:
    with Apps(short_dir) as running:
        yield running


@pytest.fixture(scope="module")
def shared() -> Iterator[Apps]:
    """One whose configuration no test changes."""
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, Apps(Path(name)) as running:
        yield running


# ---- files and revisions


def test_each_change_of_a_file_is_a_revision_and_a_job_knows_its_own(served: Apps) -> None:
    job = served.say("a")
    assert (job["appId"], job["appRevision"]) == ("say-1.0", 1)
    served.write("say", SAY.replace("default: low", "default: high"))
    assert served.reload() == "changed: app say-1.0: revision 2\n"
    assert served.say("a")["appRevision"] == 2
    then = served.client().show(job["id"])["_links"]["app"]["href"].removeprefix("http://localhost")
    shown = ask(served.socket, "GET", then).result
    assert (shown["revision"], shown["parameters"][1]["value"]["default"]) == (1, "low")
    served.restart()
    assert served.revision() == 2


def test_a_faulty_file_leaves_the_last_good_revision_in_force(served: Apps) -> None:
    served.write("other", SAY.replace("name: say", "name: other"))
    served.write("say", SAY + "colour: red\n")
    said = served.reload()
    assert f"an app stays as it was: {served.directory}/apps/say.yaml:10:1: colour: there is no such" in said
    assert "changed: app other-1.0: revision 1" in said
    assert (served.revision(), served.revision("other-1.0")) == (1, 1)
    served.restart()
    assert served.revision() == 1
    assert served.ended(served.say("a")["id"])["status"] == "FINISHED"


def test_an_app_whose_file_is_gone_is_gone(served: Apps) -> None:
    job = served.say("a")
    served.remove("say")
    assert served.reload() == "changed: app say-1.0 is gone\n"
    assert served.revision() is None
    with pytest.raises(Invalid, match=r'appId: there is no app "say-1.0"'):
        served.say("a")
    for flags in ({}, {"ignoreParameterConflicts": False}):
        with pytest.raises(Invalid, match=r"there is no app say-1.0 any more"):
            served.client().resubmit(job["id"], **flags)
    assert ask(served.socket, "GET", "/apps/v2/say-1.0?revision=1").code == 200


def test_a_script_that_was_edited_is_a_new_revision_without_a_reload(served: Apps) -> None:
    script = served.directory / "apps/run.sh"
    script.write_text("#!/bin/sh\necho one\n")
    script.chmod(0o755)
    served.write("run", 'name: run\nversion: "1"\ntemplatePath: run.sh\n')
    served.reload()
    job = served.client().submit(name="test", appId="run-1")
    assert served.printed(job) == "one\n"
    script.write_text("#!/bin/sh\necho two\n")
    with pytest.raises(Conflict, match=r"revision 2 of run-1 runs something else than revision 1: files"):
        served.client().resubmit(job["id"], ignoreParameterConflicts=False)
    assert served.printed(served.client().resubmit(job["id"])) == "two\n"


def test_a_plain_commands_app_answers_too(shared: Apps) -> None:
    job = shared.run("true")
    href = job["_links"]["app"]["href"].removeprefix("http://localhost")
    app = ask(shared.socket, "GET", href).result
    assert (app["id"], app["isPublic"], job["appRevision"]) == ("command-1.0", True, None)


def test_listing_and_search(shared: Apps) -> None:
    assert [app["id"] for app in shared.client().apps()] == ["command-1.0", "say-1.0"]
    assert [app["id"] for app in shared.client().apps("s*")] == ["say-1.0"]
    assert list(shared.client().apps("s_*")) == []
    with pytest.raises(NotFound, match=r"no app nobody-1"):
        shared.client().app("nobody-1")


def test_ones_own_app(served: Apps) -> None:
    own = {"name": "own", "version": "1", "command": "echo ${word}", "parameters": [{"id": "word"}]}
    client = served.client()
    with pytest.raises(Invalid, match="colour"):
        client.submit_app({**own, "colour": "red"})
    assert client.submit_app(own, dry_run=True)["id"] == "own-1"
    assert served.revision("own-1") is None
    assert [client.submit_app(own)["revision"] for _ in range(2)] == [1, 1]
    shown = client.submit_app({**own, "label": "Mine"})
    assert (shown["revision"], shown["isPublic"], shown["owner"] is not None) == (2, False, True)
    assert served.printed(client.submit(name="x", appId="own-1", parameters={"word": "a b"})) == "a b\n"
    assert client.submit_app(client.app("own-1"))["id"] == "own-1"
    client.withdraw_app("own-1")
    assert served.revision("own-1") is None
    with pytest.raises(Forbidden, match="the machine's"):
        client.submit_app({**own, "name": "say", "version": "1.0"})
    with pytest.raises(Forbidden, match="the machine's"):
        client.withdraw_app("say-1.0")


# ---- submission


def test_what_an_app_gets(shared: Apps) -> None:
    job = shared.say("a", "b c", "$(id)")
    assert shared.printed(job) == "a|b c|$(id)|low|"
    assert job["parameters"] == {"word": ["a", "b c", "$(id)"], "tone": "low"}
    assert (job["directory"], job["executionSystem"], job["batchQueue"]) == (
        job["outputPath"],
        "local",
        "small",
    )
    assert job["archive"] is True
    assert job["archivePath"] == f"{shared.state}/archive/job-{job['id']}"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"parameters": {"tone": "x"}}, ["parameters.word", "parameters.tone"]),
        ({"parameters": {"word": "x", "wrd": 1}, "nodeCount": 9}, ["parameters.wrd", "nodeCount"]),
        ({"inputs": {"data": "/x"}, "batchQueue": "none"}, ["inputs.data", "parameters.word", "batchQueue"]),
        ({"parameters": "x"}, ["parameters"]),
        ({"command": ["true"]}, ["command"]),
        ({"directory": "/tmp"}, ["directory"]),
        ({"appId": "nobody-1"}, ["appId"]),
        ({"parameters": {"word": "x"}, "archiveSystem": "x"}, ["archiveSystem"]),
        ({"parameters": {"word": "x"}, "archivePath": "${NOBODY}"}, ["archivePath"]),
        ({"parameters": {"word": "x"}, "archivePath": "../x", "archiveSystem": "lab"}, ["archivePath"]),
    ],
)
def test_every_fault_of_a_submission_is_told(shared: Apps, fields: dict[str, Any], told: list[str]) -> None:
    reply = ask(shared.socket, "POST", "/jobs/v2", {"name": "test", "appId": "say-1.0", **fields})
    assert (reply.code, reply.fields) == (400, told)


def test_an_app_runs_only_where_it_can(shared: Apps) -> None:
    reply = ask(
        shared.socket, "POST", "/jobs/v2", {"name": "x", "appId": "say-1.0", "executionSystem": "other"}
    )
    assert (reply.code, reply.json["message"]) == (403, "say-1.0 does not run on other (expected local)")


def test_where_outputs_go(shared: Apps) -> None:
    def path(**fields: Any) -> str:
        return str(shared.say("x", name="A b/c", **fields).get("archivePath"))

    assert (
        path(archiveSystem="lab", archivePath="${JOB_NAME}/${AGAVE_JOB_BATCH_QUEUE}")
        == "/srv/lab/a-b-c/small"
    )
    assert path(archiveSystem="lab").startswith("/srv/lab/")
    assert path(archivePath="/elsewhere/x") == "/elsewhere/x"
    assert path(archivePath="x") == f"{shared.state}/archive/x"
    assert path(archive=False) == "None"


def test_sizes_come_from_the_request_then_the_app_then_the_queue(served: Apps) -> None:
    sizes = "defaultMaxRunTime: 00:05:00\ndefaultMemoryPerNode: 64MB\ndefaultQueue: large\n"
    served.write("say", SAY + sizes)
    served.reload()
    job = served.say("x")
    assert (job["batchQueue"], job["maxRunTime"], job["memoryPerNode"]) == ("large", "00:05:00", 0.0625)
    assert served.say("x", maxRunTime="00:00:30", batchQueue="small")["maxRunTime"] == "00:00:30"


NASTY = ["$(id)", "`id`", "'; id; '", '"', "a\nb", "-rf", "--", "${word}", "\\", "ü", "*", "a b"]
SCRIPT = """#!/bin/sh
printf '%s' "$word" > "$AGAVE_JOB_WORK_PATH/word"
printf '%s\\0' "$@" > args
printf '%s' "$AGAVE_JOB_NAME/$AGAVE_JOB_APP_ID/$flag/$off" > facts
"""


def test_a_script_finds_its_values_byte_for_byte(served: Apps) -> None:
    (served.directory / "apps/run.sh").write_text(SCRIPT)
    (served.directory / "apps/run.sh").chmod(0o755)
    app = {
        "name": "script",
        "version": "1",
        "templatePath": "run.sh",
        "parameters": [
            {"id": "word", "details": {"argument": "--word=", "showArgument": True}},
            {"id": "flag", "value": {"type": "flag"}, "details": {"argument": "-f"}},
            {"id": "off", "value": {"type": "bool", "default": False}},
        ],
    }
    served.write("script", json.dumps(app))
    served.reload()
    request = {"appId": "script-1", "archive": False}
    wanted = [{**request, "name": word, "parameters": {"word": word, "flag": True}} for word in NASTY]
    for word, job in zip(NASTY, served.client().submit_many(wanted), strict=True):
        assert served.ended(job["id"])["exitCode"] == 0
        place = Path(job["outputPath"])
        assert (place / "word").read_bytes() == word.encode()
        assert (place / "args").read_bytes() == f"--word={word}\0-f\0".encode()
        assert (place / "facts").read_text() == f"{word}/script-1/true/"


# ---- resubmission


def other_tone(served: Apps, tone: str = "high") -> None:
    """Another default of the hidden parameter."""
    served.write("say", SAY.replace("default: low", f"default: {tone}"))
    served.reload()


def test_with_nothing_changed_nothing_conflicts_and_the_request_is_the_same(shared: Apps) -> None:
    job = shared.say("a", environment={"A": "b"})
    again = shared.client().resubmit(job["id"], ignoreInputConflicts=False, ignoreParameterConflicts=False)
    assert (again["migrated"], again["resubmitOf"], again["appRevision"]) == ([], job["id"], 1)
    requests = [
        ask(shared.socket, "GET", f"/jobs/v2/{one['id']}/resubmit_request").result for one in (job, again)
    ]
    assert requests[0] == requests[1] == {"name": "test", "appId": "say-1.0", "parameters": {"word": ["a"]}}
    assert shared.printed(again) == shared.printed(job)


STRICT = {"ignoreParameterConflicts": False}


def spellings(job_id: str, fields: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """Path, body and content type of every way to say it."""
    words = "&".join(f"{name}={str(value).lower()}" for name, value in fields.items())
    path = f"/jobs/v2/{job_id}"
    form = "application/x-www-form-urlencoded"
    return [
        (path, f"action=resubmit&{words}".encode(), form),
        (path, {"action": "resubmit", **fields}, "application/json"),
        (f"{path}/resubmit", fields, "application/json"),
        (f"{path}/resubmit?{words}", b"", "application/json"),
    ]


@pytest.mark.parametrize("way", range(4))
def test_every_spelling_has_the_flags(served: Apps, way: int) -> None:
    job = served.say("a")
    other_tone(served)
    path, body, kind = spellings(job["id"], STRICT)[way]
    refused = ask(served.socket, "POST", path, body, kind)
    assert refused.code == 409
    (conflict,) = refused.result["conflicts"]
    assert conflict == {
        "field": "parameters.tone",
        "kind": "HIDDEN",
        "flag": "ignoreParameterConflicts",
        "was": "low",
        "now": "high",
        "problem": 'hidden, it was "low" and is "high" now',
        "fit": "today's default replaces it",
        "ignored": False,
    }
    assert conflict["problem"] in refused.json["message"]
    path, body, kind = spellings(job["id"], {})[way]
    taken = ask(served.socket, "POST", path, body, kind)
    assert taken.code == 202
    assert [(did["field"], did["was"], did["now"]) for did in taken.result["migrated"]] == [
        ("parameters.tone", "low", "high")
    ]
    assert served.printed(taken.result) == "a|high|"


def test_what_cannot_be_migrated_is_refused_in_both_modes_with_the_conflicts(served: Apps) -> None:
    job = served.say("a", "b")
    served.write("say", SAY.replace("maxCardinality: 3", "maxCardinality: 1").replace("low", "high"))
    served.reload()
    for fields in ({}, STRICT):
        reply = ask(served.socket, "POST", f"/jobs/v2/{job['id']}/resubmit", fields)
        assert (reply.code, reply.fields) == (400, ["parameters.word"])
        assert [one["field"] for one in reply.result["conflicts"]] == ["parameters.tone"]
    again = served.client().resubmit(job["id"], parameters={"word": "c"})
    assert served.printed(again) == "c|high|"


def happens_as_planned(served: Apps, job_id: str, fields: dict[str, Any]) -> int:
    """A dry run, then the real one. The code of both."""
    plan = served.client().resubmit(job_id, **fields, dryRun=True)
    reply = ask(served.socket, "POST", f"/jobs/v2/{job_id}/resubmit", fields)
    assert (plan["wouldAnswer"], plan["message"]) == (reply.code, reply.json["message"])
    if reply.code == 202:
        new = reply.result
        assert (new["parameters"], new["command"]) == (plan["parameters"], plan["command"])
        assert [did["field"] for did in new["migrated"]] == [one["field"] for one in plan["conflicts"]]
        asked = ask(served.socket, "GET", f"/jobs/v2/{new['id']}/resubmit_request").result
        assert asked == plan["request"]
    else:
        assert plan["errors"] == reply.result["errors"]
        assert plan["conflicts"] == reply.result.get("conflicts", [])
    return reply.code


def test_a_dry_run_is_what_then_happens(served: Apps) -> None:
    job = served.say("a")
    other_tone(served)
    rows = len(list(served.client().list({})))
    wishes = ({}, STRICT, {"parameters": {"word": ["x", "y"]}}, {"parameters": {"tone": "x"}})
    assert [happens_as_planned(served, job["id"], fields) for fields in wishes] == [202, 409, 202, 400]
    assert len(list(served.client().list({}))) == rows + 2


@given(any_fields(), any_fields(), ANY_GIVEN, ANY_GIVEN, st.sampled_from([{}, STRICT]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_dry_run_is_what_then_happens_with_any_two_apps(
    shared: Apps, before: Any, now: Any, asked: Any, set_anew: Any, flags: Any
) -> None:
    client = shared.client()
    app = {"name": "any", "version": "1", "command": "true ${a} ${b} ${c}", "archive": False}
    with_all = [*({"id": name} for name in "abc" if name not in {field["id"] for field in before}), *before]
    client.submit_app({**app, "parameters": with_all})
    try:
        job = client.submit(name="x", appId="any-1", parameters=asked)
    except Invalid:
        return
    without = {**app, "command": "true", "parameters": now}
    client.submit_app(without)
    event(str(happens_as_planned(shared, job["id"], flags)))
    happens_as_planned(shared, job["id"], {**flags, "parameters": set_anew})


def test_a_place_that_was_left_open_is_a_conflict_and_one_that_was_asked_for_a_fault(served: Apps) -> None:
    left = served.say("a")
    asked = served.say("a", batchQueue="small", maxRunTime="00:00:50")
    served.config.write_text(CONFIG.replace("{name: small, maxRequestedTime: 60s}, ", ""))
    served.reload()
    with pytest.raises(Conflict) as raised:
        served.client().resubmit(left["id"], **STRICT)
    places = {one["field"]: (one["was"], one["now"]) for one in raised.value.conflicts}
    assert places == {"batchQueue": ("small", "large"), "maxRunTime": ("00:01:00", None)}
    assert served.client().resubmit(left["id"])["batchQueue"] == "large"
    for flags in ({}, STRICT):
        with pytest.raises(Invalid, match=r"batchQueue: local has no queue 'small'"):
            served.client().resubmit(asked["id"], **flags)
    served.config.write_text(CONFIG.replace("60s", "40s"))
    served.reload()
    with pytest.raises(Invalid, match=r"maxRunTime: 00:00:50 is more than queue small takes"):
        served.client().resubmit(asked["id"])


def test_a_key_that_was_used_is_answered_whatever_has_changed_since(served: Apps) -> None:
    job = served.say("a")
    again = served.client().resubmit(job["id"], "one-key", **STRICT)
    other_tone(served)
    assert served.client().resubmit(job["id"], "one-key", **STRICT)["id"] == again["id"]


# ---- jobctl


def test_jobctl_says_it_to_an_app(shared: Apps) -> None:
    found = shared.jobctl("run", "--app", "say-1.0", "--param", "word=a b", "--param", "word=--app")
    assert (found.returncode, found.stdout) == (0, "a b|--app|low|")
    wrong = shared.jobctl("submit", "--app", "say-1.0", "--param", "wrd=1", "--input", "x=a", "-d", "/tmp")
    assert wrong.returncode == 2
    assert "--directory: a job of an app runs in a directory of its own" in wrong.stderr
    wrong = shared.jobctl("submit", "--app", "say-1.0", "--param", "wrd=1", "--input", "x=a")
    assert [line.split(":")[1].strip() for line in wrong.stderr.splitlines()] == [
        "--input x",
        "--param wrd",
        "--param word",
    ]
    assert "a command and an app" in shared.jobctl("submit", "--app", "say-1.0", "--", "true").stderr
    assert "expected --app" in shared.jobctl("submit", "--param", "a=b", "--", "true").stderr
    assert "is not ID=VALUE" in shared.jobctl("submit", "--app", "say-1.0", "--param", "a").stderr


def test_a_job_file_to_start_from(shared: Apps, tmp_path: Path) -> None:
    shown = shared.jobctl("apps", "show", "say-1.0").stdout
    file = tmp_path / "job.yaml"
    file.write_text(shown)
    wrong = shared.jobctl("submit", "-f", str(file))
    line = next(number for number, line in enumerate(shown.splitlines(), 1) if line.startswith("  word:"))
    assert f"{file}:{line}:3: parameters.word: this is missing" in wrong.stderr
    file.write_text(shown.replace("  word:", '  word: "from a file"'))
    found = shared.jobctl("submit", "--wait", "-q", "-f", str(file))
    assert found.returncode == 0
    assert shared.printed({"id": found.stdout.strip()}) == "from a file|low|"


def test_jobctl_apps(served: Apps) -> None:
    listed = served.jobctl("apps").stdout
    assert "say-1.0" in listed
    assert "machine" in listed
    own = served.directory / "own.yaml"
    own.write_text(SAY.replace("name: say", "name: own").replace("tone,", "tone, colour: red,"))
    wrong = served.jobctl("apps", "check", "own.yaml")
    assert wrong.returncode == 2
    assert "own.yaml:9:16: parameters.1.colour: there is no such option" in wrong.stderr
    own.write_text(SAY.replace("name: say", "name: own"))
    assert served.jobctl("apps", "check", "own.yaml").stdout == "own.yaml: own-1.0 is right\n"
    assert served.jobctl("apps", "add", "own.yaml").stdout == "own-1.0  revision 1\n"
    assert served.jobctl("apps", "list", "own*", "-q").stdout == "own-1.0\n"
    assert served.jobctl("apps", "withdraw", "own-1.0").returncode == 0
    assert served.jobctl("apps", "show", "own-1.0").returncode == 66


def test_jobctl_resubmits_as_strictly_as_it_is_told(served: Apps) -> None:
    job = served.say("a")
    other_tone(served)
    dry = served.jobctl("resubmit", "--dry-run", "--strict", job["id"])
    assert (dry.returncode, "would be refused" in dry.stdout) == (1, True)
    refused = served.jobctl("resubmit", "--strict", job["id"])
    assert refused.returncode == 1
    assert 'parameters.tone: hidden, it was "low" and is "high" now (if ignored:' in refused.stderr
    dry = served.jobctl("resubmit", "--dry-run", "--strict", "--ignore-parameters", job["id"])
    assert (dry.returncode, "would be submitted" in dry.stdout) == (0, True)
    taken = served.jobctl("resubmit", "--set", "word=b", job["id"])
    assert taken.returncode == 0
    assert "parameters.tone: hidden" in taken.stderr
    new = taken.stdout.split()[0]
    served.ended(new)
    shown = served.jobctl("show", new).stdout
    assert f"again of   {job['id']}" in shown
    assert "migrated   parameters.tone: hidden" in shown
    assert "parameter  word = b" in shown
    assert "app        say-1.0, revision 2" in shown
    as_json = json.loads(served.jobctl("--json", "resubmit", "--strict", job["id"]).stderr)["error"]
    assert (as_json["code"], as_json["conflicts"][0]["kind"]) == (409, "HIDDEN")


# ---- several people


@needs_people
def test_a_persons_app_is_their_own() -> None:
    with machine() as lab, SystemDaemon(lab, "systems: [{id: local}]") as daemon:
        script = lab.alice.home / "run.sh"
        script.write_text('#!/bin/sh\necho "$USER $word"\n')
        script.chmod(0o700)
        os.chown(script, lab.alice.uid, lab.alice.uid)
        app = {
            "name": "hers",
            "version": "1",
            "templatePath": "run.sh",
            "deploymentPath": str(lab.alice.home),
            "parameters": [{"id": "word"}],
        }
        daemon.as_user(lab.alice, lambda client: client.submit_app(app))
        body = {"name": "x", "appId": "hers-1", "parameters": {"word": "hello"}, "archive": False}
        job = daemon.as_user(lab.alice, lambda client: client.submit(**body))
        daemon.ended(job["id"])
        said = daemon.as_user(lab.alice, lambda client: b"".join(client.logs(job["id"])).decode())
        assert said == "alice hello\n"

        def what_bob_gets(client: Any) -> list[str]:
            answers = [str([row["id"] for row in client.apps()])]
            for deed in (
                lambda: client.app("hers-1"),
                lambda: client.withdraw_app("hers-1"),
                lambda: client.submit(**body),
                lambda: client.submit_app({**app, "name": "spy"}),
                lambda: client.resubmit(job["id"]),
            ):
                try:
                    answers.append(str(deed()))
                except Exception as error:
                    answers.append(f"{type(error).__name__}: {error}")
            return answers

        found = daemon.as_user(lab.bob, what_bob_gets)
        assert found[:3] == ["['command-1.0']", "NotFound: no app hers-1", "NotFound: no app hers-1"]
        assert found[3].startswith('Invalid: appId: there is no app "hers-1"')
        assert "may not be read" in found[4]
        assert found[5].startswith("NotFound: no job")
