"""Notes and tags: kept with a job, found by it, and a job found by them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.api import wire
from jobd.client import Client
from jobd.errors import NotFound
from jobd.store import notes
from jobd.store.search import search
from jobd.store.store import open_store
from tests.daemon import RunningDaemon
from tests.people import SystemDaemon, machine, needs_people
from tests.stores import add
from tests.talk import ask

ALL = "/meta/v2/data"


@pytest.fixture(scope="module")
def served() -> Iterator[RunningDaemon]:
    with tempfile.TemporaryDirectory(prefix="jobd-") as name, RunningDaemon(Path(name)) as running:
        yield running


def about(served: RunningDaemon, job: dict[str, Any]) -> list[dict[str, Any]]:
    """By way of the job's own link."""
    answer = ask(served.socket, "GET", job["_links"]["metadata"]["href"].removeprefix("http://localhost"))
    assert answer.code == 200
    for row in answer.result:
        wire.Note.model_validate(row)
    return list(answer.result)


def note(served: RunningDaemon, job: dict[str, Any], name: str, value: Any) -> Any:
    body = {"associationIds": [job["id"]], "name": name, "value": value}
    return ask(served.socket, "POST", ALL, body)


def test_made_looked_at_changed_and_removed(served: RunningDaemon) -> None:
    job, other = served.submit("true"), served.submit("true")
    value = {"sensor": "é\n", "gain": [1, None, 2.5], "deep": {"er": True}}
    made = note(served, job, "calibration", value)
    assert (made.code, made.result["value"], made.result["associationIds"]) == (201, value, [job["id"]])
    assert made.result["uuid"].endswith("-012")
    href = made.result["_links"]["self"]["href"].removeprefix("http://localhost")
    assert ask(served.socket, "GET", href).result == made.result
    assert about(served, job) == [made.result]
    assert about(served, other) == []
    changed = ask(served.socket, "POST", href, {"value": "none"}).result
    assert (changed["name"], changed["value"]) == ("calibration", "none")
    moved = ask(served.socket, "POST", href, {"associationIds": [other["id"]]})
    assert moved.fields == ["associationIds"]
    assert ask(served.socket, "DELETE", href).code == 200
    assert {ask(served.socket, method, href).code for method in ("GET", "DELETE")} == {404}
    assert about(served, job) == []


def test_what_is_looked_for(served: RunningDaemon) -> None:
    job = served.submit("true")
    for name in ("one", "two"):
        note(served, job, name, name)

    def found(**query: str) -> list[str]:
        asked = json.dumps({"associationIds": job["id"], **query})
        answer = ask(served.socket, "GET", f"{ALL}?q={asked}".replace(" ", "").replace('"', "%22"))
        return [row["value"] for row in answer.result]

    assert found() == ["one", "two"]
    assert found(name="two") == ["two"]
    assert found(name="two", owner="nobody") == []
    assert found(uuid=about(served, job)[0]["uuid"]) == ["one"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("{", "q"),
        ("[]", "q"),
        ('{"value":"x"}', "q.value"),
        ('{"$where":"1"}', "q.$where"),
        ('{"associationIds":{"$in":["x"]}}', "q.associationIds"),
        ('{"name":5}', "q.name"),
    ],
)
def test_what_cannot_be_looked_for(served: RunningDaemon, query: str, field: str) -> None:
    asked = query.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    assert ask(served.socket, "GET", f"{ALL}?q={asked}").fields == [field]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "x" * 129}, ["name"]),
        ({"name": "tag", "value": "two words"}, ["value"]),
        ({"name": "tag", "value": "a,b"}, ["value"]),
        ({"name": "tag", "value": 5}, ["value"]),
        ({"value": "x" * 65536}, ["value"]),
        ({"associationIds": []}, ["associationIds"]),
        ({"associationIds": ["a", "b"]}, ["associationIds"]),
        ({"values": 1}, ["values"]),
    ],
)
def test_each_fault_names_its_field(served: RunningDaemon, change: dict[str, Any], fields: list[str]) -> None:
    job = served.submit("true")
    body = {"associationIds": job["id"], "name": "n", "value": "v"}
    assert ask(served.socket, "POST", ALL, {**body, **change}).fields == fields
    assert about(served, job) == []


def test_notes_of_a_deleted_job_are_hidden_with_it(served: RunningDaemon) -> None:
    job = served.run("true")
    made = note(served, job, "tag", "gone").result
    served.client().delete(job["id"])
    assert about(served, job) == []
    assert ask(served.socket, "GET", f"{ALL}/{made['uuid']}").code == 404
    assert note(served, job, "tag", "more").code == 404
    served.client().restore(job["id"])
    assert about(served, job) == [made]


