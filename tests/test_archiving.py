"""Putting outputs into the archive: what is new, whole or not at all, and the work directory as it was until
then. In this process and with its rights; tests/test_transfers.py has the daemon."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from jobd.errors import Refused, Unavailable
from jobd.keeper import archiving, copying, staging, workspace
from jobd.keeper.errands import Errands
from tests.test_staging import JOB, LIMITS, Later, item, quietly, sha

SHM = Path("/dev/shm")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    workspace.make(str(made), JOB)
    return made


@pytest.fixture(params=["same file system", "another file system"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "same file system":
        yield tmp_path / "archive/of/job"
    elif SHM.is_dir() and SHM.stat().st_dev != tmp_path.stat().st_dev:
        place = Path(tempfile.mkdtemp(dir=SHM))
        yield place / "archive/of/job"
        shutil.rmtree(place)
    else:
        pytest.skip("there is no second file system")


def archive(
    work: Path, target: Path, before: list[tuple[str, int, float | None]] | None = None, tell: Any = quietly
) -> dict[str, Any]:
    return archiving.archive(tell, str(work), JOB, str(target), before or [])


def tree(place: Path) -> dict[str, tuple[str, int]]:
    """All that is beneath, but jobd's own: content and permissions."""
    found = {}
    for name, facts in copying.walk(str(place)):
        if not name.startswith(".jobd"):
            path = place / name
            content = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "/"
            found[name] = content, facts.st_mode & 0o777
    return found


def produce(work: Path) -> None:
    (work / "out.txt").write_text("out")
    (work / "out.txt").chmod(0o640)
    (work / "plots/empty").mkdir(parents=True)
    (work / "plots/a.svg").write_text("a")
    (work / "plots").chmod(0o555)
    (work / "latest").symlink_to("plots/a.svg")
    os.utime(work / "out.txt", (1e9, 1e9))


def test_all_that_is_new_is_there_with_its_digest(work, target):
    produce(work)
    before = tree(work)
    said = archive(work, target)
    assert tree(target) == before
    assert said["files"] == [
        {"path": "out.txt", "size": 3, "sha256": sha(b"out")},
        {"path": "plots/a.svg", "size": 1, "sha256": sha(b"a")},
    ]
    assert (target / "out.txt").stat().st_mtime == 1e9
    assert tree(work) == before, "the work directory stays until it is removed"
    assert os.listdir(target.parent) == [target.name]
    assert archive(work, target) == said, "once more is the same"
    assert workspace.remove(quietly, str(work), JOB)
    assert archive(work, target) == said
    assert tree(target) == before
    assert workspace.remove(quietly, str(target), JOB), "it has the mark"


def test_what_was_there_before_stays_out_unless_it_was_changed(tmp_path, work, target):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for name in ("same", "changed", "sub/same"):
        (source / name).write_text("input")
    plan = [item(source, "d"), item(source / "same", "linked", in_place=True)]
    rows = staging.stage(quietly, str(work), JOB, plan, LIMITS)
    before = [(row["name"], row["size"], row["mtime"]) for row in rows[:-1]] + [("linked", 5, None)]
    (work / "d/changed").write_text("INPUT")
    (work / "d/sub/new").write_text("new")
    archive(work, target, before)
    assert {name: said[0] for name, said in tree(target).items()} == {
        "d": "/",
        "d/changed": "INPUT",
        "d/sub": "/",
        "d/sub/new": "new",
    }


def test_what_is_no_file_is_left_and_said(work, target):
    os.mkfifo(work / "pipe")
    said = archive(work, target)
    assert (said["left"], said["files"]) == (["pipe"], [])
    assert tree(target) == {}


def test_a_directory_that_is_used_gets_what_is_new(work, target):
    target.mkdir(parents=True)
    (target / "theirs").write_text("theirs")
    (target / "plots").mkdir()
    (target / "plots/theirs").write_text("theirs")
    produce(work)
    said = archive(work, target)
    assert archive(work, target) == said
    assert {name: found[0] for name, found in tree(target).items()} == {
        "theirs": "theirs", "plots": "/", "plots/theirs": "theirs", "plots/a.svg": "a", "plots/empty": "/",
        "out.txt": "out", "latest": "plots/a.svg",
    }  # fmt: skip
    assert not workspace.remove(quietly, str(target), JOB), "it is not jobd's"


