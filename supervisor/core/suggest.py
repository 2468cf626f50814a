"""The "did you mean" of every error message."""

from collections.abc import Iterable


def did_you_mean(found: str, candidates: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? "``, or an empty string when nothing comes close."""
    close = closest(found, candidates)
    return f"did you mean {close!r}? " if close else ""


def closest(found: str, candidates: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return what is nearly ``found``, or an empty string when nothing is; ``likeness`` 1 is the same text."""
    from difflib import get_close_matches  # noqa: PLC0415 - only when something is wrong: not on a worker's way to work

    return next(iter(get_close_matches(found, list(candidates), n=1, cutoff=likeness)), "")
