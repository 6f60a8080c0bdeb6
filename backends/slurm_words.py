"""Slurm's words, and what they mean here: states, reasons for waiting, failures of its commands. Pure tables.

From slurm(1), squeue(1), sacct(1) and slurm_errno.c of Slurm 22.05 to 24.11. A word that is not here is kept
as it is and never ends a job.
"""

from __future__ import annotations

import re

from jobd.backend import Phase
from jobd.status import Condition

PHASES = {
    "PENDING": Phase.QUEUED,
    "CONFIGURING": Phase.QUEUED,
    "REQUEUED": Phase.QUEUED,
    "REQUEUE_FED": Phase.QUEUED,
    "REVOKED": Phase.QUEUED,  # another cluster of the federation has it
    "REQUEUE_HOLD": Phase.HELD,
    "RESV_DEL_HOLD": Phase.HELD,
    "SPECIAL_EXIT": Phase.HELD,
    "RUNNING": Phase.RUNNING,
    "COMPLETING": Phase.RUNNING,
    "RESIZING": Phase.RUNNING,
    "SIGNALING": Phase.RUNNING,
    "STAGE_OUT": Phase.RUNNING,
    "STOPPED": Phase.SUSPENDED,
    "SUSPENDED": Phase.SUSPENDED,
}
"""Of a job that is not over."""

ENDINGS = {
    "COMPLETED": None,
    "FAILED": None,
    "CANCELLED": Condition.KILLED,
    "TIMEOUT": Condition.TIME_LIMIT,
    "DEADLINE": Condition.TIME_LIMIT,
    "OUT_OF_MEMORY": Condition.MEMORY_LIMIT,
    "NODE_FAIL": Condition.NODE_LOST,
    "BOOT_FAIL": Condition.LAUNCH_FAILED,
    "LAUNCH_FAILED": Condition.LAUNCH_FAILED,
    "RECONFIG_FAIL": Condition.LAUNCH_FAILED,
    "PREEMPTED": Condition.PREEMPTED,
}
"""Of one that is; None: its exit code and signal say how."""

HELD = {"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "job requeued in held state"}
"""Reasons of PENDING jobs that wait for a release."""

NEVER = {
    "AccountNotAllowed": "its account may not use this partition",
    "BadConstraints": "no node can ever satisfy what it asks for",
    "DependencyNeverSatisfied": "a job that it depends on did not end as it must",
    "InvalidAccount": "there is no such account",
    "InvalidQOS": "there is no such quality of service",
    "PartitionConfig": "it asks for more than any node of the partition has",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives to one job",
    "PartitionTimeLimit": "it asks for more time than the partition gives to one job",
    "QOSNotAllowed": "its account or partition may not use this quality of service",
    "QOSTimeLimit": "it asks for more time than its quality of service gives",
}
"""Reasons that do not pass by themselves: it waits for ever unless somebody changes something."""

WAITS = {
    "AssociationJobLimit": "its account has as many jobs as it may",
    "AssociationResourceLimit": "its account has as much as it may",
    "BeginTime": "its time to begin has not come",
    "BurstBufferResources": "there is no room in the burst buffer",
    "Cleaning": "it is requeued, and its last run is still being cleaned up",
    "Dependency": "it waits for another job",
    "FrontEndDown": "no front end is up",
    "JobArrayTaskLimit": "as many tasks of its array run as may",
    "JobHeldAdmin": "an administrator has held it",
    "JobHeldUser": "it is held",
    "JobHoldMaxRequeue": "it was requeued too often and is held",
    "Licenses": "it waits for a licence",
    "NodeDown": "a node that it needs is down",
    "None": "Slurm has not looked at it yet",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition starts no jobs at the moment",
    "Prolog": "its prolog runs",
    "Priority": "jobs with a higher priority go first",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "Reservation": "it waits for its reservation",
    "ReservationDeleted": "its reservation is gone",
    "Resources": "it waits for free resources",
    "SystemFailure": "Slurm had a failure",
    "job requeued in held state": "it was requeued and is held",
}
"""Reasons that may pass."""

_LIMIT = re.compile(r"(QOS|Assoc)(Max|Grp)\w*")

TRANSIENT = re.compile(
    r"unable to contact|connect(ion)? (failure|refused|reset|timed)|(message|communication) \w+ failure"
    r"|timed? ?out|protocol authentication|munge|standby mode|zero bytes|unexpected message|insane message"
    r"|cannot stat file|configuration source|endpoint is not connected|no route to host|broken pipe"
    r"|temporarily un|interrupted system call|cannot allocate memory|too many open files"
    r"|versions? of client and server|host name lookup|name or service not known|in startup"
    r"|error on job id .* (configur|requeu)",
    re.IGNORECASE,
)
"""Failures of commands that say nothing of the request: maybe later, maybe done."""
LATER = re.compile("MaxSubmit", re.IGNORECASE)
"""Slurm says no for the moment, and only to this person or account."""

ACCOUNTING_OFF = re.compile(r"accounting storage is disabled|AccountingStorageType", re.IGNORECASE)
ALREADY_OVER = re.compile(r"already completing or completed|Invalid job id specified", re.IGNORECASE)


def why(reason: str) -> str:
    """Why a job waits, in words with Slurm's own in brackets; empty where there is no reason."""
    if not reason:
        return ""
    plain = reason.partition(",")[0].strip()  # as in "ReqNodeNotAvail, UnavailableNodes:n3"
    if plain in NEVER:
        return f"It can never start as it is: {NEVER[plain]} ({reason})."
    if plain in WAITS:
        return f"{WAITS[plain].capitalize() if plain != 'None' else WAITS[plain]} ({reason})."
    if _LIMIT.fullmatch(plain):
        return f"A limit of its account or quality of service is reached ({reason})."
    return f"{reason}."
