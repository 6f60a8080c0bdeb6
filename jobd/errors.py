"""What can go wrong, sorted by what the caller should do about it.

Every error but Refused carries its HTTP code, so that no other place maps one to the other. The message is
written for the person who made the call: what was wrong, where, and what would be right.
"""

from __future__ import annotations

TYPE_CHECKING = False  # jobctl imports this at every start: nothing that it does not need
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Fault:
    """One thing wrong with what was sent: which field, what is wrong with it, and what would be right."""

    __slots__ = ("expected", "field", "problem")

    def __init__(self, field: str, problem: str, expected: str = "") -> None:
        self.field = field
        self.problem = problem
        self.expected = expected

    def __str__(self) -> str:
        words = f"{self.field}: {self.problem}" if self.field else self.problem
        return f"{words} (expected {self.expected})" if self.expected else words

    def __repr__(self) -> str:
        return f"Fault({self.field!r}, {self.problem!r}, {self.expected!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fault) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.field, self.problem, self.expected))

    def as_dict(self) -> dict[str, str]:
        known = {"field": self.field, "problem": self.problem, "expected": self.expected}
        return {name: value for name, value in known.items() if value or name != "expected"}


class JobdError(Exception):
    """Something went wrong inside jobd itself."""

    code = 500
    conflicts: Sequence[dict[str, Any]] = ()
    """With an app of today, where that is what went wrong: all of them, as a reply has them."""


class Invalid(JobdError):
    """The request can never be right as it stands: mend it, field by field."""

    code = 400

    def __init__(self, *faults: Fault | str) -> None:
        self.faults: Sequence[Fault] = [f if isinstance(f, Fault) else Fault("", f) for f in faults]
        super().__init__("; ".join(str(fault) for fault in self.faults))


class Forbidden(JobdError):
    """You can see it, but it is not yours to change."""

    code = 403


class NotFound(JobdError):
    """There is no such thing, or it is not yours to know of."""

    code = 404


class Conflict(JobdError):
    """A fair request at the wrong moment: look at the present state, then decide."""

    code = 409


class Unavailable(JobdError):
    """Something that is needed does not answer: nothing is known to have changed; try again later.

    From a backend's submit it means "maybe later, maybe done already": only `find` can tell.
    """

    code = 503

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which a second try makes sense."""


class TooMany(JobdError):
    """You have as much at once as one person may have: go on when some of it is over."""

    code = 429

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class Down(Unavailable):
    """The same of a whole execution system: whoever else asks it now would wait in vain too."""


class Refused(JobdError):
    """A final word: of a backend, in the system's own words, that this job will never be taken; of staging or
    archiving, that it cannot be done. Ends the job, is not HTTP."""