def test_publishing_into_a_used_directory_can_be_cut_short(work, target, monkeypatch):
    """Between any two steps: here each step on its own, and then all of it again."""
    produce(work)
    target.mkdir(parents=True)
    (target / "plots").mkdir()
    real = os.unlink

    def dies(path: str, **options: Any) -> None:
        if isinstance(path, str) and ".jobd-" in path:
            raise KeyboardInterrupt
        real(path, **options)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", dies)
            with pytest.raises(KeyboardInterrupt):
                archive(work, target)
    said = archive(work, target)
    assert {name for name in tree(target) if "/" not in name} == {"plots", "out.txt", "latest"}
    assert tree(work).keys() == tree(target).keys()
    assert [row["path"] for row in said["files"]] == ["out.txt", "plots/a.svg"]


def refused(work: Path, target: Path, words: str) -> None:
    before, there = tree(work), tree(target) if target.is_dir() else {}
    with pytest.raises(Refused, match=words):
        archive(work, target)
    assert tree(work) == before
    assert (tree(target) if target.is_dir() else {}) == there
    left = [name for name, _ in copying.walk(str(target.parent)) if ".jobd-" in name]
    assert left == []


def test_nothing_is_replaced(work, target):
    produce(work)
    target.mkdir(parents=True)
    (target / "out.txt").write_text("theirs")
    refused(work, target, r"there is another 'out.txt' in the archive")
    (target / "out.txt").unlink()
    (target / "plots").write_text("theirs")
    refused(work, target, "there is another 'plots' in the archive")


def test_places_that_will_not_do(tmp_path, work):
    (work / "out").write_text("out")
    refused(work, work / "archive", "would be within the work directory")
    (tmp_path / "link").symlink_to(work)
    refused(work, tmp_path / "link/archive", "would be within the work directory")
    (tmp_path / "file").write_text("")
    refused(work, tmp_path / "file", "is not a directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    refused(work, tmp_path / "dangling", "leads nowhere")
    (work / ".jobd").unlink()
    refused(work, tmp_path / "archive", "has lost its mark")


def test_what_is_still_being_written_is_not_archived_yet(work, tmp_path):
    (work / "log").write_text("line\n")

    def write(**_: object) -> None:
        with (work / "log").open("a") as file:
            file.write("line\n")

    with pytest.raises(Unavailable, match="'log': it was written to"):
        archive(work, tmp_path / "archive", tell=write)
    assert not (tmp_path / "archive").exists()
    archive(work, tmp_path / "archive")
    assert (tmp_path / "archive/log").read_text() == (work / "log").read_text()


# ---- killed at any moment


def fill(place: Path, files: int) -> dict[str, str]:
    """So many files; name and digest of each."""
    found = {}
    for number in range(files):
        path = place / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        content = os.urandom(20_000 + number)
        path.write_bytes(content)
        found[f"d{number % 7}/f{number}"] = hashlib.sha256(content).hexdigest()
    return found


def digests(place: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((place / name).read_bytes()).hexdigest()
        for name, _ in copying.walk(str(place))
        if (place / name).is_file() and not name.startswith(".jobd")
    }


@pytest.mark.parametrize("used", [False, True])
def test_killed_at_any_moment_it_is_whole_or_not_there(work, target, used):
    made = fill(work, 60)
    if used:
        target.mkdir(parents=True)
        (target / "theirs").write_text("theirs")
    errands, random, deaths = Errands(), Random(), 0
    order = {"path": str(work), "job_id": JOB, "target": str(target), "before": []}
    try:
        while True:
            later = Later(errands, "archive", order)
            Event().wait(random.random() * 0.1)
            later.leash.cut()
            later.join(10)
            assert digests(work) == made, "the work directory is whole"
            if isinstance(later.outcome, dict):
                break
            deaths += 1
            there = digests(target) if target.exists() else {}
            there.pop("theirs", None)
            assert all(made[name] == digest for name, digest in there.items()), "no half file"
            assert used or there in ({}, made), "all of it or nothing"
            if deaths == 30:
                archive(work, target)
                break
    finally:
        errands.close()
    there = digests(target)
    assert there.pop("theirs", used) == (sha(b"theirs") if used else False)
    assert there == made
    assert {row["path"]: row["sha256"] for row in archive(work, target)["files"]} == made


def test_removing_can_be_cut_short_and_gone_on_with(work):
    fill(work, 60)
    errands = Errands()
    try:
        while work.exists():
            later = Later(errands, "remove", {"path": str(work), "job_id": JOB})
            Event().wait(Random().random() * 0.02)
            later.leash.cut()
            later.join(10)
            assert not work.exists() or (work / ".jobd").exists() or not os.listdir(work)
    finally:
        errands.close()
