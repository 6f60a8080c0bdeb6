"""Apps with their revisions; what a job got from its app; its inputs as they were staged, and its outputs as
they were archived."""

from typing import Any

COLUMNS = (
    "app_revision INTEGER",
    "inputs TEXT NOT NULL DEFAULT '{}'",
    "parameters TEXT NOT NULL DEFAULT '{}'",
    "archive INTEGER NOT NULL DEFAULT 0",
    "archive_system TEXT",
    "archive_path TEXT NOT NULL DEFAULT ''",
    "staging TEXT NOT NULL DEFAULT '[]'",
    "migrated TEXT NOT NULL DEFAULT '[]'",
    "archived REAL",
    "purged REAL",
)

TABLES = (
    # owner: '' is the machine's; source: the file that it was read from; in_force: today's revision.
    """
    CREATE TABLE app (
        owner TEXT NOT NULL,
        id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        digest TEXT NOT NULL,
        body TEXT NOT NULL,
        source TEXT NOT NULL,
        in_force INTEGER NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (owner, id, revision)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX app_in_force ON app (owner, id) WHERE in_force = 1",
    """
    CREATE TABLE staged (
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        input TEXT NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT,
        mtime REAL,
        inode INTEGER,
        etag TEXT,
        PRIMARY KEY (job_seq, input, source, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE output (
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        path TEXT NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT,
        PRIMARY KEY (job_seq, path)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX job_moving ON job (system, status, priority DESC, seq, owner, not_before)"
    " WHERE status IN ('ARCHIVING', 'CLEANING_UP', 'STAGING_INPUTS')",
    "CREATE INDEX job_to_purge ON job (updated) WHERE hidden = 1 AND purged IS NULL",
)


def up(migrator: Any, db: Any) -> None:
    for column in COLUMNS:
        db.execute_sql(f"ALTER TABLE job ADD COLUMN {column}")
    for statement in TABLES:
        db.execute_sql(statement)
