"""Where things are: one rule, which the daemon (through config) and jobctl share, so that they always meet at the same socket.

    what     a person's own daemon                                          the system's daemon
    config   $JOBD_CONFIG, $XDG_CONFIG_HOME/jobd/jobd.yaml                    /etc/jobd/jobd.yaml
    state    $JOBD_STATE_DIR, `stateDir`, $XDG_STATE_HOME/jobd                /var/lib/jobd
    socket   $JOBD_SOCKET, `socket`, $XDG_RUNTIME_DIR/jobd/jobd.sock,         /run/jobd/jobd.sock
             /run/user/UID/jobd/jobd.sock, jobd.sock in the state directory

The first that is set and usable counts; the variables count for the system's daemon too. `stateDir` and `socket` stand in the
configuration, which is read here only when a line of it looks like one of them: importing yaml costs as much as all of jobctl.
Everything is a plain string and nothing is made or changed: pathlib and mkdir are for those who need them.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

SYSTEM_CONFIG = "/etc/jobd/jobd.yaml"
SYSTEM_STATE_DIR = "/var/lib/jobd"
SYSTEM_SOCKET = "/run/jobd/jobd.sock"

SOCKET_LIMIT = 107
"""Bytes that fit into the kernel's `sun_path`, without its closing zero."""

Environ = Mapping[str, str]


def home(environ: Environ) -> str:
    return _absolute(environ, "HOME") or pwd.getpwuid(os.getuid()).pw_dir


def config_path(environ: Environ, system: bool = False) -> str:
    """The configuration file, which need not exist."""
    if named := environ.get("JOBD_CONFIG"):
        return os.path.abspath(named)
    return SYSTEM_CONFIG if system else f"{_xdg(environ, 'XDG_CONFIG_HOME', '.config')}/jobd/jobd.yaml"


def state_dir(environ: Environ, system: bool = False, written: str | None = None) -> str:
    """Where the daemon keeps its store. `written`: what the configuration says, where the caller has read it already."""
    if named := environ.get("JOBD_STATE_DIR"):
        return os.path.abspath(named)
    if named := written_in_config(environ, "stateDir", system) if written is None else written:
        return named
    return SYSTEM_STATE_DIR if system else f"{_xdg(environ, 'XDG_STATE_HOME', '.local/state')}/jobd"


def socket_path(
    environ: Environ, system: bool = False, written: str | None = None, state: str | None = None
) -> str:
    """Where the daemon listens. `written` and `state`: as the caller knows them already, else looked up."""
    if named := environ.get("JOBD_SOCKET"):
        return os.path.abspath(named)
    if named := written_in_config(environ, "socket", system) if written is None else written:
        return named
    if system:
        return SYSTEM_SOCKET
    directory = _runtime_dir(environ)
    return f"{directory}/jobd/jobd.sock" if directory else f"{state or state_dir(environ)}/jobd.sock"


def config_files(path: str) -> list[str]:
    """The configuration file and its drop-ins (`conf.d` beside it), in the order in which they count."""
    return [path, *drop_ins(os.path.join(os.path.dirname(path), "conf.d"))]


def drop_ins(directory: str) -> list[str]:
    """The YAML files of a directory in the order of their names; none when there is no such directory."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        f"{directory}/{name}"
        for name in names
        if name.endswith((".yaml", ".yml")) and not name.startswith(".")
    ]


def written_in_config(environ: Environ, key: str, system: bool = False) -> str | None:
    """What the configuration says of `stateDir` or `socket`. A file that cannot be read says nothing: the daemon complains."""
    found = None
    for path in config_files(config_path(environ, system)):
        found = _written(path, key) or found
    return found


def _written(path: str, key: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            if not any(line.lstrip("\"'{ ").startswith(key) for line in file):
                return None
    except (OSError, UnicodeDecodeError):
        return None
    from jobd import errors, yamlfile

    try:
        value = yamlfile.load(path).value
    except errors.Invalid:
        return None
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) and text.startswith("/") else None


def _xdg(environ: Environ, variable: str, default: str) -> str:
    return _absolute(environ, variable) or f"{home(environ)}/{default}"


def _absolute(environ: Environ, variable: str) -> str | None:
    """The XDG rule: a path that is empty or relative counts as not set."""
    value = environ.get(variable, "")
    return value.rstrip("/") or "/" if value.startswith("/") else None


def _runtime_dir(environ: Environ) -> str | None:
    """The runtime directory, unless it is somebody else's: `su` and `sudo` hand on their caller's XDG_RUNTIME_DIR.

    One that is named but does not exist counts: logout removes it, and the daemon makes it again.
    """
    named = _absolute(environ, "XDG_RUNTIME_DIR")
    if named and _owner(named) in (None, os.getuid()):
        return named
    usual = f"/run/user/{os.getuid()}"
    return usual if _owner(usual) == os.getuid() else None


def _owner(directory: str) -> int | None:
    try:
        return os.stat(directory).st_uid
    except OSError:
        return None
