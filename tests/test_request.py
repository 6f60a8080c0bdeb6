"""What a submission may say, and what becomes of it: pure, and in real jobs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.errors import Conflict, Invalid
from jobd.people import Person, known, person
from jobd.verbs.request import read
from tests.daemon import RunningDaemon

BODY = {"name": "fit", "command": ["true"]}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": None}, "name", "text|string"),
        ({"name": "  "}, "name", "empty"),
        ({"name": "x" * 65}, "name", "65 characters"),
        ({"command": []}, "command", "empty"),
        ({"command": [""]}, "command.0", "empty"),
        ({"command": ["a\0b"]}, "command.0", "NUL"),
        ({"command": ["\ud800"]}, "command.0", "surrogate|Unicode|unicode"),
        ({"command": "true"}, "command", "list"),
        ({"appId": "blast-1.0"}, "command", "one of the two"),
        ({"maxRunTime": "1h"}, "maxRunTime", "HH:MM:SS"),
        ({"memoryPerNode": -1}, "memoryPerNode", "above 0"),
        ({"memoryPerNode": "16 apples"}, "memoryPerNode", "16GB"),
        ({"nodeCount": 0}, "nodeCount", "greater than or equal to 1"),
        ({"nodeCount": True}, "nodeCount", "whole number"),
        ({"gpus": False}, "gpus", "whole number"),
        ({"priority": 1001}, "priority", "less than or equal to 1000"),
        ({"directory": "here"}, "directory", "absolute"),
        ({"environment": {"A=B": "c"}}, "environment", "no variable's name"),
        ({"archive": True, "directory": "/here"}, "archive", "stay there"),
        ({"inputs": {"a": "b"}}, "inputs", "has none"),
        ({"parameters": [1]}, "parameters", "mapping"),
        ({"appId": "blast-1.0", "command": None, "directory": "/here"}, "directory", "of its own"),
        ({"jobName": "other"}, "jobName", "name is given too"),
        ({"maxRuntime": "01:00:00"}, "maxRuntime", r"maxRunTime\?"),
    ],
)
def test_each_fault_names_its_field(change, field, words):
    with pytest.raises(Invalid, match=words) as raised:
        read({**BODY, **change})
    assert [fault.field for fault in raised.value.faults] == [field]


def test_all_faults_come_at_once_with_their_place():
    with pytest.raises(Invalid) as raised:
        read({"nodeCount": -1, "color": "red"}, "3.")
    assert {fault.field for fault in raised.value.faults} == {"3.name", "3.nodeCount", "3.color"}


def test_agaves_synonyms_and_the_text_of_forms():
    request = read(
        {"jobName": "fit", "command": ["x"], "nodeCount": "2", "memoryPerNode": "1.5", "queue": "q"}
    )
    assert (request.name, request.node_count, request.batch_queue) == ("fit", 2, "q")
    assert request.memory_per_node == 3 << 29


def test_who_is_a_user_here():
    assert person("root") == Person("root", 0, 0, pwd.getpwuid(0).pw_dir, pwd.getpwuid(0).pw_shell)
    assert person("nobody-of-that-name") is None


def test_for_each_request_the_password_database_need_not_be_asked():
    assert known("root") == person("root")
    assert any(known("root") is known("root") for _ in range(2)), "it is kept, but for the turn of a minute"
    assert known("nobody-of-that-name") is None


CONFIG = """
systems:
  - id: local
    environment: {SITE: lab, COLOR: grey}
"""


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(short_dir, CONFIG) as running:
        yield running


def printed(daemon: RunningDaemon, job: dict[str, object]) -> str:
    return b"".join(daemon.client().logs(str(job["id"]))).decode()


def test_a_jobs_own_variables_go_before_its_systems(daemon):
    script = "echo $SITE $COLOR $JOBD_JOB_NAME"
    job = daemon.run("/bin/sh", "-c", script, environment={"COLOR": "red", "JOBD_JOB_NAME": "liar"})
    assert printed(daemon, job) == "lab red test\n"


def test_a_clean_environment_has_what_a_login_has_and_nothing_of_the_daemons(daemon):
    job = daemon.run("env", environment=None, directory=None)
    found = dict(line.split("=", 1) for line in printed(daemon, job).splitlines())
    assert found["USER"] == pwd.getpwuid(os.geteuid()).pw_name
    assert "PYTHONPATH" not in found
    assert "JOBD_STATE_DIR" not in found


def test_what_jobd_runs_itself_needs_no_resolving(daemon):
    job = daemon.submit("sleep", "60")
    daemon.in_status(job["id"], "RUNNING")
    with pytest.raises(Conflict, match="without help"):
        daemon.client().resolve(job["id"], local_id="5")
