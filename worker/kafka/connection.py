"""How to reach the Kafka cluster: settings as data, turned into clients' arguments in one place."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from faststream.security import BaseSecurity, SASLOAuthBearer, SASLPlaintext, SASLScram256, SASLScram512

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_RETRY_BACKOFF_MS: Final = 20
"""Between a broker's "not yet" and the next try; a transaction waits so for the last one's markers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One cluster and how to talk to it. Passwords are in no repr."""

    bootstrap_servers: str
    """``host:port``, several with commas."""
    client_id: str = "unbinding"
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    sasl_token_provider: AbstractTokenProvider | None = field(default=None, repr=False)
    """For OAUTHBEARER: asked for a token at each new connection."""
    ssl_ca_file: str | None = None
    """PEM; without one the system's certificates are trusted."""
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    request_timeout_ms: int = 5_000
    """After this a request counts as lost and its connection is closed."""
    metadata_max_age_ms: int = 60_000
    session_timeout_ms: int = 20_000
    """After this without a heartbeat the group gives the partitions to others."""
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 60_000
    """How long the group waits for a member that drains."""

    def __post_init__(self) -> None:
        if not self.bootstrap_servers.strip():
            raise ValueError("kafka.bootstrap_servers is empty: give host:port of at least one broker")
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism != "OAUTHBEARER":
            _require(self.sasl_username, "kafka.sasl_username", self.sasl_mechanism)
            _require(self.sasl_password, "kafka.sasl_password", self.sasl_mechanism)
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism == "OAUTHBEARER":
            _require(self.sasl_token_provider, "kafka.sasl_token_provider", self.sasl_mechanism)
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                f"kafka.session_timeout ({self.session_timeout_ms} ms) must be at least three times "
                f"kafka.heartbeat_interval ({self.heartbeat_interval_ms} ms): "
                "otherwise one late heartbeat costs the partitions"
            )


def _require(value: object, name: str, mechanism: str) -> None:
    if value is None:
        raise ValueError(f"{name} is missing: SASL mechanism {mechanism} needs it")


def client_arguments(connection: Connection, *, role: str) -> dict[str, Any]:
    """Return what every aiokafka client takes: addresses, identity, security, time limits.

    ``role`` is added to the client id, so that a broker's logs and quotas tell producers from readers.
    The result holds secrets: hand it to a client, show it to nobody.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap_servers,
        "client_id": f"{connection.client_id}-{role}",
        "request_timeout_ms": connection.request_timeout_ms,
        "metadata_max_age_ms": connection.metadata_max_age_ms,
        "retry_backoff_ms": _RETRY_BACKOFF_MS,
        "security_protocol": connection.security_protocol,
    }
    if connection.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = ssl_context(connection)
    if connection.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = connection.sasl_mechanism
        arguments["sasl_plain_username"] = connection.sasl_username
        arguments["sasl_plain_password"] = connection.sasl_password
        arguments["sasl_oauth_token_provider"] = connection.sasl_token_provider
    return arguments


@lru_cache(maxsize=8)
def ssl_context(connection: Connection) -> ssl.SSLContext:
    """Return the TLS settings: TLS 1.2 or later, the broker's name checked.

    Raises OSError (ssl.SSLError among them) if a file is missing or unreadable.
    """
    context = ssl.create_default_context(cafile=connection.ssl_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.ssl_cert_file is not None:
        context.load_cert_chain(
            connection.ssl_cert_file, connection.ssl_key_file, connection.ssl_key_password
        )
    return context


def faststream_security(connection: Connection) -> BaseSecurity | None:
    """Return the same security in FastStream's words, ``None`` for a plain connection.

    The token provider of OAUTHBEARER is an argument of FastStream's broker, not of its security.
    """
    encrypted = connection.security_protocol.endswith("SSL")
    context = ssl_context(connection) if encrypted else None
    if not connection.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=True) if encrypted else None
    if connection.sasl_mechanism == "OAUTHBEARER":
        return SASLOAuthBearer(ssl_context=context, use_ssl=encrypted)
    kinds: dict[str, type[SASLPlaintext | SASLScram256 | SASLScram512]] = {
        "PLAIN": SASLPlaintext,
        "SCRAM-SHA-256": SASLScram256,
        "SCRAM-SHA-512": SASLScram512,
    }
    return kinds[connection.sasl_mechanism](
        username=connection.sasl_username or "",
        password=connection.sasl_password or "",
        ssl_context=context,
        use_ssl=encrypted,
    )
