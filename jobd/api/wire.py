"""The answers as they go over the wire, as models: the OpenAPI document is made from them, and the tests hold
`present.py` to them. They are not used while serving.

Times are ISO-8601 with milliseconds and an offset; memoryPerNode is a number of GB, maxRunTime HH:MM:SS.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from jobd.apps.migrate import Kind
from jobd.status import Condition, Status
from jobd.verbs.verify import Verdict

T = TypeVar("T")


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, defer_build=True)


class Link(Wire):
    href: str


class Who(Wire):
    at: str
    by: str | None


class Usage(Wire):
    wall: float | None = Field(description="seconds")
    cpu: float | None = Field(description="seconds")
    peak_memory: int | None = Field(description="bytes")


class SelfLink(Wire):
    self: Link


class SummaryLinks(SelfLink):
    archive_data: Link


class JobLinks(SummaryLinks):
    owner: Link
    execution_system: Link | None = None
    history: Link
    app: Link | None = Field(default=None, description="absent where it is somebody else's own")
    metadata: Link
    notifications: Link
    permissions: Link


class Summary(Wire):
    """A job in a listing. `filter` can ask for any field of the whole job instead."""

    id: str
    name: str
    owner: str
    execution_system: str
    app_id: str
    batch_queue: str
    local_id: str | None
    created: str
    status: Status
    start_time: str | None
    end_time: str | None
    ended: str | None
    exit_code: int | None
    condition: Condition | None
    reason: str
    priority: int
    links: SummaryLinks = Field(alias="_links")


class Migrated(Wire):
    """What a resubmission did about a difference."""

    field: str
    kind: Kind
    was: Any
    now: Any
    why: str
    done: str


class Job(Wire):
    """A job. The first fields are Agave's, the next the later names of the same facts, then those of jobd."""

    id: str
    name: str
    owner: str
    app_id: str
    execution_system: str
    batch_queue: str
    node_count: int
    processors_per_node: int
    memory_per_node: float | None = Field(description="GB")
    max_run_time: str | None = Field(description="HH:MM:SS")
    archive: bool
    archived: str | None = Field(description="when all its outputs were in the archive")
    purged: str | None = Field(description="when its files were removed")
    archive_path: str | None = Field(default=None, description="where its outputs go")
    archive_system: str | None = None
    retries: int
    local_id: str | None
    output_path: str
    status: Status
    message: str | None
    submit_time: str | None
    start_time: str | None
    end_time: str | None
    created: str
    last_updated: str
    inputs: dict[str, Any]
    parameters: dict[str, Any]
    visible: bool

    accepted: str
    ended: str | None
    last_status_message: str | None
    max_hours: float | None
    remote_job_id: str | None
    remote_outcome: Literal["FINISHED", "FAILED"] | None
    remote_queue: str
    remote_started: str | None
    remote_submitted: str | None
    submit_retries: int
    system_id: str
    work_path: str

    command: list[str]
    directory: str
    stdin: str | None
    umask: str
    gpus: int
    gpu_indices: list[int]
    priority: int
    exit_code: int | None
    signal: int | None
    condition: Condition | None
    evidence: str | None = Field(description="which record says how it ended")
    reason: str
    usage: Usage
    kill_asked: Who | None
    delete_asked: Who | None
    attempt: int
    tag: str | None
    app_revision: int | None = Field(description="of the app that it ran with; null for a plain command")
    resubmit_of: str | None
    migrated: list[Migrated]
    containment: str | None
    last_seen: str | None
    details: dict[str, Any]
    links: JobLinks = Field(alias="_links")


class JobStatus(Wire):
    id: str
    status: Status
    links: SelfLink = Field(alias="_links")


class Why(Wire):
    """Why a job waits or how it ended, in words, and what that is known from."""

    id: str
    status: Status
    why: str
    reason: str
    condition: Condition | None
    evidence: str | None
    exit_code: int | None
    signal: int | None
    last_seen: str | None
    links: SelfLink = Field(alias="_links")


class Event(Wire):
    status: str = Field(
        description="a status, or what else happened: DELETED, RESTORED, PERMISSION_GRANT, CORRECTED .."
    )
    created: str
    created_by: str
    description: str


class JobLink(SelfLink):
    job: Link


class Policy(Wire):
    """Times in seconds."""

    retry_strategy: Literal["NONE", "IMMEDIATE", "DELAYED", "EXPONENTIAL"]
    retry_limit: int
    retry_rate: int
    retry_delay: int
    save_on_failure: bool


class NotificationLinks(JobLink):
    attempts: Link


