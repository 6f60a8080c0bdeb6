"""The configuration: YAML files (jobd/layers.py has which) into frozen settings, or every fault with file,
line and field.

Keys are camelCase, as on the wire. Durations are seconds, "HH:MM:SS" or "30s", "15m", "24h", "7d"; sizes name
their unit, "16GB"; -1 means no limit, as in Agave. Without any file there is one system, this machine, with
one queue. Whether a backend can be loaded, a group exists or a directory can be written is found out by those
who use them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from jobd import model, places, targets, units
from jobd.errors import Invalid
from jobd.layers import Layers
from jobd.machine import machine
from jobd.model import Count, Model, Name, Whole, Wrong, pattern

_MOST_GPUS = 1024

# ---- kinds of values


def _duration(value: object) -> object:
    return value if value is None else units.parse_duration(value)


def _size(value: object, info: ValidationInfo) -> object:
    """Python code gives bytes. A file must name the unit: a bare number is GB to some and MB to others."""
    in_bytes = isinstance(value, int) and not info.context
    return value if value is None or in_bytes else units.parse_size(value)


def _indices(value: object) -> object:
    """A number of GPUs, or the list of those that are jobd's to hand out."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_GPUS:
        return tuple(range(value))
    if not isinstance(value, list | tuple):
        raise Wrong(f"{units.shown(value)} will not do", "a number of GPUs, or a list of their indices")
    for place, index in enumerate(value):
        if index in value[:place]:
            raise Wrong(f"GPU {index} is there twice", "each index once", place)
    return tuple(value)


def _no_limit(value: object) -> object:
    return None if value == -1 and not isinstance(value, bool) else value


def _time_of_day(value: object) -> object:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", value, re.ASCII) if isinstance(value, str) else None
    if found:
        return int(found[1]), int(found[2])
    if isinstance(value, str | int | float):
        raise Wrong(f"{units.shown(value)} is no time of day", '"HH:MM" in quotes, for example "03:30"')
    return value


def _variable(value: object) -> object:
    """Numbers are fine in an environment; what true, 1.10 or null should look like there is for the admin
    to say."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise Wrong(f"{units.shown(value)} will not do", "text: put it in quotes")
    return value


def _entry(value: str) -> str:
    targets.entry(value)
    return value


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise Wrong(f"'{path}' is not absolute", "a path that starts with /")
    return path


def _fits_socket(path: Path) -> Path:
    size, most = len(os.fsencode(path)), places.SOCKET_LIMIT
    if size > most:
        raise Wrong(
            f"'{path}' is {size} bytes long", f"at most {most}: set socket or JOBD_SOCKET to a shorter path"
        )
    return path


Duration = Annotated[float, BeforeValidator(_duration)]
Interval = Annotated[Duration, Field(gt=0)]
Size = Annotated[int, Field(ge=1), BeforeValidator(_size)]
CountLimit = Annotated[Annotated[Whole, Field(ge=0)] | None, BeforeValidator(_no_limit)]
SizeLimit = Annotated[Size | None, BeforeValidator(_no_limit)]
TimeLimit = Annotated[Interval | None, BeforeValidator(_no_limit)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[Count, Field(le=65535)]
VariableName = Annotated[str, pattern(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and '_'")]
Variables = Mapping[VariableName, Annotated[str, BeforeValidator(_variable)]]


def _persons(value: str) -> str:
    unknown = set(re.findall(r"\$(?:\w+|\{[^}]*\}?)", value)) - {"${OWNER}", "${HOME}"}
    if unknown:
        raise Wrong(f"{min(unknown)} means nothing here", "${OWNER} or ${HOME}")
    if value and not value.startswith(("/", "${HOME}")):
        raise Wrong(f"{value!r} is not absolute", "a path that starts with / or ${HOME}")
    return value


PersonsDirectory = Annotated[str, AfterValidator(_persons)]
"""May hold ${OWNER} and ${HOME}; see `persons_directory`."""


def persons_directory(directory: str, owner: str, home: str) -> str:
    return directory.replace("${OWNER}", owner).replace("${HOME}", home)


def _is_local(data: Mapping[str, Any]) -> bool:
    return data.get("backend") == "local"


def _check_names(what: str, key: str, names: list[str], defaults: list[int]) -> None:
    """Names are unique, and at most one of them is the default. `defaults`: the places of those that say
    so."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise Wrong(f"there is another {what} {name!r}", "a name of its own", place, key)
    if len(defaults) > 1:
        first, second = (names[place] for place in defaults[:2])
        raise Wrong(f"{first} and {second} are both the default {what}", "one", defaults[1], "default")


