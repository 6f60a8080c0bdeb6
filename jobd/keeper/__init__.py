"""Doing things as a person, and outliving the daemon: the keeper.

    daemon (Persons) --order: tag + memfd--> keeper --fork--> supervisor --fork--> the job's first process
           <------------- record, news ------------------------'

- `Persons` (persons.py) is all that the rest of jobd imports. It starts the keeper, and starts it again when
  it dies.
- The keeper (main.py) is a small warm interpreter which does nothing but fork: about a millisecond per job,
  where a new Python costs 25 and the fork of a big daemon more still. It ends when its daemon does;
  supervisors live on.
- A supervisor (supervisor.py), one per job, is self-sufficient. It claims the attempt, starts the program
  (child.py), waits, enforces the time limit, empties the process tree (containment.py), and leaves the record
  (record.py).
- The record is one file, `attempts/<tag>`. It appears locked and complete (link(2) is the atomic claim: of
  two equal orders one runs), and its space is taken before anything runs, so that a full disk refuses a job
  and never loses an ending.

      lock held   the supervisor lives
      end line    it has ended
      neither     the supervisor is gone; with another boot id, the node was lost

  Nothing else is the truth. News (a datagram to the daemon) only says when to look; lost news cost nothing.
- "Never taken" is certain too: each order carries a pipe to which its supervisor alone can answer. Closed
  without an answer and no record means that nothing can come any more. What an earlier daemon sent is under
  way only while the lock that its keeper left to its unfinished forks is held (`attempts/.keeper-*`).

What is not a job but is done as a person all the same (a command such as sbatch, a file opened) goes another
way:

    daemon (Persons, errands.py) --deed--> runner (runner.py) --fork--> the person does it
           <------------------- value, descriptors ----------------------'

The runner is warm too, but larger, and only there when the daemon works for others than its own user, whose
deeds it does itself. Jobs and deeds become the person by the same lines (identity.py), before anything of
theirs is touched.

The keeper's own process imports os, and next to nothing else: main, supervisor, child, record, containment,
identity, procfs, prctl and bare must stay free of typing, dataclasses, json, enum, socket and all of jobd
beside them, or each job pays for it in memory.
"""
