"""The keeper process: takes orders from its daemon, forks a supervisor for each, buries the dead. Ends when
its daemon does.

    argv: the orders' socket, the lock of orders under way, the rung that is wanted, the control group below
    which the jobs' are made, the one to go to itself ("": it stays)

Started in the attempts' directory. An order is one packet: the tag, a memfd with the order, and the pipe for
the reply. The keeper does not read the order; the less it does, the less can go wrong for everybody.

It is a subreaper: what a supervisor that was killed leaves behind falls to it, and is killed.
"""

import _socket
import gc
import os
import select
import sys

from jobd.keeper import containment, procfs, record
from jobd.keeper.bare import signal, suppress
from jobd.keeper.prctl import become_subreaper
from jobd.keeper.supervisor import BLOCKED, supervise

_ORDER_SIZE = 256


def main() -> None:
    argv = sys.argv[1:]
    channel, flight = int(argv[0]), int(argv[1])
    for fd in channel, flight:
        os.set_inheritable(fd, False)
    procfs.rename_self("jobd-keeper")
    reset_signals()
    trouble = containment.move_to(argv[4]) if argv[4] else ""
    rung, why = climb(argv[2], argv[3])
    if rung != "group":
        become_subreaper()
    keeper = Keeper(_socket.socket(fileno=channel), flight, rung, argv[3])
    keeper.channel.send(record.to_json({"rung": rung, "why": why or trouble}).encode("ascii"))
    gc.collect()
    gc.freeze()  # forks share what nobody writes to
    gc.disable()
    keeper.serve()


def reset_signals() -> None:
    """Back to the defaults once, here, rather than before each exec: the daemon or nohup may have had some
    ignored.

    SIGPIPE and SIGCHLD get handlers, which exec resets by itself.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, _nothing)
    signal.signal(signal.SIGCHLD, _nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _nothing(number: int, frame: object) -> None:
    """A write to a closed pipe is an error to handle; a child's end wakes the poll."""


def climb(wanted: str, base: str) -> tuple[str, str]:
    """The highest rung that holds here, and why not a higher one."""
    if wanted in ("subreaper", "group"):
        return wanted, "by configuration"
    trouble = containment.try_cgroup(base) if base else "no control group (v2) is mounted"
    return ("subreaper", trouble) if trouble else ("cgroup", "")


class Keeper:
    def __init__(self, channel: "_socket.socket", flight: int, rung: str, base: str) -> None:
        self.channel = channel
        self.flight = flight
        self.rung = rung
        self.base = base
        self.boot_id = procfs.boot_id()
        self.tags: dict[int, str] = {}
        """Of the supervisors, by pid."""
        self.deaths, self._deaths = os.pipe()
        for end in self.deaths, self._deaths:
            os.set_blocking(end, False)

    def serve(self) -> None:
        signal.set_wakeup_fd(self._deaths, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        poll.register(self.deaths, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self.deaths in ready:
                self.bury()
            if self.channel.fileno() in ready and not self.take_order():
                return

    def take_order(self) -> bool:
        """False: the daemon is gone."""
        try:
            data, ancillary, _, _ = self.channel.recvmsg(
                _ORDER_SIZE, _socket.CMSG_SPACE(2 * 4), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # gone, without having read all that we told it
            return False
        if not data:
            return False
        fds = [int.from_bytes(raw[at : at + 4], sys.byteorder) for _, _, raw in ancillary for at in (0, 4)]
        try:
            if len(fds) == 2:
                self.launch(data.decode("ascii"), *fds)
        except OSError as error:
            os.write(fds[1], f"the keeper cannot fork: {error.strerror}".encode())
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def launch(self, tag: str, order: int, reply: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_supervisor(tag, order, reply)
        self.tags[pid] = tag

    def _be_supervisor(self, tag: str, order: int, reply: int) -> None:
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)  # until now nobody knows us
            signal.set_wakeup_fd(-1)
            for fd in self.channel.fileno(), self.deaths, self._deaths:
                os.close(fd)
            os.setsid()
            supervise(tag, order, reply, self.flight, self.rung, self.base, self.boot_id)
            code = 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(code)

    def bury(self) -> None:
        os.read(self.deaths, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            tag = self.tags.pop(pid, None)
            if status or tag is None:
                self.clean_up(tag)

    def clean_up(self, tag: str | None) -> None:
        """After a violent end: what fell to us and is not a supervisor is a dead one's job. Each of them that
        dies brings us here again, for what falls to us then."""
        for pid in procfs.children(os.getpid()):
            if pid not in self.tags:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)  # our child, not reaped: the pid is its own
        if tag is not None:
            with suppress(OSError):  # the daemon is going
                self.channel.send(record.to_json({"tag": tag, "event": "gone"}).encode("ascii"))