# ---- the settings


class Slots(Model):
    """What a system whose queueing is jobd's own work has to hand out. What is absent or "auto" is this
    machine's."""

    processors: Count = Field(default_factory=lambda: machine().processors)
    memory: Size = Field(default_factory=lambda: machine().memory)
    """Bytes."""
    gpus: Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], BeforeValidator(_indices)] = Field(
        default_factory=lambda: tuple(range(len(machine().gpus)))
    )
    """Indices, as nvidia-smi has them; a number in a file stands for the first so many."""

    @model_validator(mode="before")
    @classmethod
    def _auto(cls, value: object) -> object:
        if value == "auto":
            return {}
        return {k: v for k, v in value.items() if v != "auto"} if isinstance(value, dict) else value


class Queue(Model):
    name: Name
    mapped_name: str = Field(default_factory=lambda data: data.get("name", ""), min_length=1)
    """What the system itself calls it."""
    description: str = ""
    default: bool = False
    max_jobs: CountLimit = None
    """Jobs of all users that the system has at once; more of them wait in PENDING. 0 closes the queue."""
    max_user_jobs: CountLimit = None
    max_nodes: CountLimit = None
    max_processors_per_node: CountLimit = None
    max_memory_per_node: SizeLimit = None
    """Bytes."""
    max_requested_time: TimeLimit = None
    """Seconds."""
    default_processors_per_node: Count = 1
    default_memory_per_node: SizeLimit = None
    """Bytes."""
    default_max_run_time: TimeLimit = Field(default_factory=lambda data: data.get("max_requested_time"))
    """Seconds."""
    priority: Whole = 0
    """Jobs of the queue with the higher number go first, whosever they are."""
    custom_directives: str = ""
    """Lines for the head of a scheduler's script."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """For the backend alone."""

    @model_validator(mode="after")
    def _defaults_fit(self) -> Self:
        for default, most in (
            ("default_processors_per_node", "max_processors_per_node"),
            ("default_memory_per_node", "max_memory_per_node"),
            ("default_max_run_time", "max_requested_time"),
        ):
            value, limit = getattr(self, default), getattr(self, most)
            if value is not None and limit is not None and value > limit:
                raise Wrong(f"this is more than {to_camel(most)}", "at most that", to_camel(default))
        return self


class System(Model):
    id: Name
    description: str = ""
    backend: str = Field(default="local", min_length=1)
    """The name of a built-in one, or the dotted path of a class."""
    default: bool = False
    queues: tuple[Queue, ...] = Field(
        default=(Queue(name="default", default=True),), min_length=1, validate_default=True
    )
    work_dir: PersonsDirectory = ""
    """Where jobd makes a directory for each job (see `work_root`)."""
    min_free: SizeLimit = 100 * units.MB
    """Bytes that must be free where `work_dir` is before a job starts; None: none need be."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """For the backend alone."""
    concurrency: Annotated[Count, Field(le=64)] = 8
    """Calls of the backend at the same time."""
    transfers: Annotated[Count, Field(le=64)] = 4
    """Jobs being staged or archived at the same time."""
    user_transfers: Count = 2
    """Of one user."""
    poll_interval: Interval = 10.0
    lost_after: Interval | None = 86400.0
    """Seconds of complete answers without a job after which it is LOST; None: never."""
    kill_grace: Duration = 10.0
    """Seconds between TERM and KILL."""
    slots: Slots | None = Field(default_factory=lambda data: Slots() if _is_local(data) else None)
    """What jobd itself hands out; None: the system queues by itself."""
    environment: Variables = Field(default_factory=dict)
    """Variables that every job here gets; the job's own go over them."""

    @field_validator("queues", mode="after")
    @classmethod
    def _check_queues(cls, queues: tuple[Queue, ...], info: ValidationInfo) -> tuple[Queue, ...]:
        """Exactly one is the default: the first, where none says so. One machine is one node."""
        defaults = [place for place, queue in enumerate(queues) if queue.default]
        _check_names("queue", "name", [queue.name for queue in queues], defaults)
        if not defaults:
            queues = (queues[0].model_copy(update={"default": True}), *queues[1:])
        if _is_local(info.data):
            queues = tuple(queue.model_copy(update={"max_nodes": 1}) for queue in queues)
        return queues

    def queue(self, name: str) -> Queue | None:
        return next((queue for queue in self.queues if queue.name == name), None)

    def default_queue(self) -> Queue:
        return next(queue for queue in self.queues if queue.default)

    def work_root(self, owner: str, home: str) -> str:
        """The directory in which this person's job directories are made."""
        return persons_directory(self.work_dir, owner, home)


