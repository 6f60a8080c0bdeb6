"""What `run` and `submit` ask for: from the command line, a job file, or a file with a command per line.

The person's whole environment goes along, as with any command started in a shell (--clean-env: none of it),
and the present directory, unless told otherwise. Neither goes to another machine, by ssh, where both would be
wrong: there the job has a login's environment and a directory of its own. A job file's relative `directory`
counts from where the file is. Options beat the file. Faults that the daemon finds are told where they were
made: at the file's line, or with the option's name.
"""

from __future__ import annotations

import os
import sys

from jobd.client.client import default_name, here, is_text, sendable, umask
from jobd.errors import Fault, Invalid
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator
    from typing import Any

    from jobd.cli.parser import Parser
    from jobd.cli.session import Session
    from jobd.yamlfile import Document

    Request = dict[str, Any]

OPTIONS = {
    "name": "name",
    "system": "executionSystem",
    "queue": "batchQueue",
    "nodes": "nodeCount",
    "processors": "processorsPerNode",
    "memory": "memoryPerNode",
    "gpus": "gpus",
    "time": "maxRunTime",
    "priority": "priority",
    "directory": "directory",
    "stdin": "stdin",
    "notify": "notifications",
}
"""Each option's field of the request."""


def arguments(parser: Parser) -> None:
    app = parser.add_argument_group("in place of a command").add_argument
    app("--app", metavar="ID", help="run this app (`jobctl apps` lists them), with:")
    value_arguments(app)
    add = parser.add_argument_group("what the job needs").add_argument
    add("--name", help="up to 64 characters (default: the command's)")
    add("--system", metavar="NAME", help="the execution system (default: the daemon's)")
    add("--queue", metavar="NAME", help="the queue (default: the first that fits)")
    add("--nodes", type=int, metavar="N", help="nodes")
    add("-p", "--processors", type=int, metavar="N", help="processors on each node")
    add("-m", "--memory", metavar="SIZE", help="memory on each node: 16GB, 512MB; a plain number is GB")
    add("--gpus", type=int, metavar="N", help="GPUs")
    add("-t", "--time", metavar="HH:MM:SS", help="the longest it may run")
    add("--priority", type=int, metavar="N", help="-1000 to 1000; the greater goes first")
    add("-d", "--directory", metavar="DIR", help="where it runs (default: here; by ssh, one of its own)")
    add("--stdin", metavar="FILE", help="its standard input (default: none)")
    add("--notify", metavar="TO", help="tell this web or mail address how it ended")
    add(
        "--digest", metavar="TIME", help="in one mail for all of its name that end within this time (10m, 1h)"
    )
    add(
        "-e",
        "--env",
        metavar="K=V",
        action="append",
        default=[],
        help="a variable more; K alone: as it is here",
    )
    add("--clean-env", action="store_true", help="without your environment, as by ssh")
    parser.add_argument(
        "words", metavar="COMMAND", nargs="...", help="what to run, without a shell; may follow --"
    )


def value_arguments(add: Any) -> None:
    for option, field, what in (
        ("--input", "FILE", "a file or URI; again for several"),
        ("--param", "VALUE", "a value; again for several"),
    ):
        add(option, metavar=f"ID={field}", action="append", default=[], help=what)


def command_of(options: Namespace) -> list[str]:
    """The command on the command line, if any."""
    words: list[str] = [*options.words, *(options.program or [])]
    if not all(map(is_text, words)):
        raise Invalid("the command is not UTF-8 text, and a request is (put the bytes into a script)")
    return words


def wanted(session: Session) -> Request:
    """The request that the command line makes."""
    options = session.options
    command = command_of(options)
    if not options.app:
        if options.input or options.param:
            raise Invalid("a plain command has no inputs and parameters (expected --app)")
        return plain(session, command)
    if command:
        raise Invalid(f"there is a command and an app (expected one of them; {options.app} has --param)")
    return {"name": options.app[:64], "appId": options.app, **_of_app(options), **fields(options)}


def _of_app(options: Namespace) -> Request:
    """What is said to an app; of the environment only what --env names, since its jobs are to be repeated."""
    variables = {name: value for name, value in map(_variable, options.env)}
    found: Request = {"inputs": inputs(options), "parameters": values(options.param, "--param")}
    return {**found, **({"environment": variables} if variables else {})}


def inputs(options: Namespace) -> dict[str, Any]:
    """Paths count from here; a URI is one."""
    given = values(options.input, "--input").items()
    return {name: each(value, absolute_source) for name, value in given}


def values(words: list[str], option: str) -> dict[str, Any]:
    """ID=VALUE, where an ID that comes again has several values."""
    found: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not name:
            raise Invalid(Fault(f"{option} {word}", "this is not ID=VALUE", f"{option} ID=VALUE"))
        found.setdefault(name, []).append(value)
    return {name: several if len(several) > 1 else several[0] for name, several in found.items()}


