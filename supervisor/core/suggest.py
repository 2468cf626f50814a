"""The "did you mean" of every error message."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(found: str, candidates: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? "``, or an empty string when nothing comes close."""
    close = get_close_matches(found, list(candidates), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""
