"""`jobd install` and `jobd uninstall`: jobd's units for systemd, and a first configuration.

                the system's daemon                       a person's own (--user)
    units       /usr/local/lib/systemd/system             $XDG_DATA_HOME/systemd/user
    example     /etc/jobd/jobd.yaml                       $XDG_CONFIG_HOME/jobd/jobd.yaml

The units are ours: what an admin wants otherwise goes into drop-ins, or into /etc/systemd, which systemd
reads first; so an install after an upgrade replaces them. A configuration that is there is never touched.
Uninstall takes away the units and nothing else: not the jobs, which run on, nor the store, nor the
configuration.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jobd import places, reload

UNITS = ("jobd.service", "jobd-jobs.service", "jobd.socket", "jobd.slice")
"""A person's own has no slice."""
_PYTHON = "/opt/jobd/bin/python"
"""As the units have it."""
_HERE = Path(__file__).resolve().parent
_OK, _FAILED = 0, 78


class Where(NamedTuple):
    """`root`: everything goes below it, as for a package; None: this machine itself."""

    user: bool
    root: Path | None

    def below(self, path: str) -> Path:
        return self.root / path.lstrip("/") if self.root else Path(path)

    @property
    def names(self) -> tuple[str, ...]:
        return UNITS[:-1] if self.user else UNITS

    @property
    def units(self) -> Path:
        if not self.user:
            return self.below("/usr/local/lib/systemd/system")
        data = os.environ.get("XDG_DATA_HOME", "")
        return self.below(
            f"{data if data.startswith('/') else places.home(os.environ) + '/.local/share'}/systemd/user"
        )

    @property
    def config(self) -> Path:
        environ = {name: value for name, value in os.environ.items() if name != "JOBD_CONFIG"}
        return self.below(places.config_path(environ, system=not self.user))

    def systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *(["--user"] if self.user else []), *words]

    def runs(self) -> bool:
        """Is there a systemd to tell?"""
        runtime = os.environ.get("XDG_RUNTIME_DIR", "/none") if self.user else "/run"
        return self.root is None and os.path.isdir(f"{runtime}/systemd/{'units' if self.user else 'system'}")


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    where = Where(arguments.user, arguments.root)
    work = _install if arguments.verb == "install" else _uninstall
    try:
        for line in work(where, arguments.dry_run):
            print(line)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"jobd: {_in_words(error)}", file=sys.stderr)
        return _FAILED
    return _OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jobd", description="Put jobd's units for systemd in place, or take them away."
    )
    parser.add_argument("verb", choices=["install", "uninstall"])
    parser.add_argument("--user", action="store_true", help="for your own systemd, not the machine's")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--root", type=Path, metavar="DIR", help="below DIR, to make a package of")
    return parser


def _in_words(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd)} failed: {error.stderr.strip()}"
    hint = " (expected root, or --user)" if isinstance(error, PermissionError) else ""
    return f"{error.filename}: {error.strerror}{hint}"


# install


def _install(where: Where, dry: bool) -> Iterator[str]:
    os.umask(0o022)
    for name in where.names:
        path, text = where.units / name, unit(name, where.user)
        if path.exists() and path.read_text() == text:
            yield f"unchanged  {path}"
            continue
        yield f"{'would write' if dry else 'wrote'}  {path}"
        if not dry:
            _write(path, text)
    yield from _configure(where.config, dry)
    if where.runs() and not dry:
        _run(where.systemctl("daemon-reload"))
        yield _next(where)


def unit(name: str, user: bool) -> str:
    """Its text, with this very Python and jobd in it."""
    text = (_HERE / "systemd" / ("user" if user else "") / name).read_text()
    text = text.replace(_PYTHON, _quoted(os.path.abspath(sys.executable)))
    if _HERE.parent.name not in ("site-packages", "dist-packages"):  # a checkout, which is on nobody's path
        text = text.replace(
            "[Service]\n", f'[Service]\nEnvironment="PYTHONPATH={_escaped(str(_HERE.parent))}"\n'
        )
    return text


def _quoted(path: str) -> str:
    return f'"{_escaped(path, dollar="$$")}"' if set(path) & set(" \"'\\$%;") else path


def _escaped(text: str, dollar: str = "$") -> str:
    """As systemd.syntax(7) wants it between double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)


def _configure(path: Path, dry: bool) -> Iterator[str]:
    if path.exists():
        yield f"kept       {path}, which is yours"
        return
    yield f"{'would write' if dry else 'wrote'}  {path}, an example: what it says is the default"
    if not dry:
        _write(path, (_HERE / "examples/jobd.yaml").read_text())


def _write(path: Path, text: str) -> None:
    """By way of a neighbour: systemd never reads half a unit."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)


def _next(where: Where) -> str:
    if _is_active(where):
        restart = " ".join(where.systemctl("restart", "jobd"))
        return f"next: {restart}, to run what is installed now (jobs run on)"
    start = f"{' '.join(where.systemctl('enable', '--now', 'jobd'))}, then: jobctl doctor"
    other = reload.holder(places.state_dir(os.environ, system=not where.user))
    first = f"kill {other}, a jobd that systemd has not started (its jobs run on); " if other else ""
    return f"next: {first}{start}"


def _is_active(where: Where) -> bool:
    return (
        subprocess.run(where.systemctl("--quiet", "is-active", "jobd.service"), check=False).returncode == 0
    )


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


# uninstall


def _uninstall(where: Where, dry: bool) -> Iterator[str]:
    present = [path for name in where.names if (path := where.units / name).exists()]
    if where.runs() and present:
        yield f"{'would stop' if dry else 'stopped'}  jobd.socket, jobd.service"
        if not dry:
            _run(where.systemctl("disable", "--now", "jobd.socket", "jobd.service"))
    for path in present:
        yield f"{'would remove' if dry else 'removed'}  {path}"
        if not dry:
            path.unlink()
    if where.runs() and not dry:
        _run(where.systemctl("daemon-reload"))
    end = " ".join(where.systemctl("kill", "jobd-jobs"))
    yield f"Jobs run on ({end} would end them); the store and {where.config} stay."
