"""Why no broker can be reached: asked once more, address by address, so that a person hears what is wrong.

aiokafka only says that it could not start, and writes the cause to its log.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from worker.kafka.connection import client_arguments

if TYPE_CHECKING:
    from worker.kafka.connection import Connection

_LIMIT_MS: Final = 3_000
_DEPTH: Final = 8
_ROLE: Final = "reachability"


class ClusterUnreachable(kafka.KafkaConnectionError):
    """No broker can be reached; the text says why, address by address, and what to do. Holds no secret."""


async def explained(error: kafka.KafkaError, connection: Connection) -> kafka.KafkaError:
    """Return the error with its cause, found by knocking at every configured address within seconds."""
    addresses = [address.strip() for address in connection.bootstrap_servers.split(",")]
    found = await asyncio.gather(*(_knock(address, connection) for address in addresses))
    told = [f"{address}: {why}" for address, why in zip(addresses, found, strict=True) if why is not None]
    if not told:
        return error  # it answers by now
    return ClusterUnreachable(f"no broker can be used; {'; '.join(told)}")


async def _knock(address: str, connection: Connection) -> str | None:
    """Say why this address cannot be used, ``None`` if it can."""
    host, _, port = address.rpartition(":")
    arguments = client_arguments(connection, role=_ROLE)
    for name in ("bootstrap_servers", "metadata_max_age_ms", "retry_backoff_ms"):
        del arguments[name]
    arguments["request_timeout_ms"] = min(_LIMIT_MS, connection.request_timeout_ms)
    known: AIOKafkaConnection | None = None
    try:
        known = await create_conn(host.strip("[]"), int(port), **arguments)
        await known.send(MetadataRequest([]))
    except (kafka.KafkaError, OSError, TimeoutError, ValueError) as error:
        return _meaning(error, connection, talked=known is not None)
    finally:
        if known is not None:
            known.close()
    return None


def _meaning(error: BaseException, connection: Connection, *, talked: bool) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and len(causes) < _DEPTH:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause)
        if isinstance(cause, kafka.SaslAuthenticationFailed):
            return (
                f"the broker refuses the user {connection.sasl_username!r} or its password; check "
                "kafka.sasl_username, kafka.sasl_password_file and kafka.sasl_mechanism"
            )
        if isinstance(cause, kafka.UnsupportedSaslMechanismError | kafka.IllegalSaslStateError):
            return (
                f"the listener does not take {connection.sasl_mechanism} with "
                f"{connection.security_protocol}; check kafka.sasl_mechanism and kafka.security_protocol"
            )
    return _silence(error, connection, talked=talked)


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message or "it cannot be verified"
    if "expired" in why:
        remedy = "the broker needs a new one (or this machine's clock is wrong)"
    elif "mismatch" in why or "not valid for" in why:
        remedy = (
            "use the name that it was issued for, in kafka.bootstrap_servers and in the brokers' "
            "advertised.listeners"
        )
    else:
        remedy = "kafka.ssl_ca_file must hold the certificate of the authority that signed it"
    return f"the broker's certificate is not accepted: {why}; {remedy}"


def _silence(error: BaseException, connection: Connection, *, talked: bool) -> str:
    protocol = connection.security_protocol
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; is the broker up, and is kafka.bootstrap_servers right?"
    if isinstance(error, ssl.SSLError) or (protocol.endswith("SSL") and not talked and _hung_up(error)):
        return (
            f"it does not speak TLS as expected; kafka.security_protocol is {protocol}: "
            "is that the protocol of this listener?"
        )
    if isinstance(error, TimeoutError | kafka.RequestTimedOutError):
        return "no answer in time; is the broker up and the network open?"
    if _hung_up(error):
        return (
            f"the broker hangs up; kafka.security_protocol is {protocol}: is that the protocol of this "
            "listener, and does it ask for a client certificate or a user?"
        )
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}; check kafka.bootstrap_servers and the network"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _hung_up(error: BaseException) -> bool:
    return isinstance(error, kafka.KafkaConnectionError | ConnectionError | EOFError)
