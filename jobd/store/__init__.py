"""The only place that knows SQL.

job.py         a job and its history as plain values, which is what everyone else handles
tables.py      the columns, once
migrations/    how a store of any age becomes today's
writer.py      one thread owns all writing: many callers' changes share one commit (T1)
reader.py      a few threads read beside it; WAL lets them
moves.py       changes of a job: compare-and-set on the status, its history row in the same transaction
queries.py     what the engine and the verbs ask
search.py      a person's search, from the query of a URL to SQL
store.py       opens all this, refuses what it must not touch, and is what is handed around
"""