class Notification(Wire):
    """Somebody's wish to be told."""

    id: str
    associated_uuid: str = Field(description="the job's id")
    owner: str
    event: str = Field(description="a status, a condition, or *")
    url: str | None
    command: list[str] | None = Field(description="instead of a URL; runs as the owner")
    persistent: bool = Field(description="every time; else once")
    policy: Policy
    body: Any = Field(description="what is said in place of the usual")
    digest: float | None = Field(description="seconds for which news of jobs of one name are gathered")
    status: Literal["ACTIVE", "COMPLETE", "FAILED"] = Field(description="ACTIVE: more may come of it")
    attempts: int
    response_code: int | None = Field(description="of the last attempt: HTTP's, SMTP's, or an exit code")
    last_sent: str | None
    success: bool | None = Field(description="of what was tried last; null while it is still being tried")
    created: str
    last_updated: str
    links: NotificationLinks = Field(alias="_links")


class AttemptLinks(Wire):
    delivery: Link


class Attempt(Wire):
    """One try to deliver something."""

    id: str
    delivery_id: str
    event: str
    attempt: int = Field(description="which one, from 1")
    start_time: str
    end_time: str
    success: bool
    response_code: int | None
    message: str
    links: AttemptLinks = Field(alias="_links")


class DeliveryLinks(JobLink):
    notification: Link


class Delivery(Wire):
    """Something that happened, and that somebody is to be told of."""

    id: str = Field(description="the receiver gets it with every attempt")
    notification_id: str
    associated_uuid: str = Field(description="the job's id")
    owner: str
    event: str
    url: str | None = Field(description="null: a command")
    status: Literal["OPEN", "DELIVERED", "FAILED"]
    attempts: int
    last_sent: str | None
    response_code: int | None
    message: str = Field(description="what came of the last attempt")
    due: str | None = Field(description="when it is tried next; null: it waits for another, or is over")
    created: str
    links: DeliveryLinks = Field(alias="_links")


class Rehearsal(Wire):
    """What came of a test."""

    delivery_id: str
    success: bool
    response_code: int | None
    message: str
    seconds: float


class Key(Wire):
    owner: str
    key: str = Field(description="what webhooks for this person are signed with, whsec_ and base64")


class Note(Wire):
    """What somebody noted down about a job. A tag is one of the name `tag`."""

    uuid: str
    owner: str
    association_ids: list[str] = Field(description="the job's id")
    name: str
    value: Any
    created: str
    last_updated: str
    links: JobLink = Field(alias="_links")


class Rights(Wire):
    read: bool
    write: bool = Field(description="includes reading")


class PemLinks(Wire):
    self: Link | None = Field(default=None, description="absent where nothing is left")
    parent: Link
    profile: Link | None = Field(default=None, description="of a user")


class Pem(Wire):
    """What a user or a group may do with a job. Its owner may do everything."""

    username: str = Field(description="or @ and a group's name")
    permission: Rights
    links: PemLinks = Field(alias="_links")


class PairLinks(Wire):
    first: Link
    second: Link


class Difference(Wire):
    group: str = Field(
        description="request, app, parameters, inputs, system, environment, exit, usage, outputs"
    )
    name: str
    first: Any
    second: Any
    counts: bool = Field(description="what a job used is measured, and does not count")
    withheld: bool = Field(description="the values of an environment are for its owner only")


class Diff(Wire):
    """In what two jobs differ."""

    jobs: list[str]
    same: bool = Field(description="nothing that counts differs")
    differences: list[Difference]
    omitted: int = Field(description="further ones, beyond the most that are listed of one group")
    compared: list[str] = Field(description="what outputs of each were looked at")
    missing: list[str] = Field(description="what could not be compared")
    links: PairLinks = Field(alias="_links")


class Digest(Wire):
    size: int = Field(description="bytes")
    sha256: str | None


class Compared(Wire):
    name: str = Field(description="a path; the logs are stdout and stderr")
    verdict: Verdict
    first: Digest | None
    second: Digest | None


class Verification(Wire):
    """Whether what two jobs have made agrees, file by file. It is in the history of both."""

    jobs: list[str]
    verified: bool
    files: list[Compared]
    problems: list[str] = Field(description="what else speaks against it")
    compared: list[str] = Field(description="what outputs of each were looked at")
    links: PairLinks = Field(alias="_links")


class File(Wire):
    name: str
    path: str
    type: Literal["file", "dir", "link", "other"]
    length: int = Field(description="bytes")
    last_modified: str
    permissions: str = Field(description="READ, WRITE and EXECUTE of its owner")
    mime_type: str
    format: Literal["raw", "folder"]
    system: str
    links: SelfLink = Field(alias="_links")


class Purge(Wire):
    """A deleted job whose files will be removed."""

    id: str
    name: str
    owner: str
    deleted: str
    due: str | None = Field(description="when they will be; null: never")
    directories: list[str]
    links: SelfLink = Field(alias="_links")


class Fault(Wire):
    field: str
    problem: str
    expected: str | None = None


