"""How long staging and archiving take, beside `cp` and `sha256sum` on the same files in the same minutes.

    python -m tests.benchmark_files [--megabytes 1024] [--rounds 3] [--directory DIR]

What is measured is the errand as the daemon does it: a process of its own, every file digested and written
through to the disk, renamed into place. `cp` writes nothing through. Each round takes everything in turn;
ratios are medians over the rounds. `openssl` stands for a `sha256sum` that uses the processor's own
instructions, which coreutils' often does not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobd.keeper.errands import Errands, Leash
from tests.benchmark import Report, say, table, timed
from tests.test_staging import JOB, LIMITS, item

AIM = "1.2 times"
_PIECE = 1 << 20


@dataclass
class Place:
    """Where it is measured."""

    root: Path
    errands: Errands
    file: Path
    files: Path
    """A directory with many small ones."""

    def do(self, deed: str, **arguments: Any) -> Any:
        order = {"path": str(self.root / "work"), "job_id": JOB, **arguments}
        return self.errands.do_long(None, deed, order, 600.0, lambda progress: None, Leash())

    def stage(self, source: Path) -> None:
        self.do("stage", plan=[item(source)], limits=LIMITS)

    def archive(self) -> None:
        self.do("archive", target=str(self.root / "archive"), before=[])

    def clear(self) -> None:
        for name in ("work", "archive", "copy"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / "copied").unlink(missing_ok=True)


@contextmanager
def place(directory: Path | None, megabytes: int, many: int) -> Iterator[Place]:
    errands = Errands()
    with tempfile.TemporaryDirectory(prefix="jobd-bench-", dir=directory) as name:
        root = Path(name)
        made = Place(root, errands, root / "file", root / "files")
        with made.file.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(_PIECE))
        made.files.mkdir()
        for number in range(many):
            (made.files / f"f{number}").write_bytes(os.urandom(10_000))
        try:
            yield made
        finally:
            errands.close()


def shell(script: str, at: Place) -> float:
    return timed(lambda: subprocess.run(["sh", "-ec", script], cwd=at.root, check=True, capture_output=True))


def measure(at: Place, rounds: int) -> dict[str, list[float]]:
    """Seconds, by what was done."""
    taken: dict[str, list[float]] = {}
    os.sync()
    at.stage(at.files)  # the runner is warm, as a daemon's is
    for number in range(rounds):
        say(f"round {number + 1}")
        for name, work in _works(at):
            at.clear()
            os.sync()
            taken.setdefault(name, []).append(work())
    at.clear()
    return taken


def _works(at: Place) -> Iterator[tuple[str, Callable[[], float]]]:
    yield "cp + sha256sum", lambda: shell("cp file copied; sha256sum copied", at)
    yield "stage", lambda: timed(lambda: at.stage(at.file))
    if shutil.which("openssl"):
        yield "cp + openssl", lambda: shell("cp file copied; openssl dgst -sha256 copied", at)
    yield "cp -r + sha256sum", lambda: shell("cp -r files copy; sha256sum copy/*", at)
    yield "stage many", lambda: timed(lambda: at.stage(at.files))
    yield "archive", lambda: _archive(at)


def _archive(at: Place) -> float:
    at.stage(at.file)
    os.sync()
    return timed(at.archive)


def report(taken: dict[str, list[float]], megabytes: int, many: int) -> Report:
    found = Report({"megabytes": megabytes, "small files": many, "processors": os.cpu_count()}, [])
    one, several = f"one file of {megabytes} MB", f"{many} files of 10 KB"
    for what, name, floor in (
        (f"staged: {one} (floor: cp + sha256sum)", "stage", "cp + sha256sum"),
        (f"staged: {one} (floor: cp + openssl)", "stage", "cp + openssl"),
        (f"staged: {several} (floor: cp -r + sha256sum)", "stage many", "cp -r + sha256sum"),
        (f"archived: {one} (floor: cp + sha256sum)", "archive", "cp + sha256sum"),
    ):
        if floor in taken:
            ratio = statistics.median(a / b for a, b in zip(taken[name], taken[floor], strict=True))
            more = {"floor": statistics.median(taken[floor]), "ratio": ratio, "aim": AIM}
            found.add("files", what, statistics.median(taken[name]), "s", **more)
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmark_files", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--many", type=int, default=2000, help="small files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="on which disk")
    options = parser.parse_args(argv)
    with place(options.directory, options.megabytes, options.many) as at:
        print(table(report(measure(at, options.rounds), options.megabytes, options.many)))


if __name__ == "__main__":
    main()
