"""Files with the place of every value: what is taken, what is refused, and where it says so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd import yamlfile
from jobd.errors import Fault, Invalid

JOB = """\
# a job
name: test
command: [sh, -c, "exit 7"]
environment:
  A: "1"
  B.C: two
notifications:
  - url: x

  - event: FINISHED
    policy:
        retryLimit: 5
"""


def refused(text: str | bytes, name: str = "job.yaml") -> str:
    with pytest.raises(Invalid) as caught:
        yamlfile.parse(text, name)
    assert len(caught.value.faults) == 1
    return str(caught.value)


def value(text: str) -> Any:
    return yamlfile.parse(f"x: {text}", "job.yaml").value["x"]


def test_plain_data() -> None:
    document = yamlfile.parse(JOB, "job.yaml")
    assert document.value == {
        "name": "test",
        "command": ["sh", "-c", "exit 7"],
        "environment": {"A": "1", "B.C": "two"},
        "notifications": [{"url": "x"}, {"event": "FINISHED", "policy": {"retryLimit": 5}}],
    }


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), (2, 1)),
        (("name",), (2, 1)),
        (("command",), (3, 1)),
        (("command", 2), (3, 19)),
        (("environment", "B.C"), (6, 3)),
        (("notifications", 1, "event"), (10, 5)),
        (("notifications", 1, "policy", "retryLimit"), (12, 9)),
        (("notifications", 1, "missing", "deep"), (10, 5)),
        (("no", "such"), (2, 1)),
    ],
)
def test_where_everything_is(path: yamlfile.Path, place: yamlfile.Position) -> None:
    assert yamlfile.parse(JOB, "job.yaml").where(path) == place


def test_where_everything_is_in_json() -> None:
    text = '[\n  {"name": "a", "x": [1,\n\t{"deep":null}]},\r\n  {"na\\"me" : "\\u00e9\\ud83d\\ude00"}\n]'
    document = yamlfile.parse(text, "jobs.json")
    assert document.value == json.loads(text)
    assert document.where((0, "name")) == (2, 4)
    assert document.where((0, "x", 1, "deep")) == (3, 3)
    assert document.where((1,)) == (4, 3)
    assert document.where((1, 'na"me')) == (4, 4)


def test_a_fault_of_the_daemons_is_found_in_the_file() -> None:
    document = yamlfile.parse(JOB, "job.yaml")
    fault = document.located(Fault("notifications.1.event", "no such event", "FINISHED"))
    assert str(fault) == "job.yaml:10:5: notifications.1.event: no such event (expected FINISHED)"
    assert document.located(Fault("environment.B.C", "is wrong")).field == "job.yaml:6:3: environment.B.C"
    assert document.located(Fault("maxRunTime", "is missing")).field == "job.yaml:2:1: maxRunTime"
    assert document.located(Fault("notifications.9.x", "is missing")).field.startswith("job.yaml:7:1: ")
    assert document.located(Fault("", "is wrong")).field == "job.yaml:2:1"


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "y", "12:30", "01:00:00", "010", "0o17", "0x1F", "1_000", "2026-11-23",
     "1e400", "-", "2026-11-23T10:00:00Z", ".inf", ".nan", "NaN", "12e4567", "1.2.3",
     "<<", "9" * 5000, "+", "00"],
)  # fmt: skip
def test_what_looks_like_something_else_stays_text(text: str) -> None:
    quoted = json.dumps(text) if text == "-" else text
    assert value(quoted) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("-7", -7), ("+1", 1), ("0", 0), ("1e3", 1000.0), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0),
     ("-0.0", 0.0), ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
     ("Null", None), ('"1"', "1"), ("'true'", "true"), ("''", ""), ("|\n  1", "1"),
     ("9223372036854775808", 2**63)],
)  # fmt: skip
def test_words_as_yaml_1_2_has_them(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_keys_are_always_text() -> None:
    assert yamlfile.parse("no: 1\n8: 2\n12:30: 3\n~: 4\n2026-11-23: 5", "f.yaml").value == {
        "no": 1, "8": 2, "12:30": 3, "~": 4, "2026-11-23": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: a: this key comes twice (expected once; the first is on line 1)"),
        ("a:\n  - {b: 1, b: 2}", "f.yaml:2:12: a.0.b: this key comes twice (expected once; the first is on "),
        ("a: &x 1\nb: *x", "f.yaml:2:4: aliases (*name) are not taken here (expected the value itself)"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: tags (tag:yaml.org,2002:python/object:os.system) "),
        ("a: !!set {b}", "f.yaml:1:4: tags (tag:yaml.org,2002:set) are not taken here (expected a plain "),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document starts here (expected one per file)"),
        ("a:\n\t- b", "f.yaml:2:1: there is a tab here (expected spaces: YAML takes no tabs "),
        ("a: {b: 1", "f.yaml:2:1: this is not YAML: did not find expected ',' or '}', while parsing a flow "),
        ("a: 1\n b: 2", "f.yaml:2:3: this is not YAML: mapping values are not allowed in this context"),
        ("a:\n  - 1\n b: 2", "f.yaml:3:2: this is not YAML: did not find expected"),
        ('a: "b', "f.yaml:1:6: this is not YAML: found unexpected end of stream"),
        ("a: 1\nb: @x", "f.yaml:2:4: this is not YAML: found character that cannot start any token"),
        ("? [a]\n: 1", "f.yaml:1:3: a list or mapping cannot be a key (expected text)"),
        ("? {a: 1}\n: 1", "f.yaml:1:3: a list or mapping cannot be a key (expected text)"),
        ("a: 1\nb: \0", "f.yaml:2:4: this character is not allowed in YAML"),
        ("[" * 101 + "]" * 101, "f.yaml:1:101: this is nested more than 100 levels deep"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, message: str) -> None:
    assert refused(text, "f.yaml").startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"b":}', "f.json:1:12: this is not JSON: Expecting value"),
        ('{"a":1,\n "b": 2,}', "f.json:2:"),
        ("{'a': 1}", "f.json:1:2: this is not JSON: Expecting property name"),
        ('{"a": 1}\n{"b": 2}', "f.json:2:1: this is not JSON: Extra data"),
        (
            '{"a": 1,\n "b": {"c": 1,\n "c": 2}}',
            "f.json:3:2: b.c: this key comes twice (expected once; the first",
        ),
        ('{"a": NaN}', "f.json: is not JSON: NaN is not a number of JSON"),
        ('{"a": 1e400}', "f.json:1:7: a: this number is too large"),
        ('{"a": 1' + "0" * 5000 + "}", "f.json: is not JSON: "),
        ("", "f.json:1:1: this is not JSON: Expecting value"),
        ("[" * 101 + "]" * 101, "f.json:1:101: this is nested more than 100 levels deep"),
        ("[" * 100000, "f.json: is nested more than 100 levels deep"),
        ('{"a": "x\ny"}', "f.json:1:9: this is not JSON: Invalid control character"),
    ],
)
def test_json_is_read_strictly(text: str, message: str) -> None:
    assert refused(text, "f.json").startswith(message)


@pytest.mark.parametrize("text", [b"a: 1\nb: caf\xe9", "a: 1\nb: caf\udce9"])
def test_text_that_is_not_utf8_is_told_with_its_place(text: str | bytes) -> None:
    assert refused(text) == "job.yaml:2:7: this is not UTF-8 text"


def test_a_byte_order_mark_does_no_harm() -> None:
    for name in ("f.yaml", "f.json"):
        assert yamlfile.parse(b'\xef\xbb\xbf{"a": 1}', name).value == {"a": 1}


def test_a_file_of_comments_is_nothing() -> None:
    document = yamlfile.parse("# nothing\n", "f.yaml")
    assert document.value is None
    assert document.where(("a",)) == (1, 1)


def test_an_alias_bomb_costs_nothing() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begun = time.perf_counter()
    assert "aliases" in refused("\n".join(lines))
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "text", ["[" * 500_000, "{a: " * 300_000, "- " * 500_000, "? " * 300_000, "[" * 100 + "1,"]
)
def test_endless_nesting_is_refused_quickly(text: str) -> None:
    begun = time.perf_counter()
    refused(text)
    assert time.perf_counter() - begun < 5


def test_too_much_is_refused() -> None:
    assert refused(b"#" * (yamlfile.SIZE_LIMIT + 1)) == "job.yaml: is larger than 16 MB"
    assert "more than 1,000,000 values" in refused(
        "[" + "," * 0 + "0," * 1_000_001 + "]", "f.json"[:-4] + "yaml"
    )


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(Invalid, match=f"^{path}:2:1: this is not YAML"):
        yamlfile.load(str(path))
    path.write_text("a: 1\n")
    assert yamlfile.load(str(path)).value == {"a": 1}
    with pytest.raises(FileNotFoundError):
        yamlfile.load(str(tmp_path / "none.yaml"))


def test_json_needs_no_yaml() -> None:
    script = (
        "import sys; from jobd import yamlfile; yamlfile.parse('{}', 'f.json'); print('yaml' in sys.modules)"
    )
    root = Path(yamlfile.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def paths(value: Any) -> list[tuple[yamlfile.Path, Any]]:
    """The paths of all keys and items, in the order of their writing."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [((step, *path), leaf) for step, inner in items for path, leaf in [((), inner), *paths(inner)]]


