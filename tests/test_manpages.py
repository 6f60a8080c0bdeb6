"""The manual pages are those of the present parsers and options, name all of them, and please troff."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from pydantic.alias_generators import to_camel

from jobd import config, daemon
from jobd.cli import ALIASES, VERBS, exit, parser_of
from tests.manpages import DIRECTORY, PAGES, marked, plain


def page(name: str) -> str:
    """As it reads, without fonts and escapes."""
    text = (DIRECTORY / name).read_text()
    for written, read in (r"\-", "-"), (r"\(aq", "'"), (r"\e", "\\"):
        text = text.replace(written, read)
    return re.sub(r"\\f[BIR]", "", text)


@pytest.mark.parametrize("name", PAGES)
def test_it_is_what_would_be_made_now(name: str) -> None:
    assert (DIRECTORY / name).read_text() == PAGES[name](), "python -m tests.manpages"


def test_nothing_else_is_there() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == set(PAGES)


def test_every_verb_and_option_of_jobctl() -> None:
    text = page("jobctl.1")
    for verb in VERBS:
        section = text.partition(f".SS {verb}")[2].partition("\n.S")[0] + text.partition(".SH OPTIONS")[2]
        flags = [flag for action in parser_of(verb)._actions for flag in action.option_strings]
        missing = {flag for flag in flags if not re.search(rf"{flag}\b", section)} - {
            "-h",
            "--help",
            "--color",
        }
        assert not missing, verb
    assert all(alias in text for alias in ALIASES)
    codes = re.findall(r"^  (\d+) ", exit.TEXT, re.MULTILINE)
    assert codes
    assert all(re.search(rf"^  {code} ", text, re.MULTILINE) for code in codes)


def test_every_option_of_jobd() -> None:
    text = page("jobd.8")
    flags = {flag for action in daemon._parser()._actions for flag in action.option_strings}
    assert {flag for flag in flags if flag not in text} <= {"-h", "--help"}
    for code in (daemon.OK, daemon.USAGE, daemon.HELD, daemon.WRONG):
        assert f".B {code}\n" in text


@pytest.mark.parametrize(
    "model", [config.Settings, config.System, config.Queue, config.Slots, config.Notifications]
)
def test_every_option_of_the_configuration(model: type[config.Settings]) -> None:
    text = page("jobd.yaml.5")
    options = {to_camel(name) for name in model.model_fields} - config.DERIVED
    assert {name for name in options if not re.search(rf"^ *(- )?{name}:", text, re.MULTILINE)} == set()


def test_words_are_printed_as_they_are() -> None:
    assert plain("a-b\n.c 'd' \\e") == "a\\-b\n\\&.c \\(aqd\\(aq \\ee"
    assert marked("a `-b` c") == "a \\fB\\-b\\fR c"


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man here (man-db)")
@pytest.mark.parametrize("name", PAGES)
def test_troff_has_no_complaint(name: str) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(DIRECTORY / name)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 1000
