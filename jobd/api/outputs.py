"""What a job has left: listings, files (whole or a range), and its logs, which can be followed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import closing
from email.utils import formatdate
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from jobd.api import present
from jobd.api.call import Call
from jobd.api.envelope import Answer, flag
from jobd.api.ranges import span
from jobd.errors import Fault, Invalid
from jobd.verbs import logs, outputs, show

_PIECE = 256 * 1024
_LEAST_OFFSET = -(10**15)


def _path(call: Call, way: str) -> str:
    """The rest of the path, byte by byte as it was sent: file names need not be UTF-8."""
    _, _, rest = call.request.rel_url.raw_path.partition(f"/outputs/{way}")
    raw = unquote_to_bytes(rest)
    if b"\0" in raw:
        raise Invalid(Fault("path", "it holds a NUL character", "a path"))
    return os.fsdecode(raw).strip("/")


async def listings(call: Call) -> Answer:
    limit, offset = call.page()
    path = _path(call, "listings")
    job = await show.details(call.desk, call.caller, call.id)
    entries = await outputs.listing(call.desk, call.caller, call.id, path)
    above = path
    if len(entries) == 1 and entries[0].kind != "dir" and path.endswith(entries[0].name):
        above = path.rpartition("/")[0]  # a file was listed, itself
    rows = entries[offset : offset + limit]
    return Answer([present.file(entry, above, job.id, job.system, call.base) for entry in rows])


async def media(call: Call) -> web.StreamResponse:
    opened = await outputs.media(call.desk, call.caller, call.id, _path(call, "media"))
    with opened.file:
        part = span(call.request.headers.get("Range"), opened.size)
        start, stop = part or (0, opened.size)
        headers = {
            "Content-Type": present.media_type(opened.name),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(os.fsencode(opened.name))}",
            "Content-Length": str(stop - start),
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(opened.modified, usegmt=True),
            "X-Content-Type-Options": "nosniff",
        }
        if part:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{opened.size}"
        return await call.stream(_pieces(opened.file.fileno(), start, stop), headers, 206 if part else 200)


async def _pieces(file: int, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    while start < stop:
        piece = await asyncio.to_thread(os.pread, file, min(_PIECE, stop - start), start)
        if not piece:
            raise ConnectionResetError("the file has become shorter")
        start += len(piece)
        yield piece


async def log(call: Call) -> web.StreamResponse:
    """`offset` bytes from the start, or from the end if it is negative; where that is, is in the header
    Jobd-Log-Offset."""
    follow = flag(call.query.get("follow", False), "follow")
    offset = call.whole_number("offset", 0, _LEAST_OFFSET)
    found = await logs.read(call.desk, call.caller, call.id, call.request.match_info["stream"], offset)
    with closing(found):
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Jobd-Log-Offset": str(found.at),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return await call.stream(found.pieces(follow), headers)
