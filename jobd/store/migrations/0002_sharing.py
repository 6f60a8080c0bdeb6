"""Sharing a machine: the lines in which jobs wait, a user's own priority apart from their queue's, and what
was drained by whom."""

from typing import Any

STEPS = (
    # The priority was the sum of the job's own and its queue's.
    """
    UPDATE job SET priority = CAST(coalesce(json_extract(request, '$.priority'), 0) AS INTEGER)
        WHERE status NOT IN ('FINISHED', 'FAILED', 'STOPPED')
    """,
    "UPDATE job SET reason = '' WHERE status IN ('PENDING', 'STAGED') AND not_before IS NULL",
    "DROP INDEX job_turn",
    "CREATE INDEX job_turn ON job (status, system)",
    # One line for each queue, user and kind of job; only its first is ever looked at.
    """
    CREATE INDEX job_line ON job (system, queue, owner, gpus > 0, memory IS NOT NULL, priority DESC, seq)
        WHERE status IN ('PENDING', 'STAGED')
    """,
    """
    CREATE INDEX job_holding ON job (system, queue, owner, nodes, processors, memory, gpus)
        WHERE status IN ('SUBMITTING', 'QUEUED', 'RUNNING')
    """,
    # A queue that is empty stands for the whole system. Rows stay, as the history.
    """
    CREATE TABLE drain (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        system TEXT NOT NULL,
        queue TEXT NOT NULL,
        reason TEXT NOT NULL,
        began REAL NOT NULL,
        began_by TEXT NOT NULL,
        ended REAL,
        ended_by TEXT
    )
    """,
    "CREATE UNIQUE INDEX drain_in_force ON drain (system, queue) WHERE ended IS NULL",
    "CREATE INDEX drain_of ON drain (system, seq)",
)


def up(migrator: Any, db: Any) -> None:
    for statement in STEPS:
        db.execute_sql(statement)
