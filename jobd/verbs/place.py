"""Where a request's job goes and what it gets there: its system and queue, its sizes where it does not say,
and what can never be."""

from __future__ import annotations

from dataclasses import dataclass

from jobd.config import Queue, Settings, System
from jobd.errors import Fault, Invalid
from jobd.units import format_run_time, format_size
from jobd.verbs.request import JobRequest


@dataclass(frozen=True)
class Place:
    system: System
    queue: Queue
    nodes: int
    processors: int
    memory: int | None
    time_limit: float | None


def place(request: JobRequest, settings: Settings, at: str = "", app_queue: str | None = None) -> Place:
    """`app_queue`: the queue that its app prefers. Raises Invalid when no queue can ever take the job, with
    all the reasons."""
    system = _system(request, settings, at)
    if request.batch_queue is not None:
        queue = system.queue(request.batch_queue)
        if queue is None:
            known = ", ".join(queue.name for queue in system.queues)
            raise Invalid(
                Fault(f"{at}batchQueue", f"{system.id} has no queue {request.batch_queue!r}", known)
            )
        return _fitted(request, system, queue, at)
    return _first_that_fits(request, system, at, app_queue)


def _system(request: JobRequest, settings: Settings, at: str) -> System:
    name = request.execution_system or settings.default_system
    system = settings.system(name)
    if system is None:
        known = ", ".join(system.id for system in settings.systems)
        raise Invalid(Fault(f"{at}executionSystem", f"there is no execution system {name!r}", known))
    return system


def _first_that_fits(request: JobRequest, system: System, at: str, app_queue: str | None) -> Place:
    """The app's queue or the default one, else the first that can take it; else what is wrong with the
    former."""
    default = system.queue(app_queue or "") or system.default_queue()
    for queue in (default, *(queue for queue in system.queues if queue is not default)):
        try:
            return _fitted(request, system, queue, at)
        except Invalid:
            continue
    return _fitted(request, system, default, at)


def _fitted(request: JobRequest, system: System, queue: Queue, at: str) -> Place:
    place = Place(
        system,
        queue,
        request.node_count or 1,
        request.processors_per_node or queue.default_processors_per_node,
        request.memory_per_node or queue.default_memory_per_node,
        request.max_run_time or queue.default_max_run_time,
    )
    faults = _beyond_queue(place, at) + _beyond_machine(request, place, at)
    if faults:
        raise Invalid(*faults)
    return place


def _beyond_queue(place: Place, at: str) -> list[Fault]:
    queue = place.queue
    limits = (
        ("nodeCount", place.nodes, queue.max_nodes, str),
        ("processorsPerNode", place.processors, queue.max_processors_per_node, str),
        ("memoryPerNode", place.memory, queue.max_memory_per_node, format_size),
        ("maxRunTime", place.time_limit, queue.max_requested_time, format_run_time),
    )
    return [
        Fault(
            f"{at}{field}", f"{words(asked)} is more than queue {queue.name} takes", f"at most {words(most)}"
        )
        for field, asked, most, words in limits
        if asked is not None and most is not None and asked > most
    ]


def _beyond_machine(request: JobRequest, place: Place, at: str) -> list[Fault]:
    """What it asks for beyond all the slots that there are: it would wait for ever."""
    slots = place.system.slots
    if slots is None:
        return []
    there = (
        ("processorsPerNode", place.processors, slots.processors, str),
        ("memoryPerNode", place.memory or 0, slots.memory, format_size),
        ("gpus", request.gpus, len(slots.gpus), str),
    )
    return [
        Fault(f"{at}{field}", f"{words(asked)} is more than {place.system.id} has", f"at most {words(most)}")
        for field, asked, most, words in there
        if asked > most
    ]
