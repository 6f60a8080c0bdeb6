"""The Client: each verb is one request, and one loop (`exchange`) does all the trying again.

Only what costs little to import is imported at the top, because every jobctl pays for it: no typing, no
urllib, no http.client.
"""

from __future__ import annotations

import json
import os
import time

from jobd.client import hosts, wire
from jobd.errors import Conflict, Fault, Forbidden, Invalid, JobdError, NotFound, Unavailable
from jobd.status import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Job = dict[str, Any]
    Jobs = list[Job]

PAGE = 100
"""The most rows that the API gives at once."""
LONG_POLL = 30.0
"""Seconds that one request to wait may take."""
LONG_READ = 3600.0
"""Seconds that all files of two jobs may take to be read."""
FIRST_PATIENCE = 5.0
"""Seconds of trying a daemon that has not answered once yet."""
LONGEST_PAUSE = 2.0
SSH_PAUSE = 1.0
"""Seconds: a log-in that failed is not tried again at once."""

LOG_OFFSET = "jobd-log-offset"
"""The header that says where in a log a reply begins."""

_ERRORS: dict[int, type[JobdError]] = {
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    429: Unavailable,
    503: Unavailable,
}
"""Other codes from 400 on are Invalid, from 500 on JobdError."""
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Unreachable(Unavailable):
    """No daemon answers; whether the last request was carried out is not known."""