@given(plain, st.sampled_from([None, 2, "\t"]))
def test_json_comes_back_with_every_place(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    document = yamlfile.parse(text, "f.json")
    assert document.value == value
    lines = text.split("\n")
    found = [path for path, _ in paths(value)]
    places = [document.where(path) for path in found]
    assert places == sorted(places)
    for path, (line, column) in zip(found, places, strict=True):
        begins = json.dumps(path[-1]) if isinstance(path[-1], str) else json.dumps(_at(value, path))[:1]
        assert lines[line - 1][column - 1 :].startswith(begins)


def _at(value: Any, path: yamlfile.Path) -> Any:
    for step in path:
        value = value[step]
    return value


@given(plain)
def test_yaml_that_was_written_by_yaml_comes_back(value: Any) -> None:
    import yaml

    text = yaml.safe_dump(_quoted(value))
    assert yamlfile.parse(text, "f.yaml").value == _quoted(value)


def _quoted(value: Any) -> Any:
    """Only what YAML 1.1 and 1.2 agree about without quotes."""
    if isinstance(value, dict):
        return {
            f"k{key.encode().hex() if key.isascii() else len(key)}": _quoted(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    return f"x {len(value)}" if isinstance(value, str) else None if isinstance(value, float) else value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in ("f.yaml", "f.json"):
        try:
            yamlfile.parse(text, name)
        except Invalid as error:
            assert str(error).startswith(name)  # noqa: PT017
