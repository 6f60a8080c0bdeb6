"""jobd from Python: the same verbs as jobctl's and the API's, over the daemon's socket.

    >>> from jobd.client import Client
    >>> client = Client()
    >>> job = client.submit(["sh", "-c", "echo hello; exit 3"], name="greeting")
    >>> job = client.wait(job["id"], timeout=60)
    >>> job["status"], job["condition"], job["exitCode"]
    ('FAILED', 'EXIT_CODE', 3)
    >>> b"".join(client.logs(job["id"]))
    b'hello\\n'
    >>> [row["name"] for row in client.list({"status": "FAILED"}, limit=1)]
    ['greeting']
    >>> client.delete(job["id"])["visible"]
    False
    >>> client.close()

A job is a dict with the names of the API. What fails raises a class of jobd.errors, by what to do about it. A
call is safe to repeat, and is repeated by itself while the daemon is away, restarting or too busy:
submissions carry an Idempotency-Key, so that a reply that got lost on its way does not make a second job.
"""

from __future__ import annotations

from jobd.client.client import Client, Unreachable

__all__ = ["Client", "Unreachable"]
