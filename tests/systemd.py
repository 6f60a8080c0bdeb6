"""A machine of its own with a real systemd, for tests: booted as PID 1 in private namespaces in a second.

It sees the files of this machine, and what it writes there goes to memory and vanishes with it. /run, /tmp,
/dev, the network and the control groups (v2) are its own; sysctls and the clock, which no namespace has, are
read-only. `share` binds directories of this machine into it, which is how a test gets things in and out, and
how one machine finds what the last one left.

    boot (in the test) > unshare > boot (this file's main, as PID 1: mounts) > exec systemd
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import processes
from tests.daemon import until

SYSTEMD = next(
    (path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if os.path.exists(path)), ""
)
ROOT = Path(__file__).resolve().parent.parent
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SERVICES = (
    "remount-fs",
    "timesyncd",
    "firstboot",
    "udevd",
    "udev-trigger",
    "hwdb-update",
    "pstore",
    "repart",
    "random-seed",
    "update-utmp",
    "sysctl",
    "binfmt",
    "modules-load",
    "networkd",
    "resolved",
)
_MOUNTS = (
    "sys-kernel-debug",
    "sys-kernel-tracing",
    "sys-kernel-config",
    "sys-fs-fuse-connections",
    "dev-mqueue",
)
_MASKED = (
    *(f"systemd-{name}.service" for name in _SERVICES),
    "proc-sys-fs-binfmt_misc.automount",
    *(f"{name}.mount" for name in _MOUNTS),
    "timers.target",
)
"""Units that would touch what is not the machine's own."""


def why_not() -> str:
    """Why no machine can be booted here; "" if one can."""
    if os.geteuid() != 0:
        return "booting a systemd needs root"
    if not SYSTEMD or not shutil.which("unshare") or not shutil.which("nsenter"):
        return "booting a systemd needs one, unshare and nsenter"
    mount = _cgroup_mount()
    if not mount or not os.access(mount, os.W_OK):
        return "booting a systemd needs a cgroup v2 that can be written"
    trial = subprocess.run(["unshare", "-m", "-p", "-f", "-C", "true"], capture_output=True, check=False)
    return "" if trial.returncode == 0 else "booting a systemd needs namespaces of its own"


def _cgroup_mount() -> str:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return line.split()[1]
    return ""