class Client:
    """A connection to a jobd.

    host: "ssh://user@host", "unix:///path" or a path; by default JOBD_HOST, the system's daemon, or your own
    (`user=True`: your own in any case). start: start your own daemon when none is there (in a job: wait for
    it to come back, for as long as `patience`). timeout: seconds that a reply may take.
    patience: seconds of trying again before Unreachable or Unavailable is raised; a daemon that never
    answered gets 5, none by ssh. on_pause: told why, when it waits to try again, and how many
    seconds it has waited by then.

    Threads may share a Client; each request in flight has a connection of its own.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        user: bool = False,
        start: bool = False,
        timeout: float = 60.0,
        patience: float = 60.0,
        on_pause: Callable[[str, float], None] | None = None,
    ) -> None:
        self._idle: list[wire.Connection] = []
        self.host = hosts.find(host, own=user)
        self.timeout = timeout
        self.patience = patience
        self._start = start and hosts.may_start(self.host)
        self._in_job = start and self.host.state is not None and hosts.inside_job()
        self._on_pause = on_pause or (lambda message, seconds: None)
        self._met = False
        self._pid = os.getpid()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- submitting

    def submit(self, command: Sequence[str] | None = None, *, key: str | None = None, **fields: Any) -> Job:
        """Submit one job; it is on disk when this returns.

        command runs as it is, without a shell, in the present directory and with the present environment,
        unless `directory` (None: one of its own, made by jobd) and `environment` (None: a clean one) say
        otherwise; by ssh both are None unless given. Other fields are those of the API: name,
        executionSystem, batchQueue, nodeCount, processorsPerNode, memoryPerNode, maxRunTime, gpus, priority,
        stdin .. Raises Invalid with all faults.
        """
        request = fields if command is None else plain_request(command, fields, bool(self.host.ssh))
        result: Job = self._submit(request, key)
        return result

    def submit_many(self, requests: Iterable[Mapping[str, Any]], *, key: str | None = None) -> Jobs:
        """Submit all of these requests, complete ones as the API has them, or none."""
        result: Jobs = self._submit([dict(request) for request in requests], key)
        return result

    def run(self, command: Sequence[str], *, timeout: float | None = None, **fields: Any) -> Job:
        """Submit a command and wait for its end. Raises TimeoutError; the job goes on then."""
        return self.wait(self.submit(command, **fields)["id"], timeout)

    def resubmit(self, job_id: str, key: str | None = None, **fields: Any) -> Job:
        """A new job of the same request. Flags, true when absent: ignoreInputConflicts,
        ignoreParameterConflicts, preserveNotifications. inputs and parameters: values in place of the
        original's. dryRun=True: what would happen, and nothing does.

        Raises Conflict with its `conflicts` when some may not be ignored, Invalid when it cannot be."""
        return self._change("POST", f"/jobs/v2/{quote(job_id)}/resubmit", fields, key=key)

    def _submit(self, request: object, key: str | None) -> Any:
        return self._ask("POST", "/jobs/v2", body=request, key=key or new_key())

    # ---- looking

    def list(
        self,
        where: Mapping[str, str] | None = None,
        *,
        limit: int | None = None,
        fields: Sequence[str] = (),
        order_by: str = "lastUpdated",
        descending: bool = True,
    ) -> Iterator[Job]:
        """Jobs, the last changed first. where: the API's searches ({"status": "RUNNING", "name.like":
        "fit-*"};
        {"visible": "false"} for deleted ones; {"shared": "false"} for your own alone, "true" for others' that
        are shared with you). fields: all that is wanted of each, any of a job's. Pages are fetched as they
        are needed."""
        query = {**(where or {}), "orderBy": order_by, "order": "desc" if descending else "asc"}
        if fields:
            query["filter"] = ",".join(dict.fromkeys(["id", *fields]))
        return self._pages("/jobs/v2", query, limit)

    def _pages(self, path: str, query: Mapping[str, str], limit: int | None) -> Iterator[Job]:
        seen: set[object] = set()
        offset = 0
        while limit is None or offset < limit:
            size = PAGE if limit is None else min(PAGE, limit - offset)
            page = self._ask("GET", path, {**query, "limit": str(size), "offset": str(offset)})
            ids = [row.get("id", number) for number, row in enumerate(page, offset)]
            yield from (row for row, row_id in zip(page, ids, strict=True) if row_id not in seen)
            if len(page) < size:
                return
            seen = set(ids)  # a job that came in meanwhile pushes the last rows of this page onto the next
            offset += size

    def show(self, job_id: str) -> Job:
        """The whole job. Raises NotFound, also for deleted jobs and those that you may not read."""
        result: Job = self._ask("GET", f"/jobs/v2/{quote(job_id)}")
        return result

    def status(self, job_id: str) -> str:
        return str(self._ask("GET", f"/jobs/v2/{quote(job_id)}/status")["status"])

    def history(self, job_id: str) -> Iterator[Job]:
        """What happened to the job, from the beginning: status, created, createdBy, description."""
        return self._pages(f"/jobs/v2/{quote(job_id)}/history", {}, None)

    def why(self, job_id: str) -> Job:
        """Why it waits, or how it ended, and how that is known."""
        result: Job = self._ask("GET", f"/jobs/v2/{quote(job_id)}/why")
        return result

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The job, once it is over. timeout in seconds. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONG_POLL if deadline is None else deadline - time.monotonic()
            job = self.poll(job_id, min(max(left, 0.0), LONG_POLL))
            if job["status"] in TERMINAL:
                return job
            if left <= 0:
                raise TimeoutError(f"job {job_id} was still {job['status']} after {timeout:g} seconds")

    def poll(self, job_id: str, timeout: float) -> Job:
        """The job when it is over, or as it is after so many seconds."""
        path = f"/jobs/v2/{quote(job_id)}/wait"
        result: Job = self._ask("GET", path, {"timeout": f"{timeout:.3f}"}, timeout=timeout + self.timeout)
        return result

    def apps(self, like: str = "*") -> Iterator[Job]:
        """Those that you can run, by id; `*` stands for anything."""
        return self._pages("/apps/v2", {"id": like}, None)

    def app(self, app_id: str) -> Job:
        """With its inputs and parameters. Raises NotFound."""
        result: Job = self._ask("GET", f"/apps/v2/{quote(app_id)}")
        return result

    # ---- changing

    def submit_app(self, app: object, dry_run: bool = False) -> Job:
        """Bring an app of your own into force; dry_run: only see whether it would be taken. Raises Invalid
        with all faults."""
        query = {"dryRun": "true"} if dry_run else None
        result: Job = self._ask("POST", "/apps/v2", query, body=app)
        return result

    def withdraw_app(self, app_id: str) -> Job:
        """Your own; jobs that ran with it still know what it was."""
        result: Job = self._ask("DELETE", f"/apps/v2/{quote(app_id)}")
        return result

    def kill(self, job_id: str) -> Job:
        """End the job and all its processes. The job comes back STOPPED, or as it is, if that takes long
        (then wait for it)."""
        return self._change("POST", f"/jobs/v2/{quote(job_id)}/kill")

    def delete(self, job_id: str) -> Job:
        """Hide the job, after killing it if need be; `restore` brings it back. Nothing is lost."""
        try:
            return self._change("DELETE", f"/jobs/v2/{quote(job_id)}")
        except NotFound as error:
            return self._settled(error, job_id, "false")

    def restore(self, job_id: str) -> Job:
        """Bring a deleted job back. Raises Conflict when it is not deleted."""
        try:
            return self._change("POST", f"/jobs/v2/{quote(job_id)}/restore")
        except Conflict as error:
            return self._settled(error, job_id, "true")

    def hold(self, job_id: str) -> Job:
        """Keep the job from starting. Raises Conflict where that cannot be."""
        return self._change("POST", f"/jobs/v2/{quote(job_id)}/hold")

    def release(self, job_id: str) -> Job:
        """Let a held job go on. Raises Conflict when it is not held."""
        try:
            return self._change("POST", f"/jobs/v2/{quote(job_id)}/release")
        except Conflict as error:
            return self._settled(error, job_id, "true")

    def resolve(self, job_id: str, *, local_id: str | None = None, never_submitted: bool = False) -> Job:
        """Say what only a person can find out: under which local id its system has the job, or that it never
        got there."""
        fields = {"localId": local_id} if local_id is not None else {"neverSubmitted": never_submitted}
        return self._change("POST", f"/jobs/v2/{quote(job_id)}/resolve", fields)

    def _change(
        self, method: str, path: str, fields: Mapping[str, object] | None = None, key: str | None = None
    ) -> Job:
        body = None if method == "DELETE" else dict(fields or {})
        result: Job = self._ask(method, path, body=body, key=key or new_key())
        return result

    def _settled(self, error: JobdError, job_id: str, visible: str) -> Job:
        """Was it our own first try, whose reply was lost, that did what the second one finds done?"""
        if getattr(error, "tried_before", False):
            for job in self.list({"id": job_id, "visible": visible}, limit=1):
                return {**job, "visible": visible == "true"}
        raise error

    def purges(self) -> Iterator[Job]:
        """Deleted jobs whose files will be removed, what goes first before the others."""
        return self._pages("/purges/v2", {}, None)

    # ---- comparing

    def diff(self, job_id: str, other: str) -> Job:
        """In what two jobs differ: `differences`, `same`, and what was `compared`."""
        path = f"/jobs/v2/{quote(job_id)}/diff/{quote(other)}"
        result: Job = self._ask("GET", path, timeout=LONG_READ)
        return result

    def verify(self, job_id: str, against: str, ignore: Sequence[str] = ()) -> Job:
        """Whether what two jobs have made agrees, file by file: `verified`, `files`, `problems`. ignore:
        patterns of files that are left out. Goes into the history of both."""
        body = {"against": against, "ignore": [*ignore]}
        result: Job = self._ask("POST", f"/jobs/v2/{quote(job_id)}/verify", body=body, timeout=LONG_READ)
        return result

    # ---- sharing

    def pems(self, job_id: str) -> Jobs:
        """With whom the job is shared: username (or @group) and permission, its owner first."""
        return [*self._pages(f"/jobs/v2/{quote(job_id)}/pems", {}, None)]

    def share(self, job_id: str, who: str, *, write: bool = False) -> Job:
        """Let a user, or all of an `@group`, see the job; write: do with it what you may, too. They have that
        right then, whatever they had before. Raises NotFound also when there is no such user or group."""
        return self._permit(job_id, who, "WRITE" if write else "READ")

    def unshare(self, job_id: str, who: str | None = None) -> Job:
        """Take away what that user or group was given; None: what anybody was."""
        if who is not None:
            return self._permit(job_id, who, "NONE")
        (owners,) = self._ask("DELETE", f"/jobs/v2/{quote(job_id)}/pems")
        result: Job = owners
        return result

    def _permit(self, job_id: str, who: str, permission: str) -> Job:
        body = {"username": who, "permission": permission}
        result: Job = self._ask("POST", f"/jobs/v2/{quote(job_id)}/pems", body=body)
        return result

    # ---- notifications and notes

    def notify(
        self, job_id: str, events: Sequence[str], *, doubt: Callable[[str], None] | None = None, **wish: Any
    ) -> Jobs:
        """Ask to be told of these events of a job: url=, or command=; also persistent, policy, body, digest.
        `doubt` hears why, as things are, nobody may ever be told."""
        of_job = {"associatedUuid": job_id, **{name: part for name, part in wish.items() if part is not None}}
        wishes = [{**of_job, "event": event} for event in events]
        made: Jobs = self._ask("POST", "/notifications/v2", body=wishes, key=new_key(), remark=doubt)
        return made

    def test_notification(self, **wish: Any) -> Job:
        """Tell of no job, at once: url=, or command=; also body. What came of it: `success`, `message` .."""
        body = {name: part for name, part in wish.items() if part is not None}
        result: Job = self._ask("POST", "/notifications/v2/test", body=body)
        return result

    def notification_key(self) -> str:
        """What webhooks for you are signed with, as the libraries of Standard Webhooks take it."""
        return str(self._ask("GET", "/notifications/v2/key")["key"])

    def attempts(self, notification_id: str) -> Jobs:
        """Every try to deliver it, the newest first."""
        return [*self._pages(f"/notifications/v2/{quote(notification_id)}/attempts", {}, None)]

    def deliveries(
        self,
        job_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        *,
        owner: str | None = None,
    ) -> Jobs:
        """What is to be told (`OPEN`), was (`DELIVERED`), or could not be (`FAILED`), the newest first.
        owner: for administrators, somebody else's than yours, or "*"."""
        where = {"associatedUuid": job_id, "status": status, "owner": owner}
        query = {name: value for name, value in where.items() if value is not None}
        return [*self._pages("/deliveries/v2", query, limit)]

    def retry_delivery(self, delivery_id: str) -> Job:
        """Have it tried anew."""
        result: Job = self._ask("POST", f"/deliveries/v2/{quote(delivery_id)}/retry", body={})
        return result

    def drop_delivery(self, delivery_id: str) -> Job:
        """Have it tried no more, and forgotten."""
        result: Job = self._ask("DELETE", f"/deliveries/v2/{quote(delivery_id)}")
        return result

    def notifications(self, job_id: str | None = None) -> Jobs:
        """Yours, of that job or of all."""
        of_job = {} if job_id is None else {"associatedUuid": job_id}
        return [*self._pages("/notifications/v2", of_job, None)]

    def unsubscribe(self, notification_id: str) -> Job:
        """Take a notification back."""
        result: Job = self._ask("DELETE", f"/notifications/v2/{quote(notification_id)}")
        return result

    def notes(self, job_id: str) -> Jobs:
        """What was noted down about a job; a tag is a note of the name `tag`."""
        return [*self._pages("/meta/v2/data", {"q": json.dumps({"associationIds": job_id})}, None)]

    def note(self, job_id: str, name: str, value: object) -> Job:
        """Note something down about a job, under any name; any value of JSON's."""
        body = {"associationIds": [job_id], "name": name, "value": value}
        result: Job = self._ask("POST", "/meta/v2/data", body=body)
        return result

    def remove_note(self, uuid: str) -> Job:
        result: Job = self._ask("DELETE", f"/meta/v2/data/{quote(uuid)}")
        return result

    # ---- files

    def logs(
        self, job_id: str, stream: str = "stdout", *, follow: bool = False, offset: int = 0
    ) -> Iterator[bytes]:
        """What the job wrote, from `offset` on (negative: so many bytes before the end). follow: as it is
        written, to the job's end, however often the daemon is restarted meanwhile."""
        return follow_log(self, job_id, stream, offset) if follow else self._log(job_id, stream, offset)

    def _log(self, job_id: str, stream: str, offset: int) -> Iterator[bytes]:
        query = {"offset": str(offset)} if offset else {}
        yield from self._stream(f"/jobs/v2/{quote(job_id)}/logs/{quote(stream)}", query, self.timeout)

    def tail(self, job_id: str, stream: str = "stdout", size: int = 4096) -> tuple[int, bytes]:
        """The last `size` bytes that the job wrote, and their offset."""
        path = f"/jobs/v2/{quote(job_id)}/logs/{quote(stream)}"
        reply = self.exchange(
            "GET", target(path, {"offset": f"-{size}"}), {}, None, self.timeout, whole=False
        )
        content = b"".join(self._body(reply))
        return int(reply.headers.get(LOG_OFFSET, 0)), content

    def outputs(self, job_id: str, path: str = "") -> Iterator[Job]:
        """The files below the job's directory, one level."""
        place = f"/{quote(path.strip('/'), b'/')}" if path.strip("/") else ""
        return self._pages(f"/jobs/v2/{quote(job_id)}/outputs/listings{place}", {}, None)

    def download(self, job_id: str, path: str) -> Iterator[bytes]:
        """One file's content, in pieces."""
        yield from self._stream(
            f"/jobs/v2/{quote(job_id)}/outputs/media/{quote(path.strip('/'), b'/')}", {}, self.timeout
        )

    # ---- around

    def systems(self) -> Jobs:
        result: Jobs = self._ask("GET", "/systems/v2")
        return result

    def queues(self, system: str) -> Jobs:
        result: Jobs = self._ask("GET", f"/systems/v2/{quote(system)}/queues")
        return result

    def drain(self, system: str, reason: str, queue: str = "") -> Job:
        """Start no more waiting jobs there; for root, admins, and on your own daemon. The system comes
        back."""
        return self._change("POST", f"{_place(system, queue)}/drain", {"reason": reason})

    def resume(self, system: str, queue: str = "") -> Job:
        """The opposite of drain. Raises Conflict for what is not drained."""
        return self._change("POST", f"{_place(system, queue)}/resume")

    def drains(self, system: str) -> Iterator[Job]:
        """What was drained there, by whom and why, the latest first."""
        return self._pages(f"/systems/v2/{quote(system)}/drains", {}, None)

    def me(self) -> Job:
        """Who the daemon takes you for."""
        result: Job = self._ask("GET", "/profiles/v2/me")
        return result

    def health(self) -> Job:
        result: Job = self._ask("GET", "/healthz")
        return result

    def doctor(self) -> Job:
        """How jobs are held together on the daemon's machine, and which systems do not answer."""
        result: Job = self._ask("GET", "/doctor")
        return result

    # ---- requests

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        key: str | None = None,
        timeout: float | None = None,
        remark: Callable[[str], None] | None = None,
    ) -> Any:
        """The result of one request; `remark` hears what is said beside it. Raises by its code."""
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        content = None if body is None else json.dumps(body).encode()
        response = self.exchange(method, target(path, query), headers, content, timeout or self.timeout)
        envelope = response.content
        if not isinstance(envelope, dict):
            raise JobdError(f"{self.host} sent something that is not jobd's: {response.code}")
        if remark and (words := envelope.get("message")):
            remark(words)
        return envelope.get("result", {})

    def _stream(self, path: str, query: Mapping[str, str], timeout: float | None) -> Iterator[bytes]:
        yield from self._body(self.exchange("GET", target(path, query), {}, None, timeout, whole=False))

    def _body(self, reply: Reply) -> Iterator[bytes]:
        try:
            yield from reply.pieces()
        except wire.Lost as error:
            raise Unreachable(f"{self.host}: {error}") from error
        finally:
            self._give_back(reply)

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float | None,
        *,
        whole: bool = True,
    ) -> Reply:
        """The reply to a request, however often it takes to get one; `whole`: with its content, else its
        head."""
        trial = _Trial(self)
        while True:
            try:
                reply = Reply(self._connection().request(method, target, headers, body, timeout))
                if whole or reply.code >= 400:
                    reply.load()
                    self._give_back(reply)
            except PermissionError as error:
                raise Forbidden(f"you may not connect to {self.host}: {error.strerror}") from error
            except (wire.Away, wire.Lost) as error:
                trial.failed(error)
                continue
            self._met = True
            if reply.code < 400:
                return reply
            trial.refused(reply)

    def _connection(self) -> wire.Connection:
        if self._pid != os.getpid():  # a fork: the connections are our parent's
            self._pid = os.getpid()
            self.close()
        try:
            return self._idle.pop()
        except IndexError:
            return wire.Connection(self.host.dial(self._start, self.timeout))

    def connected(self) -> socket.socket:
        """A connection on which the daemon has just answered, for a caller who goes on with it by himself."""
        self.health()
        return self._connection().let_go()

    def _give_back(self, reply: Reply) -> None:
        if reply.connection.usable:
            self._idle.append(reply.connection)
        else:
            reply.connection.close()

    def _answers(self) -> bool:
        try:
            reply = Reply(self._connection().request("GET", "/healthz", {}, None, self.timeout))
            reply.load()
            self._give_back(reply)
        except (wire.Away, wire.Lost):
            return False
        return reply.code == 200


