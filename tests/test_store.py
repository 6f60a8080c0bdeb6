"""The store: what is acknowledged is on disk, moves are compare-and-set, and what must not be touched is
refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from playhouse.migrations import Runner

import jobd.store.migrations
from jobd.errors import Conflict, Invalid, TooMany
from jobd.status import Condition, Status
from jobd.store import drains, files, moves, pems, queries
from jobd.store.connection import APPLICATION_ID, database
from jobd.store.filesystem import network_file_system
from jobd.store.store import Store, lock, open_store
from jobd.store.tables import to_sql
from jobd.store.writer import Transaction
from tests.stores import add, draft, get

MIGRATIONS = Path(jobd.store.migrations.__file__).parent


def with_store(directory: Path, test):
    """Runs a coroutine function on an open store."""

    async def run():
        store = open_store(directory)
        try:
            return await test(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_job_with_inputs_waits_for_them_from_its_first_moment(tmp_path):
    """Or it might be handed over without them."""

    async def test(store: Store):
        plan = ({"input": "reads", "source": "/a.fq", "name": "a.fq", "inPlace": False},)
        assert (await add(store, staging=plan)).status is Status.STAGING_INPUTS
        assert (await add(store)).status is Status.PENDING

    with_store(tmp_path, test)


def test_a_job_comes_back_as_it_was_put_in(tmp_path):
    strange = draft(
        command=("a b", "ü\n", "\udcff"),
        memory=5 << 30,
        gpus=2,
        time_limit=60.0,
        details={"x": [1]},
        stdin="in",
        app_revision=2,
        inputs={"reads": ["a.fq", "ü"]},
        parameters={"k": [1, True, "x"]},
        archive=True,
        archive_path="/archive/1",
        staging=({"input": "reads", "source": "/a.fq", "name": "a.fq", "inPlace": False},),
        status=Status.STAGING_INPUTS,
        migrated=({"field": "parameters.k"},),
    )

    async def test(store: Store):
        seq = await store.write(lambda tx: moves.insert(tx, strange, "alice", "Submitted."))
        found = await get(store, strange.id)
        assert found == strange.__class__(**{**strange.__dict__, "seq": seq})

    with_store(tmp_path, test)


def test_T1_what_was_acknowledged_is_there_after_kill_9(tmp_path):
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        from jobd.store.store import open_store
        from tests.stores import add

        async def main():
            store = open_store(Path(sys.argv[1]))
            async def one():
                print((await add(store)).id, flush=True)
            await asyncio.gather(*(one() for _ in range(200)))
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False
    )
    acknowledged = answer.stdout.split()
    assert len(acknowledged) == 200, answer.stderr

    async def test(store: Store):
        for job_id in acknowledged:
            assert await store.job(job_id) is not None

    with_store(tmp_path, test)


def test_a_move_and_its_history_are_one(tmp_path):
    async def test(store: Store):
        job = await add(store)
        with pytest.raises(RuntimeError, match="after the move"):
            await store.write(lambda tx: (moves.move(tx, job, Status.STAGED, "x"), _fail("after the move")))
        assert (await get(store, job.id)).status is Status.PENDING
        assert [event.status for event in await store.history(job)] == ["PENDING"]

    with_store(tmp_path, test)


def _refuse(tx) -> None:
    raise TooMany("enough", 1.0)


def _fail(words: str) -> None:
    raise RuntimeError(words)


def test_one_bad_piece_takes_only_itself_back(tmp_path):
    """Many callers share a commit; one whose work raises must not cost the others theirs."""

    async def test(store: Store):
        good = [add(store) for _ in range(20)]
        bad = [store.write(lambda tx: _fail("mine alone")) for _ in range(20)]
        mixed = [piece for pair in zip(good, bad, strict=True) for piece in pair]
        results = await asyncio.gather(*mixed, return_exceptions=True)
        assert all(isinstance(result, RuntimeError) for result in results[1::2])
        others = [add(store) for _ in range(20)]
        *good, refused = await asyncio.gather(*others, store.write(_refuse), return_exceptions=True)
        assert isinstance(refused, TooMany), "a refusal is no broken disk, which would be everybody's"
        assert not store.trouble
        for job in good:
            assert await store.job(job.id) is not None
        for job in results[0::2]:
            assert await store.job(job.id) is not None

    with_store(tmp_path, test)


def test_what_comes_in_while_pieces_are_done_is_in_their_commit(tmp_path):
    async def test(store: Store):
        statements: list[str] = []
        came = threading.Event()

        def first(tx: Transaction) -> None:
            tx.sql.set_trace_callback(statements.append)
            assert came.wait(10)
            moves.insert(tx, draft(), "alice", "First.")

        def second(tx: Transaction) -> int:
            return queries.stored(tx.sql)

        written = store.hand_in(first)
        behind = store.hand_in(second)
        came.set()
        assert await behind == 1, "it sees what was written before it"
        await written
        assert statements.count("COMMIT") == 1

    with_store(tmp_path, test)


def test_T7_of_two_who_move_a_job_one_wins(tmp_path):
    async def test(store: Store):
        job = await add(store)
        moved = await asyncio.gather(
            *(
                store.write(lambda tx, to=to: moves.move(tx, job, to, "race"))
                for to in (Status.STOPPED, Status.STAGED)
            )
        )
        assert sorted(moved) == [False, True]

    with_store(tmp_path, test)


def test_a_move_that_is_not_in_the_table_is_a_mistake(tmp_path):
    async def test(store: Store):
        job = await add(store)
        with pytest.raises(ValueError, match="no job goes from PENDING to RUNNING"):
            await store.write(lambda tx: moves.move(tx, job, Status.RUNNING, ""))

    with_store(tmp_path, test)


def test_delete_asked_hides_in_the_transaction_of_the_ending(tmp_path):
    async def test(store: Store):
        job = await add(store)
        await store.write(lambda tx: moves.change(tx, job, delete_asked=1.0, delete_asked_by="bob"))
        job = await get(store, job.id)
        await store.write(lambda tx: moves.move(tx, job, Status.STOPPED, "Killed."))
        assert (await get(store, job.id)).hidden
        events = await store.history(job)
        assert [(event.status, event.created_by) for event in events[1:]] == [
            ("STOPPED", "jobd"),
            ("DELETED", "bob"),
        ]

    with_store(tmp_path, test)


def test_only_a_lost_ending_is_corrected_and_once(tmp_path):
    async def test(store: Store):
        job = await add(store)
        await store.write(
            lambda tx: moves.move(tx, job, Status.FAILED, "?", condition=Condition.LOST, ended=1.0)
        )
        lost = await get(store, job.id)
        facts = {"condition": Condition.NORMAL, "exit_code": 0}
        assert await store.write(lambda tx: moves.correct(tx, lost, Status.FINISHED, "Late.", **facts))
        corrected = await get(store, job.id)
        assert (corrected.status, corrected.exit_code) == (Status.FINISHED, 0)
        assert [event.status for event in await store.history(job)][-2:] == ["CORRECTED", "FINISHED"]
        with pytest.raises(ValueError, match="only a job that was LOST"):
            await store.write(lambda tx: moves.correct(tx, corrected, Status.FAILED, ""))

    with_store(tmp_path, test)


def test_those_who_watch_hear_after_the_commit(tmp_path):
    async def test(store: Store):
        job = await add(store)
        with store.changes.watch(job.id) as changed, store.changes.subscribe() as everything:
            await store.write(lambda tx: moves.move(tx, job, Status.STAGED, ""))
            await asyncio.wait_for(changed, 5)
            assert await asyncio.wait_for(everything.get(), 5) == (job.id, Status.STAGED)

    with_store(tmp_path, test)


# an older store


def test_a_store_of_the_first_version_gets_its_jobs_own_priorities(tmp_path):
    """They were kept as the sum with their queue's."""
    older = database(tmp_path / "jobd.db")
    older.pragma("application_id", APPLICATION_ID)
    Runner(older, str(MIGRATIONS)).up("0001_jobs")
    columns = [row[1] for row in older.execute_sql("PRAGMA table_info(job)") if row[1] != "seq"]
    insert = f"INSERT INTO job ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    with older.atomic():
        for request, status in (({"priority": "3"}, "PENDING"), ({}, "STAGED"), ({}, "FINISHED")):
            job = draft(request=request, status=Status(status), priority=13, reason="Waits for free GPUs.")
            older.execute_sql(insert, [to_sql(name, getattr(job, name)) for name in columns])
    older.close()

    async def test(store: Store):
        found = await store.read(lambda sql: queries.jobs(sql, "1 ORDER BY seq"))
        assert [job.priority for job in found] == [3, 0, 13]
        assert [job.reason for job in found] == ["", "", "Waits for free GPUs."]

    with_store(tmp_path, test)