class Fetch(Model):
    """Limits of inputs that come over http."""

    idle_timeout: Annotated[Interval, Field(le=240)] = 60.0
    """Seconds without an answer, or a byte of it."""
    total_timeout: Interval = 86400.0
    max_size: SizeLimit = None
    """Bytes of one input."""
    max_redirects: Annotated[Whole, Field(ge=0)] = 5


_MAIL_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class Smtp(Model):
    """The server that takes our mail."""

    host: str = Field(min_length=1)
    security: Literal["none", "starttls", "tls"] = "starttls"
    port: Port = Field(default_factory=lambda data: _MAIL_PORTS[data.get("security", "none")])
    user: str = ""
    """Empty: it wants none."""
    password_file: AbsolutePath | None = None
    """Its only line is the password."""
    sender: Annotated[str, pattern(targets.MAILBOX, "name@host")]
    timeout: Interval = 30.0
    """Seconds for one mail."""


class Notifications(Model):
    """How people are told."""

    allow: tuple[Annotated[str, AfterValidator(_entry)], ...] = ("*",)
    """Where to; see jobd/targets.py."""
    timeout: Annotated[Interval, Field(le=300)] = 10.0
    """Seconds that a receiver has for one delivery, from the look for its name to its answer."""
    user: str = Field(default="nobody", min_length=1)
    """Whom the process that delivers becomes if the daemon is root."""
    ca_file: AbsolutePath | None = None
    """Certificates (PEM) that are trusted beside the system's."""
    smtp: Smtp | None = None
    """None: mail is given to this machine's sendmail."""
    key_file: AbsolutePath | None = None
    """What keys that webhooks are signed with are made from; None: one in the state directory."""
    public_url: Annotated[
        str, pattern("https?://[!-~]+[!-.0-~]", "https://HOST/PATH without a / at its end")
    ] = "http://localhost"
    """What links in messages begin with."""
    keep: Interval = 30 * 86400.0
    """Seconds for which what was delivered, or could not be, stays on record."""


_PUBLIC_TARGETS = ("https://*", "http://*", "mailto:*")
"""Of the system's daemon, whose users are not to reach by it what they could not reach from elsewhere."""


def _default_system(data: Mapping[str, Any]) -> str:
    systems = data.get("systems") or ()
    return next((system.id for system in systems if system.default), systems[0].id if systems else "")


