"""/metrics: what a monitor wants to know, in the text format of Prometheus. `FIGURES` says what each means.

Names follow Prometheus' conventions: seconds and bytes, `_total` for what only grows (since the daemon's
start), points in time as seconds since the epoch. Nothing here costs more with a longer past: of jobs that
are over only the endings since the start are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from aiohttp import web

from jobd import __version__
from jobd.api.call import Call
from jobd.config import System
from jobd.figures import Histogram
from jobd.store import deliveries, drains, outbox, queries
from jobd.store.queries import Connection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

FIGURES = {
    "jobd_info": ("gauge", "The daemon's version."),
    "jobd_start_time_seconds": ("gauge", "When the daemon was started."),
    "jobd_loop_lag_seconds": ("gauge", "How late the event loop came to its last look at itself, every 5 s."),
    "jobd_connections": ("gauge", "Open connections."),
    "jobd_requests_total": ("counter", "Requests answered, by HTTP code."),
    "jobd_jobs": ("gauge", "Jobs that are not over, by system and status."),
    "jobd_jobs_stored": ("gauge", "Jobs in the store, whatever became of them."),
    "jobd_submitted_total": ("counter", "Jobs submitted."),
    "jobd_ended_total": ("counter", "Jobs that ended, by condition."),
    "jobd_attempts_total": ("counter", "Attempts begun to be handed over, by system."),
    "jobd_wait_seconds": ("histogram", "From a job's submission to its first attempt, by system."),
    "jobd_slots": ("gauge", "Slots that jobd hands out, by system and kind; memory in bytes."),
    "jobd_slots_held": ("gauge", "Those of them that jobs hold."),
    "jobd_system_up": ("gauge", "1: the system answers."),
    "jobd_system_last_answer_seconds": ("gauge", "When it last gave a complete answer."),
    "jobd_system_drained": ("gauge", "1: no waiting job starts there, by system and queue (empty: all)."),
    "jobd_polls_total": ("counter", "Queries for news of jobs, by system."),
    "jobd_polls_failed_total": ("counter", "Those of them that got no answer."),
    "jobd_deliveries_open": ("gauge", "What is still to be told to somebody."),
    "jobd_deliveries_failed": ("gauge", "What could not be, and was neither tried anew nor forgotten."),
    "jobd_store_bytes": ("gauge", "Size of the store and of its write-ahead log."),
    "jobd_store_free_bytes": ("gauge", "What is free on its disk."),
    "jobd_store_writable": ("gauge", "1: the last commit succeeded."),
    "jobd_store_whole": ("gauge", "1: the last daily check, if any since the start, found no damage."),
    "jobd_store_checked_seconds": ("gauge", "When that was."),
}
"""By name: the type, and what it means."""

_Labels = Mapping[str, str]
_Sample = tuple[str, str, _Labels, float]
"""Of which figure, with what after its name, under which labels, how much."""


async def metrics(call: Call) -> web.Response:
    rows = await call.desk.store.read(lambda sql: _ask(sql, call.desk.settings.systems))
    about = await asyncio.to_thread(call.api.about)
    samples = [*_of_daemon(call, float(about.get("lag", 0.0))), *rows, *_of_store(call)]
    for system in call.desk.settings.systems:
        samples += _of_system(call, system)
    return web.Response(body=_text(samples).encode(), headers={"Content-Type": CONTENT_TYPE})


def _of_daemon(call: Call, lag: float) -> Iterator[_Sample]:
    yield "jobd_info", "", {"version": __version__}, 1
    yield "jobd_start_time_seconds", "", {}, call.api.started
    yield "jobd_loop_lag_seconds", "", {}, lag
    yield "jobd_connections", "", {}, call.api.connections()
    for code, number in sorted(call.api.answered.items()):
        yield "jobd_requests_total", "", {"code": str(code)}, number


def _ask(sql: Connection, systems: Iterable[System]) -> list[_Sample]:
    """What the store knows; in a reader's thread."""
    samples: list[_Sample] = [("jobd_jobs_stored", "", {}, queries.stored(sql))]
    for system, status, number in queries.active_by_status(sql):
        samples.append(("jobd_jobs", "", {"system": system, "status": status}, number))
    counted = deliveries.counted(sql)
    for state in (deliveries.OPEN, outbox.FAILED):
        samples.append((f"jobd_deliveries_{state.lower()}", "", {}, counted.get(state, 0)))
    for drain in drains.in_force(sql):
        samples.append(("jobd_system_drained", "", {"system": drain.system, "queue": drain.queue}, 1))
    for one in systems:
        if one.slots:
            held = queries.held(sql, one.id)
            for kind in ("processors", "memory", "gpus"):
                labels = {"system": one.id, "kind": kind}
                there = len(one.slots.gpus) if kind == "gpus" else getattr(one.slots, kind)
                samples.append(("jobd_slots", "", labels, there))
                samples.append(("jobd_slots_held", "", labels, sum(getattr(row, kind) for row in held)))
    return samples


def _of_store(call: Call) -> Iterator[_Sample]:
    store = call.desk.store
    for name, size in store.sizes().items():
        yield "jobd_store_bytes", "", {"file": name}, size
    yield "jobd_store_free_bytes", "", {}, store.free()
    yield "jobd_store_writable", "", {}, not store.trouble
    if store.checked:
        yield "jobd_store_whole", "", {}, not store.damage
        yield "jobd_store_checked_seconds", "", {}, store.checked
    counts = dict(store.counts)
    yield "jobd_submitted_total", "", {}, counts.pop("", 0)
    for condition, number in sorted(counts.items()):
        yield "jobd_ended_total", "", {"condition": condition}, number


def _of_system(call: Call, system: System) -> Iterator[_Sample]:
    engine, labels = call.desk.engine, {"system": system.id}
    figures, answered = engine.figures(system.id), engine.last_answer(system.id)
    yield "jobd_system_up", "", labels, not engine.trouble(system.id)
    if answered:
        yield "jobd_system_last_answer_seconds", "", labels, answered
    yield "jobd_polls_total", "", labels, figures.polls
    yield "jobd_polls_failed_total", "", labels, figures.failed_polls
    yield "jobd_attempts_total", "", labels, figures.started
    yield from _histogram("jobd_wait_seconds", labels, figures.waited)


def _histogram(name: str, labels: _Labels, found: Histogram) -> Iterator[_Sample]:
    counts = list(accumulate(found.counts[place] for place in range(len(found.bounds) + 1)))
    for bound, count in zip([*(f"{bound:g}" for bound in found.bounds), "+Inf"], counts, strict=True):
        yield name, "_bucket", {**labels, "le": bound}, count
    yield name, "_sum", labels, found.total
    yield name, "_count", labels, counts[-1]


def _text(samples: Iterable[_Sample]) -> str:
    """Those of one figure stand together, below its description."""
    lines: dict[str, list[str]] = {name: [] for name in FIGURES}
    for name, suffix, labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines[name].append(f"{name}{suffix}{f'{{{inner}}}' if inner else ''} {_number(value)}\n")
    return "".join(
        f"# HELP {name} {words}\n# TYPE {name} {kind}\n{''.join(lines[name])}"
        for name, (kind, words) in FIGURES.items()
        if lines[name]
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
