"""jobctl: the command line. One file per verb, or per small family; only the chosen one is imported, so that
it starts fast.

A verb's module has `arguments(parser, verb)` and `main(session, verb)`, which returns the exit code (see
exit.py).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

    from jobd.cli.parser import Parser

VERBS = {
    "run": ("run", "run a command as a job, show its output, and give its exit code"),
    "submit": ("submit", "submit a command, a job file, or many commands at once"),
    "list": ("list", "list jobs, newest first"),
    "show": ("show", "all about a job"),
    "status": ("show", "a job's status alone"),
    "history": ("history", "what happened to a job, and when"),
    "why": ("why", "why a job waits, or how it ended and how that is known"),
    "logs": ("logs", "what a job wrote"),
    "wait": ("wait", "wait for the end of jobs, and give their exit code"),
    "kill": ("change", "end jobs with all their processes"),
    "delete": ("change", "hide jobs (killed first if need be); restore brings them back"),
    "restore": ("change", "bring deleted jobs back"),
    "hold": ("change", "keep jobs from starting"),
    "release": ("change", "let held jobs go on"),
    "resubmit": ("resubmit", "submit the same again, as a new job"),
    "diff": ("diff", "in what two jobs differ"),
    "verify": ("verify", "run a job again, strictly, and compare what both have made"),
    "notify": ("notify", "be told of what happens to jobs, at an address or by a command; try that out"),
    "notifications": ("notify", "whom you want told of what happens to a job, and whether they were"),
    "deliveries": ("deliveries", "what is still to be told, was, or could not be; have it tried anew"),
    "share": ("share", "let others see a job, or do with it what you may"),
    "unshare": ("share", "take back what others may do with a job"),
    "pems": ("share", "who may see a job, and who may change it"),
    "tag": ("tag", "give a job tags to find it by, and note things down about it"),
    "resolve": ("resolve", "say where a job is that jobd cannot find by itself"),
    "apps": ("apps", "what can be run by name; a job file to start from"),
    "purge": ("purge", "show of which deleted jobs the files will be removed, and when"),
    "systems": ("systems", "where jobs can run"),
    "queues": ("systems", "the queues of a system; drain and resume them"),
    "doctor": ("doctor", "look for what is wrong with this set-up"),
    "version": ("version", "the versions of jobctl and of the daemon"),
    "dial-stdio": ("dial", "connect standard input and output with the daemon, for a jobctl far away"),
    "completion": ("completion", "print the completions for bash, zsh or fish"),
}
"""By word: the module, and what it does."""

ALIASES = {"cancel": "kill", "stop": "kill", "ls": "list", "rm": "delete", "unhide": "restore", "log": "logs"}
GLOBAL_WITH_VALUE = ("-H", "--host", "--color")
JOBS_OWN_CODE = ("run", "wait")
"""Verbs that give the job's exit code: a wrong command line must not look like one."""


def main() -> NoReturn:
    """What `jobctl` starts."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is shown somehow
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = command(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        from jobd.cli.session import quit_quietly

        quit_quietly()
        code = 128 + 13
    sys.exit(code)


def open_standard_streams() -> None:
    """Those that we were started without (`>&-`) are /dev/null, or the first file or socket that is opened
    would be taken for one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            import os

            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def command(arguments: list[str]) -> int:
    """Carry one command line out; the exit code."""
    before, word, after = split(arguments)
    if word == "help":
        word, after = (after[0], ["--help"]) if after else (None, ["--help"])
    if word is None and ("-h" in before or "--help" in before or after):
        return _help()
    if word is None and "--version" in before:
        before, word = [], "version"
    verb = ALIASES.get(word or "list", word or "list")
    if verb not in VERBS:
        return _unknown(verb)
    parser = parser_of(verb)
    program = None
    if "--" in after:  # what follows is the job's own business
        cut = after.index("--")
        after, program = after[:cut], after[cut + 1 :]
    options = parser.parse_args([*before, *after])
    options.program = program
    return _carry_out(verb, options)


def split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Options before the verb, the verb, and the rest."""
    skip = False
    for number, word in enumerate(arguments):
        if skip or word.startswith("-"):
            skip = not skip and word in GLOBAL_WITH_VALUE
            continue
        return arguments[:number], word, arguments[number + 1 :]
    return arguments, None, []


def parser_of(verb: str) -> Parser:
    from jobd.cli import exit, parser

    made = parser.make(verb, VERBS[verb][1], exit.NO_CODE if verb in JOBS_OWN_CODE else exit.USAGE)
    _module(verb).arguments(made, verb)
    return made


def _module(verb: str) -> ModuleType:
    module: ModuleType = __import__(f"jobd.cli.{VERBS[verb][0]}", fromlist=["main"])
    return module


def _carry_out(verb: str, options: object) -> int:
    from jobd.cli import exit
    from jobd.cli.session import Session, quit_quietly
    from jobd.errors import JobdError

    session = Session(options)  # type: ignore[arg-type]
    if verb in JOBS_OWN_CODE or getattr(options, "wait", False):
        session.of_error = exit.of_error_beside_jobs
    try:
        code = int(_module(verb).main(session, verb))
        sys.stdout.flush()
        return code
    except (JobdError, TimeoutError) as error:
        session.complain(error)
        return session.of_error(error)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk under what we print, above all
        quit_quietly()
        session.say(f"{error.filename or 'standard output'}: {error.strerror}")
        return session.of_error(error)
    except KeyboardInterrupt:
        session.settle()
        return exit.INTERRUPTED


def _help() -> int:
    from jobd.cli import exit

    size = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{size}}  {summary}" for verb, (_, summary) in VERBS.items())
    sys.stdout.write(f"""\
usage: jobctl [VERB] [options] ..

  jobctl run -- python fit.py          run it as a job, see its output, get its exit code
  jobctl submit --time 02:00:00 -- ./simulate 17
  jobctl list; jobctl logs -f last; jobctl kill 3f2a

{verbs}

Without a verb: list. `jobctl VERB --help` says more. A JOB is an id or the beginning of one, a
name, `last`, or - for standard input. cancel and stop are kill, ls is list, rm is delete.
--json prints one JSON object per line, and errors as one on standard error.

The daemon is the one of -H or $JOBD_HOST (ssh://user@host, unix:///path); else the system's, where
one is installed; else your own (--user: in any case), which run and submit start when it is not
there (JOBD_AUTOSTART=0: never).

{exit.TEXT}""")
    return exit.OK


def _unknown(verb: str) -> int:
    import difflib

    from jobd.cli import exit, text

    near = difflib.get_close_matches(verb, [*VERBS, *ALIASES], 1)
    hint = f"did you mean {near[0]}?" if near else "`jobctl --help` lists them"
    sys.stderr.write(f"jobctl: there is no verb {text.printable(verb)!r}; {hint}\n")
    return exit.USAGE