class Settings(Model):
    mode: Literal["user", "system"] = "user"
    config_file: Path | None = None
    """None: there is none, and the embedded default holds."""
    state_dir: AbsolutePath
    socket: Annotated[AbsolutePath, AfterValidator(_fits_socket)]
    admin_group: str | None = None
    """Whose members may act for everybody."""
    min_uid: Annotated[Whole, Field(ge=1)] = 1000
    """The system's daemon serves users from this uid on."""
    also_users: tuple[str, ...] = ()
    """Others that it serves, by name."""
    systems: tuple[System, ...] = Field(
        default_factory=lambda: (System(id="local", default=True),), min_length=1
    )
    default_system: str = Field(default_factory=_default_system)
    storage_systems: Mapping[Name, AbsolutePath] = Field(default_factory=dict)
    """Directories on this machine that inputs (agave://NAME/path) and archiveSystem mean, by name."""
    archive_dir: PersonsDirectory = ""
    """Where outputs are archived that no archiveSystem is named for."""
    fetch: Fetch = Field(default_factory=Fetch)
    notifications: Notifications = Field(default_factory=Notifications)
    purge_after: TimeLimit = None
    """Seconds after which the files of a hidden job are removed; None: never."""
    kill_wait: Duration = 15.0
    """Seconds that the reply to a kill waits for the end."""
    lost_after: Interval | None = 86400.0
    """What systems that do not say their own have."""
    sweep: Interval = 30.0
    """Seconds between full looks at all jobs on systems with slots."""
    max_body: Annotated[Size, Field(ge=1024)] = 16 * units.MB
    """Bytes of a request."""
    body_timeout: Interval = 30.0
    """Seconds in which a request's body must have come."""
    idle_timeout: Interval = 15.0
    """Seconds after which an idle connection is closed."""
    max_jobs_per_request: Count = 10_000
    max_active_jobs: CountLimit = 20_000
    """Of one user, waiting and running together; more of them are refused until some are over."""
    upkeep_at: Annotated[tuple[int, int] | None, BeforeValidator(_time_of_day)] = (3, 30)
    """Hour and minute, in the machine's time, at which the store is looked after; None: never."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    containment: Literal["auto", "cgroup", "subreaper", "group"] = "auto"
    cgroup_parent: AbsolutePath | None = None
    """The control group below which jobs' are made; None: that of jobd-jobs.service, or the daemon's own."""

    @field_validator("systems", mode="after")
    @classmethod
    def _check_systems(cls, systems: tuple[System, ...]) -> tuple[System, ...]:
        defaults = [place for place, system in enumerate(systems) if system.default]
        _check_names("system", "id", [system.id for system in systems], defaults)
        return systems

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.system(self.default_system) is None:
            known = ", ".join(system.id for system in self.systems)
            raise Wrong(f"there is no system {self.default_system!r}", known, "defaultSystem")
        other = next((s.id for s in self.systems if s.default and s.id != self.default_system), None)
        if other:
            raise Wrong(f"system {other} says default: true", "the same one", "defaultSystem")
        return self

    def system(self, id: str) -> System | None:
        return next((system for system in self.systems if system.id == id), None)


# ---- from files to settings


def load(path: Path | None, environ: Mapping[str, str], system: bool = False) -> Settings:
    """The settings. Raises Invalid with all faults.

    `path`: a file that must be there; None: JOBD_CONFIG's, which must be there too, else the usual one.
    """
    file = os.path.abspath(path) if path else places.config_path(environ, system)
    layers = Layers(file, required=bool(path or environ.get("JOBD_CONFIG")), refused=DERIVED)
    data = layers.value | _given(layers.value, file, environ, system)
    settings, faults = None, layers.faults
    try:
        settings = Settings.model_validate(data, by_alias=True, by_name=False, context={"file": True})
    except ValidationError as error:
        faults += model.faults(error, layers.fault, Settings, DERIVED)
    if settings is None or faults:
        raise Invalid(*faults)
    return _finished(settings)


def check(path: Path | None, environ: Mapping[str, str], system: bool = False) -> tuple[bool, str]:
    """What `jobd check-config` says: whether all is well, and in words what it comes to or each fault on a
    line."""
    try:
        settings = load(path, environ, system)
    except Invalid as error:
        return False, "\n".join(map(str, error.faults))
    lines = [f"configuration  {settings.config_file or 'none: the embedded default'}"]
    lines += [f"state          {settings.state_dir}", f"socket         {settings.socket}"]
    for one in settings.systems:
        queues = ", ".join(f"{queue.name}{' (default)' * queue.default}" for queue in one.queues)
        words = f"{one.id}{' (default)' * one.default}, backend {one.backend}, queues: {queues}"
        lines.append(f"system         {words}")
    return True, "\n".join(lines)


DERIVED = frozenset({"mode", "configFile"})
"""Settings that are no options of a file."""


def _given(data: Mapping[str, Any], file: str, environ: Mapping[str, str], system: bool) -> dict[str, Any]:
    """What the files alone do not say. What is not even text is left as it is, for the model to refuse."""
    given: dict[str, Any] = {"mode": "system" if system else "user"}
    if os.path.exists(file):
        given["configFile"] = Path(file)
    state_dir, socket = data.get("stateDir", ""), data.get("socket", "")
    state = places.state_dir(environ, system, state_dir if isinstance(state_dir, str) else "")
    if isinstance(state_dir, str):
        given["stateDir"] = state
    if isinstance(socket, str):
        given["socket"] = places.socket_path(environ, system, socket, os.path.abspath(state))
    return given


def _finished(settings: Settings) -> Settings:
    """With what one part takes from another filled in."""
    work_dir = "${HOME}/jobd" if settings.mode == "system" else f"{settings.state_dir}/jobs"
    systems = []
    for system in settings.systems:
        update: dict[str, Any] = {"default": system.id == settings.default_system}
        if "lost_after" not in system.model_fields_set:
            update["lost_after"] = settings.lost_after
        if not system.work_dir:
            update["work_dir"] = work_dir
        systems.append(system.model_copy(update=update))
    archive_dir = "${HOME}/jobd/archive" if settings.mode == "system" else f"{settings.state_dir}/archive"
    return settings.model_copy(
        update={
            "systems": tuple(systems),
            "archive_dir": settings.archive_dir or archive_dir,
            "notifications": _told(settings),
        }
    )


def _told(settings: Settings) -> Notifications:
    told = settings.notifications
    if settings.mode == "user" or "allow" in told.model_fields_set:
        return told
    return told.model_copy(update={"allow": _PUBLIC_TARGETS})
