"""References in strings, so that secrets need not stand in the file, and what is hidden when config is shown.

``${NAME}`` and ``${NAME:-default}`` stand for an environment variable in any string, ``$${`` for a plain
``${``. A string of ``[kafka]`` tables and ``[plugins.NAME]`` that begins with ``file:`` stands for the
content of that file, without its last line end.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.config.problems import KeyPath

HIDDEN = "***"
FILE = "file:"
LARGEST_FILE = 64 * 1024

_VARIABLE = re.compile(r"\$(\$?)\{([^}]*)\}")
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://((?:\$\{[^}]*\}|[^/?#\s}])*)((?:\$\{[^}]*\}|[^\s}])*)")
_KAFKA_SECRETS = frozenset({"password", "secret", "pem", "passphrase", "config"})
_PLUGIN_SECRETS = frozenset({"passwd", "token", "credential", "credentials", "authorization", "auth", "dsn", "headers"})
_SECRET_WORDS = _KAFKA_SECRETS | _PLUGIN_SECRETS
_SECRET_ENDINGS = ("api_key", "apikey", "access_key", "private_key", "routing_key", "secret_key", "webhook_url")


@dataclass(slots=True)
class Resolver:
    """Replaces the references of one file; ``written`` and ``failed`` tell afterwards where they stood."""

    environ: Mapping[str, str]
    folder: Path
    report: Callable[[KeyPath, str, str], None]
    written: dict[KeyPath, str] = field(default_factory=dict)
    failed: set[KeyPath] = field(default_factory=set)

    def resolve(self, value: Any, path: KeyPath = ()) -> Any:  # noqa: ANN401 - a TOML value has no narrower type
        """Return ``value`` with every reference replaced; one that cannot be is reported and left as written."""
        match value:
            case str():
                return self._string(value, path)
            case dict():
                return {key: self.resolve(item, (*path, key)) for key, item in value.items()}
            case list():
                return [self.resolve(item, (*path, index)) for index, item in enumerate(value)]
            case _:
                return value

    def _string(self, text: str, path: KeyPath) -> str:
        replaced = _VARIABLE.sub(lambda match: self._variable(match, path), text)
        if not (text.startswith(FILE) and option_keys(path)) or path in self.failed:
            return replaced
        self.written[path] = text
        return self._file(replaced.removeprefix(FILE), path)

    def _variable(self, match: re.Match[str], path: KeyPath) -> str:
        if match[1]:
            return match[0][1:]
        named = _NAMED.fullmatch(match[2])
        if named is None:
            self._fail(path, "a reference needs the name of a variable", "write ${NAME}, or $${ for a plain ${")
            return match[0]
        self.written[path] = match.string
        value = self.environ.get(named[1], "")
        if named[2] is not None:
            return value or named[2]
        if named[1] not in self.environ:
            name = named[1]
            self._fail(path, f"the environment has no {name}", f"set {name}, or give a default: ${{{name}:-...}}")
        return value

    def _file(self, name: str, path: KeyPath) -> str:
        file = self.folder / name
        try:
            # Only plain files: reading a pipe would wait for its writer.
            if file.exists() and not file.is_file():
                self._fail(path, f"{name} is not a plain file", "name a file that holds the value and nothing else")
                return ""
            if file.stat().st_size > LARGEST_FILE:
                self._fail(path, f"{name} is larger than {LARGEST_FILE} bytes", "name a file that holds only the value")
                return ""
            return file.read_bytes().decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            self._fail(path, f"{name} cannot be read: {reason}", "check the path and who may read the file")
        except UnicodeDecodeError:
            self._fail(path, f"{name} is not UTF-8 text", "name a file that holds the value as text")
        return ""

    def _fail(self, path: KeyPath, text: str, instead: str) -> None:
        self.failed.add(path)
        self.report(path, text, instead)


def option_keys(path: KeyPath) -> KeyPath:
    """Return the part of a path that is inside a pass-through table (librdkafka's keys, a plugin's options)."""
    match path:
        case ("kafka", *keys) | ("plugins", _, *keys) | ("defaults", "kafka", *keys) | ("groups", _, "kafka", *keys):
            return tuple(keys)
        case _:
            return ()


def is_secret_key(key: str) -> bool:
    """Tell whether a key by its name holds a secret, in librdkafka's words or a plugin's."""
    words = re.split(r"[._-]", key.lower())
    return words[-1] in _SECRET_WORDS or key.lower().replace("-", "_").endswith(_SECRET_ENDINGS)


def masked(value: Any, path: KeyPath, written: Mapping[KeyPath, str]) -> Any:  # noqa: ANN401 - a TOML value
    """Return ``value`` as it may be shown: references as the file has them, secrets as ``***``."""
    inside_secret = any(isinstance(part, str) and is_secret_key(part) for part in option_keys(path))
    reference = written.get(path) or written.get(path[:-1])
    bared = _bared_url if path[:1] == ("plugins",) else _without_userinfo
    match value:
        case dict():
            return {key: masked(item, (*path, key), written) for key, item in value.items()}
        case list() | tuple():
            return [masked(item, (*path, index), written) for index, item in enumerate(value)]
        case _ if reference is not None:
            return _shown_reference(reference) if inside_secret else bared(reference)
        case _ if inside_secret:
            return HIDDEN
        case str():
            return bared(value)
        case _:
            return value


def _without_userinfo(text: str) -> str:
    return _USERINFO.sub(HIDDEN, text)


def _bared_url(text: str) -> str:
    """Return a plugin's option with each URL in it cut down to its host: the path of a webhook is its password.

    Of any other scheme the host may be one, too (``tgram://TOKEN/CHAT``).
    """

    def shown(url: re.Match[str]) -> str:
        scheme, place, rest = url.groups()
        if scheme.lower() not in {"http", "https"} or "@" in rest:  # a password with a slash in it ends later
            return f"{scheme}://{HIDDEN}"
        _, at, host = place.rpartition("@")
        return f"{scheme}://{HIDDEN if at else ''}{at}{host}{rest if rest in {'', '/'} else f'/{HIDDEN}'}"

    return _URL.sub(shown, text)


def _shown_reference(text: str) -> str:
    """Return a reference that stands under a secret key, without its default and what stands around it."""
    if not (text.startswith(FILE) or _VARIABLE.fullmatch(text)):
        return HIDDEN
    return re.sub(r":-[^}]*", f":-{HIDDEN}", text)
