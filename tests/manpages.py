"""The manual pages, made from the parsers, config/jobd.yaml and the words below: `python -m tests.manpages`
writes them into jobd/man, from where the wheel takes them. test_manpages.py says when that is due.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from jobd import daemon, macros
from jobd.cli import ALIASES, VERBS, exit, ids, parser_of

ROOT = Path(__file__).parent.parent
DIRECTORY = ROOT / "jobd/man"
CONFIG = ROOT / "config/jobd.yaml"

_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def plain(words: str) -> str:
    """Words as troff prints them, whatever they are."""
    escaped = "".join(_SPECIAL.get(character, character) for character in words)
    return re.sub(r"^\.", r"\\&.", escaped, flags=re.MULTILINE)


def marked(words: str) -> str:
    """Words in which `this` is bold."""
    parts = words.split("`")
    return "".join(
        rf"\fB{plain(part)}\fR" if number % 2 else plain(part) for number, part in enumerate(parts)
    )


def head(name: str, section: int, summary: str) -> str:
    return f""".\\" Made by `python -m tests.manpages`: change that, not this.
.TH {name.upper()} {section} "" "jobd"
.nh
.ad l
.SH NAME
{plain(name)} \\- {plain(summary)}
"""


def text(words: str) -> str:
    """Sections as written below: `# TITLE`, paragraphs, lines with two spaces in front kept as they are, and
    `term :: what it means`."""
    return "\n".join(_block(block) for block in words.strip().split("\n\n")) + "\n"


def _block(block: str) -> str:
    if block.startswith("# "):
        return f".SH {plain(block[2:])}"
    if block.startswith("  "):
        lines = "\n".join(plain(line[2:]) for line in block.splitlines())
        return f".PP\n.RS 4\n.nf\n{lines}\n.fi\n.RE"
    if " :: " in block:
        return "\n".join(_term(entry) for entry in re.split(r"\n(?=\S.* :: )", block))
    return f".PP\n{marked(block)}"


def _term(entry: str) -> str:
    term, _, meaning = entry.partition(" :: ")
    return f".TP\n.B {plain(term)}\n{marked(re.sub(chr(10) + ' *', chr(10), meaning))}"


def macro_terms() -> str:
    """What each stands for; first those of which that is plain."""
    clear = ", ".join(name for name, meaning in macros.NAMES.items() if not meaning)
    terms = [
        f"{name} :: {meaning[:1].upper()}{meaning[1:]}." for name, meaning in macros.NAMES.items() if meaning
    ]
    return "\n".join([f"{clear} :: As they say.", *terms])


# ---- from a parser


def options(parser: argparse.ArgumentParser, wanted: Callable[[argparse.Action], bool]) -> Iterator[str]:
    for action in parser._actions:
        if wanted(action) and action.help is not argparse.SUPPRESS and action.dest != "help":
            yield f".TP\n{_invocation(action)}\n{plain(_help(parser, action))}"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    words = (action.help or "") % {"default": action.default, "prog": parser.prog}
    return words[:1].upper() + words[1:] + "." if words else "\\&"


def _invocation(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return rf"\fI{plain(value)}\fR"
    flags = ", ".join(rf"\fB{plain(flag)}\fR" for flag in action.option_strings)
    return flags if action.nargs == 0 else rf"{flags} \fI{plain(value)}\fR"


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _synopsis(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=1000)  # type: ignore[assignment]
    usage = parser.format_usage().removeprefix("usage: ").strip()
    usage = usage.replace("[-h] [-H HOST | --user] [--json] [-q] ", "")  # which all verbs have
    return "\n.br\n".join(rf"\fB{plain(line.strip())}\fR" for line in usage.splitlines())


# ---- jobctl(1)


def jobctl() -> str:
    shared = {action.dest for action in parser_of("version")._actions}
    parts = [head("jobctl", 1, "run, list, kill and resubmit jobs that a jobd keeps"), text(_JOBCTL)]
    parts.append(".SH VERBS\nWithout a verb: \\fBlist\\fR.\n")
    for verb, (_, summary) in VERBS.items():
        parser = parser_of(verb)
        also = "".join(f", {alias}" for alias, meant in ALIASES.items() if meant == verb)
        parts.append(f".SS {plain(verb + also)}\n{_synopsis(parser)}\n.PP\n{plain(summary.capitalize())}.\n")
        parts += [f"{option}\n" for option in options(parser, lambda action: action.dest not in shared)]
        if parser.epilog:
            parts.append(f".PP\n.nf\n{plain(parser.epilog)}\n.fi\n")
    parts.append(".SH OPTIONS\nThese all verbs have, also in front of the verb.\n")
    parts += [f"{option}\n" for option in options(parser_of("version"), lambda action: True)]
    parts.append(f".SH EXIT STATUS\n.nf\n{plain(exit.TEXT.partition(chr(10))[2])}.fi\n")
    parts.append(text(_AFTER_JOBCTL))
    return "".join(parts)


_JOBCTL = f"""\
# SYNOPSIS

