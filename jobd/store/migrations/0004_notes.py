"""Who is to be told of what happens to a job; and what people note down about jobs, tags among it."""

from typing import Any

TABLES = (
    # AUTOINCREMENT: a number is never used again, so that what is still to be delivered can name it.
    """
    CREATE TABLE notification (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        owner TEXT NOT NULL,
        event TEXT NOT NULL,
        url TEXT,
        command TEXT NOT NULL,
        persistent INTEGER NOT NULL,
        policy TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    )
    """,
    "CREATE INDEX notification_of ON notification (job_seq, seq)",
    "CREATE INDEX notification_owned ON notification (owner, seq)",
    # value: JSON. A tag is a note of the name `tag`, and its value a text.
    """
    CREATE TABLE note (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    )
    """,
    "CREATE INDEX note_of ON note (job_seq, seq)",
    "CREATE INDEX note_tag ON note (json_extract(value, '$'), job_seq) WHERE name = 'tag'",
)


def up(migrator: Any, db: Any) -> None:
    for statement in TABLES:
        db.execute_sql(statement)
