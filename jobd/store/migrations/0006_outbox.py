"""What is to be told of jobs, and what came of telling."""

from typing import Any

STEPS = (
    # fired: when it last came true. body: JSON, what is said in place of the usual words. digest: seconds for
    # which those of one kind are gathered.
    "ALTER TABLE notification ADD COLUMN fired REAL",
    "ALTER TABLE notification ADD COLUMN body TEXT NOT NULL DEFAULT 'null'",
    "ALTER TABLE notification ADD COLUMN digest REAL",
    # facts: JSON, the job as it was in that moment.
    # receiver: who is asked, for whom. line: those of one line go one after the other; only the first of them
    # has a time at which it is due. outcome: none as long as there is something to be done.
    # counted_from: how many tries were made before somebody had it tried anew.
    """
    CREATE TABLE delivery (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        notification_seq INTEGER NOT NULL REFERENCES notification (seq) ON DELETE CASCADE,
        owner TEXT NOT NULL,
        event TEXT NOT NULL,
        facts TEXT NOT NULL,
        receiver TEXT NOT NULL,
        line TEXT NOT NULL,
        created REAL NOT NULL,
        due REAL,
        tries INTEGER NOT NULL DEFAULT 0,
        counted_from INTEGER NOT NULL DEFAULT 0,
        last_try REAL,
        code INTEGER,
        words TEXT NOT NULL DEFAULT '',
        outcome TEXT,
        settled REAL
    )
    """,
    "CREATE INDEX delivery_due ON delivery (receiver, due) WHERE due IS NOT NULL",
    "CREATE INDEX delivery_next ON delivery (due) WHERE due IS NOT NULL",
    "CREATE INDEX delivery_line ON delivery (line, seq) WHERE outcome IS NULL",
    "CREATE INDEX delivery_of ON delivery (notification_seq, seq)",
    "CREATE INDEX delivery_owned ON delivery (owner, outcome, seq)",
    "CREATE INDEX delivery_left ON delivery (outcome) WHERE outcome IS NOT 'DELIVERED'",
    "CREATE INDEX delivery_settled ON delivery (settled) WHERE settled IS NOT NULL",
    """
    CREATE TABLE delivery_try (
        delivery_seq INTEGER NOT NULL REFERENCES delivery (seq) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        began REAL NOT NULL,
        ended REAL NOT NULL,
        delivered INTEGER NOT NULL,
        code INTEGER,
        words TEXT NOT NULL,
        PRIMARY KEY (delivery_seq, number)
    ) WITHOUT ROWID
    """,
)


def up(migrator: Any, db: Any) -> None:
    for statement in STEPS:
        db.execute_sql(statement)