class Machine:
    def __init__(self, share: Mapping[Path, str] | None = None, boot_id: str = "") -> None:
        """`share`: directories of this machine and where they are in the new one; `boot_id`: what its kernel
        is to say instead of this one's, since there is but one kernel."""
        self._share = [(os.fspath(here), there) for here, there in (share or {}).items()]
        for needed in (ROOT, Path(sys.prefix), Path(sys.base_prefix)):
            if needed.is_relative_to("/tmp") or needed.is_relative_to("/run"):
                self._share.append((os.fspath(needed), os.fspath(needed)))
        self._boot_id = boot_id

    def __enter__(self) -> Machine:
        self._scratch = Path(tempfile.mkdtemp(prefix="jobd-machine-"))
        self._group = Path(_cgroup_mount()) / self._scratch.name
        self._group.mkdir()
        self._console = self._scratch / "console"
        facts = {"scratch": str(self._scratch), "share": self._share, "boot_id": self._boot_id}
        try:
            self._start(json.dumps(facts))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, facts: str) -> None:
        inner = [sys.executable, "-P", "-m", "tests.systemd", facts]
        outer = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "--"]
        with self._console.open("wb") as console:
            self._unshare = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    'echo $$ > "$1/cgroup.procs" && shift && exec "$@"',
                    "sh",
                    self._group,
                    *outer,
                    *inner,
                ],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._init = until(self._find_init, 40.0, "systemd is PID 1")
        until(self._is_up, 60.0, "the machine is up")

    def _find_init(self) -> int:
        if self._unshare.poll() is not None:
            raise AssertionError(f"no systemd was booted: {self._console.read_text()}")
        children = [pid for pid in processes.pids() if processes.parent(pid) == self._unshare.pid]
        return next((pid for pid in children if processes.name(pid) == "systemd"), 0)

    def _is_up(self) -> bool:
        said = self.run("systemctl", "is-system-running").stdout.strip()
        return said in ("running", "degraded")

    def is_off(self) -> bool:
        return self._unshare.poll() is not None

    def __exit__(self, *_: object) -> None:
        """As when the power fails."""
        if hasattr(self, "_unshare"):
            self._unshare.kill()  # --kill-child: PID 1 goes too, and with it everybody
            self._unshare.wait()
        until(self._remove_group, 20.0, "its control groups are empty")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _remove_group(self) -> bool:
        for directory, _, _ in os.walk(self._group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        return not self._group.exists()

    # what is done in it

    def command(self, *words: str | Path, user: str = "", **environment: str) -> list[str]:
        """The words of a command that runs `words` inside; as that user, if one is named."""
        # env goes last: setpriv itself still runs what it starts with root's rights to find it.
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        given = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": f"/home/{user}" if user else "/root", **environment}
        variables = [f"{name}={value}" for name, value in given.items()]
        enter = ["nsenter", "-t", str(self._init), "-m", "-p", "-C", "-i", "-u", "-n", "-r", "-w"]
        return [*enter, *become, "env", "-i", *variables, *map(str, words)]

    def run(self, *words: str | Path, user: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words, user=user, **environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def do(self, *words: str | Path, user: str = "", **environment: str) -> str:
        """The same, of a command that must work; what it says."""
        found = self.run(*words, user=user, **environment)
        assert found.returncode == 0, f"{words}: {found.stdout}{found.stderr}\n{self.log()}"
        return found.stdout

    def property(self, unit: str, name: str) -> str:
        return self.do("systemctl", "show", "--value", "-p", name, unit).strip()

    def log(self, *words: str) -> str:
        """The journal, of `words` if there are any."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *words).stdout

    def path(self, inside: str) -> Path:
        """A file of the machine, as this one finds it."""
        return Path(f"/proc/{self._init}/root{inside}")

    def pids(self, group: str) -> list[int]:
        """Who is in that control group of the machine or below it, by the numbers that they have here."""
        found: list[int] = []
        for directory, _, _ in os.walk(self._group / group.strip("/")):
            with contextlib.suppress(OSError):
                found += map(int, (Path(directory) / "cgroup.procs").read_text().split())
        return found


# inside, before systemd


def main(facts: dict[str, Any]) -> None:
    """PID 1 of the namespaces: makes the machine's files, goes there, and becomes systemd."""
    root = _overlay(Path(facts["scratch"]))
    _kernel_files(root, facts["boot_id"])
    _devices(root)
    for place, kind, options in (
        ("run", "tmpfs", "mode=755"),
        ("tmp", "tmpfs", "mode=1777"),
        ("sys/fs/cgroup", "cgroup2", "rw"),
    ):
        _mount("-t", kind, "-o", options, kind, root / place)
    for here, there in facts["share"]:
        (root / there.lstrip("/")).mkdir(parents=True, exist_ok=True)
        _mount("--bind", here, root / there.lstrip("/"))
    _settings(root)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    subprocess.run(["hostname", "jobd-test"], check=True)
    os.chdir(root)
    os.mkdir(".old")
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    subprocess.run(["umount", "-l", "/.old"], check=True)
    environment = {"container": "jobd-test", "PATH": PATH, "LANG": "C.UTF-8"}
    words = [SYSTEMD, "--unit=basic.target", "--log-target=journal", "--show-status=no"]
    os.execve(SYSTEMD, words, environment)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def _overlay(scratch: Path) -> Path:
    """This machine's files under a layer in memory."""
    layers = scratch / "layers"
    layers.mkdir()
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", layers)
    for name in ("upper", "work", "root"):
        (layers / name).mkdir()
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    _mount("-t", "overlay", "-o", options, "overlay", layers / "root")
    return layers / "root"


def _kernel_files(root: Path, boot_id: str) -> None:
    """What is in /proc and /sys and not in any namespace must not be changed by what boots here."""
    _mount("-t", "proc", "proc", root / "proc")
    for place in filter(Path.exists, (root / "proc/sys", root / "proc/sysrq-trigger")):
        _mount("--bind", place, place)
        _mount("-o", "remount,bind,ro", place)
    if boot_id:
        said = root / "run/boot_id"
        said.write_text(f"{boot_id}\n")
        _mount("--bind", said, root / "proc/sys/kernel/random/boot_id")
    _mount("-t", "sysfs", "-o", "ro", "sysfs", root / "sys")


def _devices(root: Path) -> None:
    dev = root / "dev"
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", dev)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", dev / name)
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666"),
        ("shm", "tmpfs", "mode=1777"),
    ):
        (dev / name).mkdir()
        _mount("-t", kind, "-o", options, kind, dev / name)
    for name, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ):
        (dev / name).symlink_to(target)


def _settings(root: Path) -> None:
    etc = root / "etc"
    (etc / "fstab").write_text("")
    if not (etc / "machine-id").exists() or not (etc / "machine-id").read_text().strip():
        (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    journal = etc / "systemd/journald.conf.d"
    journal.mkdir(parents=True, exist_ok=True)
    (journal / "test.conf").write_text(
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToSyslog=no\n"
    )
    for unit in _MASKED:
        (etc / "systemd/system" / unit).unlink(missing_ok=True)
        (etc / "systemd/system" / unit).symlink_to("/dev/null")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
