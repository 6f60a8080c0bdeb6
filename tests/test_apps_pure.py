"""Apps by themselves: what a file may say, what a submission may say to it, the arguments that come of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.apps import app as apps
from jobd.apps import files, sources, template, values
from jobd.apps.app import App
from jobd.errors import Invalid

PLOT: dict[str, Any] = {
    "name": "plot",
    "version": "1.0",
    "command": "plot ${kind} --x=${xlabel} ${legend} ${data}",
    "inputs": [{"id": "data", "value": {"required": True}, "semantics": {"maxCardinality": 2}}],
    "parameters": [
        {
            "id": "kind",
            "value": {"type": "enumeration", "enumValues": ["bar", {"line": "A line"}], "default": "bar"},
            "details": {"argument": "--kind", "showArgument": True},
        },
        {"id": "xlabel", "value": {"validator": "[a-z]+"}},
        {"id": "size", "value": {"type": "number", "default": 5, "visible": False}},
        {"id": "legend", "value": {"type": "flag"}, "details": {"argument": "--legend"}},
    ],
}


def made(**changes: Any) -> App:
    return apps.read({**PLOT, **changes}, apps.dotted)


def parameter(**changes: Any) -> dict[str, Any]:
    return {"parameters": [{"id": "k", "value": changes}], "command": "x"}


# ---- what an app may say


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": "a b"}, "name", "letters"),
        ({"version": 1.0}, "version", "in quotes"),
        ({"id": "other-1.0"}, "id", "plot-1.0"),
        ({"name": "command"}, "name", "jobd's own"),
        ({"command": ""}, "command", "nothing to run"),
        ({"command": "a 'b"}, "command", "quotes that close"),
        ({"command": "${nobody}"}, "command.0", "means nothing here"),
        ({"templatePath": "run.sh"}, "command", "both given"),
        ({"command": "", "templatePath": "../run.sh"}, "templatePath", "beneath"),
        ({"command": "", "templatePath": "run.sh"}, "deploymentPath", "directory"),
        ({"command": "${JOBD_APP_PATH}/x.py"}, "deploymentPath", "directory"),
        ({"colour": "red"}, "colour", "no such option"),
        ({"executionType": "GPU"}, "executionType", "'CLI' or 'HPC'"),
        ({"defaultMaxRunTime": "1h"}, "defaultMaxRunTime", "HH:MM:SS"),
        ({"defaultNodeCount": 0}, "defaultNodeCount", "greater"),
        ({"inputs": [{"id": "kind"}]}, "parameters.0.id", "another 'kind'"),
        (parameter(visible=False), "parameters.0.value.default", "needs a default"),
        (parameter(visible=False, required=False), "parameters.0.value.required", "always used"),
        (parameter(visible="no"), "parameters.0.value.visible", "true or false"),
        (parameter(validator="(a"), "parameters.0.value.validator", "not a pattern"),
        (parameter(validator="a{3", default="b"), "parameters.0.value.validator", "not a pattern"),
        (parameter(validator="a+", default="b"), "parameters.0.value.default", "what matches"),
        (parameter(type="number", default="x"), "parameters.0.value.default", "a number"),
        (parameter(type="enumeration"), "parameters.0.value.enumValues", "a list of values"),
        (parameter(type="enumeration", enumValues=[["a"]]), "parameters.0.value.enumValues.0", "text, or"),
        (parameter(enumValues=["a"]), "parameters.0.value.enumValues", "none"),
        (parameter(type="flag"), "parameters.0.details.argument", "its argument"),
        (parameter(defualt=1), "parameters.0.value.defualt", "default"),
        ({"parameters": [{"id": "PATH"}]}, "parameters.0.id", "capitals"),
        (
            {"parameters": [{"id": "k", "semantics": {"minCardinality": 3}}]},
            "parameters.0.semantics.maxCardinality",
            "too few",
        ),
    ],
)
def test_each_fault_names_its_field(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as raised:
        made(**change)
    assert field in [fault.field for fault in raised.value.faults]


def test_a_file_is_refused_with_its_line_and_the_others_are_taken(tmp_path: Path) -> None:
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/good.yaml").write_text('name: good\nversion: "1"\ncommand: echo\n')
    (tmp_path / "apps/bad.yaml").write_text('name: bad\nversion: "1"\ncommand: echo\ncolour: red\n')
    (tmp_path / "apps/second.yaml").write_text('name: good\nversion: "1"\ncommand: echo 2\n')
    found = files.read_all(str(tmp_path / "jobd.yaml"))
    assert [app.id for app, _ in found.apps.values()] == ["good-1"]
    first, second = sorted(map(str, found.faults))
    assert first.startswith(f"{tmp_path}/apps/bad.yaml:4:1: colour: there is no such option")
    assert second.startswith(f"{tmp_path}/apps/second.yaml: there is another good-1")
    assert found.refused == {str(tmp_path / "apps/bad.yaml"), str(tmp_path / "apps/second.yaml")}


def test_a_changed_script_is_another_digest(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("print(1)")
    file = tmp_path / "a.yaml"
    file.write_text('name: a\nversion: "1"\ncommand: python3 ${JOBD_APP_PATH}/run.py\n')
    before = apps.digest(files.read_one(str(file))[1])
    assert apps.digest(files.read_one(str(file))[1]) == before
    (tmp_path / "run.py").write_text("print(2)")
    assert apps.digest(files.read_one(str(file))[1]) != before
    (tmp_path / "run.py").unlink()
    with pytest.raises(Invalid, match=r"run\.py: No such file"):
        files.read_one(str(file))


def test_what_is_kept_is_the_app_again() -> None:
    app = made(defaultMemoryPerNode=1.5, defaultMaxRunTime="01:00:00")
    assert apps.of_text(json.dumps(apps.body(app, {"x": "1"}))) == app


# ---- what a submission may say to it


@pytest.mark.parametrize(
    ("inputs", "parameters", "told"),
    [
        ({"data": "/a"}, {}, []),
        ({"data": ["/a", "/b"]}, {"kind": "line", "legend": "true"}, []),
        ({}, {}, ["inputs.data: this is missing (expected a path or a URI)"]),
        ({"data": []}, {}, ["inputs.data: this is missing (expected a path or a URI)"]),
        ({"data": ["/a", "/b", "/c"]}, {}, ["inputs.data: 3 values are too many (expected at most 2)"]),
        ({"data": 5}, {}, ["inputs.data: 5 is not a file (expected a path or a URI, as text)"]),
        ({"data": "/a"}, {"size": 6}, ["parameters.size: this is not for you to set"]),
        ({"data": "/a"}, {"kind": "pie"}, ['parameters.kind: "pie" will not do (expected one of bar, line)']),
        ({"data": "/a"}, {"kind": ["bar", "line"]}, ["parameters.kind: 2 values are too many"]),
        ({"data": "/a"}, {"xlabel": "X"}, ['parameters.xlabel: "X" will not do (expected what matches']),
        ({"data": "/a"}, {"legend": "maybe"}, ['parameters.legend: "maybe" will not do (expected true or']),
        ({"data": "/a"}, {"knd": "bar"}, ["parameters.knd: the app has no such field (expected kind?)"]),
        ({"dta": "/a"}, {"size": [], "xlabel": "a\0"}, ["inputs.dta", "inputs.data", "parameters.xlabel"]),
    ],
)
def test_all_faults_are_told_at_once(inputs: Any, parameters: Any, told: list[str]) -> None:
    _, faults = values.checked(made(), inputs, parameters)
    assert len(faults) == len(told), faults
    for fault, words in zip(map(str, faults), told, strict=True):
        assert fault.startswith(words)


def test_the_order_of_the_checks_is_agaves() -> None:
    """visible, required, minCardinality, maxCardinality, validator or type: the first that fails is told."""
    app = apps.read(
        {
            "name": "a",
            "version": "1",
            "command": "x",
            "parameters": [
                {"id": "h", "value": {"visible": False, "default": 1, "type": "number"}},
                {
                    "id": "k",
                    "value": {"required": True, "type": "number"},
                    "semantics": {"minCardinality": 2, "maxCardinality": 3},
                },
            ],
        },
        apps.dotted,
    )

    def told(**parameters: Any) -> list[str]:
        return [str(fault).partition(" (")[0] for fault in values.checked(app, {}, parameters)[1]]

    assert told(h="x", k=["a"] * 2) == [
        "parameters.h: this is not for you to set",
        'parameters.k: "a" will not do',
    ]
    assert told() == ["parameters.k: this is missing"]
    assert told(k="a") == ["parameters.k: 1 value is too few"]
    assert told(k=["a"] * 4) == ["parameters.k: 4 values are too many"]


def test_what_it_runs_with_has_defaults_and_hidden_ones() -> None:
    found, faults = values.checked(made(), {"data": "/a"}, {"legend": 1})
    assert not faults
    assert found.as_parameters(made()) == {"kind": "bar", "size": 5, "legend": True}
    assert found.as_inputs() == {"data": ["/a"]}


# ---- where inputs come from


@pytest.mark.parametrize(
    ("source", "place", "name"),
    [
        ("/data/a b.csv", "/data/a b.csv", "a b.csv"),
        ("/data/dir/", "/data/dir/", "dir"),
        ("file:///data/a%20b.csv", "/data/a b.csv", "a b.csv"),
        ("http://h.org/x/y.csv?z=1", "http://h.org/x/y.csv?z=1", "y.csv"),
        ("agave://lab/runs/1.csv", "/srv/lab/runs/1.csv", "1.csv"),
        ("/", "/", "data"),
        ("/data/..", "/data/..", "data"),
        ("/data/.jobd", "/data/.jobd", "data-.jobd"),
        ("/data/.jobd-staging", "/data/.jobd-staging", "data-.jobd-staging"),
        ("http://h.org/%2e%2e", "http://h.org/%2e%2e", "data"),
    ],
)
def test_a_source_and_its_name(source: str, place: str, name: str) -> None:
    (entry,), faults = sources.plan(made(), {"data": [source]}, {"lab": "/srv/lab"})
    assert not faults
    assert entry == {"input": "data", "source": place, "name": name, "inPlace": False}


@pytest.mark.parametrize(
    "source",
    ["a.csv", "ftp://h/a", "file://elsewhere/a", "agave://nobody/a", "agave://lab/../../etc/passwd", "http:///a",
     "http://[::1/a", "agave://lab/%2e%2e/x"],
)  # fmt: skip
def test_what_is_no_place_for_a_file(source: str) -> None:
    entries, (fault,) = sources.plan(made(), {"data": [source]}, {"lab": "/srv/lab"})
    assert not entries
    assert fault.field == "inputs.data"


NO_NUL = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(st.lists(st.text(NO_NUL, max_size=9), max_size=6))
@settings(max_examples=200, deadline=None)
def test_names_are_files_beside_each_other(names: list[str]) -> None:
    entries, _ = sources.plan(made(), {"data": [f"/x/{name}" for name in names]}, {})
    found = [entry["name"] for entry in entries]
    assert len(set(found)) == len(names)
    assert not {"", ".", ".."} & set(found)
    assert not any("/" in name or name.startswith(".jobd") for name in found)


# ---- arguments


FACTS = {name: "" for name in template.FACTS}


def arguments(words: list[str], **given: Any) -> list[str]:
    fields = made().fields()
    return template.arguments(
        words, fields, {k: v if isinstance(v, list) else [v] for k, v in given.items()}, FACTS
    )


@pytest.mark.parametrize(
    ("words", "given", "made_of_it"),
    [
        (["${kind}"], {"kind": "bar"}, ["--kind", "bar"]),
        (["x${kind}y"], {"kind": "bar"}, ["xbary"]),
        (["${data}"], {"data": ["a", "b"]}, ["a", "b"]),
        (["-i${data}"], {"data": ["a", "b"]}, ["-ia", "-ib"]),
        (["${data}:${kind}"], {"data": ["a", "b"], "kind": "k"}, ["a:k", "b:k"]),
        (["a", "${data}", "-${data}", "b"], {}, ["a", "b"]),
        (["${legend}"], {"legend": True}, ["--legend"]),
        (["${legend}"], {"legend": False}, []),
        (["${size}"], {"size": 5}, ["5"]),
        (["${size}"], {"size": 0.5}, ["0.5"]),
        (["${xlabel}"], {"xlabel": "${kind} $(id) `x`"}, ["${kind} $(id) `x`"]),
    ],
)
def test_a_template_and_its_arguments(words: list[str], given: Any, made_of_it: list[str]) -> None:
    assert arguments(words, **given) == made_of_it


@pytest.mark.parametrize(
    ("details", "made_of_it"),
    [
        ({"argument": "-f", "showArgument": True}, ["-f", "1", "2"]),
        ({"argument": "-f ", "showArgument": True}, ["-f", "1", "2"]),
        ({"argument": "-f", "showArgument": True, "repeatArgument": True}, ["-f", "1", "-f", "2"]),
        ({"argument": "--f=", "showArgument": True}, ["--f=1", "2"]),
        ({"argument": "--f=", "showArgument": True, "repeatArgument": True}, ["--f=1", "--f=2"]),
        ({"argument": "-f", "repeatArgument": True}, ["1", "2"]),
    ],
)
def test_what_goes_before_values(details: dict[str, Any], made_of_it: list[str]) -> None:
    app = made(inputs=[{"id": "data", "details": details}])
    assert template.shown(app.inputs[0], {"data": ["1", "2"]}) == made_of_it


NASTY = ["$(id)", "`id`", "'; id; '", '"', "a\nb", "-rf", "--", "${kind}", "$HOME", "\\", "ü\u202e", "\udc80"]
ANY_TEXT = st.text(NO_NUL, min_size=1, max_size=40) | st.sampled_from(NASTY)
ECHO = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_value_reaches_the_program_as_it_is(given: list[str]) -> None:
    """By a real program, not only in the list of arguments."""
    app = apps.read(
        {
            "name": "echo",
            "version": "1",
            "command": [sys.executable, "-c", ECHO, "${word}", "--word=${word}"],
            "parameters": [{"id": "word", "semantics": {"maxCardinality": -1}}],
        },
        apps.dotted,
    )
    found, faults = values.checked(app, {}, {"word": given})
    assert not faults
    argv = template.arguments(app.command, app.fields(), found.parameters, FACTS)
    answer = subprocess.run(argv, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})

    assert answer.stdout.split(b"\0") == [
        os.fsencode(word) for word in [*given, *(f"--word={w}" for w in given)]
    ]
