"""Headers of a dead letter and of forwarded records: their names, and how they are written and read.

Errors:

    ContractError
    └── InvalidLetter     a header that a letter cannot do without is missing or wrong
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import orjson

from contracts.cloudevents import Headers
from contracts.origins import OFFSET_MAX, PARTITION_MAX, Origin
from contracts.states import Outcome, Reason, Step
from contracts.wire import (
    MESSAGE_MAX_BYTES,
    ContractError,
    clean_message,
    has_control_characters,
    parse_rfc3339,
    rfc3339,
)

LETTER_VERSION: Final = 1

VERSION_HEADER: Final = "unbinding-letter-version"
SAGA_ID_HEADER: Final = "unbinding-saga-id"
BINDING_ID_HEADER: Final = "unbinding-binding-id"
REQUEST_ID_HEADER: Final = "unbinding-request-id"
JOINED_REQUEST_IDS_HEADER: Final = "unbinding-joined-request-ids"
SEQUENCE_HEADER: Final = "unbinding-sequence"
REASON_HEADER: Final = "unbinding-reason"
STEP_HEADER: Final = "unbinding-step"
OUTCOME_HEADER: Final = "unbinding-outcome"
RESULT_CODE_HEADER: Final = "unbinding-result-code"
MESSAGE_HEADER: Final = "unbinding-message"
ATTEMPTS_HEADER: Final = "unbinding-attempts"
REPLAYS_HEADER: Final = "unbinding-replays"
FIRST_PARKED_AT_HEADER: Final = "unbinding-first-parked-at"
PARKED_AT_HEADER: Final = "unbinding-parked-at"
ORIGIN_TOPIC_HEADER: Final = "unbinding-origin-topic"
ORIGIN_PARTITION_HEADER: Final = "unbinding-origin-partition"
ORIGIN_OFFSET_HEADER: Final = "unbinding-origin-offset"
ORIGIN_TIMESTAMP_HEADER: Final = "unbinding-origin-timestamp"
ORIGIN_SHA256_HEADER: Final = "unbinding-origin-sha256"
SEALED_WITH_HEADER: Final = "unbinding-sealed-with"

FORWARDED_FROM_HEADER: Final = "unbinding-forwarded-from"
BROADCAST_FROM_HEADER: Final = "unbinding-broadcast-from"

# Spring's names; its three numbers are big-endian binary.
DLT_TOPIC_HEADER: Final = "kafka_dlt-original-topic"
DLT_PARTITION_HEADER: Final = "kafka_dlt-original-partition"
DLT_OFFSET_HEADER: Final = "kafka_dlt-original-offset"
DLT_TIMESTAMP_HEADER: Final = "kafka_dlt-original-timestamp"
DLT_EXCEPTION_HEADER: Final = "kafka_dlt-exception-fqcn"
DLT_MESSAGE_HEADER: Final = "kafka_dlt-exception-message"

ID_MAX: Final = 256
JOINED_MAX: Final = 8
JOINED_MAX_BYTES: Final = 4096
ORIGINAL_MAX_BYTES: Final = 4096
RECORD_HEADER_MAX_BYTES: Final = 4096

_NUMBER = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_SHA_256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_TRACE_HEADERS: Final = frozenset({"traceparent", "tracestate"})
_COUNT_MAX: Final = 2**31 - 1

Read = TypeVar("Read")


class InvalidLetter(ContractError):
    """A record lacks what a dead letter must have: `str()` names the header and the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterHeaders:
    """What the headers of a dead letter say; moments are milliseconds since the Unix epoch.

    `sequence` is that of the `parked` event (for a letter without a saga: how often it was replayed).
    `origin_sha256` (hex) stands where the value was too large to copy, `sealed_with` where it was copied.
    `original` are the request's own `ce_*`, `traceparent` and `tracestate` headers.
    """

    reason: Reason
    sequence: int
    origin: Origin
    first_parked_at: int
    parked_at: int
    message: str = ""
    attempts: int = 0
    replays: int = 0
    saga_id: str | None = None
    binding_id: str | None = None
    request_id: str | None = None
    joined_request_ids: tuple[str, ...] = ()
    step: Step | None = None
    outcome: Outcome | None = None
    result_code: str | None = None
    origin_timestamp: int | None = None
    origin_sha256: str | None = None
    sealed_with: str | None = None
    original: tuple[tuple[str, bytes], ...] = ()

    @property
    def key(self) -> str:
        """The letter's key: its saga id, or its origin where there is none."""
        return self.saga_id or self.origin.text

    def to_headers(self) -> list[tuple[str, bytes]]:
        """Return the record headers, Spring's included; absent values are left out.

        The message is cleaned and cut here. Joined ids beyond the bound are left out, and so are original
        headers beyond theirs, so that headers have a size that does not grow with what others sent.
        """
        message = clean_message(self.message, max_bytes=MESSAGE_MAX_BYTES).encode()
        topic = self.origin.topic.encode()
        texts = {
            VERSION_HEADER: str(LETTER_VERSION),
            SAGA_ID_HEADER: self.saga_id,
            BINDING_ID_HEADER: self.binding_id,
            REQUEST_ID_HEADER: self.request_id,
            SEQUENCE_HEADER: str(self.sequence),
            REASON_HEADER: self.reason,
            STEP_HEADER: self.step,
            OUTCOME_HEADER: self.outcome,
            RESULT_CODE_HEADER: self.result_code,
            ATTEMPTS_HEADER: str(self.attempts),
            REPLAYS_HEADER: str(self.replays),
            FIRST_PARKED_AT_HEADER: rfc3339(self.first_parked_at),
            PARKED_AT_HEADER: rfc3339(self.parked_at),
            ORIGIN_PARTITION_HEADER: str(self.origin.partition),
            ORIGIN_OFFSET_HEADER: str(self.origin.offset),
            ORIGIN_SHA256_HEADER: self.origin_sha256,
            SEALED_WITH_HEADER: self.sealed_with,
        }
        headers = [(name, text.encode()) for name, text in texts.items() if text is not None]
        if self.joined_request_ids:
            headers.append((JOINED_REQUEST_IDS_HEADER, _joined(self.joined_request_ids)))
        headers += [
            (MESSAGE_HEADER, message),
            (ORIGIN_TOPIC_HEADER, topic),
            (DLT_TOPIC_HEADER, topic),
            (DLT_PARTITION_HEADER, self.origin.partition.to_bytes(4, "big", signed=True)),
            (DLT_OFFSET_HEADER, self.origin.offset.to_bytes(8, "big", signed=True)),
            (DLT_EXCEPTION_HEADER, self.reason.encode()),
            (DLT_MESSAGE_HEADER, message),
        ]
        if self.origin_timestamp is not None:
            headers.append((ORIGIN_TIMESTAMP_HEADER, str(self.origin_timestamp).encode()))
            headers.append((DLT_TIMESTAMP_HEADER, self.origin_timestamp.to_bytes(8, "big", signed=True)))
        return headers + list(original_headers(self.original))

    @classmethod
    def from_headers(cls, headers: Headers) -> Self:
        """Return what a letter's headers say.

        Raises `InvalidLetter` where one that a letter needs is missing or wrong, or the letter is of a
        version that is not known here. Others that are wrong, or too long, count as absent.
        """
        found = dict(headers)
        if _need(found, VERSION_HEADER, _number(_COUNT_MAX), "a whole number") != LETTER_VERSION:
            raise InvalidLetter(
                f"{VERSION_HEADER} must be {LETTER_VERSION}; use a newer version to read this letter"
            )
        count, number = "a whole number", _number(_COUNT_MAX)
        text = _text(ID_MAX)
        return cls(
            reason=_need(found, REASON_HEADER, Reason, "a reason of the closed list"),
            sequence=_need(found, SEQUENCE_HEADER, number, count),
            origin=Origin(
                _need(found, ORIGIN_TOPIC_HEADER, _topic, "a topic name"),
                _need(found, ORIGIN_PARTITION_HEADER, _number(PARTITION_MAX), count),
                _need(found, ORIGIN_OFFSET_HEADER, _number(OFFSET_MAX), count),
            ),
            first_parked_at=_need(found, FIRST_PARKED_AT_HEADER, parse_rfc3339, "RFC 3339"),
            parked_at=_need(found, PARKED_AT_HEADER, parse_rfc3339, "RFC 3339"),
            message=clean_message(_take(found, MESSAGE_HEADER, str) or ""),
            attempts=_need(found, ATTEMPTS_HEADER, number, count),
            replays=_need(found, REPLAYS_HEADER, number, count),
            saga_id=_take(found, SAGA_ID_HEADER, text),
            binding_id=_take(found, BINDING_ID_HEADER, text),
            request_id=_take(found, REQUEST_ID_HEADER, text),
            joined_request_ids=_take(found, JOINED_REQUEST_IDS_HEADER, _read_joined) or (),
            step=_take(found, STEP_HEADER, Step),
            outcome=_take(found, OUTCOME_HEADER, Outcome),
            result_code=_take(found, RESULT_CODE_HEADER, text),
            origin_timestamp=_take(found, ORIGIN_TIMESTAMP_HEADER, _number(OFFSET_MAX)),
            origin_sha256=_take(found, ORIGIN_SHA256_HEADER, _matching(_SHA_256)),
            sealed_with=_take(found, SEALED_WITH_HEADER, _matching(_KEY_ID)),
            original=original_headers(headers),
        )


