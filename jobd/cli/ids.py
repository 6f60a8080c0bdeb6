"""Which jobs are meant: by id, by the beginning of an id, by name, as `last`, or all that standard input
names.

One word means one job. A word that fits several is refused with the list of them, since a kill of the wrong
one cannot be undone. So is an empty one, which is what an unset variable of a shell leaves, and, where
something is changed, a beginning of an id that is short enough to be a slip. `last` is the job that you
submitted last.

A name means a job of your own: it is no reason to do anything to somebody else's that is shared with you. An
id, or the beginning of one that none of your own has, can mean those too.
"""

from __future__ import annotations

import sys

from jobd.errors import Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jobd.client import Client

HELP = "an id or the beginning of one, a name, `last`, or - to read them from standard input"
WHOLE = 40
"""Characters of an id."""
_WHOLE_UUID = 36
"""Of one that has no ending."""
_ID = frozenset("0123456789abcdef-")
_SHOWN = 5
SAFE = 4
"""Characters of an id's beginning that are enough to change the job."""


def words(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments, with those of standard input (the first word of each line, as `list -q` and `submit`
    print it) for `-`."""
    for argument in arguments:
        if argument == "-":
            yield from (line.split()[0] for line in sys.stdin if line.strip())
        else:
            yield argument


def find(client: Client, word: str, *, hidden: bool = False, changes: bool = False) -> str:
    """The id of the job that is meant. Raises NotFound; Invalid when several jobs are, or none can be.
    hidden: look among deleted jobs; changes: something will be done to it."""
    if not word.strip():
        raise Invalid("the id is empty (expected an id, the beginning of one, a name, or last)")
    if len(word) == WHOLE and _ID.issuperset(word):
        return word
    if word == "last":
        return _last(client, hidden)
    short = changes and len(word) < SAFE
    found = _candidates(client, word, hidden, by_id=not short)
    if not found and short and _ID.issuperset(word):
        raise Invalid(
            f"no job has the name {word!r}, and as the beginning of an id it is too short to change a job by "
            f"(expected at least {SAFE} characters)"
        )
    if not found:
        raise NotFound(
            f"no {'deleted ' if hidden else ''}job has an id that begins with {word}, or the name {word!r}"
        )
    if len(found) > 1:
        raise Invalid(f"{word!r} fits several jobs ({_several(found)}): give more of the id")
    return next(iter(found))


def _last(client: Client, hidden: bool) -> str:
    where = {"owner": client.me()["username"], **_visible(hidden)}
    for job in client.list(where, limit=1, order_by="created", fields=["id"]):
        return str(job["id"])
    raise NotFound("you have no jobs" if not hidden else "you have no deleted jobs")


def _candidates(client: Client, word: str, hidden: bool, by_id: bool) -> dict[str, str]:
    """Name by id, of the jobs that the word fits."""
    own = {"shared": "false", **_visible(hidden)}
    found = _found(client, {"name": word, **own})
    if not by_id or not _ID.issuperset(word):
        return found
    beginning = {"id.like": f"{word}*"}
    all_of_them = found | _found(client, {**beginning, **_visible(hidden)})
    if len(all_of_them) > 1 and not client.me()["admin"]:  # for whom everybody's are as good as their own
        return found | _found(client, {**beginning, **own}) or all_of_them
    return all_of_them


def _found(client: Client, where: dict[str, str]) -> dict[str, str]:
    return {str(job["id"]): str(job["name"]) for job in client.list(where, limit=_SHOWN + 1)}


def _several(found: dict[str, str]) -> str:
    shown = ", ".join(f"{job_id[:13]} {name}" for job_id, name in list(found.items())[:_SHOWN])
    return shown + (" .." if len(found) > _SHOWN else "")


def _visible(hidden: bool) -> dict[str, str]:
    return {"visible": "false"} if hidden else {}


def one_of(word: str, known: Callable[[], Iterable[str]], what: str) -> str:
    """The id, of something else than a job, that is meant by it or by its beginning. Raises NotFound; Invalid
    when several are."""
    if len(word) >= _WHOLE_UUID:
        return word
    if len(word) < SAFE:
        raise Invalid(f"{word!r} is too short for an id's beginning (expected at least {SAFE} characters)")
    found = [one for one in known() if one.startswith(word)]
    if not found:
        raise NotFound(f"no {what} has an id that begins with {word}")
    if len(found) > 1:
        raise Invalid(f"{word} is the beginning of {len(found)} ids: give more of the id")
    return found[0]


def shortest(ids: Iterable[str], least: int = 8) -> int:
    """How many characters tell these ids apart."""
    different = set(ids)
    length = least
    while len({job_id[:length] for job_id in different}) < len(different):
        length += 1
    return length
