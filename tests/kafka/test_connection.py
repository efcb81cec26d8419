"""Connections: what clients are given, and what nobody may see."""

from __future__ import annotations

from typing import Any

import pytest

from worker.kafka.connection import Connection, client_arguments, faststream_security

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}


def connection(**changes: Any) -> Connection:
    """Return a connection with a user."""
    return Connection(
        bootstrap_servers="kafka:9092",
        sasl_username="worker",
        sasl_password="hunter2",
        ssl_key_password="hunter3",
        **changes,
    )


def test_secrets_are_not_shown() -> None:
    """No password is in the repr of a connection."""
    assert "hunter" not in repr(connection(**SASL))


def test_sasl_arguments() -> None:
    """Every client gets the user, the mechanism and a TLS context that checks the broker's name."""
    arguments = client_arguments(connection(**SASL), role="member")
    assert arguments["client_id"] == "unbinding-member"
    assert arguments["sasl_plain_password"] == "hunter2"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert arguments["ssl_context"].check_hostname


def test_plain_connection_has_no_security() -> None:
    """A plain connection gives neither TLS nor SASL arguments."""
    arguments = client_arguments(connection(), role="x")
    assert not {name for name in arguments if name.startswith(("ssl", "sasl"))}
    assert faststream_security(connection()) is None


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_faststream_has_the_same_security(protocol: str, mechanism: str) -> None:
    """FastStream's words for a connection say TLS exactly where the connection does."""
    security = faststream_security(connection(security_protocol=protocol, sasl_mechanism=mechanism))
    assert security is not None
    assert security.use_ssl == protocol.endswith("SSL")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bootstrap_servers": " "}, "kafka.bootstrap_servers"),
        ({"security_protocol": "SASL_SSL"}, "kafka.sasl_username"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "kafka.sasl_token_provider"),
        ({"session_timeout_ms": 8_000}, "kafka.session_timeout"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], says: str) -> None:
    """A connection that cannot work is refused with the setting's name."""
    with pytest.raises(ValueError, match=says):
        Connection(**{"bootstrap_servers": "kafka:9092", **changes})