`jobctl` [VERB] [OPTIONS] ..

# DESCRIPTION

`jobctl` speaks to a job daemon, jobd(8), which runs commands as jobs on its machine or on a cluster, keeps
them when the terminal is closed, and remembers how each of them ended.

A JOB is named by {ids.HELP}. A word that fits several jobs is refused.

# WHICH DAEMON

In this order: the one that `-H` or JOBD_HOST names; your own with `--user`, or when one of JOBD_CONFIG,
JOBD_STATE_DIR and JOBD_SOCKET is set; the system's, where one is installed; your own. Your own is started
by `run` and `submit` when it is not there. The system's never is, nor is your own in its place. From inside
a job none is started, since it would end with that job.

A host is the path of a socket, or unix:///path, or by ssh:

  ssh://[user@]host[:port][/path/of/jobd.sock]

# HOSTS BY SSH

`jobctl` runs `ssh host jobctl dial-stdio` and speaks to the daemon that jobctl finds on that machine, as
the user who logs in there. There is no port and no token: that machine's kernel tells the daemon who is
calling. Keys, ports, jump hosts and the like belong into ssh_config(5), whose names for hosts can be used.
On a terminal ssh may ask for a password; elsewhere it fails instead. jobctl has to be in the PATH that `ssh
host env` shows.

Each connection is an ssh of its own; `run` needs three. ssh can let them, and those of the next call, share
one log-in:

  Host lab
      ControlMaster auto
      ControlPath ~/.ssh/%C
      ControlPersist 10m

This machine's directory and environment mean nothing there, and are not sent: a job has a directory of its
own and a clean environment, unless `-d` and `-e` say otherwise.

For programs that can only speak to a socket, ssh can forward the daemon's. Use a socket for that, never a
port of this machine: whoever connects is you, and to a port everybody may.

  ssh -nNT -L $XDG_RUNTIME_DIR/lab.sock:/run/jobd/jobd.sock lab &
  jobctl -H $XDG_RUNTIME_DIR/lab.sock list
"""

_AFTER_JOBCTL = f"""\
# NOTIFICATIONS

What is to be told of a job is on disk with what it tells of, and is delivered at least once; to one receiver
in the order of what happened to the job. What fails is tried again after 5, 10, 20 .. seconds, 8 times unless
`--retry` says otherwise. Then it stays among `jobctl deliveries --failed` for as long as notifications.keep
in jobd.yaml(5) says; with saveOnFailure in the notification's policy, until somebody drops it.

A web address gets a POST with an object of JSON, or what `--body` says; it may have macros behind the host.
Any code from 200 to 299 is a delivery; a redirection is not followed. webhook-id, webhook-timestamp and
webhook-signature are headers as Standard Webhooks has them, for the key that `jobctl notifications --key`
prints. The id stays the same when a delivery is tried again.

A command is run without a shell, as you, in your home, with a login's HOME, USER, LOGNAME, SHELL and PATH,
the macros as variables of its environment, and the object of JSON on its standard input. It has 30 seconds;
it has taken what it was told if its exit code is 0.

The macros, `${{JOB_ID}}` and so on:

{macro_terms()}

# ENVIRONMENT

JOBD_HOST :: The daemon, as for `-H`.
JOBD_AUTOSTART :: 0: never start a daemon.
JOBD_CONFIG, JOBD_STATE_DIR, JOBD_SOCKET :: Where your own daemon has its configuration, state and socket.
XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR :: The same, where those are not set; see jobd(8).
NO_COLOR :: Set: no colours.

# EXAMPLES

Like running it here, with its output and exit code:

  jobctl run -- python3 fit.py

One job for each line of a file, all of them or none:

  jobctl submit --each runs.txt

What failed, and why it did:

  jobctl list --status FAILED
  jobctl why last

# SEE ALSO

jobd(8), jobd.yaml(5), ssh_config(5)
"""


# ---- jobd(8)


def jobd() -> str:
    parser = daemon._parser()
    found = "\n".join(options(parser, lambda action: True))
    return (
        head("jobd", 8, "the job daemon")
        + f".SH SYNOPSIS\n{_synopsis(parser)}\n"
        + text(_JOBD)
        + f".SH OPTIONS\n{found}\n"
        + text(_AFTER_JOBD)
    )


_JOBD = """\
# DESCRIPTION

