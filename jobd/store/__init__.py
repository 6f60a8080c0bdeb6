"""The only place that knows SQL.

job.py            a job and its history as plain values, which is what everyone else handles
tables.py         the columns, once
migrations/       how a store of any age becomes today's
connection.py     connections to the file, and what its disk's errors mean
writer.py         one thread owns all writing: many callers' changes share one commit (T1)
moves.py          changes of a job: compare-and-set on the status, its history row in the same transaction
queries.py        what the engine and the verbs ask
search.py         a person's search, from the query of a URL to SQL
pems.py           who else may do what with a job
files.py          a job's inputs as they were staged, its outputs as they were archived
apps.py           every revision of each app, and which is in force
changes.py        who waits for a change of which job
joblog.py         what the daemon's log says of jobs
notifications.py  who wants to be told of what
outbox.py         what is still to be told
deliveries.py     what came of telling, as people see it
notes.py          what was noted down about jobs, tags among it
drains.py         what is drained, by whom and why
backup.py         a copy of it all while the daemon runs, and bringing one back
filesystem.py     what kind of disk a path is on
upkeep.py         is the file whole, and is it far too large
store.py          opens all this, refuses what it must not touch, and is what is handed around
"""
