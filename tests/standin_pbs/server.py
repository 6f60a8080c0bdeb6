"""The stand-in's server: python -m tests.standin_pbs.server DIRECTORY. In the directory are `dialect`,
`socket`, `log` (each request, and how many were under way), and `settings`, read at every request:

    history            job_history_enable (Torque: whether jobs that are over are told of); default true
    visible            whether one sees others' jobs (query_other_jobs); default true
    slots              how many jobs run at once; default 64
    copying            seconds for which a job that has ended is in state E
    delay              seconds before a request is looked at, as where ports have run out
    after              seconds between a submission that was taken and its reply
    refuse             [exit code, words] of every qsub
    auth               false: nobody can be authenticated
    also               further output of the qstat of all jobs: somebody else's
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import socketserver
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.standin_pbs import answers
from tests.standin_pbs.jobs import Job

Answer = tuple[int, str, str]

NO_HISTORY = "PBS is not configured to maintain job history"
NO_AUTH = (
    "pbs_iff: cannot connect to host\nauth: error returned: -1\nauth: Unable to authenticate connection"
    " (standin:15001)\n{name}: cannot connect to server standin (errno=-1)\n"
)
_VALUED = {
    "qsub": set("aACceEhIJjklMmNopPqrRSuvW") - set("hI"),
    "qstat": set("FD"),
    "qselect": set("Nusq"),
    "qdel": set("W"),
    "qhold": set("h"),
    "qrls": set("h"),
}


class Server:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.dialect = (directory / "dialect").read_text()
        self.jobs: dict[int, Job] = {}
        self.lock = threading.RLock()
        self.next = 100
        self.busy = 0

    def setting(self, name: str, otherwise: Any) -> Any:
        return json.loads((self.directory / "settings").read_text()).get(name, otherwise)

    def pass_time(self) -> None:
        while True:
            time.sleep(0.01)
            copying, slots = self.setting("copying", 0.05), self.setting("slots", 64)
            with self.lock:
                for job in list(self.jobs.values()):
                    job.tick(copying)
                    self._schedule(job, slots)

    def _schedule(self, job: Job, slots: int) -> None:
        running = sum(each.state == "R" for each in self.jobs.values())
        if job.state == "Q" and running < slots:
            job.start()
        elif job.state == "Q" and not job.comment:
            job.comment = "Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 1)"

    # requests

    def answer(self, uid: int, asked: dict[str, Any]) -> Answer:
        name = asked["name"]
        if name == "control":
            return self._control(asked["argv"])
        try:
            self._log(1, [name, *asked["argv"]])
            time.sleep(self.setting("delay", 0))
            return self._answer(uid, name, asked)
        finally:
            self._log(-1, None)

    def _log(self, more: int, argv: list[str] | None) -> None:
        with self.lock, (self.directory / "log").open("a") as log:
            self.busy += more
            if argv:
                log.write(json.dumps([self.busy, *argv]) + "\n")

    def _answer(self, uid: int, name: str, asked: dict[str, Any]) -> Answer:
        if not self.setting("auth", True):
            return 255, "", NO_AUTH.format(name=name)
        options, words = _parsed(name, asked["argv"])
        with self.lock:
            answer: Answer = getattr(self, f"_{name}")(uid, options, words, asked)
        if name == "qsub":
            time.sleep(self.setting("after", 0))
        return answer

    def _control(self, argv: list[str]) -> Answer:
        verb, *words = argv
        with self.lock:
            if verb == "lose-node":
                self.jobs[int(words[0])].lose_node(words[1] == "requeue")
            elif verb == "suspend":
                self.jobs[int(words[0])].state = "S"
            elif verb == "purge":
                self.jobs = {number: job for number, job in self.jobs.items() if not job.over}
        return 0, "", ""

    def _qsub(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        if refusal := self.setting("refuse", None):
            return refusal[0], "", f"{refusal[1]}\n"
        if self.dialect == "openpbs" and not asked["script"]:
            return 1, "", "qsub: no script\n"
        number, self.next = self.next, self.next + 1
        script = self.directory / "scripts" / f"{number}.SC"
        script.write_bytes(asked["script"].encode("latin-1"))
        script.chmod(0o755)
        resources = options.get("-l", [])
        walltime = next((float(each[9:]) for each in resources if each.startswith("walltime=")), None)
        facts = {"walltime": walltime, "variables": options.get("-v", [""])[0], "asked": resources}
        facts["account"] = options.get("-A", [""])[0]
        job = Job(number, options["-N"][0], uid, options.get("-q", ["workq"])[0], script, **facts)
        if "-h" in options:
            job.hold, job.state, job.substate = "u", "H", 20
        self.jobs[number] = job
        return 0, f"{job.local_id}\n", ""

    def _qstat(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        assert asked["tz"] == "UTC", "the times come without a zone"
        if "-B" in options:
            return 0, self._about(), ""
        seen = [job for job in self.jobs.values() if self.setting("visible", True) or job.uid == uid]
        if self.dialect == "torque":
            kept = [job for job in seen if self.setting("history", True) or not job.over]
            return 0, answers.xml(kept) + self.setting("also", ""), ""
        if "-x" in options and not self.setting("history", True):
            return 0, "", "".join(f"qstat: {NO_HISTORY} {word}\n" for word in words or [""])
        if words:
            return self._told(words, seen, over="-x" in options)
        out = "".join(answers.dsv(job) for job in seen if "-x" in options or not job.over)
        return 0, out + self.setting("also", ""), ""

    def _told(self, words: list[str], seen: list[Job], over: bool) -> Answer:
        """Those that it knows, and of the others that it does not."""
        code, out, err = 0, "", ""
        known = {job.local_id: job for job in seen}
        for word in words:
            if word not in known:
                code, err = 153, err + f"qstat: Unknown Job Id {word}\n"
            elif known[word].over and not over:
                code, err = 35, err + f"qstat: {word} Job has finished, use -x or -H\n"
            else:
                out += answers.dsv(known[word])
        return code, out, err

    def _about(self) -> str:
        about = {"server_host": socket.gethostname(), "pbs_version": "23.06.06", "scheduling": "True"}
        about["query_other_jobs"] = str(self.setting("visible", True))
        if self.setting("history", True):
            about |= (
                {"job_history_enable": "True"} if self.dialect == "openpbs" else {"keep_completed": "300"}
            )
        return "Server: standin\n" + "".join(f"    {name} = {value}\n" for name, value in about.items())

    def _qselect(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        if "-x" in options and not self.setting("history", True):
            return 0, "", f"qselect: {NO_HISTORY} \n"
        found = [
            job
            for job in self.jobs.values()
            if job.name == options["-N"][0]
            and job.owner == options["-u"][0]
            and (self.setting("visible", True) or job.uid == uid)
            and ("-x" in options or not job.over)
        ]
        return 0, "".join(f"{job.local_id}\n" for job in found), ""

    def _qdel(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        job, failure = self._theirs("qdel", uid, words[0])
        if job:
            job.delete(pwd.getpwuid(uid).pw_name, "force" in options.get("-W", []))
        return failure

    def _qhold(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        job, failure = self._theirs("qhold", uid, words[0])
        if job and job.state == "Q":
            job.hold, job.state, job.substate = "u", "H", 20
        return failure

    def _qrls(
        self, uid: int, options: dict[str, list[str]], words: list[str], asked: dict[str, Any]
    ) -> Answer:
        job, failure = self._theirs("qrls", uid, words[0])
        if job and job.state == "H":
            job.hold, job.state, job.substate = "n", "Q", 10
        return failure

    def _theirs(self, name: str, uid: int, word: str) -> tuple[Job | None, Answer]:
        job = next((each for each in self.jobs.values() if each.local_id == word), None)
        unknown = 153, "", f"{name}: Unknown Job Id {word}\n"
        if job is None or (job.over and not self.setting("history", True)):
            return None, unknown
        if job.over and self.dialect == "torque":
            return None, (170, "", f"{name}: Request invalid for state of job {word}\n")
        if job.over:
            return None, (35, "", f"{name}: Job has finished {word}\n")
        if job.uid != uid:
            return None, (159, "", f"{name}: Unauthorized Request  {word}\n")
        return job, (0, "", "")


def _parsed(name: str, argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    options: dict[str, list[str]] = {}
    words, rest = [], iter(argv)
    for word in rest:
        if re.fullmatch("-[A-Za-z]", word):
            value = next(rest) if word[1] in _VALUED[name] else ""
            options.setdefault(word, []).append(value)
        else:
            words.append(word)
    return options, words


class Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        peer = self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", peer)
        line = self.rfile.readline()
        if line.endswith(b"\n"):  # a client that was killed before has asked for nothing
            code, out, err = SERVER.answer(uid, json.loads(line))
            self.wfile.write(json.dumps({"code": code, "out": out, "err": err}).encode() + b"\n")


class Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, address: Any) -> None:
        """A client that went away is nothing to tell of."""
        if not isinstance(sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1], OSError):
            super().handle_error(request, address)


if __name__ == "__main__":
    SERVER = Server(Path(sys.argv[1]))
    os.umask(0o022)
    with Listener(f"{sys.argv[1]}/socket.new", Request) as listener:
        threading.Thread(target=SERVER.pass_time, daemon=True).start()
        os.rename(f"{sys.argv[1]}/socket.new", f"{sys.argv[1]}/socket")
        listener.serve_forever()
