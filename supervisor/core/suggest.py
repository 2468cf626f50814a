"""The "did you mean" of every error message."""

from collections.abc import Iterable


def did_you_mean(found: str, candidates: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? "``, or an empty string when nothing comes close."""
    from difflib import get_close_matches  # noqa: PLC0415 - only when something is wrong: not on a worker's way to work

    close = get_close_matches(found, list(candidates), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""