class AppSummary(Wire):
    id: str
    name: str
    version: str
    revision: int
    label: str
    short_description: str
    execution_system: str | None
    is_public: bool = Field(description="the machine's, and not a person's own")
    available: bool
    last_modified: str
    links: SelfLink = Field(alias="_links")


class App(AppSummary):
    """What can be run. `command` is the template of its arguments."""

    long_description: str
    help_uri: str = Field(alias="helpURI")
    tags: list[str]
    owner: str | None
    digest: str
    execution_type: str | None
    parallelism: str | None
    execution_systems: list[str]
    command: list[str] | None
    template_path: str | None
    deployment_path: str | None
    default_queue: str | None
    default_node_count: int | None
    default_processors_per_node: int | None
    default_memory_per_node: float | None = Field(description="GB")
    default_max_run_time: str | None = Field(description="HH:MM:SS")
    archive: bool
    inputs: list[dict[str, Any]]
    parameters: list[dict[str, Any]]


class Conflict(Wire):
    """A difference between what a job ran with and what it would run with today."""

    field: str
    kind: Kind
    flag: str = Field(description="which of the flags says whether it is ignored")
    was: Any
    now: Any
    problem: str
    fit: str = Field(description="what ignoring it does")
    ignored: bool


class Plan(Wire):
    """What a resubmission would come to."""

    would_answer: int = Field(description="the code")
    message: str | None
    errors: list[Fault]
    conflicts: list[Conflict]
    deferred: list[dict[str, str]] = Field(description="what is left for staging to check")
    app_revision: int | None
    request: dict[str, Any]
    inputs: dict[str, Any] | None
    parameters: dict[str, Any] | None
    command: list[str] | None


class Resubmitted(Wire):
    """A job's request as it came, without its environment."""

    model_config = ConfigDict(extra="allow")


class Drained(Wire):
    """No waiting job starts there: since when, who said so, and why."""

    at: str
    by: str
    reason: str


class Drain(Wire):
    system: str
    queue: str | None = Field(description="null: all of the system")
    reason: str
    began: str
    began_by: str
    ended: str | None
    ended_by: str | None


class Queue(Wire):
    """-1: no limit."""

    name: str
    mapped_name: str
    description: str
    default: bool
    drained: Drained | None
    max_jobs: int
    max_user_jobs: int
    max_nodes: int
    max_processors_per_node: int
    max_memory_per_node: float = Field(description="GB")
    max_requested_time: str | Literal[-1] = Field(description="HH:MM:SS")
    default_processors_per_node: int
    default_memory_per_node: float | None = Field(description="GB")
    default_max_run_time: str | None = Field(description="HH:MM:SS")
    priority: int
    custom_directives: str


class Slots(Wire):
    processors: int
    memory: float = Field(description="GB")
    gpus: int
    gpu_indices: list[int]


class SystemSummary(Wire):
    id: str
    name: str
    type: Literal["EXECUTION"]
    description: str
    status: Literal["UP", "DOWN", "MAINTENANCE"]
    drained: Drained | None
    public: bool
    default: bool
    links: SelfLink = Field(alias="_links")


class System(SystemSummary):
    execution_type: Literal["CLI", "HPC"]
    scheduler: str
    backend: str
    available: bool
    trouble: str | None = Field(description="why it does not answer")
    last_answer: str | None
    work_dir: str
    slots: Slots | None = Field(description="what jobd itself hands out there")
    queues: list[Queue]


class Profile(Wire):
    username: str
    uid: int
    full_name: str
    admin: bool | None = Field(description="may act for everybody; known of the caller only")
    links: SelfLink = Field(alias="_links")


class Health(Wire):
    version: str
    status: Literal["UP", "DEGRADED"]
    mode: Literal["user", "system"]
    pid: int
    socket: str
    started: str
    troubles: list[str] = Field(description="why it is DEGRADED; told only to those whom the daemon serves")


class Finding(Wire):
    mark: Literal["ok", "-", "!"] = Field(description="well; worth knowing; to be mended")
    message: str


class Doctor(Wire):
    state_dir: str | None
    config_file: str | None
    containment: dict[str, Any] | None = Field(
        description="how jobs on this machine are held, and what can escape"
    )
    store: str = Field(description="why nothing can be written down; empty while all is well")
    mail: str = Field(description="why notifications cannot go by mail; empty when they can")
    systems: dict[str, str] = Field(description="by system: why it does not answer; empty while it does")
    findings: dict[str, list[Finding]] = Field(description="by system: what its backend has to say of it")
    connections: int


class Faults(Wire):
    errors: list[Fault]
    conflicts: list[Conflict] | None = Field(default=None, description="of a resubmission: all of them")


class Envelope(Wire, Generic[T]):
    status: Literal["success"]
    message: str | None
    version: str
    result: T


class Error(Wire):
    status: Literal["error"]
    message: str
    version: str
    result: Faults | None = Field(
        default=None, description="only where something that was sent is at fault, or conflicts"
    )
