"""Addresses to listen on as people write them (``"127.0.0.1:9464"``, ``"[::1]:9464"``) and as code uses them."""

import re

HIGHEST_PORT = 65535
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})", re.ASCII)


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port; raise ``ValueError`` when ``text`` is no such pair."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[3]) <= HIGHEST_PORT:
        message = f"not an address and a port: {text!r}"
        raise ValueError(message)
    return match[1] or match[2], int(match[3])


def format_address(host: str, port: int) -> str:
    """Return what ``parse_address`` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
