"""jobctl version: jobctl's own, and the daemon's if one answers."""

from __future__ import annotations

import jobd
from jobd.errors import JobdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobd.cli.parser import Parser
    from jobd.cli.session import Session


def arguments(parser: Parser, verb: str) -> None:
    pass


def main(session: Session, verb: str) -> int:
    try:
        client = session.client()
        client.patience = 0
        daemon, host = client.health().get("version"), str(client.host)
    except JobdError:
        daemon = host = None
    if session.options.json:
        session.json({"jobctl": jobd.__version__, "jobd": daemon, "host": host})
    else:
        session.out(f"jobctl {jobd.__version__}")
        session.out(f"jobd   {daemon} ({host})" if daemon else "jobd   does not answer")
    return 0