class Reply:
    """A response with what its content means."""

    def __init__(self, response: wire.Response) -> None:
        self.code = response.code
        self.headers = response.headers
        self.connection = response.connection
        self.pieces = response.pieces
        self.content: Any = None

    def load(self) -> None:
        content = b"".join(self.pieces())
        try:
            self.content = json.loads(content)
        except ValueError:
            self.content = None

    def error(self) -> JobdError:
        """The exception for a code of 400 and above."""
        envelope = self.content if isinstance(self.content, dict) else {}
        message = str(envelope.get("message") or f"the daemon answered with code {self.code}")
        error = _ERRORS[self.code](message) if self.code in _ERRORS else self._other(envelope, message)
        error.code = self.code
        if isinstance(result := envelope.get("result"), dict):
            error.conflicts = result.get("conflicts") or ()
        if isinstance(error, Unavailable):
            error.retry_after = _seconds(self.headers.get("retry-after"), error.retry_after)
        return error

    def _other(self, envelope: Mapping[str, Any], message: str) -> JobdError:
        if not 400 <= self.code < 500:
            return JobdError(message)
        result = envelope.get("result")
        errors = result.get("errors", []) if isinstance(result, dict) else []
        faults = [Fault(f.get("field", ""), f.get("problem", ""), f.get("expected", "")) for f in errors]
        return Invalid(*faults) if faults else Invalid(message)


