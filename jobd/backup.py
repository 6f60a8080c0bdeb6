"""`jobd backup FILE` and `jobd restore FILE`: a copy of the store, made while the daemon runs, and brought
back while it does not. What a restore means for the jobs is in jobd/store/backup.py.

    0   done                            75  a daemon holds the state directory
    73  FILE cannot be written or read  78  FILE, or the store, is not what is needed
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from jobd import places
from jobd.errors import Conflict, JobdError
from jobd.store.backup import Restored, backup, restore
from jobd.store.store import lock

DONE, CANNOT_WRITE, HELD, WRONG = 0, 73, 75, 78


def main(argv: list[str]) -> int:
    """`argv` begins with the verb."""
    arguments = _parser(argv[0]).parse_args(argv[1:])
    environ = {**os.environ, **({"JOBD_CONFIG": str(arguments.config)} if arguments.config else {})}
    state_dir = Path(places.state_dir(environ, arguments.system))
    try:
        if argv[0] == "backup":
            backup(state_dir, arguments.file)
            return DONE
        print("\n".join(_told(_restore(state_dir, arguments.file))))
        return DONE
    except OSError as error:
        print(f"jobd: {error.filename or arguments.file}: {error.strerror}", file=sys.stderr)
        return CANNOT_WRITE
    except JobdError as error:
        print(f"jobd: {error}", file=sys.stderr)
        return HELD if isinstance(error, Conflict) else WRONG


def _parser(verb: str) -> argparse.ArgumentParser:
    what = {
        "backup": "Copy the store to a file, while the daemon runs or not; there as a whole, or not at all.",
        "restore": "Put a backup in the store's place, while no daemon runs; what is there now is kept.",
    }
    parser = argparse.ArgumentParser(prog=f"jobd {verb}", description=what[verb])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--config", type=Path, metavar="FILE", help="instead of the usual one")
    parser.add_argument("--system", action="store_true", help="the system's daemon's store")
    return parser


def _restore(state_dir: Path, file: Path) -> Restored:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = lock(state_dir, {"pid": os.getpid(), "doing": "restore"})
    try:
        return restore(state_dir, file)
    finally:
        os.close(held)


def _told(done: Restored) -> list[str]:
    lines = ["Restored. What was submitted or has ended since the backup is not in it."]
    if done.replaced:
        lines.append(f"The store that was there is now {done.replaced}.")
    if done.held:
        lines.append(
            f"{done.held} jobs that had not been started then are held, since they may have run meanwhile:"
            " `jobctl list --status PAUSED`; `jobctl release JOB` for those that have not."
        )
    if done.unknown:
        lines.append(
            f"{len(done.unknown)} attempts on record on this machine are newer than the backup, of those jobs"
            f" or of later ones. What still runs of them runs on, unknown to jobd: {', '.join(done.unknown)}"
        )
    return lines
