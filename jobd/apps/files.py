"""The apps of the machine: `apps/*.yaml` beside the configuration file, one app per file.

Each file is taken or refused by itself. The files of its own that an app names are digested with it, so that
a changed script is a new revision too.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobd import places, yamlfile
from jobd.apps import app as apps
from jobd.apps.app import App
from jobd.errors import Fault, Invalid

MOST_BYTES = 16 * 1024 * 1024
"""Of a file of an app's own."""


@dataclass
class Found:
    apps: dict[str, tuple[App, dict[str, Any]]] = field(default_factory=dict)
    """By file: the app, and its body as it is kept."""
    faults: list[Fault] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Files that are there and that were not taken."""


def read_all(config: str) -> Found:
    """What lies beside that configuration file."""
    found = Found()
    try:
        paths = places.drop_ins(config, "apps")
    except OSError as error:
        found.faults.append(Fault(str(error.filename), error.strerror or str(error)))
        return found
    for path in paths:
        try:
            app, body = read_one(path)
            _refuse_second(app, found, path)
        except Invalid as error:
            found.faults += error.faults
            found.refused.add(path)
        else:
            found.apps[path] = app, body
    return found


def _refuse_second(app: App, found: Found, path: str) -> None:
    for other, (one, _) in found.apps.items():
        if one.id == app.id:
            raise Invalid(Fault(path, f"there is another {app.id} in {other}", "one"))


def read_one(path: str) -> tuple[App, dict[str, Any]]:
    """Raises Invalid."""
    try:
        document = yamlfile.load(path)
    except OSError as error:
        raise Invalid(Fault(path, error.strerror or str(error))) from error
    value = document.value
    if isinstance(value, dict):
        value = {**value, "deploymentPath": _directory(path, value.get("deploymentPath", ""))}
    app = apps.read(value, document.fault)
    try:
        return app, apps.body(app, digests(app, content))
    except OSError as error:
        words = f"{error.filename}: {error.strerror}"
        raise Invalid(document.fault((), words, "a file that is there and can be read")) from error


def _directory(path: str, said: object) -> object:
    """Relative ones count from where the app's file is. What is not even text is for the model to refuse."""
    return os.path.join(os.path.dirname(path), said) if isinstance(said, str) else said


def digests(app: App, read: Callable[[str, str], bytes]) -> dict[str, str]:
    """Of the files of its own. `read(directory, path)` gives a file's content."""
    directory = app.deployment_path or ""
    return {path: hashlib.sha256(read(directory, path)).hexdigest() for path in app.files()}


def content(directory: str, path: str) -> bytes:
    """Of a file that an admin named. Raises OSError, with the file's name."""
    with open(os.open(os.path.join(directory, path), os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "this is not a regular file", file.name)
        return file.read(MOST_BYTES)
