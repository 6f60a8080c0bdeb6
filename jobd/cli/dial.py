"""jobctl dial-stdio: standard input and output become a connection to the daemon. It is what a host by ssh
runs on the daemon's machine; whoever starts it is who is calling.

The end of standard input is handed on as what it is, the end of one direction; the daemon then ends the
other one, since nobody waits for an answer any more, and with the connection this ends. So nothing stays
behind when the far end is gone. A daemon that does not answer is waited for here rather than by one log-in
after the other. It starts one's own only when the far end runs a verb that would start one here (--start): a
`list` from afar must not leave a daemon behind.
"""

from __future__ import annotations

import os
import socket
import threading

from jobd.client.ssh import GREETING, SCHEME
from jobd.errors import Invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session

PIECE = 65536


def arguments(parser: Parser, verb: str) -> None:
    parser.add_argument("--start", action="store_true", help="start your own daemon if none is there")
    parser.add_argument(
        "--greet", action="store_true", help="say in a first line when the connection is there"
    )


def main(session: Session, verb: str) -> int:
    options = session.options
    if (options.host or "").startswith(SCHEME):
        raise Invalid("dial-stdio connects to a daemon of this machine (expected unix:///path/of/jobd.sock)")
    if os.environ.get("JOBD_HOST", "").startswith(SCHEME):
        del os.environ["JOBD_HOST"]  # where homes are shared it may name this very machine, for ever
    connected = session.client(start=options.start).connected()
    if options.greet:
        _write(1, GREETING)
    threading.Thread(target=_send, args=(connected,), daemon=True).start()
    while piece := connected.recv(PIECE):
        _write(1, piece)
    return 0


def _send(connected: socket.socket) -> None:
    try:
        while piece := os.read(0, PIECE):
            connected.sendall(piece)
        connected.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the connection has ended, which the other direction tells


def _write(number: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(number, left) :]