class _Trial:
    """How one request fares: whether to try again after a failure, and when; else the failure is raised."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.began: float | None = None
        self.pause = 0.01
        self.tried_before = False
        """An earlier try may have been carried out."""

    def failed(self, error: OSError) -> None:
        """No reply. Returns after a pause when it is worth trying again."""
        self.tried_before = self.tried_before or isinstance(error, wire.Lost)
        self.client.close()  # what else was kept is as old
        if self._start():
            return
        at_least = SSH_PAUSE if self.client.host.ssh and isinstance(error, wire.Away) else 0.0
        self._again(Unreachable(self._unreachable(error)), at_least, self._patience())

    def refused(self, reply: Reply) -> None:
        """A reply that is an error. Returns, after a pause, if it was one that passes."""
        error = reply.error()
        if isinstance(error, Unavailable):
            return self._again(error, error.retry_after, self.client.patience)
        if self.tried_before:
            error.tried_before = True  # type: ignore[attr-defined]
        raise error

    def _start(self) -> bool:
        client = self.client
        if client._met or not client._start or client.host.alive():
            return False
        client._start = False
        client._on_pause(f"starting a jobd for you (state and log in {client.host.state})", 0.0)
        hosts.start(client.host, client._answers)
        return True

    def _patience(self) -> float:
        if self.client._met or self.client._in_job:
            return self.client.patience
        if self.client.host.ssh or not self.client.host.alive():
            return 0.0  # by ssh, the jobctl there has been patient
        return min(FIRST_PATIENCE, self.client.patience)

    def _again(self, error: JobdError, at_least: float, patience: float) -> None:
        now = time.monotonic()
        self.began = self.began or now
        pause, left = max(self.pause, at_least), self.began + patience - now
        if pause > left:
            raise error
        if pause > 0.1:  # nobody needs to know of a moment
            self.client._on_pause(f"{error}; trying again for up to {left:.0f} s", patience - left + pause)
        time.sleep(pause)
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def _unreachable(self, error: OSError) -> str:
        host = self.client.host
        reason = error.strerror.lower() if error.strerror else str(error)
        if host.ssh:
            return f"{host} cannot be reached: {reason}"
        if host.state and not self.client._met and not host.alive():
            if self.client._in_job:
                return (
                    "this is itself a job, and its daemon does not answer: "
                    "a daemon started here would end with the job"
                )
            return f"no jobd of yours is running ({host}: {reason}); `jobctl run` starts one"
        kind = "the system's jobd" if host.system else "the jobd"
        return f"{kind} at {host} does not answer: {reason}"


def follow_log(client: Client, job_id: str, stream: str, offset: int) -> Iterator[bytes]:
    """Goes on where it was whenever the connection is cut. Only a whole reply means that this was all."""
    path = f"/jobs/v2/{quote(job_id)}/logs/{quote(stream)}"
    while True:
        query = {"follow": "true", "offset": str(offset)}
        reply = client.exchange("GET", target(path, query), {}, None, None, whole=False)
        offset = int(reply.headers.get(LOG_OFFSET, offset))
        try:
            for piece in reply.pieces():
                offset += len(piece)
                yield piece
            return
        except wire.Lost:
            continue
        finally:
            client._give_back(reply)


def _place(system: str, queue: str) -> str:
    path = f"/systems/v2/{quote(system)}"
    return f"{path}/queues/{quote(queue)}" if queue else path


def plain_request(command: Sequence[str], fields: Mapping[str, Any], away: bool = False) -> dict[str, Any]:
    """The request for a plain command, with what a shell would have done: this directory, this environment,
    this umask; away, on another machine: none of them."""
    request = {"name": default_name(command), **fields, "command": [*command]}
    if not away:
        if "directory" not in request:
            request["directory"] = here()
        request.setdefault("environment", sendable(os.environ))
        request.setdefault("umask", umask())
    return {field: value for field, value in request.items() if value is not None}


def here() -> str:
    """The present directory. Raises Invalid when it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise Invalid("the directory that you are in does not exist any more") from None


def umask() -> str | None:
    """The present one, which the system call for it would have to change to tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(line.split()[1] for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return None


def default_name(command: Sequence[str]) -> str:
    return os.path.basename(command[0].rstrip("/"))[:64].strip() or "job" if command else "job"


def sendable(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are text; JSON has no way to say the others."""
    return {name: value for name, value in environment.items() if is_text(name) and is_text(value)}


def is_text(word: str) -> bool:
    return word.isascii() or not any("\ud800" <= character <= "\udfff" for character in word)


def new_key() -> str:
    """An Idempotency-Key."""
    return os.urandom(16).hex()


def target(path: str, query: Mapping[str, str] | None) -> str:
    if not query:
        return path
    return f"{path}?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())


def quote(text: str, also: bytes = b"") -> str:
    """For a part of a URL. (urllib.parse takes longer to import than a listing takes.)"""
    return "".join(
        chr(byte) if byte in _UNRESERVED or byte in also else f"%{byte:02X}" for byte in os.fsencode(text)
    )


def _seconds(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