# T10: what must not be touched


def test_T10_a_newer_store_is_refused_and_untouched(tmp_path):
    with_store(tmp_path, lambda store: add(store))
    with sqlite3.connect(tmp_path / "jobd.db") as sql:
        sql.execute(
            "INSERT INTO schema_migration (name, applied) VALUES ('9999_from_the_future', '2099-01-01')"
        )
    with pytest.raises(Invalid, match=r"newer than this jobd.*9999_from_the_future"):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / "jobd.db") as sql:
        assert sql.execute("SELECT count(*) FROM job").fetchone() == (1,)


def test_T10_another_programs_file_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "jobd.db") as sql:
        sql.execute("CREATE TABLE precious (x)")
    before = (tmp_path / "jobd.db").read_bytes()
    with pytest.raises(Invalid, match="another program's"):
        open_store(tmp_path)
    after = (tmp_path / "jobd.db").read_bytes()
    assert before[96:] == after[96:], "only the journal mode in the header may differ"


def test_T10_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "jobd.db").write_bytes(b"these are my notes\n" * 100)
    with pytest.raises(Invalid, match="not a store of jobd's"):
        open_store(tmp_path)
    assert (tmp_path / "jobd.db").read_bytes() == b"these are my notes\n" * 100


def test_T10_the_second_daemon_is_told_who_has_it(tmp_path):
    descriptor = lock(tmp_path, {"pid": 42, "socket": "/a/b"})
    with pytest.raises(Conflict, match=r'another jobd holds .*"pid": 42'):
        lock(tmp_path, {"pid": 43})
    os.close(descriptor)
    os.close(lock(tmp_path, {"pid": 43}))


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:45 / /home rw,relatime shared:9 - nfs4 server:/home rw,vers=4.2
31 30 0:46 / /home/local rw,relatime - xfs /dev/vdb rw
32 22 0:47 / /my\\040disk rw - fuse.sshfs host:/x rw
33 22 0:48 / /lustre rw - lustre mgs@tcp:/fs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/jobd", None),
        ("/home/alice/.local/state/jobd", "nfs4"),
        ("/home/local/alice", None),
        ("/homework", None),
        ("/my disk/state", "fuse.sshfs"),
        ("/lustre/lab", "lustre"),
    ],
)
def test_T10_network_file_systems_are_known(path, kind):
    assert network_file_system(Path(path), MOUNTS) == kind


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting a small disk needs root"
)
def test_T10_a_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path):
    """On a tmpfs of two megabytes, in a mount namespace of its own: writing fails, reading goes on, and so
    does writing when there is room again."""
    program = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from jobd.errors import Unavailable
        from jobd.store.store import open_store
        from tests.stores import add, get

        async def main():
            state = Path(sys.argv[1])
            store = open_store(state)
            first = await add(store)
            (state / "ballast").write_bytes(b"x" * (700 << 10))
            kept = []
            try:
                while True:
                    kept.append(await add(store, reason="x" * 20_000))
            except Unavailable as error:
                assert "full" in str(error), error
            for job in [first, *kept]:
                assert (await get(store, job.id)).id == job.id
            await store.write(lambda tx: tx.sql.execute("SELECT 1"))
            assert "full" in store.trouble, "what only reads says nothing of the disk"
            (state / "ballast").unlink()
            await store.probe()
            assert not store.trouble
            await add(store)
            await store.close()
            print("right", len(kept))

        asyncio.run(main())
        """
    )
    script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program]
    root = Path(__file__).parent.parent
    answer = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60, check=False)
    assert answer.stdout.startswith("right"), answer.stderr


# speed that must not depend on history

LINE = queries.Line("default", "alice", False, False)


@pytest.mark.parametrize(
    "ask",
    [
        lambda sql: queries.job(sql, "x"),
        lambda sql: queries.by_tags(sql, ["a", "b"]),
        lambda sql: list(queries.lines(sql, "local")),
        lambda sql: list(queries.in_line(sql, "local", LINE, queries.Most(), 1.0)),
        lambda sql: drains.in_force(sql),
        lambda sql: drains.history(sql, "local", 10, 0),
        lambda sql: queries.to_move(sql, "local", {1, 2}, {"me"}, {"you"}, 1.0),
        lambda sql: queries.inputs_to_end(sql, "local"),
        lambda sql: queries.owners_waiting(sql, "local"),
        lambda sql: queries.to_purge(sql, 1.0, 10),
        lambda sql: queries.hidden(sql, "me", 10, 0),
        lambda sql: queries.placed(sql, "local"),
        lambda sql: queries.submitting(sql, "local"),
        lambda sql: queries.kill_asked(sql, "local"),
        lambda sql: queries.kept(sql, "local", 1.0, 10),
        lambda sql: queries.lost(sql, "local", 1.0),
        lambda sql: queries.held(sql, "local"),
        lambda sql: queries.held_gpus(sql, "local"),
        lambda sql: queries.active(sql),
        lambda sql: queries.active_of(sql, "alice"),
        lambda sql: queries.active_by_status(sql),
        lambda sql: queries.stored(sql),
        lambda sql: queries.history(sql, 1, 10, 0, False),
        lambda sql: pems.right(sql, 1, ["alice", "@lab"]),
        lambda sql: pems.of_job(sql, 1),
        lambda sql: pems.those_with_any(sql, ["alice", "@lab"]),
        lambda sql: files.is_output(sql, draft(seq=1), "sub/file"),
    ],
)
def test_what_the_engine_asks_is_served_by_an_index(tmp_path, ask):
    with_store(tmp_path, lambda store: add(store))
    sql = sqlite3.connect(tmp_path / "jobd.db")
    statements: list[str] = []
    sql.set_trace_callback(statements.append)
    ask(sql)
    sql.set_trace_callback(None)
    for statement in statements:
        plan = [row[3] for row in sql.execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = [step for step in plan if step.startswith("SCAN")]
        few = ("drain_in_force", "CONSTANT ROW", "json_each")  # what is drained now; no table at all
        assert not [step for step in scans if not any(word in step for word in few)], (statement, plan)
    sql.close()