def test_a_tag_is_there_once(served: RunningDaemon) -> None:
    job = served.submit("true")
    first, second = (note(served, job, "tag", "base-line") for _ in range(2))
    assert first.result == second.result
    assert len(about(served, job)) == 1


def test_a_tag_on_a_job_does_not_go_with_its_resubmission(served: RunningDaemon) -> None:
    job = served.run("true")
    note(served, job, "tag", "first")
    assert about(served, served.client().resubmit(job["id"])) == []


def test_tags_on_the_command_line(served: RunningDaemon) -> None:
    job, other = served.submit("true", name="tagged"), served.submit("true")
    for one, words in ((job, ["alpha", "beta=1"]), (other, ["alpine"])):
        assert served.jobctl("tag", one["id"], *words).returncode == 0

    def listed(tag: str) -> set[str]:
        return set(served.jobctl("list", "-q", "--tag", tag).stdout.split())

    assert listed("alpha") == {job["id"]}
    assert listed("al*") == {job["id"], other["id"]}
    assert listed("alp") == set()
    done = served.jobctl("tag", job["id"], "--remove", "alpha", "--note", "before\nthe sensor")
    assert done.stdout == f"{job['id']}  beta=1\nnote: before\\nthe sensor\n"
    assert listed("alpha") == set()
    shown = served.jobctl("show", job["id"]).stdout
    assert "tags       beta=1\n" in shown
    assert "note       before\\nthe sensor\n" in shown
    assert served.jobctl("tag", job["id"], "-r", "alpha").returncode == 66
    assert served.jobctl("tag", job["id"], "a b").returncode == 2
    assert [
        json.loads(line)["value"] for line in served.jobctl("tag", job["id"], "--json").stdout.split("\n")[:2]
    ] == [
        "beta=1",
        "before\nthe sensor",
    ]


def test_a_tag_in_a_search_of_the_api(served: RunningDaemon) -> None:
    job = served.submit("true")
    note(served, job, "tag", "unique-1")
    note(served, job, "other", "unique-2")

    def found(query: str) -> list[str]:
        return [row["id"] for row in ask(served.socket, "GET", f"/jobs/v2?{query}").result]

    assert found("tags=unique-1") == found("tags.in=x,unique-1") == found("tags.rlike=^uniq") == [job["id"]]
    assert found("tags=unique-2") == found("tags=unique-1&name=none") == []
    assert job["id"] in found("orderBy=tags")
    assert ask(served.socket, "GET", "/jobs/v2?tags.neq=x").code == 400


def test_a_tag_is_looked_up_and_not_looked_for(tmp_path: Path) -> None:
    async def tagged() -> None:
        store = open_store(tmp_path)
        job = await add(store)
        await store.write(lambda tx: notes.add(tx, job.seq, "alice", "tag", "x"))
        await store.close()

    asyncio.run(tagged())
    sql = sqlite3.connect(tmp_path / "jobd.db")
    for order in (None, "created"):
        wanted = search({"tags": "x"}, "alice", order)
        statement = f"EXPLAIN QUERY PLAN {wanted.statement}"
        plan = " ".join(row[3] for row in sql.execute(statement, (*wanted.parameters, 1, 0)))
        assert "SEARCH job USING INTEGER PRIMARY KEY" in plan
        assert "note_tag" in plan
        assert len(wanted.jobs(sql, 10, 0)) == 1
    sql.close()


@needs_people
def test_notes_are_for_those_who_may_read_the_job() -> None:
    with machine() as lab, SystemDaemon(lab) as daemon:
        job = daemon.submit_as(lab.alice, "true")
        made = daemon.as_user(lab.alice, lambda client: client.note(job["id"], "tag", "secret"))

        def others(client: Client) -> list[Any]:
            for method, body in (("GET", None), ("DELETE", None), ("POST", {"value": "x"})):
                with pytest.raises(NotFound, match="no metadata"):
                    client._ask(method, f"{ALL}/{made['uuid']}", body=body)
            with pytest.raises(NotFound):
                client.note(job["id"], "tag", "mine")
            everything = client._ask("GET", ALL)
            return [*client.notes(job["id"]), *everything, *client.list({"tags": "secret"})]

        assert daemon.as_user(lab.bob, others) == []
        assert [note["value"] for note in daemon.as_user(lab.alice, lambda c: c.notes(job["id"]))] == [
            "secret"
        ]