`jobd` runs people's jobs on this machine and on the clusters behind it, and keeps one record of each in
SQLite. jobctl(1) is what people use; programs speak HTTP on its Unix socket. It is a foreground process.

One person's own daemon needs no configuration and no rights; jobctl(1) starts it. The system's daemon
(`--system`) runs as root, and does in each user's name what they ask for.

Who is calling is what the kernel says of the other end of the socket. Everybody sees and changes their own
jobs, and others' as far as they share them (`jobctl share`); root, and the members of adminGroup in
jobd.yaml(5), those of all.

Jobs are held by small processes of their own, and go on when the daemon ends, is killed or is upgraded; the
next one finds them.
"""

_AFTER_JOBD = """\
# UNDER SYSTEMD

`jobd install` puts jobd.service, jobd-jobs.service, jobd.socket and jobd.slice into
/usr/local/lib/systemd/system, and an example into /etc/jobd/jobd.yaml where nothing is yet; with `--user`
the same for your own systemd. `--dry-run` says what it would do; `--root` DIR does it below DIR.
`jobd uninstall` takes the units away, and nothing else.

Jobs run below jobd-jobs.service, which neither stops nor restarts with the daemon, and which refuses to be
stopped by hand: `systemctl kill jobd-jobs` ends all jobs. Calls made while the daemon is restarted wait in
jobd.socket.

# SIGNALS

SIGTERM, SIGINT :: End. Jobs run on.
SIGHUP :: Read the configuration again, all of it or nothing; the log says which.

# EXIT STATUS

0 :: Ended by a signal.
2 :: Wrong usage.
75 :: Another daemon holds the socket or the state directory, or something else that may be better soon.
78 :: The configuration or the store is not right; a line on standard error says what.

# ENVIRONMENT

JOBD_CONFIG :: The configuration file.
JOBD_STATE_DIR :: The state directory.
JOBD_SOCKET :: The socket.

# FILES

/etc/jobd/jobd.yaml, ~/.config/jobd/jobd.yaml :: The configuration, with conf.d/ and systems/ beside it:
  jobd.yaml(5).
/var/lib/jobd, ~/.local/state/jobd :: Store and exit records, of the system's daemon and of one's own. On a
  local disk.
/run/jobd/jobd.sock, $XDG_RUNTIME_DIR/jobd/jobd.sock :: The socket.

# SEE ALSO

jobctl(1), jobd.yaml(5)
"""


# ---- jobd.yaml(5)


def jobd_yaml() -> str:
    """The comments of config/jobd.yaml as text, its options as terms."""
    return head("jobd.yaml", 5, "configuration of jobd") + "".join(_of_config()) + text(_AFTER_CONFIG)


_AFTER_CONFIG = """\
# SEE ALSO

jobd(8), jobctl(1)
"""


def _of_config() -> Iterator[str]:
    yield ".SH DESCRIPTION\n"
    for words, code in _entries(CONFIG.read_text().splitlines()):
        title = re.fullmatch("---- (.*)", words)
        if title:
            yield f".SH {plain(title[1].upper())}\n"
        elif not code:
            yield f".PP\n{plain(words)}\n"
        else:
            yield _options(words, code)


def _entries(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The words of each paragraph, and the lines of YAML that they are about."""
    words: list[str] = []
    code: list[str] = []
    nested = False
    for line in [*lines, ""]:
        nested = line in ("#systems:", "#notifications:") or (nested and line != "")
        is_words = re.match(r"# *(- )?# " if nested else "# ", line)
        if words and (line in ("", "#") or (is_words and code)):
            yield "\n".join(words), code
            words, code = [], []
        if is_words:
            words.append(line[is_words.end() :])
        elif len(line) > 1:
            code.append(line[1:])


def _options(words: str, code: list[str]) -> str:
    sections = [key for key in ("notifications", "systems", "queues") if code[0].strip() == f"{key}:"]
    parts = [f".SS The options of {key}\n" for key in sections]
    parts += [f"{'.TQ' if number else '.TP'}\n\\fB{plain(line)}\\fR\n" for number, line in enumerate(code)]
    return "".join(parts) + plain(words) + "\n"


PAGES: dict[str, Callable[[], str]] = {"jobctl.1": jobctl, "jobd.8": jobd, "jobd.yaml.5": jobd_yaml}


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (DIRECTORY / name).write_text(page())


if __name__ == "__main__":
    sys.exit(main())
