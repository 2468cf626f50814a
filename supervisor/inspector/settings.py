"""Let librdkafka judge its own settings before a worker meets them; nothing is connected to."""

import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from supervisor.inspector.connecting import remedy
from supervisor.kafka.settings import CLASSIC_DEFAULTS, DEFAULTS, Value, client_settings

_UNKNOWN = re.compile(r'No such configuration property: "([^"]*)"')
_NAMED = re.compile(r'property:? "([^"]*)"')
_SECRET = re.compile(r"password|secret|pem$|passphrase|token|\.config$")
_MOST = 20
_HELP = "correct it in [kafka] or [groups.NAME.kafka]; librdkafka's CONFIGURATION.md lists every key"


def check_settings(request: dict[str, Any]) -> list[dict[str, str]]:
    """Return what librdkafka refuses in the settings of each group, as problems of a plugin named "kafka".

    ``request``: ``{"groups": {name: {"kafka": {...}, "protocol": str, "places": {...}}}}``; only ``protocol`` and
    ``kafka`` together are needed, see ``config.plugin_places`` for the places.
    """
    return [
        {
            "group": name,
            "plugin": "kafka",
            "text": text,
            "help": remedy(text, {}, otherwise=_HELP),
            "where": next((group.get("places", {}).get(f"kafka {key}", "") for key in _NAMED.findall(text)), ""),
        }
        for name, group in request.get("groups", {}).items()
        for text in _refused(group.get("kafka", {}), name, group.get("protocol", "classic"))
    ]


def _refused(kafka: Mapping[str, Value], group: str, protocol: str) -> list[str]:
    # Without an address no thread of the clients has anybody to talk to.
    rest = {key: value for key, value in kafka.items() if key != "bootstrap.servers"}
    found: dict[str, None] = {}
    while len(found) < _MOST:
        text = _judgement(rest, group, protocol)
        if not text:
            break
        found[text] = None
        unknown = _UNKNOWN.search(text)
        if unknown is None or unknown[1] not in rest:
            break
        del rest[unknown[1]]  # librdkafka names one at a time
    return list(found)


def _judgement(kafka: Mapping[str, Value], group: str, protocol: str) -> str:
    defaults = {**DEFAULTS, **(CLASSIC_DEFAULTS if protocol == "classic" else {})}
    quiet = {"log_level": 0}
    try:
        Consumer({**defaults, **kafka, **quiet, "group.id": group, "group.protocol": protocol})
        Producer({**client_settings(kafka, client_id="supervisor-check"), **quiet, "enable.idempotence": True})
    except KafkaException as error:
        return f"librdkafka refuses the settings: {_without_secrets(error.args[0].str(), kafka)}"
    except (TypeError, ValueError, ImportError) as error:  # the binding's own: no type it knows, an extra it lacks
        return f"the Kafka client refuses the settings: {_without_secrets(str(error), kafka)}"
    return ""


def _without_secrets(text: str, kafka: Mapping[str, Value]) -> str:
    for key, value in kafka.items():
        if isinstance(value, str) and value and _SECRET.search(key):
            text = text.replace(value, "***")
    return text
