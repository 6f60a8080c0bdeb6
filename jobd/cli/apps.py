"""jobctl apps: list, show, check, add, withdraw.

`show` prints a job file that can be edited and submitted with `jobctl submit -f`. A file is checked by the
daemon, and its faults are told with their lines. What is added is one's own; the machine's apps are files
beside the configuration.
"""

from __future__ import annotations

import os

from jobd.cli import request
from jobd.cli.parser import Parser
from jobd.cli.table import Column
from jobd.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from jobd.cli.session import Session

ACTIONS = ("list", "show", "check", "add", "withdraw")
COLUMNS = [Column("ID"), Column("REVISION", right=True), Column("OWNER"), Column("WHAT", flexible=True)]
_SIZES = {
    "defaultQueue": "batchQueue",
    "defaultNodeCount": "nodeCount",
    "defaultProcessorsPerNode": "processorsPerNode",
    "defaultMemoryPerNode": "memoryPerNode",
    "defaultMaxRunTime": "maxRunTime",
}


def arguments(parser: Parser, verb: str) -> None:
    parser.usage = "jobctl apps [list [ID]] | show ID | check FILE | add FILE | withdraw ID"
    parser.add_argument("action", choices=ACTIONS, nargs="?", default="list", help="default: list")
    parser.add_argument("what", metavar="ID|FILE", nargs="?", help="an app (list: with * for anything)")


def main(session: Session, verb: str) -> int:
    options = session.options
    if options.action == "list":
        _list(session, options.what or "*")
        return 0
    if not options.what:
        wanted = "a file" if options.action in ("check", "add") else "the id of an app"
        raise Invalid(f"apps {options.action} needs {wanted} (`jobctl apps --help` says more)")
    {"show": _show, "check": _check, "add": _add, "withdraw": _withdraw}[options.action](
        session, options.what
    )
    return 0


def _list(session: Session, like: str) -> None:
    rows = session.client(start=True).apps(like)
    if session.options.json:
        for row in rows:
            session.json(row)
    elif session.options.quiet:
        for row in rows:
            session.out(str(row["id"]))
    else:
        columns = [
            Column("ID"),
            Column("REVISION", right=True),
            Column("OWNER"),
            Column("WHAT", flexible=True),
        ]
        session.table(columns, (_row(row) for row in rows))


def _row(app: dict[str, Any]) -> list[str]:
    owner = "machine" if app["isPublic"] else "you"
    what = app["label"] or app["shortDescription"]
    return [
        str(app["id"]),
        str(app["revision"]),
        owner,
        str(what) + "" if app["available"] else "not available",
    ]


def _show(session: Session, app_id: str) -> None:
    app = session.client(start=True).app(app_id)
    if session.options.json:
        session.json(app)
    else:
        for line in job_file(app):
            session.out(line)


def _check(session: Session, path: str) -> None:
    app = _sent(session, path, dry_run=True)
    _told(session, app, f"{path}: {app['id']} is right")


def _add(session: Session, path: str) -> None:
    app = _sent(session, path, dry_run=False)
    _told(session, app, f"{app['id']}  revision {app['revision']}")


def _withdraw(session: Session, app_id: str) -> None:
    app = session.client(start=True).withdraw_app(app_id)
    _told(session, app, f"{app['id']}  withdrawn")


def _told(session: Session, app: dict[str, Any], words: str) -> None:
    if session.options.json:
        session.json(app)
    else:
        session.out(str(app["id"]) if session.options.quiet else words)


def _sent(session: Session, path: str, dry_run: bool) -> dict[str, Any]:
    from jobd import yamlfile

    try:
        document = yamlfile.load(path)
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}") from error
    value = document.value
    if isinstance(value, dict) and isinstance(said := value.get("deploymentPath", ""), str):
        value = {**value, "deploymentPath": os.path.join(os.path.dirname(request.absolute(path)), said)}
    try:
        return session.client(start=True).submit_app(value, dry_run)
    except Invalid as error:
        raise Invalid(*map(document.located, error.faults)) from error


# ---- a job file


def job_file(app: dict[str, Any]) -> Iterator[str]:
    """A request for the app, in YAML: what has to be filled in is empty, what can be left out a comment."""
    yield f"# {app['label'] or app['id']} (revision {app['revision']})"
    yield from _comment(app["shortDescription"])
    yield f"name: {_yaml(app['id'])}"
    yield f"appId: {_yaml(app['id'])}"
    for part in ("inputs", "parameters"):
        fields = [field for field in app[part] if field["value"]["visible"]]
        if fields:
            yield f"{part}:" if any(map(_is_written, fields)) else f"#{part}:"
            for field in fields:
                yield from _field(field)
    for default, name in _SIZES.items():
        if app[default] is not None:
            yield f"#{name}: {_yaml(app[default])}"
    if app["archive"]:
        yield "#archive: true"


def _is_written(field: dict[str, Any]) -> bool:
    return bool(field["semantics"]["minCardinality"]) or field["value"]["default"] is not None


def _field(field: dict[str, Any]) -> Iterator[str]:
    details, value = field["details"], field["value"]
    words = [details["label"] or details["description"], _form(field)]
    yield from _comment("; ".join(filter(None, words)), "  ")
    mark = "" if _is_written(field) else "#"
    default = "" if value["default"] is None else f" {_yaml(value['default'])}"
    yield f"  {mark}{field['id']}:{default}"


def _form(field: dict[str, Any]) -> str:
    """What it takes, and how many."""
    value, semantics = field["value"], field["semantics"]
    choices = [word for choice in value.get("enumValues", ()) for word in choice]
    kind = f"one of {', '.join(choices)}" if choices else value.get("type", "a path or a URI")
    most = semantics["maxCardinality"]
    many = "" if most == 1 else ", any number" if most == -1 else f", up to {most}"
    needed = ", required" if semantics["minCardinality"] else ""
    return f"{kind}{many}{needed}"


def _comment(words: str, indent: str = "") -> Iterator[str]:
    for line in words.splitlines():
        yield f"{indent}# {line}"


def _yaml(value: object) -> str:
    """JSON is YAML."""
    import json

    return json.dumps(value, ensure_ascii=False)
