"""From settings to the cluster and to files: what the worker and the command line both need.

SettingUnusable    a setting cannot be turned into what it is for; the text names it and says what to do
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.topics import LogicalTopic, topic_name
from contracts.wire import has_control_characters
from worker.kafka.connection import Connection

if TYPE_CHECKING:
    from pathlib import Path

    from worker.settings import Settings

_HEARTBEAT_MS = 3_000


class SettingUnusable(Exception):
    """A setting is well formed, and what it names cannot be used."""


def connection_of(settings: Settings, *, role: str = "", request_ms: int | None = None) -> Connection:
    """Return how to reach the cluster. Raises SettingUnusable.

    ``role`` is added to the client id; ``request_ms`` shortens how long one request may take.
    """
    kafka = settings.kafka
    password = None if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
    if kafka.sasl_password_file is not None:
        password = read_secret(kafka.sasl_password_file, name="kafka.sasl_password_file")
    key_password = None
    if kafka.ssl_key_password_file is not None:
        key_password = read_secret(kafka.ssl_key_password_file, name="kafka.ssl_key_password_file")
    try:
        return Connection(
            bootstrap_servers=",".join(kafka.bootstrap_servers),
            client_id=f"{settings.application}-{role}" if role else settings.application,
            security_protocol=kafka.security_protocol.value,
            sasl_mechanism=kafka.sasl_mechanism.value,
            sasl_username=kafka.sasl_username,
            sasl_password=password,
            ssl_ca_file=_text(kafka.ssl_ca_file),
            ssl_cert_file=_text(kafka.ssl_cert_file),
            ssl_key_file=_text(kafka.ssl_key_file),
            ssl_key_password=key_password,
            request_timeout_ms=min(kafka.request_timeout_ms, request_ms or kafka.request_timeout_ms),
            session_timeout_ms=kafka.session_timeout_ms,
            heartbeat_interval_ms=min(_HEARTBEAT_MS, kafka.session_timeout_ms // 4),
            rebalance_timeout_ms=kafka.rebalance_timeout_ms,
        )
    except ValueError as error:
        # Its text names settings, never their values.
        raise SettingUnusable(str(error)) from None


def topic_names(settings: Settings) -> dict[LogicalTopic, str]:
    """Return the topics' names on this cluster. Raises SettingUnusable."""
    try:
        return {topic: topic_name(topic, prefix=settings.topics.prefix) for topic in LogicalTopic}
    except ValueError as error:
        raise SettingUnusable(f"topics.prefix: {error}") from None


def read_file(path: Path, *, name: str) -> bytes:
    """Return what a file holds that the setting ``name`` names. Raises SettingUnusable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingUnusable(
            f"{name}: {path} cannot be read ({error.strerror}): check the file and its permissions"
        ) from None


def read_secret(path: Path, *, name: str) -> str:
    """Return a secret of one line from its file, without the line's end. Raises SettingUnusable."""
    try:
        secret = read_file(path, name=name).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingUnusable(f"{name}: {path} is not UTF-8 text") from None
    if not secret:
        raise SettingUnusable(f"{name}: {path} is empty: check what wrote it")
    if has_control_characters(secret):
        raise SettingUnusable(
            f"{name}: {path} holds more than one line, or control characters: write the secret alone into it"
        )
    return secret


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
