"""Bringing inputs in: what is copied, linked, refused; and a server that stalls, breaks off, lies. In this
process and with its rights; tests/test_transfers.py has the daemon, and tests/test_people.py the persons."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.errors import Refused, Unavailable
from jobd.keeper import staging, workspace
from jobd.keeper.errands import Errands, Leash
from tests import processes, web
from tests.daemon import until

JOB = "7a3f-007"
LIMITS: dict[str, Any] = {"idle": 0.5, "total": 30.0, "size": 10 << 20, "redirects": 3}


def quietly(**_: object) -> None:
    pass


def item(source: object, name: str = "data", in_place: bool = False, **more: Any) -> dict[str, Any]:
    return {"input": "dataset", "source": str(source), "name": name, "inPlace": in_place, **more}


def stage(work: Path, *plan: dict[str, Any], **limits: Any) -> list[dict[str, Any]]:
    return staging.stage(quietly, str(work), JOB, plan, LIMITS | limits)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def server() -> Iterator[web.Server]:
    with web.server() as running:
        yield running


def names(work: Path) -> set[str]:
    return {path.name for path in work.iterdir()} - {".jobd"}


# ---- files of this machine


def test_a_file_is_copied_with_its_digest_and_its_time(tmp_path, work):
    source = tmp_path / "source.csv"
    source.write_bytes(web.CONTENT)
    source.chmod(0o4755)
    os.utime(source, (1e9, 1e9 + 0.123456789))
    (row,) = stage(work, item(source, "in/data.csv"))
    found = source.stat()
    copied = (work / "in/data.csv").stat()
    assert (work / "in/data.csv").read_bytes() == web.CONTENT
    assert (row["size"], row["sha256"], row["mtime"], row["inode"]) == (
        len(web.CONTENT), sha(web.CONTENT), found.st_mtime, found.st_ino)  # fmt: skip
    assert (copied.st_mtime_ns, copied.st_mode & 0o7777, copied.st_nlink) == (found.st_mtime_ns, 0o755, 1)
    assert (work / ".jobd").read_text() == f"{JOB}\n"
    assert names(work) == {"in"}


def test_what_the_job_does_to_its_input_does_not_happen_to_the_original(tmp_path, work):
    (tmp_path / "source").write_text("original")
    stage(work, item(tmp_path / "source"))
    with (work / "data").open("r+") as file:
        file.write("OVER")
    assert (tmp_path / "source").read_text() == "original"


def test_a_directory_comes_with_a_digest_that_sha256sum_can_check(tmp_path, work):
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "b.txt").write_text("b")
    (source / "sub/a.txt").write_text("a")
    (source / "sub/up").symlink_to("../b.txt")
    (source / "sub-2").write_text("")
    own, *rows = stage(work, item(source))
    assert {row["name"] for row in rows} == {"data/b.txt", "data/sub/a.txt", "data/sub/up", "data/sub-2"}
    assert os.readlink(work / "data/sub/up") == "../b.txt"
    assert (work / "data/sub/empty").is_dir()
    (work / "data/sub/up").unlink()
    (source / "sub/up").unlink()
    workspace.remove(quietly, str(work), JOB)
    (own, *_) = stage(work, item(source))
    script = "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1"
    said = subprocess.run(["sh", "-c", script], cwd=source, capture_output=True, text=True, check=True)
    assert (own["name"], own["size"], own["sha256"]) == ("data", 2, said.stdout.strip())


def test_in_place_is_a_link_to_the_original(tmp_path, work):
    (tmp_path / "huge").write_text("huge")
    (row,) = stage(work, item(tmp_path / "huge", in_place=True))
    assert os.readlink(work / "data") == str(tmp_path / "huge")
    assert (row["size"], row["sha256"], row["inode"]) == (4, None, (tmp_path / "huge").stat().st_ino)
    (row,) = stage(work, item(tmp_path / "huge", in_place=True, sha256=sha(b"huge")))
    assert row["sha256"] == sha(b"huge")
    with pytest.raises(Refused, match="another one"):
        stage(work, item(tmp_path / "huge", in_place=True, sha256=sha(b"other")))


def test_only_the_content_that_is_expected_will_do(tmp_path, work):
    (tmp_path / "source").write_text("changed since")
    expected = sha(b"as it was")
    with pytest.raises(Refused, match=rf"input dataset \(.*source\): its content .* {expected} was expected"):
        stage(work, item(tmp_path / "source", sha256=expected))
    assert names(work) == set()
    stage(work, item(tmp_path / "source", sha256=sha(b"changed since")))
    assert names(work) == {"data"}


def test_staging_again_leaves_what_the_second_time_has_brought(tmp_path, work):
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/old").write_text("old")
    (tmp_path / "file").write_text("old")
    plan = item(tmp_path / "directory", "d"), item(tmp_path / "file", "f")
    stage(work, *plan)
    (tmp_path / "directory/old").rename(tmp_path / "directory/new")
    (tmp_path / "file").write_text("new")
    (work / ".jobd.staging").mkdir()
    (work / ".jobd.staging/1").write_text("half")
    stage(work, *plan)
    assert [path.name for path in (work / "d").iterdir()] == ["new"]
    assert (work / "f").read_text() == "new"
    assert names(work) == {"d", "f"}


WRONG: dict[str, tuple[str, str]] = {
    "there is no such file": ("true", "source"),
    "it is a FIFO": ("mkfifo source", "source"),
    "it is a device": ("ln -s /dev/null source", "source"),
    "it is a socket": ("true", "socket"),
    "'deep/pipe' in it is a FIFO": ("mkdir -p source/deep; mkfifo source/deep/pipe", "source"),
    "'deep/out' in it is a symbolic link that leads out of it": (
        "mkdir -p source/deep; ln -s ../../secret source/deep/out", "source"),
    "'abs' in it is a symbolic link that leads out of it": (
        "mkdir source; ln -s /etc/passwd source/abs", "source"),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_staged_is_named(tmp_path, work, words):
    script, name = WRONG[words]
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    with socket.socket(socket.AF_UNIX) as listening:
        fd = os.open(tmp_path, os.O_PATH)
        listening.bind(f"/proc/self/fd/{fd}/socket")
        os.close(fd)
        with pytest.raises(Refused, match=r"^input dataset \(.*\): .*" + words):
            stage(work, item(tmp_path / name))
    assert names(work) == set()


@pytest.mark.parametrize("name", ["../out", "/abs", "a/../../b", "", ".", ".jobd", ".jobd.staging/1", "a\0b"])
def test_a_name_that_climbs_out_or_is_jobds_own_is_refused(tmp_path, work, name):
    (tmp_path / "source").write_text("x")
    with pytest.raises(Refused, match="input dataset"):
        stage(work, item(tmp_path / "source", name))
    assert not work.exists()
    assert sorted(os.listdir(tmp_path)) == ["source"]


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b/c", "a/b")])
def test_two_inputs_with_one_name_are_refused(tmp_path, work, first, second):
    (tmp_path / "source").write_text("x")
    with pytest.raises(Refused, match="is that of input dataset already"):
        stage(work, item(tmp_path / "source", first), item(tmp_path / "source", second))


def test_a_directory_that_is_somebody_elses_is_left_alone(tmp_path, work):
    (tmp_path / "source").write_text("x")
    work.mkdir()
    (work / "theirs").write_text("theirs")
    with pytest.raises(Refused, match="there already, and not jobd's"):
        stage(work, item(tmp_path / "source"))
    assert not workspace.remove(quietly, str(work), JOB)
    (work / ".jobd").write_text("another-007\n")
    assert not workspace.remove(quietly, str(work), JOB)
    assert (work / "theirs").read_text() == "theirs"


def test_a_file_that_is_written_to_while_it_is_copied_is_refused(tmp_path, work):
    source = tmp_path / "source"
    source.write_bytes(web.CONTENT)

    def touch(**_: object) -> None:
        source.write_bytes(web.CONTENT[1:])

    with pytest.raises(Refused, match="written to while it was read"):
        staging.stage(touch, str(work), JOB, [item(source)], LIMITS)


def test_removing_goes_by_the_mark_and_follows_no_link(tmp_path, work):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    stage(work, item(outside))
    (work / "link").symlink_to(outside)
    (work / "locked").mkdir()
    (work / "locked/deep").mkdir()
    (work / "locked/deep/file").write_text("x")
    (work / "locked/deep").chmod(0o555)
    (work / "locked").chmod(0)
    assert workspace.remove(quietly, str(work), JOB)
    assert not work.exists()
    assert (outside / "kept").read_text() == "kept"


# ---- over http


def fetched(server: web.Server, work: Path, page: web.Page, **limits: Any) -> dict[str, Any]:
    url = server.page("/file", page)
    (row,) = stage(work, item(url), **limits)
    assert (work / "data").read_bytes() == web.CONTENT
    assert (row["size"], row["sha256"]) == (len(web.CONTENT), sha(web.CONTENT))
    return row


def test_a_file_over_http(server, work):
    row = fetched(server, work, web.whole)
    assert (row["etag"], row["inode"], row["mtime"]) == (web.ETAG, None, 1727776800.0)
    assert (work / "data").stat().st_mtime == row["mtime"]


def test_a_broken_connection_is_taken_up_where_it_broke(server, work):
    fetched(server, work, web.breaks_off)
    assert server.visits == [("/file", None), ("/file", f"bytes={len(web.CONTENT) // 2}-")]


def test_a_content_that_has_changed_meanwhile_is_not_mixed(server, work):
    (row,) = stage(work, item(server.page("/file", web.changes)))
    assert (work / "data").read_bytes() == web.CONTENT[::-1]
    assert (row["sha256"], row["etag"]) == (sha(web.CONTENT[::-1]), '"second"')


@pytest.mark.parametrize("page", [web.lies_about_the_range, web.busy_at_first])
def test_a_server_that_comes_right_in_the_end(server, work, page):
    fetched(server, work, page)


def test_redirects_are_followed_so_far(server, work):
    target = server.page("/file", web.whole)
    stage(work, item(server.page("/3", web.to(server.page("/2", web.to(server.page("/1", web.to(target))))))))
    with pytest.raises(Refused, match="sends us on more than 3 times"):
        stage(work, item(server.page("/4", web.to(server.url("/3")))))
    with pytest.raises(Refused, match="more than 3 times"):
        stage(work, item(server.page("/loop", web.to(server.url("/loop")))))


BAD = {
    "404 Not Found": (web.missing, {}),
    r"broke off after 1000 of 1048576 bytes \(5 tries\)": (web.always_breaks_off, {}),
    r"broke off \(5 tries\)": (web.chunks_that_break_off, {}),
    "said nothing for 0.1 s": (web.stalls, {"idle": 0.1}),
    "took longer than 0.3 s": (web.drips, {"total": 0.3}),
    "larger than 1000 bytes": (web.whole, {"size": 1000}),
    "larger than 3000000 bytes": (web.endless, {"size": 3_000_000}),
    "not allowed": (web.to("file:///etc/passwd"), {}),
    "neither http nor https": (web.to("ftp://127.0.0.1/x"), {}),
}  # fmt: skip


@pytest.mark.parametrize("words", BAD)
def test_what_a_server_does_wrong_is_named_and_leaves_nothing(server, work, words, monkeypatch):
    monkeypatch.setattr("jobd.keeper.fetch._LONGEST_PAUSE", 0.01)
    page, limits = BAD[words]
    with pytest.raises(Refused, match=r"^input dataset \(http.*\): .*" + words):
        stage(work, item(server.page("/file", page)), **limits)
    assert names(work) == set()


def test_a_port_where_nobody_listens(work, monkeypatch):
    monkeypatch.setattr("jobd.keeper.fetch._LONGEST_PAUSE", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Refused, match="cannot be reached: Connection refused"):
            stage(work, item(f"http://127.0.0.1:{taken.getsockname()[1]}/"))


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1/x", "http://127.0.0.1/a b", "http://", "http://["]
)
def test_a_url_that_will_not_do(work, url):
    with pytest.raises(Refused, match=r"password|no URL"):
        stage(work, item(url))


def test_what_the_network_brings_cannot_be_used_in_place(server, work):
    with pytest.raises(Refused, match="only a file on this machine"):
        stage(work, item(server.page("/file", web.whole), in_place=True))


# ---- as an errand


@pytest.fixture
def errands() -> Iterator[Errands]:
    made = Errands()
    yield made
    made.close()


def order(work: Path, *plan: dict[str, Any]) -> dict[str, Any]:
    return {"path": str(work), "job_id": JOB, "plan": plan, "limits": LIMITS}


class Later(threading.Thread):
    """A long errand under way."""

    def __init__(self, errands: Errands, deed: str, arguments: dict[str, Any], silence: float = 30) -> None:
        super().__init__()
        self.leash, self.told, self.outcome = Leash(), list[dict[str, Any]](), "nothing"
        self._do = lambda: errands.do_long(None, deed, arguments, silence, self.told.append, self.leash)
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._do()
        except (Refused, Unavailable) as error:
            self.outcome = str(error)


def test_an_errand_tells_how_far_it_is(errands, tmp_path, work):
    (tmp_path / "source").write_bytes(web.CONTENT)
    later = Later(errands, "stage", order(work, item(tmp_path / "source")))
    later.join()
    assert later.outcome[0]["sha256"] == sha(web.CONTENT)
    assert later.told[0]["doing"] == f"dataset: {tmp_path}/source"
    assert 0 < later.told[-1]["bytes"] <= len(web.CONTENT)


def test_an_errand_ends_when_its_leash_is_cut(errands, server, work):
    later = Later(errands, "stage", order(work, item(server.page("/file", web.drips))))
    until(lambda: later.told, what="it is under way")
    later.leash.cut()
    later.join(5)
    assert "ended before it could answer" in later.outcome
    assert names(work) == {".jobd.staging"}
    cut = Later(errands, "stage", order(work, item(server.url("/file"))))
    cut.leash.cut()  # at whatever moment
    cut.join(5)
    assert "ended before it could answer" in cut.outcome


def test_whoever_ends_waits_for_no_errand(errands, server, work):
    later = Later(errands, "stage", order(work, item(server.page("/file", web.drips))))
    until(lambda: later.told, what="it is under way")
    runner = errands._process
    assert runner is not None
    pid = next(pid for pid in processes.pids() if processes.parent(pid) == runner.pid)
    os.kill(pid, signal.SIGSTOP)  # as a file system that hangs would
    later.leash.cut(wait=False)
    later.join(5)
    assert "ended before it could answer" in later.outcome
    os.kill(pid, signal.SIGCONT)
    until(lambda: processes.gone(pid), what="and yet it ends")


def test_an_errand_that_says_nothing_is_given_up(errands, server, work):
    """And it is not at work any more when the next one begins: that is what the lock is for."""
    later = Later(errands, "stage", order(work, item(server.page("/file", web.stalls))), silence=0.2)
    later.join(5)
    assert "no answer within 0.2 s" in later.outcome
    again = Later(errands, "stage", order(work, item(server.page("/other", web.whole))))
    again.join(20)
    assert again.outcome[0]["sha256"] == sha(web.CONTENT)


def test_two_are_never_at_work_in_one_directory(errands, server, work, tmp_path):
    first = Later(errands, "stage", order(work, item(server.page("/file", web.drips))))
    until(lambda: first.told, what="it is under way")
    (tmp_path / "source").write_text("x")
    second = Later(errands, "stage", order(work, item(tmp_path / "source")))
    second.join(20)
    assert "still at work" in second.outcome
    first.leash.cut()
    first.join(5)