def each(value: object, change: Callable[[str], str]) -> object:
    """A text, or each text of a list, changed."""
    if isinstance(value, list):
        return [each(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def absolute_source(source: str, base: str = "") -> str:
    """Unless it is a URI."""
    return source if "://" in source or not source else os.path.join(base or here(), source)


def plain(session: Session, command: list[str]) -> Request:
    """The request for one command."""
    if not command:
        raise Invalid("there is no command (expected: jobctl run -- COMMAND ..)")
    wanted = fields(session.options)
    sent = environment(session)
    request = {"name": default_name(command), "command": command, "environment": sent, **wanted}
    _at_this_place(session, request)
    return request


def _at_this_place(session: Session, request: Request) -> None:
    """With this directory and umask, unless it names others or the daemon is on another machine."""
    if session.away:
        return
    if "directory" not in request:
        request["directory"] = here()
    request.setdefault("umask", umask())


def fields(options: Namespace) -> Request:
    """What options say, by the request's own names."""
    given = {field: getattr(options, option) for option, field in OPTIONS.items()}
    found = {field: value for field, value in given.items() if value is not None}
    if "directory" in found:
        found["directory"] = absolute(found["directory"])
    if options.digest is not None:
        found["notifications"] = _gathered(options.notify, options.digest)
    if "memoryPerNode" in found and found["memoryPerNode"].replace(".", "", 1).isdecimal():
        found["memoryPerNode"] = float(found["memoryPerNode"])
    return found


def _gathered(to: str | None, digest: str) -> list[Request]:
    if to is None:
        raise Invalid(Fault("--digest", "it does not say whom to tell", "--notify too, with a mail address"))
    return [{"event": event, "url": to, "digest": digest} for event in sorted(TERMINAL)]


def absolute(path: str) -> str:
    return os.path.normpath(path if os.path.isabs(path) else os.path.join(here(), path))


def environment(session: Session, of_file: object = None) -> object:
    """The person's own, then the file's, then --env's."""
    options = session.options
    clean = options.clean_env or session.away
    found = {} if clean else sendable(os.environ)
    if not clean and len(found) < len(os.environ):
        left_out = ", ".join(ascii(name) for name in os.environ if name not in found)
        session.say(f"not sent with the job, since they are not UTF-8 text: {left_out}")
    if of_file is not None and not isinstance(of_file, dict):
        return of_file  # for the daemon to say what is wrong with it
    found |= of_file or {}
    return found | dict(map(_variable, options.env))


def _variable(word: str) -> tuple[str, str]:
    name, given, value = word.partition("=")
    if not given and name not in os.environ:
        raise Invalid(Fault(f"--env {name}", "there is no such variable here", "NAME=VALUE"))
    return name, value if given else os.environ[name]


def of_lines(session: Session, path: str) -> Iterator[Request]:
    """A request for each line that holds a command, split as a shell would."""
    import shlex

    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:
                raise Invalid(
                    Fault(f"{path}:{number}", str(error).lower(), "a command, quoted as for a shell")
                ) from error
            if words:
                yield plain(session, words)


def _opened(path: str) -> Any:
    try:
        return sys.stdin if path == "-" else open(path, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error


class JobFile:
    """A YAML or JSON file with a request, or a list of them."""

    def __init__(self, path: str) -> None:
        from jobd import yamlfile

        self.path = path
        try:
            self.document: Document = (
                yamlfile.parse(sys.stdin.buffer.read(), "standard input")
                if path == "-"
                else yamlfile.load(path)
            )
        except OSError as error:
            raise Invalid(f"{path}: {error.strerror}") from error
        if not isinstance(self.document.value, dict | list):
            raise Invalid(self.document.fault((), "there is no job in this", "name: .., command: [..]"))

    def requests(self, session: Session) -> list[object]:
        value = self.document.value
        return [self._completed(session, entry) for entry in (value if isinstance(value, list) else [value])]

    def _completed(self, session: Session, entry: object) -> object:
        if not isinstance(entry, dict):
            return entry
        request = {**entry, **fields(session.options)}
        if isinstance(entry.get("inputs"), dict):
            place = os.path.dirname(absolute(self.path))
            request["inputs"] = {
                name: each(value, lambda source: absolute_source(source, place))
                for name, value in entry["inputs"].items()
            }
        if "directory" in entry and not session.options.directory and isinstance(entry["directory"], str):
            request["directory"] = os.path.join(os.path.dirname(absolute(self.path)), entry["directory"])
        if "command" in entry:
            _at_this_place(session, request)
            request["environment"] = environment(session, entry.get("environment"))
        return request

    def located(self, error: Invalid) -> Invalid:
        """The daemon's faults, with their lines and in their order."""
        faults = sorted(map(self._numbered, error.faults), key=self.document.place)
        return Invalid(*(self.document.located(fault) if fault.field else fault for fault in faults))

    def _numbered(self, fault: Fault) -> Fault:
        """The daemon leaves the number out where there is one job alone; in a file it may be in a list all
        the same."""
        entries = self.document.value
        if not (fault.field and isinstance(entries, list) and len(entries) == 1):
            return fault
        return Fault(f"0.{fault.field}", fault.problem, fault.expected)


def with_options(error: Invalid, options: Namespace) -> Invalid:
    """The daemon's faults with the options' names where options made them."""
    names = {
        field: f"--{option}" for option, field in OPTIONS.items() if getattr(options, option) is not None
    }
    faults = [Fault(_option(fault.field, names), fault.problem, fault.expected) for fault in error.faults]
    return Invalid(*dict.fromkeys(faults))


def _option(field: str, names: dict[str, str]) -> str:
    part, _, name = field.partition(".")
    if part in names and part == "notifications":
        return "--digest" if name.endswith(".digest") else "--notify"
    option = {"inputs": "--input", "parameters": "--param"}.get(part)
    return f"{option} {name}" if option and name else names.get(field, field)
