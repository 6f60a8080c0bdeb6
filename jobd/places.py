"""Where things are: one rule, which the daemon (through config) and jobctl share, so that they meet at the
same socket.

              a person's own daemon                                             the system's daemon
    config    $JOBD_CONFIG, $XDG_CONFIG_HOME/jobd/jobd.yaml                     /etc/jobd/jobd.yaml
    state     $JOBD_STATE_DIR, `stateDir`, $XDG_STATE_HOME/jobd                 /var/lib/jobd
    socket    $JOBD_SOCKET, `socket`, $XDG_RUNTIME_DIR/jobd/jobd.sock,          /run/jobd/jobd.sock
              /run/user/UID/jobd/jobd.sock, jobd.sock in the state directory

The first that is set and usable counts; variables and options go before the system's paths too (who looks for
the system's daemon from a person's environment passes an empty one). `stateDir` and `socket` are options of
the configuration, which is read here only when a line of it looks like one of them: importing yaml costs as
much as all of jobctl. Everything is a plain string, and nothing is made or changed: pathlib and mkdir are for
those who need them.
"""

from __future__ import annotations

import errno
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
    return _absolute(environ, "HOME") or pwd.getpwuid(os.geteuid()).pw_dir


def config_path(environ: Environ, system: bool = False) -> str:
    """The configuration file, which need not exist."""
    if named := environ.get("JOBD_CONFIG"):
        return os.path.abspath(named)
    return SYSTEM_CONFIG if system else f"{_xdg(environ, 'XDG_CONFIG_HOME', '.config')}/jobd/jobd.yaml"


def state_dir(environ: Environ, system: bool = False, written: str | None = None) -> str:
    """Where the daemon keeps its store. `written`: the option, "" for none, by callers who have read the
    configuration."""
    if named := environ.get("JOBD_STATE_DIR"):
        return os.path.abspath(named)
    if written is None:
        written = written_in_config("stateDir", environ, system)
    if written:
        return written
    return SYSTEM_STATE_DIR if system else f"{_xdg(environ, 'XDG_STATE_HOME', '.local/state')}/jobd"


def socket_path(
    environ: Environ, system: bool = False, written: str | None = None, state: str | None = None
) -> str:
    """Where the daemon listens. `written` and `state`: the option and the state directory, where they are
    known."""
    if named := environ.get("JOBD_SOCKET"):
        return os.path.abspath(named)
    if written is None:
        written = written_in_config("socket", environ, system)
    if written or system:
        return written or SYSTEM_SOCKET
    directory = _runtime_dir(environ)
    return f"{directory}/jobd/jobd.sock" if directory else f"{state or state_dir(environ)}/jobd.sock"


def drop_ins(config: str, name: str) -> list[str]:
    """The YAML files, in the order of their names, of a directory that lies beside the configuration file.

    Raises PermissionError where it is neither root's, nor ours, nor the file's owner's: a file in /tmp has
    strange neighbours, and a configuration names code to run.
    """
    directory = os.path.join(os.path.dirname(config), name)
    owner = _owner(directory)
    if owner is None:
        return []
    if owner not in (0, os.geteuid(), _owner(config)):
        raise PermissionError(errno.EPERM, "this directory belongs to somebody else", directory)
    names = sorted(os.listdir(directory))
    return [f"{directory}/{one}" for one in names if one.endswith((".yaml", ".yml")) and one[0] != "."]


def written_in_config(key: str, environ: Environ, system: bool = False) -> str:
    """What the configuration says of `stateDir` or `socket`; "" where it says nothing or cannot be read."""
    config = config_path(environ, system)
    try:
        files = [config, *drop_ins(config, "conf.d")]
    except OSError:
        files = [config]
    return next(filter(None, (_written(path, key) for path in reversed(files))), "")


def _written(path: str, key: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            if not any(line.lstrip("\"'{ ").startswith(key) for line in file):
                return ""
    except (OSError, UnicodeDecodeError):
        return ""
    from jobd import errors, yamlfile

    try:
        value = yamlfile.load(path).value
    except errors.Invalid:
        return ""
    text = value.get(key) if isinstance(value, dict) else None
    return text if isinstance(text, str) and text.startswith("/") else ""


def _xdg(environ: Environ, variable: str, default: str) -> str:
    return _absolute(environ, variable) or f"{home(environ)}/{default}"


def _absolute(environ: Environ, variable: str) -> str:
    """The XDG rule: a path that is empty or relative counts as not set."""
    value = environ.get(variable, "")
    return value if value.startswith("/") else ""


def _runtime_dir(environ: Environ) -> str:
    """The runtime directory, unless it is somebody else's: `su` and `sudo` hand on their caller's
    XDG_RUNTIME_DIR.

    One that is named but not there counts: logout removes it, and the daemon makes it again.
    """
    named = _absolute(environ, "XDG_RUNTIME_DIR")
    if named and _owner(named) in (None, os.geteuid()):
        return named
    usual = f"/run/user/{os.geteuid()}"
    return usual if _owner(usual) == os.geteuid() else ""


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None
