"""jobctl's pure parts: words, tables, exit codes, requests, command lines, completions. No daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobd.cli import ALIASES, VERBS, columns, completion, exit, ids, parser_of, request, split, table, text
from jobd.cli.session import Session
from jobd.client import Unreachable
from jobd.client.client import umask
from jobd.errors import Conflict, Fault, Forbidden, Invalid, JobdError, NotFound, Unavailable

ROOT = Path(__file__).parent.parent


def jobctl(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Without any daemon."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "jobd.cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)


# ---- words


@given(st.text())
def test_printable_text_has_nothing_that_a_terminal_obeys(words: str) -> None:
    assert text.printable(words).isprintable()


def test_printable_leaves_words_alone() -> None:
    assert text.printable("naïve 日本 🎉 x") == "naïve 日本 🎉 x"
    assert text.printable("a\x1b[2Jb\n\u202e") == r"a\x1b[2Jb\n\u202e"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30), st.integers(1, 40))
def test_cut_fits(words: str, columns: int) -> None:
    words = text.printable(words)
    assert text.width(text.cut(words, columns)) <= columns
    if text.width(words) <= columns:
        assert text.cut(words, columns) == words


def test_width() -> None:
    assert [text.width(words) for words in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]


@pytest.mark.parametrize(
    ("seconds", "age", "clock"),
    [
        (-3, "0s", "0:00"),
        (42, "42s", "0:42"),
        (300, "5m", "5:00"),
        (3723, "1h", "1:02:03"),
        (90000, "1d", "1-01:00:00"),
    ],
)
def test_times_for_people(seconds: float, age: str, clock: str) -> None:
    assert (text.age(seconds), text.clock(seconds)) == (age, clock)


def test_moment() -> None:
    assert text.moment("2014-10-24T04:48:11.250-05:00") == 1414144091.25
    assert text.moment(None) is None


def test_colour_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.wants_colour("auto", Terminal())
    assert not text.wants_colour("auto", object())
    assert text.wants_colour("always", object())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not text.wants_colour("auto", Terminal())
    assert text.wants_colour("always", Terminal())


# ---- tables


def test_table() -> None:
    rows = [["a", "12", "first"], ["日本", "3", "the second\none"]]
    shown = list(table.lines([table.Column("ID"), table.Column("N", right=True), table.Column("TEXT")], rows))
    assert shown == ["ID     N  TEXT", "a     12  first", r"日本   3  the second\none"]


def test_table_without_rows_is_its_heading() -> None:
    assert list(table.lines([table.Column("A"), table.Column("B")], [])) == ["A  B"]
    assert list(table.lines([table.Column("A")], [], heading=False)) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=8), st.integers(20, 120))
def test_fit(columns: list[tuple[int, bool]], room: int) -> None:
    widths, flexible = [size for size, _ in columns], [soft for _, soft in columns]
    fitted = table.fit(widths, flexible, room)
    assert all(
        new == old or (soft and table.LEAST <= new < old)
        for new, old, soft in zip(fitted, widths, flexible, strict=True)
    )
    total = sum(fitted) + len(table.GAP) * (len(fitted) - 1)
    assert total <= room or all(
        size <= table.LEAST for size, soft in zip(fitted, flexible, strict=True) if soft
    )
    assert table.fit(widths, flexible, None) == widths


def test_table_in_blocks_keeps_growing_and_has_one_heading() -> None:
    rows = [["x" * (1 + number // table.BLOCK), "y"] for number in range(table.BLOCK * 2)]
    shown = list(table.lines([table.Column("A"), table.Column("B")], rows))
    assert len(shown) == len(rows) + 1
    assert (shown[1], shown[-1]) == ("x  y", "xx  y")


def test_status_is_coloured_and_the_width_is_kept() -> None:
    columns = [table.Column("STATUS"), table.Column("X")]
    (_, failed, other) = table.lines(columns, [["FAILED", "1"], ["PENDING", "1"]], colour=True)
    assert failed == "\x1b[31mFAILED \x1b[0m  1"
    assert other == "PENDING  1"


# ---- columns

JOB: dict[str, Any] = {
    "id": "00000000-0000-4000-8000-000000000000-007",
    "name": "fit",
    "status": "FAILED",
    "created": "2026-01-01T00:00:00.000+00:00",
    "startTime": "2026-01-01T00:00:01.000+00:00",
    "endTime": "2026-01-01T00:01:01.000+00:00",
    "exitCode": 3,
    "signal": None,
    "condition": "EXIT_CODE",
    "reason": "",
    "killAsked": None,
    "usage": {"cpu": 1.5, "peakMemory": 1048576},
    "localId": None,
    "command": ["sh", "-c", "exit 3"],
}


def test_row() -> None:
    choice = columns.Choice(["name", "exit", "time", "local", "reason", "usage.cpu", "memory", "command"])
    assert choice.row(JOB) == ["fit", "3", "1:00", "-", "-", "1.5", "1 MB", "sh -c exit 3"]
    assert "usage.cpu" in choice.fields


def test_column_that_is_not_there() -> None:
    with pytest.raises(Invalid, match="-o nmae"):
        columns.Choice(["nmae"]).row(JOB)


@pytest.mark.parametrize(
    ("change", "exit_column", "reason"),
    [
        ({"signal": 9, "exitCode": None, "condition": "SIGNAL"}, "sig 9", "signal"),
        ({"condition": "TIME_LIMIT", "signal": 15, "exitCode": None}, "sig 15", "time limit"),
        ({"condition": "LAUNCH_FAILED", "exitCode": None, "reason": "no such file"}, "-", "no such file"),
        (
            {"status": "RUNNING", "condition": None, "killAsked": {"at": "x"}, "exitCode": None},
            "-",
            "kill asked",
        ),
    ],
)
def test_how_it_ended_is_shown(change: dict[str, Any], exit_column: str, reason: str) -> None:
    job = {**JOB, **change}
    assert (columns.how_ended(job), columns.reason(job)) == (exit_column, reason)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (0, "0"),
        (0.5, "0.5"),
        (2e9, "2000000000"),
        (["a", 1], "a 1"),
        ({"a": None}, "a=-"),
    ],
)
def test_word(found: object, word: str) -> None:
    assert columns.word(found) == word


# ---- exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("x"), 2), (NotFound("x"), 66), (Unavailable("x"), 75), (Unreachable("x"), 75),
        (Forbidden("x"), 77), (Conflict("x"), 1), (JobdError("x"), 1), (TimeoutError("x"), 124),
    ],
)  # fmt: skip
def test_exit_code_of_an_error(error: Exception, code: int) -> None:
    assert exit.of_error(error) == code
    assert exit.of_error_beside_jobs(error) == (124 if code == 124 else 125)
    assert f"  {code} " in exit.TEXT


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"exitCode": 0}, 0),
        ({"exitCode": 7}, 7),
        ({"exitCode": None, "signal": 9}, 137),
        ({"exitCode": None}, 125),
    ],
)
def test_exit_code_of_a_job(job: dict[str, Any], code: int) -> None:
    assert exit.of_job(job) == code


@pytest.mark.parametrize(
    ("codes", "together"),
    [([], 0), ([0, 0], 0), ([0, 66], 3), ([66, 66], 66), ([66, 77], 66), ([3], 3), ([3, 66], 3)],
)
def test_exit_code_of_several(codes: list[int], together: int) -> None:
    assert exit.together(codes) in (together, *({66, 77} & set(codes) if together == 66 else ()))


def test_first_bad_is_in_order() -> None:
    assert exit.first_bad([0, 5, 3]) == 5
    assert exit.first_bad([0, 0]) == 0


# ---- ids


def test_words_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("a  name  FINISHED\n\nb\n"))
    assert list(ids.words(["x", "-", "y"])) == ["x", "a", "b", "y"]


def test_shortest_that_tells_apart() -> None:
    assert ids.shortest(["abcdefgh-1", "12345678-1"]) == 8
    assert ids.shortest(["abcdefgh-1", "abcdefgh-2", "abcdefgh-2"]) == 10
    assert ids.shortest([]) == 8


@pytest.mark.parametrize("word", ["", " ", "\t\n"])
def test_an_unset_variable_of_a_shell_is_no_id(word: str, tmp_path: Path) -> None:
    for verb in ("kill", "delete", "show"):
        done = jobctl(verb, word, JOBD_STATE_DIR=str(tmp_path))
        told = "jobctl: the id is empty (expected an id, the beginning of one, a name, or last)\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


# ---- command lines


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("list -a", ([], "list", ["-a"])),
        ("-H /x --json list", (["-H", "/x", "--json"], "list", [])),
        ("--host=/x run -- list", (["--host=/x"], "run", ["--", "list"])),
        ("--json", (["--json"], None, [])),
        ("", ([], None, [])),
    ],
)
def test_split(line: str, parts: tuple[list[str], str | None, list[str]]) -> None:
    assert split(line.split()) == parts


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_shared_options(verb: str) -> None:
    parser = parser_of(verb)
    assert "--json" in parser.format_help()
    assert VERBS[verb][1] in parser.format_help()


def test_aliases_are_of_verbs() -> None:
    assert set(ALIASES.values()) <= set(VERBS)


def session(*arguments: str) -> Session:
    parser = parser_of("submit")
    words = [*arguments]
    program = words[words.index("--") + 1 :] if "--" in words else None
    options = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    options.program = program
    return Session(options)


@pytest.mark.parametrize(
    "line",
    ["--name n -- echo -n x", "--name n echo -n x", "--name n -p 2 echo -n x", "--name n echo -- -n x"],
)
def test_command_after_options(line: str) -> None:
    wanted = session(*line.split())
    assert request.command_of(wanted.options) == ["echo", "-n", "x"]
    assert wanted.options.name == "n"


def test_request_of_options() -> None:
    line = "-t 01:00:00 -m 1.5 --nodes 2 -p 4 --gpus 1 --priority -3 -d sub -e A=1 --clean-env -- fit x"
    assert request.plain(session(*line.split()), ["fit", "x"]) == {
        "name": "fit",
        "command": ["fit", "x"],
        "directory": f"{os.getcwd()}/sub",
        "environment": {"A": "1"},
        "umask": umask(),
        "maxRunTime": "01:00:00",
        "memoryPerNode": 1.5,
        "nodeCount": 2,
        "processorsPerNode": 4,
        "gpus": 1,
        "priority": -3,
    }
    sized = session("-m", "512MB", "--", "x")
    assert request.fields(sized.options) == {"memoryPerNode": "512MB"}


def test_environment_goes_along(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HERE", "1")
    monkeypatch.setitem(os.environ, "BYTES", "\udcff")
    found = request.environment(session("-e", "HERE", "-e", "MORE=a=b", "--", "x"), {"FILE": "2"})
    assert isinstance(found, dict)
    assert [found.get(name) for name in ("HERE", "MORE", "FILE", "BYTES")] == ["1", "a=b", "2", None]
    assert "BYTES" in capsys.readouterr().err
    with pytest.raises(Invalid, match="no such variable"):
        request.environment(session("-e", "NOT_THERE", "--", "x"))


def test_lines_are_commands(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("# all\n./fit --seed 1 'a b'\n\n./fit --seed 2  # the second\n")
    found = list(request.of_lines(session("--each", "x"), str(tmp_path / "runs")))
    assert [each["command"] for each in found] == [["./fit", "--seed", "1", "a b"], ["./fit", "--seed", "2"]]
    (tmp_path / "runs").write_text("ok\necho 'open\n")
    with pytest.raises(Invalid, match="runs:2: no closing quotation"):
        list(request.of_lines(session("--each", "x"), str(tmp_path / "runs")))


def test_job_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: fit\ncommand: [./fit]\ndirectory: sub\nenvironment: {A: b}\n")
    file = request.JobFile(str(tmp_path / "job.yaml"))
    (wanted,) = file.requests(session("-f", "x", "--clean-env", "-t", "00:10:00"))
    assert wanted == {
        "name": "fit",
        "command": ["./fit"],
        "umask": umask(),
        "directory": f"{tmp_path}/sub",
        "environment": {"A": "b"},
        "maxRunTime": "00:10:00",
    }
    faults = Fault("environment", "is odd"), Fault("command.0", "is not there"), Fault("", "something")
    assert [str(fault) for fault in file.located(Invalid(*faults)).faults] == [
        "something",
        f"{tmp_path}/job.yaml:2:11: command.0: is not there",
        f"{tmp_path}/job.yaml:4:1: environment: is odd",
    ]


def test_list_of_one_job_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('[\n {"name": "a",\n  "gpus": -1}]')
    file = request.JobFile(str(tmp_path / "job.json"))
    assert "job.json:3:3" in str(file.located(Invalid(Fault("gpus", "is negative"))))


@pytest.mark.parametrize("content", ["", "just words", "3"])
def test_file_without_a_job(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.yaml").write_text(content)
    with pytest.raises(Invalid, match="there is no job in this"):
        request.JobFile(str(tmp_path / "job.yaml"))


def test_file_that_is_not_there() -> None:
    with pytest.raises(Invalid, match="No such file"):
        request.JobFile("/nonexistent/job.yaml")


def test_faults_name_the_option() -> None:
    error = request.with_options(
        Invalid(Fault("maxRunTime", "no"), Fault("name", "no")), session("-t", "1h", "x").options
    )
    assert [fault.field for fault in error.faults] == ["--time", "name"]


def test_parts_of_a_large_submission() -> None:
    from jobd.cli.submit import MOST_BYTES, MOST_JOBS, parts

    assert [len(part) for part in parts([{"name": "x"}] * (MOST_JOBS + 1))] == [MOST_JOBS, 1]
    large = {"environment": {"X": "x" * (MOST_BYTES // 3)}}
    assert [len(part) for part in parts([large] * 5)] == [2, 2, 1]
    assert list(parts([])) == []


# ---- without a daemon


def test_help() -> None:
    shown = jobctl("--help")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in VERBS)
    assert exit.TEXT in shown.stdout
    assert jobctl("help", "run").stdout == jobctl("run", "--help").stdout


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("lits", 2, "did you mean list?"),
        ("kill", 2, "JOB"),
        ("list --nonsense", 2, "--nonsense"),
        ("list -H /a --user", 2, "not allowed with"),
        ("run --nonsense", 125, "--nonsense"),
        ("run", 125, "there is no command"),
        ("wait --timeout soon", 125, "is not a duration"),
        ("submit", 2, "there is no command"),
        ("submit -f x.yaml echo", 2, "a command and a file"),
        ("list -H ssh://-oProxyCommand=x", 2, "not a host"),
        ("list", 75, "no jobd of yours is running"),
        ("wait", 125, "no jobd of yours is running"),
        ("show last", 75, "no jobd of yours is running"),
        ("-H /nonexistent/s list", 75, "does not answer"),
    ],
)  # fmt: skip
def test_failures(line: str, code: int, words: str, tmp_path: Path) -> None:
    done = jobctl(*line.split(), JOBD_STATE_DIR=str(tmp_path), JOBD_AUTOSTART="0")
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["list", "submit -- true", "run -- true", "kill -", "--help", "lits"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(line: str, closed: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JOBD_AUTOSTART": "0"}
    script = f"{sys.executable} -m jobd.cli {line} {closed}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == {"run": 125, "--help": 0, "kill": 0, "lits": 2}.get(line.split()[0], 75)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("submit -- true", 2),
        ("submit -d x -- true", 2),
        ("run -- true", 125),
        ("submit -d / -- true", 75),
        ("list", 75),
    ],
)
def test_a_directory_that_was_removed(line: str, code: int, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "JOBD_AUTOSTART": "0",
        "PYTHONPATH": str(ROOT),
    }
    script = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m jobd.cli {line}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    gone = "jobctl: the directory that you are in does not exist any more\n"
    assert done.returncode == code
    assert (done.stderr == gone) == (code != 75), done.stderr


def test_failure_for_programs(tmp_path: Path) -> None:
    done = jobctl("list", "--json", JOBD_STATE_DIR=str(tmp_path))
    told = json.loads(done.stderr)["error"]
    assert (told["kind"], told["exit"], done.returncode) == ("Unreachable", 75, 75)


def test_system_daemon_that_is_down_is_never_replaced() -> None:
    from jobd.client import hosts

    assert not hosts.may_start(hosts.Host("/run/jobd/jobd.sock", system=True))


# ---- completions


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_verb_and_option(shell: str) -> None:
    script = jobctl("completion", shell).stdout
    for verb in completion.all_verbs():
        assert all(name in script for name in verb.names)
        for option in verb.options:
            assert all(flag.lstrip("-") in script for flag in option.flags)


def complete(line: str, directory: Path) -> list[str]:
    """What bash offers at the end of a line."""
    script = directory / "jobctl.bash"
    script.write_text(jobctl("completion", "bash").stdout)
    program = f"""
        source {script}
        jobctl() {{ printf '%s\\n' 'aaaa1111-007  a fit' 'bbbb2222-007  $(touch evil)'; }}
        COMP_LINE="$1"; read -ra COMP_WORDS <<< "$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _jobctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", program, "bash", line],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return [word for word in done.stdout.splitlines() if word]


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    (tmp_path / "directory").mkdir()
    assert complete("jobctl resu", tmp_path) == ["resubmit"]
    assert complete("jobctl -H /x sta", tmp_path) == ["status"]
    assert complete("jobctl list --act", tmp_path) == ["--active"]
    jobs = ["aaaa1111-007", r"a\ fit", "bbbb2222-007", r"\$\(touch\ evil\)", "last"]
    assert complete("jobctl kill ", tmp_path) == jobs
    assert not (tmp_path / "evil").exists()
    assert complete("jobctl cancel aa", tmp_path) == ["aaaa1111-007"]
    assert complete("jobctl submit -f job.", tmp_path) == ["job.yaml"]
    assert complete("jobctl submit --directory d", tmp_path) == ["directory"]
    assert complete("jobctl completion f", tmp_path) == ["fish"]
    assert "seq" in complete("jobctl run seq", tmp_path)
