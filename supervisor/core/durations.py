"""Durations as people write them (``"200ms"``, ``"1h30m"``) and as code uses them (seconds)."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TENTHS_BELOW = 10
_TOKEN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` means; raise ``ValueError`` saying what would be right."""
    compact = text.replace(" ", "")
    tokens = _TOKEN.findall(compact)
    if not tokens or "".join(number + unit for number, unit in tokens) != compact:
        message = f"{text!r} is not a duration; write a number with a unit: '200ms', '30s', '5m', '1h30m'"
        raise ValueError(message)
    return sum(float(number) * _UNITS[unit] for number, unit in tokens)


def format_duration(seconds: float) -> str:
    """Return ``seconds`` the way a table shows it: two units at most (``3h12m``, ``41s``, ``40ms``)."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < _TENTHS_BELOW and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for unit, size, below, small in (("d", 86400, 3600, "h"), ("h", 3600, 60, "m"), ("m", 60, 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}{rest}{small}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"
