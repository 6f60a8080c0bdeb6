"""The argument parser of one verb. Only the chosen verb's is ever made, except by `completion`."""

from __future__ import annotations

import argparse
import sys

from jobd.cli import exit, ids, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # argparse would import shutil for the width, at every option that is added
        super().__init__(prog, max_help_position=28, width=min(text.terminal_width(), 100))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and leaves with the verb's exit code for that."""

    def __init__(self, verb: str, summary: str, usage_code: int = exit.USAGE) -> None:
        super().__init__(
            prog=f"jobctl {verb}", description=summary, formatter_class=Formatter, allow_abbrev=False
        )
        self.usage_code = usage_code

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"jobctl: {text.printable(message)} (`{self.prog} --help` says more)\n")
        sys.exit(self.usage_code)


def make(verb: str, summary: str, usage_code: int = exit.USAGE) -> Parser:
    """A verb's parser with what all verbs share."""
    parser = Parser(verb, summary, usage_code)
    parser._optionals.title = "options"
    shared = parser.add_argument_group("options that all verbs have")
    where = shared.add_mutually_exclusive_group()
    where.add_argument(
        "-H", "--host", help="the daemon: ssh://user@host or unix:///path (default: $JOBD_HOST)"
    )
    where.add_argument("--user", action="store_true", help="your own daemon, whatever else there is")
    shared.add_argument("--json", action="store_true", help="for programs: one JSON object per line")
    shared.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    shared.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help=argparse.SUPPRESS
    )
    return parser


def jobs(parser: Parser, default: str | None = None) -> None:
    """The selectors of jobs."""
    if default:
        parser.add_argument(
            "jobs", metavar="JOB", nargs="*", default=[default], help=f"{ids.HELP} (default: {default})"
        )
    else:
        parser.add_argument("jobs", metavar="JOB", nargs="+", help=ids.HELP)


def seconds(word: str) -> float:
    """A duration on the command line."""
    from jobd.units import BadUnit, parse_duration

    try:
        return parse_duration(word)
    except BadUnit as error:
        raise argparse.ArgumentTypeError(str(error)) from error
