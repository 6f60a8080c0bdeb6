"""How the stand-in tells of its jobs: OpenPBS in dsv, Torque in XML."""

from __future__ import annotations

import time
from xml.sax.saxutils import escape

from tests.standin_pbs.jobs import Job


def dsv(job: Job) -> str:
    facts = [f"Job Id: {job.local_id}", *(f"{name}={_escaped(value)}" for name, value in _facts(job).items())]
    return "|".join(facts) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n")


def xml(jobs: list[Job]) -> str:
    return f"<Data>{''.join(map(_xml_job, jobs))}</Data>" if jobs else ""


def _xml_job(job: Job) -> str:
    facts = _facts(job)
    facts["job_state"] = "C" if job.over else facts["job_state"]
    if facts.get("Exit_status") == "-29":
        facts["Exit_status"] = "-11"  # its time limit, in this dialect
    names = {"stime": "start_time", "obittime": "comp_time", "Exit_status": "exit_status", "substate": ""}
    flat, used = [f"<Job_Id>{job.local_id}</Job_Id>"], ""
    for name, value in facts.items():
        if name.startswith("resources_used."):
            used += _element(name.partition(".")[2], value)
        elif names.get(name, name) and "." not in name:
            moment = {"ctime": job.created, "stime": job.started, "obittime": job.ended}.get(name)
            flat.append(_element(names.get(name, name), str(int(moment)) if moment else value))
    return f"<Job>{''.join(flat)}<resources_used>{used}</resources_used></Job>"


def _element(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>"


def _facts(job: Job) -> dict[str, str]:
    """In the order of the real one: the user's text after who and what it is."""
    used = {"cput": "00:00:00", "mem": "5528kb", "walltime": "00:00:01"} if job.started else {}
    facts = {
        "Job_Name": job.name,
        "Job_Owner": f"{job.owner}@standin",
        **{f"resources_used.{name}": value for name, value in used.items()},
        "job_state": job.state,
        "queue": job.queue,
        "server": "standin",
        "Account_Name": job.account,
        "ctime": _date(job.created),
        "exec_host": "standin/0" if job.started and job.state != "Q" else "",
        "Hold_Types": job.hold,
        "Join_Path": "oe",
        "mtime": _date(time.time()),
        "stime": _date(job.started),
        "obittime": _date(job.ended) if job.started else "",
        "substate": str(job.substate),
        "Variable_List": job.variables,
        "comment": job.comment,
        "run_count": str(job.runs) if job.runs else "",
        "Exit_status": "" if job.status is None else str(job.status),
        "history_timestamp": str(int(job.ended)) if job.ended else "",
    }
    return {name: value for name, value in facts.items() if value}


def _date(moment: float | None) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(moment)) if moment else ""
