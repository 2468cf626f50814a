"""A real broker that lets nobody in without a name: SCRAM and PLAIN over TLS, certificates, and OAuth tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.broker.certificates import Authority, SigningKey
from tests.broker.real import RealBroker, free_ports
from tests.broker.tokens import AUDIENCE, ISSUER, TokenEndpoint

USER = "orders"
PASSWORD = "correct-horse-battery"
SECRET = "tell-nobody-4711"
KEY_PASSWORD = "staple-of-the-key"

_MODULES = "org.apache.kafka.common.security"
_LISTENERS = {"scram": "SASL_SSL", "plain": "SASL_SSL", "oauth": "SASL_SSL", "mutual": "SSL"}

Settings = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Secured:
    """A broker with one listener per way in; ``open`` asks for nothing. ``settings`` has a client's for each."""

    broker: RealBroker
    authority: Authority
    endpoint: TokenEndpoint
    folder: Path
    open: str
    settings: dict[str, Settings] = field(default_factory=dict)

    def toml(self, way: str, **changes: str | None) -> str:
        """Return what a person would write under ``[kafka]`` to come in by ``way``; ``None`` leaves a key out.

        In ``changes`` a ``_`` stands for the dots of a key.
        """
        given = {key.replace("_", "."): value for key, value in changes.items()}
        settings = {**self.settings[way], **given}
        return "\n".join(f'"{key}" = "{value}"' for key, value in settings.items() if value is not None)


@contextmanager
def secured(folder: Path, *, lifetime: float = 8.0, reauthenticate: float = 4.0) -> Iterator[Secured]:
    """Start it; tokens end after ``lifetime`` seconds, and connections must show a new one each ``reauthenticate``."""
    authority = Authority(folder / "ca")
    certificate, key = authority.issue("broker")
    (folder / "broker.pem").write_text(key.read_text() + certificate.read_text())
    ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
    with TokenEndpoint(SigningKey(folder / "tokens"), client=USER, secret=SECRET, lifetime=lifetime) as endpoint:
        running = RealBroker(jvm=(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={endpoint.keys_url}",))
        addresses = ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items())
        kinds = ",".join(f"{name.upper()}:{kind}" for name, kind in _LISTENERS.items())
        plain = f"PLAINTEXT://127.0.0.1:{running.port}"
        running.override(
            {
                "listeners": f"{plain},{addresses},CONTROLLER://127.0.0.1:{running.controller_port}",
                "advertised.listeners": f"{plain},{addresses}",
                "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{kinds}",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(folder / "broker.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(authority.certificate),
                "listener.name.mutual.ssl.client.auth": "required",
                "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;",
                "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
                "listener.name.plain.plain.sasl.jaas.config": (
                    f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
                ),
                "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
                "listener.name.oauth.oauthbearer.sasl.jaas.config": (
                    f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;"
                ),
                "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
                    f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
                ),
                "listener.name.oauth.oauthbearer.connections.max.reauth.ms": str(round(reauthenticate * 1000)),
                "sasl.oauthbearer.jwks.endpoint.url": endpoint.keys_url,
                "sasl.oauthbearer.expected.audience": AUDIENCE,
                "sasl.oauthbearer.expected.issuer": ISSUER,
                "sasl.oauthbearer.clock.skew.seconds": "1",
            }
        )
        with running:
            _add_user(running.bootstrap)
            found = Secured(running, authority, endpoint, folder, running.bootstrap)
            found.settings.update(_settings(found, ports))
            yield found


def _settings(secured: Secured, ports: dict[str, int]) -> dict[str, Settings]:
    certificate, key = secured.authority.issue(USER, password=KEY_PASSWORD)
    trust: Settings = {"ssl.ca.location": str(secured.authority.certificate)}
    login: Settings = {"security.protocol": "sasl_ssl", "sasl.username": USER, "sasl.password": PASSWORD}
    ways: dict[str, Settings] = {
        "scram": {**login, "sasl.mechanisms": "SCRAM-SHA-512"},
        "plain": {**login, "sasl.mechanisms": "PLAIN"},
        "mutual": {
            "security.protocol": "ssl",
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
            "ssl.key.password": KEY_PASSWORD,
        },
        "oauth": {
            "security.protocol": "sasl_ssl",
            "sasl.mechanisms": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": USER,
            "sasl.oauthbearer.client.secret": SECRET,
            "sasl.oauthbearer.token.endpoint.url": secured.endpoint.url,
        },
    }
    return {way: {"bootstrap.servers": f"127.0.0.1:{ports[way]}", **trust, **ours} for way, ours in ways.items()}


def _add_user(bootstrap: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    change = UserScramCredentialUpsertion(USER, info, PASSWORD.encode())
    admin.alter_user_scram_credentials([change])[USER].result(10)
