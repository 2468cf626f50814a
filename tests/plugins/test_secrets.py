"""P10: secrets in options of our own plugins show in no repr, in no listing of the config and in no error."""

from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from supervisor.config import load
from supervisor.config.showing import toml_text
from supervisor.core.spec import PluginSpec
from supervisor.plugin.errors import PluginError
from supervisor.plugin.loader import make

SECRET = "hunter2"
OURS = {one.name: one for one in entry_points(group="supervisor") if one.module.startswith("supervisor_plugins.")}
REGISTRY = {
    "url": f"https://me:{SECRET}@registry/{SECRET}",
    "password": SECRET,
    "settings": {"ssl.key.password": SECRET, "bearer.auth.token": SECRET, "proxy": f"http://me:{SECRET}@proxy"},
}
SECRETS: dict[str, dict[str, Any]] = {
    "alert_webhook": {
        "url": f"https://hooks/{SECRET}",
        "headers": {"X-Anything": SECRET},
        "template": {"token": SECRET, "to": f"https://hooks/{SECRET}"},
        "secret": SECRET,
    },
    "alert_slack": {"url": f"https://hooks/{SECRET}"},
    "alert_pagerduty": {"routing_key": SECRET, "url": f"https://me:{SECRET}@proxy/v2/enqueue"},
    "alert_email": {"password": SECRET, "host": "h", "sender": "a@b", "to": ["c@d"]},
    "alert_apprise": {"urls": [f"json://me:{SECRET}@h", f"tgram://{SECRET}/chat"]},
    "tracing": {"endpoint": f"https://me:{SECRET}@collector/{SECRET}", "headers": {"api-key": SECRET}},
    "idempotency_redis": {"url": f"redis://:{SECRET}@h/0", "settings": {"password": SECRET}},
    "idempotency_postgresql": {"dsn": f"postgresql://me:{SECRET}@h/d"},
    "decode_avro": REGISTRY,
    "decode_protobuf": REGISTRY,
    "decode_json_schema": REGISTRY,
}
"""Options that may hold a secret, each with one; and what else their plugin needs."""
HARMLESS = {
    "host", "sender", "to", "port", "tls", "username", "timeout", "severity", "groups", "source", "user", "schema",
    "service", "ratio", "parent", "prefix", "table", "connections", "path", "synchronous", "directory", "max_size",
    "max_age", "keep", "strict", "format", "encoding", "attempts", "initial", "factor", "max", "jitter", "permanent",
}  # fmt: skip
"""Options that hold none, whatever plugin has them."""
GROUP = {"groups": {"orders": {"topics": ["orders"], "handler": "shop.orders:process"}}}
ON_A_COMMAND_LINE = {"alert_command": {"command"}}
"""What ``ps`` shows to everybody anyway."""


def options_class(name: str) -> Any:
    return getattr(OURS[name].load(), "Options", None)


@pytest.mark.parametrize("name", OURS)
def test_p10_each_option_is_known_to_hold_a_secret_or_none(name: str) -> None:
    cls = options_class(name)
    known = set(SECRETS.get(name, ())) | HARMLESS | ON_A_COMMAND_LINE.get(name, set())

    for one in fields(cls) if cls is not None else ():
        assert one.name in known, "new: is it a secret?"
        assert one.name in HARMLESS or not one.repr, f"{one.name} may hold a secret: field(repr=False)"


@pytest.mark.parametrize("name", SECRETS)
def test_p10_config_show_hides_secrets_of_options(name: str, tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text(
        toml_text({"kafka": {"bootstrap.servers": "127.0.0.1:9"}, "plugins": {name: SECRETS[name]}, **GROUP})
    )
    config = load(file, environ={})

    assert SECRET not in config.describe()
    assert SECRET not in repr(config)
    assert f"[plugins.{name}" in config.describe()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alert_webhook", {"url": SECRET}),
        ("alert_webhook", {"url": f"https://h/{SECRET}", "headers": SECRET, "secret": [SECRET]}),
        ("alert_slack", {"url": f"ftp://{SECRET}"}),
        ("alert_pagerduty", {"routing_key": [SECRET]}),
        ("alert_pagerduty", {"routing_key": SECRET, "url": SECRET}),
        ("alert_email", {"host": "h", "sender": "nobody", "to": ["a@b"], "password": SECRET}),
        ("alert_apprise", {"urls": [f"{SECRET}://h"]}),
        ("alert_apprise", {"urls": SECRET}),
        ("tracing", {"headers": SECRET, "ratio": 2}),
        ("idempotency_redis", {"url": SECRET}),
        ("idempotency_redis", {"url": f"redis://:{SECRET}#x@h/0"}),
        ("idempotency_postgresql", {"dsn": f"host=h passwort={SECRET}"}),
        ("decode_avro", {"url": SECRET}),
        ("decode_avro", {**REGISTRY, "user": "me"}),
        ("decode_json_schema", {"url": f"ftp://{SECRET}"}),
        ("decode_protobuf", {"url": "https://h", "settings": {"no.such.key": SECRET}}),
    ],
)
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_p10_what_is_wrong_with_options_is_told_without_them(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(PluginError) as caught:
        make(PluginSpec(name, options))

    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
