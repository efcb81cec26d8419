"""Checks of the section `kafka`: what belongs together, its files, and times that depend on each other."""

from collections.abc import Iterator

from worker.settings.check_files import certificate, open_to_all, pem_private_key, secret
from worker.settings.findings import Finding, error, warning
from worker.settings.readers import Secret
from worker.settings.tree import Kafka
from worker.settings.units import is_loopback
from worker.settings.words import SaslMechanism, SecurityProtocol


def kafka_section(kafka: Kafka, read: Secret) -> Iterator[Finding]:
    """Tell what cannot work between the worker and its brokers, or would be unsafe."""
    uses_sasl = kafka.security_protocol in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}
    uses_ssl = kafka.security_protocol in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}
    has_password = kafka.sasl_password is not None or kafka.sasl_password_file is not None
    if uses_sasl and kafka.sasl_username is None:
        yield error("kafka.sasl_username", f"is missing with {kafka.security_protocol}", "set it")
    if uses_sasl and not has_password:
        what = f"is missing with {kafka.security_protocol}"
        yield error("kafka.sasl_password_file", what, "set it, or UNBINDING_KAFKA__SASL_PASSWORD")
    if kafka.sasl_password is not None and kafka.sasl_password_file is not None:
        what = "is set, and kafka.sasl_password too: which one counts is not decided"
        yield error("kafka.sasl_password_file", what, "remove one of them")
    if not uses_sasl and (has_password or kafka.sasl_username is not None):
        what = f"is {kafka.security_protocol}: the SASL user and password that are set go unused"
        yield error("kafka.security_protocol", what, "use SASL_SSL, or remove them")
    ssl_files = (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file, kafka.ssl_key_password_file)
    if not uses_ssl and any(ssl_files):
        what = f"is {kafka.security_protocol}: the SSL files that are set go unused"
        yield error("kafka.security_protocol", what, "use SSL or SASL_SSL, or remove them")
    if (kafka.ssl_cert_file is None) is not (kafka.ssl_key_file is None):
        yield error("kafka.ssl_key_file", "and kafka.ssl_cert_file go together", "set both, or neither")
    far = [server for server in kafka.bootstrap_servers if not is_loopback(_host(server))]
    if far and not uses_ssl:
        what = f"is {kafka.security_protocol} to other machines: what is written is readable on the way"
        if uses_sasl and kafka.sasl_mechanism is SaslMechanism.PLAIN:
            yield error("kafka.security_protocol", f"{what}, the password too", "use SASL_SSL")
        else:
            yield warning("kafka.security_protocol", what, "use SSL or SASL_SSL outside of tests")
    yield from _files(kafka, read)
    yield from _times(kafka)


def _files(kafka: Kafka, read: Secret) -> Iterator[Finding]:
    for name, path in (("ssl_ca_file", kafka.ssl_ca_file), ("ssl_cert_file", kafka.ssl_cert_file)):
        if path is not None:
            yield from certificate(f"kafka.{name}", path)
    if kafka.ssl_key_file is not None:
        yield from pem_private_key("kafka.ssl_key_file", kafka.ssl_key_file)
    for name, path in (
        ("kafka.ssl_key_password_file", kafka.ssl_key_password_file),
        ("kafka.sasl_password_file", kafka.sasl_password_file),
    ):
        if path is None:
            continue
        found = secret(name, path, read)
        if isinstance(found, Finding):
            yield found
        yield from open_to_all(name, path)


def _times(kafka: Kafka) -> Iterator[Finding]:
    if kafka.drain_timeout_ms * 2 > kafka.rebalance_timeout_ms:
        what = (
            "is more than half of kafka.rebalance_timeout: a slow drain would cost the worker its membership"
        )
        yield error("kafka.drain_timeout", what, "lower it, or raise kafka.rebalance_timeout")
    if kafka.transaction_timeout_ms > kafka.session_timeout_ms:
        what = "is longer than kafka.session_timeout: a dead worker holds up readers longer than its shards"
        yield warning("kafka.transaction_timeout", what, "lower it")


def _host(server: str) -> str:
    return server.rpartition(":")[0].strip("[]")
