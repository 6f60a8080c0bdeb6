"""The README's walks through apps and resubmission, and through notifications, line by line as they stand
there, by somebody who has just come; and what it says of the results."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.client import Client
from tests.daemon import until
from tests.person import Person
from tests.receivers import mail_server, receiver
from tests.web import Visit, server

ROOT = Path(__file__).parent.parent
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-007")


def steps(first: str, end: str) -> list[tuple[str, str]]:
    """Each command between these titles, and what it prints."""
    text = (ROOT / "README.md").read_text()
    part = text[text.index(f"\n## {first}\n") : text.index(f"\n## {end}\n")]
    walk = "".join(re.findall(r"^```console\n(.*?)^```$", part, re.MULTILINE | re.DOTALL))
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", walk, re.MULTILINE)
    assert len(found) > 3
    return [(command, printed) for command, printed in found]


class Newcomer(Person):
    def __init__(self, home: Path) -> None:
        super().__init__(home)
        programs = home / "bin"
        programs.mkdir()
        for name, module in (("jobctl", "jobd.cli"), ("jobd", "jobd.daemon")):
            script = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"\n'
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        (home / "config").symlink_to(ROOT / "config")
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"

    def client(self) -> Client:
        return Client(f"unix://{self.home}/run/jobd/jobd.sock")

    def does(self, command: str) -> str:
        """What it prints, on both streams in the order of the README: results first."""
        found = self.run("bash", "-c", command)
        return (found.stdout + found.stderr).replace(str(self.home), "~")


@pytest.fixture
def newcomer(short_dir: Path) -> Iterator[Newcomer]:
    with Newcomer(short_dir) as person:
        yield person


def masked(text: str) -> str:
    return _ID.sub("ID", text)


def test_the_walk_is_as_the_readme_has_it(newcomer: Newcomer) -> None:
    for command, printed in steps("Apps", "Are the results valid?"):
        assert masked(newcomer.does(command)) == masked(printed), command
    jobs = list(newcomer.client().list({"status": "FINISHED"}, order_by="created", descending=False))
    first, unchanged, migrated = [newcomer.client().show(job["id"]) for job in jobs]
    plots = [Path(job["archivePath"], "plot.svg").read_bytes() for job in (first, unchanged, migrated)]
    assert plots[0] == plots[1] != plots[2]
    assert b'fill="white"' in plots[0]
    assert b'fill="ivory"' in plots[2]


def test_people_are_told_as_the_readme_has_it(newcomer: Newcomer) -> None:
    home = newcomer.home
    (home / "fit.py").write_text(
        "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\nexit(3)\n"
    )
    (home / "simulate").write_text("#!/bin/sh\n")
    (home / "simulate").chmod(0o755)
    (home / "runs.txt").write_text("./simulate 1\n./simulate 2\n")
    with receiver() as hook, mail_server() as mail:
        configure(newcomer, f"smtp: {{host: 127.0.0.1, port: {mail.port}, security: none, sender: j@lab}}")
        here = {"https://chat.example": hook.url(""), "--digest 1h": "--digest 2s", "~/news": f"{home}/news"}
        for command, printed in steps("Be told", "Your own daemon, and the lab's"):
            for theirs, ours in here.items():
                command = command.replace(theirs, ours)
            found = newcomer.run("bash", "-c", command)
            assert (found.returncode, found.stderr) == (0, ""), command
            assert not printed or numberless(found.stdout) == numberless(printed), command
        (home / "go").touch()
        until(lambda: hook.taken and len(mail.taken) == 2)
        assert hook.taken[0].json == {"text": "fit: exit code 3"}
        titles = {str(one["Subject"]) for one in mail.taken}
        assert titles == {"[jobd] fit: FAILED", "[jobd] simulate: 2 FINISHED"}
        news = home / "news"
        until(lambda: news.exists() and news.read_text().endswith("fit FAILED\n"))


def configure(newcomer: Newcomer, notifications: str) -> None:
    directory = newcomer.home / ".config/jobd"
    directory.mkdir(parents=True)
    (directory / "jobd.yaml").write_text(f"notifications: {{{notifications}}}\n")


def numberless(text: str) -> str:
    return re.sub(r"\d+", "0", text)


STRICT = {"ignoreInputConflicts": False}


def ran(newcomer: Newcomer, data: Path | str) -> dict[str, Any]:
    """A job of the app with that file, when it is over."""
    newcomer.does("mkdir -p ~/.config/jobd && cp -r config/apps ~/.config/jobd/")
    found = newcomer.run("jobctl", "submit", "-q", "--app", "pyplot-0.1.0", "--input", f"dataset={data}")
    assert found.returncode == 0, found.stderr
    job = newcomer.client().wait(found.stdout.strip(), 30)
    assert job["status"] == "FINISHED", job
    return job


def test_other_content_of_the_same_size_and_time_is_found_while_staging(newcomer: Newcomer) -> None:
    """The request defers that check, says so, and the job names the input."""
    data = newcomer.home / "data.csv"
    data.write_text("day,Magnitude\n1,2\n")
    job = ran(newcomer, data)
    then = data.stat()
    data.write_text("day,Magnitude\n1,3\n")
    os.utime(data, ns=(then.st_atime_ns, then.st_mtime_ns))
    client = newcomer.client()
    plan = client.resubmit(job["id"], **STRICT, dryRun=True)
    (deferred,) = plan["deferred"]
    assert (plan["wouldAnswer"], plan["conflicts"], deferred["field"]) == (202, [], "inputs.dataset")
    strict = client.wait(client.resubmit(job["id"], **STRICT)["id"], 30)
    assert (strict["status"], strict["condition"]) == ("FAILED", "STAGING_FAILED")
    assert "dataset" in strict["reason"]
    assert deferred["sha256"] in strict["reason"]
    assert client.wait(client.resubmit(job["id"])["id"], 30)["status"] == "FINISHED"


def test_inputs_that_changed_or_are_gone(newcomer: Newcomer) -> None:
    data = newcomer.home / "data.csv"
    data.write_text("day,Magnitude\n1,2\n")
    job = ran(newcomer, data)
    data.write_text("day,Magnitude\n1,2\n2,3\n")
    strict = newcomer.run("jobctl", "--json", "resubmit", "--strict", job["id"])
    (conflict,) = json.loads(strict.stderr)["error"]["conflicts"]
    assert (conflict["kind"], conflict["field"], conflict["ignored"]) == ("CHANGED", "inputs.dataset", False)
    again = newcomer.client().resubmit(job["id"])
    assert [did["kind"] for did in again["migrated"]] == ["CHANGED"]
    assert newcomer.client().wait(again["id"], 30)["status"] == "FINISHED"
    data.unlink()
    gone = newcomer.run("jobctl", "resubmit", job["id"])
    assert (gone.returncode, "is gone" in gone.stderr) == (2, True)
    other = newcomer.home / "other.csv"
    other.write_text("day,Magnitude\n5,6\n")
    found = newcomer.run("jobctl", "resubmit", "-q", job["id"], "--input", f"dataset={other}")
    assert newcomer.client().wait(found.stdout.strip(), 30)["status"] == "FINISHED"


def test_a_source_elsewhere_is_known_by_its_etag(newcomer: Newcomer) -> None:
    etag, code = '"one"', 200

    def page(visit: Visit) -> None:
        content = b"day,Magnitude\n1,2\n"
        visit.say(code, Content_Length=len(content), ETag=etag)
        if visit.command == "GET" and code == 200:
            visit.wfile.write(content)

    def kinds() -> list[str]:
        return [one["kind"] for one in client.resubmit(job["id"], dryRun=True)["conflicts"]]

    with server() as web:
        job = ran(newcomer, web.page("/data.csv", page))
        client = newcomer.client()
        assert kinds() == []
        etag = '"two"'
        assert kinds() == ["CHANGED"]
        code = 500  # which says nothing of the data
        plan = client.resubmit(job["id"], dryRun=True)
        assert (plan["wouldAnswer"], plan["conflicts"]) == (202, [])
        assert [check["field"] for check in plan["deferred"]] == ["inputs.dataset"]
        code = 404
        plan = client.resubmit(job["id"], dryRun=True)
        assert (plan["wouldAnswer"], [fault["field"] for fault in plan["errors"]]) == (
            400,
            ["inputs.dataset"],
        )
