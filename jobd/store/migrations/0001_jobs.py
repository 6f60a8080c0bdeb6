"""Jobs, their history, the environments they were sent with, and the keys of requests that may be
repeated."""

from typing import Any

TABLES = (
    """
    CREATE TABLE job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        owner TEXT NOT NULL,
        app_id TEXT NOT NULL,
        system TEXT NOT NULL,
        queue TEXT NOT NULL,
        request TEXT NOT NULL,
        command TEXT NOT NULL,
        directory TEXT NOT NULL,
        workspace TEXT NOT NULL,
        stdin TEXT,
        environment TEXT REFERENCES environment (digest),
        nodes INTEGER NOT NULL,
        processors INTEGER NOT NULL,
        memory INTEGER,
        gpus INTEGER NOT NULL,
        time_limit REAL,
        priority INTEGER NOT NULL,
        resubmit_of TEXT,
        created REAL NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        hidden INTEGER NOT NULL,
        updated REAL NOT NULL,
        attempt INTEGER NOT NULL,
        tag TEXT,
        local_id TEXT,
        handle TEXT NOT NULL,
        gpu_indices TEXT NOT NULL,
        submitted REAL,
        started REAL,
        ended REAL,
        missing_for REAL NOT NULL,
        not_before REAL,
        held_from TEXT,
        kept INTEGER NOT NULL,
        kill_asked REAL,
        kill_asked_by TEXT,
        delete_asked REAL,
        delete_asked_by TEXT,
        exit_code INTEGER,
        signal INTEGER,
        condition TEXT,
        evidence TEXT,
        wall REAL,
        cpu REAL,
        peak_memory INTEGER,
        details TEXT NOT NULL
    )
    """,
    # What a person lists: everybody's, their own, their own in one status; the newest change first.
    "CREATE INDEX job_listed ON job (hidden, updated DESC, seq DESC)",
    "CREATE INDEX job_listed_by_status ON job (hidden, status, updated DESC, seq DESC)",
    "CREATE INDEX job_owned ON job (owner, hidden, updated DESC, seq DESC)",
    "CREATE INDEX job_owned_by_status ON job (owner, hidden, status, updated DESC, seq DESC)",
    "CREATE INDEX job_owned_by_age ON job (owner, hidden)",  # an index ends with the row id, which is seq
    "CREATE INDEX job_created ON job (created)",
    "CREATE INDEX job_named ON job (name, owner)",
    # What the engine asks at every turn; its order is the order of the queue.
    "CREATE INDEX job_turn ON job (status, system, priority DESC, seq)",
    "CREATE UNIQUE INDEX job_tag ON job (tag) WHERE tag IS NOT NULL",
    "CREATE INDEX job_killed ON job (status) WHERE kill_asked IS NOT NULL",
    "CREATE INDEX job_lost ON job (ended) WHERE condition = 'LOST'",
    "CREATE INDEX job_kept ON job (ended) WHERE kept = 1",
    """
    CREATE TABLE history (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        status TEXT NOT NULL,
        created REAL NOT NULL,
        created_by TEXT NOT NULL,
        description TEXT NOT NULL
    )
    """,
    "CREATE INDEX history_of ON history (job_seq, seq)",
    "CREATE TABLE environment (digest TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE request_key (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        jobs TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID
    """,
)


def up(migrator: Any, db: Any) -> None:
    for statement in TABLES:
        db.execute_sql(statement)
