"""What to look at when a cluster does not let us in: from librdkafka's reasons to the keys of ``[kafka]``."""

from collections.abc import Mapping

from supervisor.kafka.settings import Value

_UNKNOWN = 'is the broker up, and "bootstrap.servers" (and security settings) of [kafka] right?'
_LOGIN = 'look at "sasl.username" and "sasl.password"; the broker does not tell which of them is wrong'
_REFUSED = "the broker refuses the token: are its issuer, audience and scope those that the broker expects?"
_AUTHORITY = """\
does "ssl.ca.location" hold the CA that signed the brokers' certificates, and are these made for the names in \
"bootstrap.servers"?"""
_ENDPOINT = """\
does "sasl.oauthbearer.token.endpoint.url" answer from this host, and does it know "sasl.oauthbearer.client.id" with \
this "sasl.oauthbearer.client.secret"?"""
_NO_TLS = """\
this listener speaks no TLS: name another one in "bootstrap.servers", or write a "security.protocol" without ssl"""
_CERTIFICATE = """\
the broker does not accept our side of TLS: does it want a certificate ("ssl.certificate.location", \
"ssl.key.location"), signed by a CA that it trusts?"""
_TLS = """\
this listener may want TLS or a login: "security.protocol" = "ssl", "sasl_ssl" or "sasl_plaintext\""""
_REMEDIES = (
    ("certificate verify failed", _AUTHORITY),
    ("OAUTHBEARER token", _ENDPOINT),
    ("mechanism handshake failed", 'write a mechanism that the broker supports as "sasl.mechanisms"'),
    ("PLAINTEXT broker listener", _NO_TLS),
    ("alert", _CERTIFICATE),
    ("before it said a word", _TLS),
    ("ssl.key.location failed", 'is it a key in PEM, and is "ssl.key.password" the one that opens it?'),
    ("ssl.ca.location failed", "is it a file of CA certificates in PEM, and may this user read it?"),
    ("closed by peer", 'is "security.protocol" of [kafka] the one of this listener?'),
)


def remedy(reason: str, kafka: Mapping[str, Value], *, otherwise: str = _UNKNOWN) -> str:
    """Return what to do about a client that could not be made, or not connect, for ``reason``."""
    if "SASL authentication error" in reason:
        mechanism = str(kafka.get("sasl.mechanisms") or kafka.get("sasl.mechanism") or "")
        return _REFUSED if mechanism.upper() == "OAUTHBEARER" else _LOGIN
    return next((help_ for word, help_ in _REMEDIES if word in reason), otherwise)
