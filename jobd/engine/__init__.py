"""What the daemon does by itself, one turn at a time.

Every turn reads the store, asks a backend where needed, and writes what follows, by compare-and-set; nothing
that matters lives in memory, so a crash between any two lines is only a turn that has to be done again.

    engine.py     all lanes together: start, reload, stop
    turns.py      the turns of a lane, and what sets them off
    lane.py       one execution system: its backend, its threads, its bells
    pace.py       how often a system is asked, and how seldom when it is sick   (T9)
    admit.py      which waiting jobs may start now            (in the store's writer, one transaction)
    fair.py       whose turn it is
    bars.py       what bars a whole line: a drain, a quota, a full disk
    room.py       is there room for what a job will write
    slots.py      what is free, and who has to wait for it
    handover.py   giving a job to its system, once            (T2)
    poll.py       hearing how jobs are                        (T4)
    files.py      which jobs' inputs or outputs may be moved now
    stage.py      bringing inputs in
    archive.py    putting outputs into the archive
    transfers.py  what is under way of these two
    progress.py   how far they are
    retention.py  removing the files of jobs that were hidden long ago
    decide.py     what a report means for a job: pure
    kill.py       carrying out kills that were asked for      (T6, T7)
    ticket.py     a job as its backend gets it
    notify.py     telling: what is due goes out, and what came of it is kept
    outgoing.py   what is told next, how fast, and when again
    messenger.py  the ways in which something is told
    message.py    what is said
"""
