"""With whom jobs are shared."""

from typing import Any

TABLES = (
    # grantee: a user's name, or @ and a group's. Each row gives READ, and WRITE too where it says so.
    """
    CREATE TABLE pem (
        job_seq INTEGER NOT NULL REFERENCES job (seq),
        grantee TEXT NOT NULL,
        write INTEGER NOT NULL,
        granted REAL NOT NULL,
        granted_by TEXT NOT NULL,
        PRIMARY KEY (job_seq, grantee)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX pem_of ON pem (grantee, job_seq)",
)


def up(migrator: Any, db: Any) -> None:
    for statement in TABLES:
        db.execute_sql(statement)
