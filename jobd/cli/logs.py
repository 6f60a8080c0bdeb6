"""jobctl logs: what a job wrote, byte by byte as it wrote it."""

from __future__ import annotations

import sys

from jobd.cli.parser import Parser, jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobd.cli.session import Session
    from jobd.client import Client

FIRST_GUESS = 64 * 1024


def arguments(parser: Parser, verb: str) -> None:
    jobs(parser, default="last")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    parser.add_argument(
        "-E", "--stderr", action="store_true", help="its standard error instead of its standard output"
    )
    parser.add_argument("-n", "--lines", type=int, metavar="N", help="the last N lines only")


def main(session: Session, verb: str) -> int:
    options = session.options
    stream = "stderr" if options.stderr else "stdout"

    def one(job_id: str) -> None:
        client = session.client()
        offset = 0
        if options.lines is not None:
            tail, offset = last_lines(client, job_id, stream, max(options.lines, 0))
            copy([tail])
        if options.follow or options.lines is None:
            copy(client.logs(job_id, stream, follow=options.follow, offset=offset))

    return session.each(options.jobs, one)


def copy(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def last_lines(client: Client, job_id: str, stream: str, count: int) -> tuple[bytes, int]:
    """The last lines, and where the log ended then. Reads no more of a long log than it needs."""
    size = FIRST_GUESS
    while True:
        start, content = client.tail(job_id, stream, size)
        body = content[:-1] if content.endswith(b"\n") else content
        if start == 0 or body.count(b"\n") >= count:
            break
        size *= 4
    kept = body.split(b"\n")[-count:] if count and content else []
    tail = b"\n".join(kept) + (content[len(body) :] if kept else b"")
    return tail, start + len(content)
