"""Two things of the standard library without what they bring along: it would cost the keeper a third of its
start, and every job 300 KB (the enums of `signal` are touched, and so copied, at each call)."""

TYPE_CHECKING = False  # as mypy knows it
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal", "suppress"]


class suppress:
    """As contextlib has it."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self.kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        return kind is not None and issubclass(kind, self.kinds)