def original_headers(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of a record that its letter keeps: `ce_*` and trace context, up to 4 KiB in all."""
    kept: list[tuple[str, bytes]] = []
    room = ORIGINAL_MAX_BYTES
    for name, value in headers:
        if value is None:
            continue
        if name.startswith("ce_") or name in _TRACE_HEADERS:
            size = len(name) + len(value)
            if size <= room:
                room -= size
                kept.append((name, value))
    return tuple(kept)


def read_origin_header(headers: Headers, name: str) -> Origin | None:
    """Return the origin in a forwarded or broadcast record's header; None if it is absent or nonsense.

    `name` is `FORWARDED_FROM_HEADER` or `BROADCAST_FROM_HEADER`. Such headers are untrusted.
    """
    return _take(dict(headers), name, Origin.parse)


def _need(found: Mapping[str, bytes | None], name: str, read: Callable[[str], Read], rule: str) -> Read:
    content = _take(found, name, read)
    if content is None:
        raise InvalidLetter(f"{name} {'must be ' + rule if name in found else 'is missing'}")
    return content


def _take(found: Mapping[str, bytes | None], name: str, read: Callable[[str], Read]) -> Read | None:
    raw = found.get(name)
    if raw is None or len(raw) > RECORD_HEADER_MAX_BYTES:
        return None
    try:
        return read(raw.decode())
    except ValueError:  # UnicodeDecodeError is one, too
        return None


def _number(limit: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if _NUMBER.fullmatch(text) is None or int(text) > limit:
            raise ValueError("not a number in range")
        return int(text)

    return read


def _text(limit: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not 0 < len(text) <= limit or has_control_characters(text):
            raise ValueError("empty, too long, or with control characters")
        return text

    return read


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError("not of its form")
        return text

    return read


def _topic(text: str) -> str:
    return Origin.parse(f"{text}/0/0").topic


def _joined(request_ids: Sequence[str]) -> bytes:
    kept = list(request_ids[:JOINED_MAX])
    while len(encoded := orjson.dumps(kept)) > JOINED_MAX_BYTES:
        kept.pop()
    return encoded


def _read_joined(text: str) -> tuple[str, ...]:
    listed: Any = orjson.loads(text)
    if not isinstance(listed, list) or len(listed) > JOINED_MAX:
        raise ValueError("not an array of at most eight ids")
    read = _text(ID_MAX)
    if not all(isinstance(one, str) for one in listed):
        raise ValueError("not an array of text")
    return tuple(read(one) for one in listed)
