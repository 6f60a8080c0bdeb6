"""A real Slurm cluster of one's own on this machine: no systemd, nothing in /etc, and nothing of it left.

    with Cluster(nodes=2, accounting=True) as cluster:
        cluster.run("sbatch", ...)

Each daemon (munged, slurmctld, a slurmd per pretended node; with accounting mariadbd and slurmdbd) is a child
of the test, in the foreground, and can be frozen, killed and started again by its name. Needs root, for
slurmd; what Debian calls slurmctld, slurmd, slurm-client, munge, slurmdbd and mariadb-server.

With `machine` (see people.py) its daemons know alice and bob.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests import processes
from tests.daemon import until
from tests.people import Machine

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd")

_AS_MUNGE = ("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups")

CONFIGURATION = {
    "ClusterName": "test",
    "SlurmUser": "slurm",
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "MpiDefault": "none",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SwitchType": "switch/none",
    "JobAcctGatherType": "jobacct_gather/linux",
    "JobAcctGatherFrequency": 1,
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    "DefMemPerCPU": 50,
    "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0",
    "PriorityType": "priority/basic",
    "SlurmdParameters": "config_overrides",
    "ReturnToService": 2,
    "MaxJobCount": 20000,
    "MinJobAge": 300,
    "KillWait": 2,
    "MessageTimeout": 10,
    "SlurmdTimeout": 30,
    "BatchStartTimeout": 10,
    "MailProg": "/bin/true",
    "AccountingStorageType": "accounting_storage/none",
}


PROCTRACK = (
    "proctrack/cgroup"
    if all(Path("/sys/fs/cgroup", name).is_dir() for name in ("freezer", "memory"))
    else "proctrack/linuxproc"
)
"""The best that this machine allows: control groups of version 1, which need no systemd."""


def missing() -> str:
    """Why no cluster can be had here; empty when one can."""
    if os.geteuid() != 0:
        return "a Slurm cluster needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"no {', '.join(absent)} on this machine" if absent else ""


class Cluster:
    def __init__(
        self,
        *,
        nodes: int = 2,
        cpus: int = 16,
        accounting: bool = False,
        machine: Machine | None = None,
        partitions: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """`settings` go over CONFIGURATION; `partitions` are further lines, NODES standing for all nodes."""
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.directory.chmod(0o755)
        self.conf = self.directory / "slurm.conf"
        self.shared = self.directory / "shared"
        """Where jobs and their people can have files."""
        self._port = _free_ports(nodes + 3)
        self.nodes = [f"n{self._port}x{number}" for number in range(1, nodes + 1)]
        """By names of their own: control groups go by them."""
        self.accounting = accounting
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._machine = machine
        self._cpus, self._partitions, self._settings = cpus, partitions, settings
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.conf),
        }

    def __enter__(self) -> Cluster:
        try:
            self._make()
            for name in self._all():
                self.start(name)
                if name == "slurmdbd":
                    self.run("sacctmgr", "-i", "add", "cluster", "test")
            self._until_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for name in reversed(self.daemons):
            self.kill9(name)
        for state in Path("/sys/fs/cgroup/freezer").glob(f"slurm_n{self._port}x*/**/freezer.state"):
            state.write_text("THAWED")  # a job that is suspended cannot die
        for pid in self.leftovers():
            processes.kill9(pid)
        for group in Path("/sys/fs/cgroup").glob(f"*/slurm_n{self._port}x*"):
            _remove_cgroup(group)
        shutil.rmtree(self.directory, ignore_errors=True)

    def leftovers(self) -> list[int]:
        """Job step managers and jobs, which outlive their slurmd."""
        ours = f"SLURM_CONF={self.conf}"
        daemons = {process.pid for process in self.daemons.values()}
        return [
            pid
            for pid in processes.pids()
            if pid not in daemons and processes.has_in_environment(pid, ours) and not processes.gone(pid)
        ]

    # what is said to it

    def enter(self, *command: str) -> list[str]:
        """The command as it is run where alice and bob are known."""
        return self._machine.inside(*command) if self._machine else list(command)

    def run(self, *command: str, user: str = "", check: bool = True, **options: Any) -> str:
        """Its output, of the command as that user."""
        if user:
            command = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *command)
        options = {"env": self.environment, "cwd": self.shared, "timeout": 120, **options}
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self, fields: str = "%i|%j|%T|%r|%u") -> list[list[str]]:
        lines = self.run("squeue", "-h", "--states=all", "-o", fields).splitlines()
        return [line.split("|") for line in lines]

    # its daemons

    def start(self, name: str) -> None:
        command = self._command(name)
        with (self.directory / "log" / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                self.enter(*command), env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        until(lambda: self._is_up(name), 60, f"{name} is up; see {self.directory}/log")

    def kill9(self, name: str) -> None:
        process = self.daemons[name]
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        process = self.daemons[name]
        process.terminate()
        process.wait(timeout=60)

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        pid = self.daemons[name].pid
        os.kill(pid, signal.SIGSTOP)
        until(lambda: processes.state(pid) == "T", what=f"{name} is stopped")
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def dead(self, name: str) -> Iterator[None]:
        """Ended in order: a controller that is killed forgets what it acknowledged in the last seconds."""
        self.stop(name)
        try:
            yield
        finally:
            self.start(name)

    def ping(self) -> bool:
        return "is UP" in self.run("scontrol", "ping", check=False)

    def _all(self) -> list[str]:
        database = ["mariadbd", "slurmdbd"] if self.accounting else []
        return ["munged", *database, "slurmctld", *self.nodes]

    def _command(self, name: str) -> list[str]:
        if name in self.nodes:
            return ["slurmd", "-D", "-N", name]
        return {
            "munged": [*_AS_MUNGE, "munged", "-F", "--force", *self._munge()],
            "slurmctld": ["slurmctld", "-D"],
            "slurmdbd": ["slurmdbd", "-D"],
            "mariadbd": ["mariadbd", *self._database(), f"--init-file={self.directory}/db/init.sql"],
        }[name]

    def _is_up(self, name: str) -> bool:
        process = self.daemons[name]
        log = self.directory / "log"
        assert process.poll() is None, (
            f"{name} ended: {(log / f'{name}.out').read_text(errors='replace')[-2000:]}"
        )
        match name:
            case "munged":
                return self._works("munge", "-n", "-S", str(self.directory / "munge/socket"))
            case "mariadbd":
                return _listens(self._port + 2)
            case "slurmdbd":
                return self._works("sacctmgr", "-n", "show", "cluster")
            case "slurmctld":
                return self.ping()
        return True

    def _works(self, *command: str) -> bool:
        done = subprocess.run(
            self.enter(*command), env=self.environment, capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def _until_up(self) -> None:
        def idle() -> bool:
            lines = self.run("sinfo", "-h", "-N", "-p", "debug", "-o", "%T", check=False).split()
            return len(lines) == len(self.nodes) and set(lines) == {"idle"}

        until(idle, 60, "all nodes are idle")

    # its files

    def _make(self) -> None:
        for name in ("log", "state", "spool", "munge", "db", "shared"):
            (self.directory / name).mkdir(mode=0o755)
        self.shared.chmod(0o1777)
        shutil.chown(self.directory / "state", "slurm", "slurm")
        shutil.chown(self.directory / "log", "slurm", "slurm")
        shutil.chown(self.directory / "munge", "munge", "munge")
        key = self.directory / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        shutil.chown(key, "munge", "munge")
        self.conf.write_text(self._configuration())
        cgroups = "yes" if "cgroup" in str(self._settings.get("ProctrackType")) else "no"
        (self.directory / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainCores=no\n"
            f"ConstrainRAMSpace={cgroups}\nAllowedSwapSpace=0\nMinRAMSpace=10\n"
        )
        if self.accounting:
            self._make_database()

    def _configuration(self) -> str:
        host, home = socket.gethostname().split(".")[0], self.directory
        places = {
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": self._port,
            "AuthInfo": f"socket={home}/munge/socket",
            "StateSaveLocation": home / "state",
            "SlurmdSpoolDir": home / "spool/%n",
            "SlurmctldPidFile": home / "slurmctld.pid",
            "SlurmdPidFile": home / "slurmd.%n.pid",
            "SlurmctldLogFile": home / "log/slurmctld",
            "SlurmdLogFile": home / "log/slurmd.%n",
        }
        if self.accounting:
            places |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": self._port + 1,
                "AccountingStoragePass": home / "munge/socket",
                "AccountingStoreFlags": "job_comment,job_script,job_env",
            }
        lines = [f"{name}={value}" for name, value in (CONFIGURATION | places | self._settings).items()]
        lines += [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={self._port + 3 + number}"
            f" CPUs={self._cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={self._cpus} ThreadsPerCore=1"
            " RealMemory=4000 State=UNKNOWN"
            for number, name in enumerate(self.nodes)
        ]
        everywhere = ",".join(self.nodes)
        lines += [
            f"PartitionName=debug Nodes={everywhere} Default=YES DefaultTime=10 MaxTime=60 State=UP",
            f"PartitionName=roots Nodes={everywhere} AllowGroups=root State=UP",
            f"PartitionName=down Nodes={everywhere} State=DOWN",
            *(line.replace("NODES", everywhere) for line in self._partitions),
        ]
        return "\n".join(lines) + "\n"

    def _munge(self) -> list[str]:
        home = self.directory / "munge"
        files = ("key-file", "pid-file", "log-file", "seed-file")
        return [f"--socket={home}/socket", *(f"--{each}={home}/{each[:-5]}" for each in files)]

    def _database(self) -> list[str]:
        """Nothing here has to survive a power cut, so nothing waits for the disk."""
        home = self.directory / "db"
        return [
            "--no-defaults",
            "--user=mysql",
            f"--datadir={home}/data",
            f"--socket={home}/socket",
            f"--pid-file={home}/pid",
            "--bind-address=127.0.0.1",
            f"--port={self._port + 2}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--innodb-log-file-size=16M",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-method=nosync",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-lock-wait-timeout=900",
            "--performance-schema=OFF",
        ]

    def _make_database(self) -> None:
        home = self.directory / "db"
        shutil.chown(home, "mysql", "mysql")
        (home / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
            "CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';\n"
            "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';\n"
        )
        subprocess.run(
            [
                "mariadb-install-db",
                *self._database(),
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            capture_output=True,
            check=True,
            timeout=120,
        )
        conf = self.directory / "slurmdbd.conf"
        host = socket.gethostname().split(".")[0]
        conf.write_text(
            f"AuthType=auth/munge\nAuthInfo=socket={self.directory}/munge/socket\nDbdHost={host}\n"
            f"DbdAddr=127.0.0.1\nDbdPort={self._port + 1}\nSlurmUser=slurm\n"
            f"LogFile={self.directory}/log/slurmdbd\nPidFile={self.directory}/slurmdbd.pid\n"
            f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={self._port + 2}\n"
            "StorageUser=slurm\nStoragePass=slurm\nStorageLoc=slurm_acct_db\nCommitDelay=1\n"
        )
        shutil.chown(conf, "slurm", "slurm")
        conf.chmod(0o600)


def _free_ports(number: int) -> int:
    """The first of so many ports on which nobody listens, below the ephemeral ones."""
    start = 17000 + os.getpid() % 500 * 20
    for first in range(start, start + 5000, 20):
        if not any(_listens(first + each) for each in range(number)):
            return first
    raise AssertionError("no free ports")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _remove_cgroup(top: Path) -> None:
    for place, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)
