"""CloudEvents 1.0 over Kafka: reads binary and structured mode, writes binary mode.

Rules where the specification leaves a choice:

- Of several headers with one name the last one counts, as `Headers.lastHeader` of the Java client does.
- Of several JSON members with one name the last one counts.
- Headers that are no attribute of ours are neither decoded nor judged.
- In structured mode the envelope counts alone; `ce_*` headers beside it are ignored.
- A trace context that is malformed is ignored, as W3C Trace Context asks.
- `content-type` decides between the modes only: data are JSON by contract.

Errors:

    ContractError
    └── UnreadableEvent     the record is no CloudEvent with a JSON object as data
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from contracts.wire import ContractError, has_control_characters, rfc3339

SPEC_VERSION: Final = "1.0"
JSON_CONTENT_TYPE: Final = "application/json"
STRUCTURED_CONTENT_TYPE: Final = "application/cloudevents+json"

BINDING_ID_MAX: Final = 128
ID_MAX: Final = 256
SOURCE_MAX: Final = 512
TYPE_MAX: Final = 128
SUBJECT_MAX: Final = 256
TIME_MAX: Final = 64
EXTENSION_MAX: Final = 1024
TRACESTATE_MAX: Final = 512
DEPTH_MAX: Final = 32

# Kafka allows a header without a value; clients hand it over as None.
Headers = Sequence[tuple[str, bytes | None]]

_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_NOT_OBJECT: Final = "data is not a JSON object"


class UnreadableEvent(ContractError):
    """The record is no event: `str()` says why and never quotes it.

    `event_id` and `source` are set if they could be read.
    """

    def __init__(self, message: str, *, event_id: str | None = None, source: str | None = None) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.source = source


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """An event as it came: attributes checked, data parsed but not yet judged.

    `time` is the sender's text and not checked: nothing here relies on it. `extensions` are all other
    attributes by name. `headers` are the record's own, untouched. The repr shows no data.
    """

    id: str
    source: str
    type: str
    data: Mapping[str, Any] = field(repr=False)
    headers: Headers = field(repr=False)
    time: str | None = None
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_event(value: bytes | None, headers: Headers) -> IncomingEvent:
    """Return the event that a record carries.

    Raises `UnreadableEvent`, and nothing else whatever the bytes.
    """
    found = dict(headers)
    if is_structured(found.get("content-type")):
        return _read_structured(value, headers=headers)
    texts: dict[str, str] = {}
    undecodable = None
    for name, raw in found.items():
        if name[:3] == "ce_" and raw is not None:
            try:
                texts[name[3:]] = raw.decode()
            except UnicodeDecodeError:
                undecodable = name
    if undecodable is not None:
        raise _unreadable(f"header {_shown(undecodable)} is not UTF-8", texts)
    _check_attributes(texts, prefix="ce_")
    return _event(
        texts,
        data=_parse_object(value, texts=texts, what="the value"),
        traceparent=_trace_text(found.get("traceparent")) or texts.get("traceparent"),
        tracestate=_trace_text(found.get("tracestate")) or texts.get("tracestate"),
        headers=headers,
    )


def peek_binding_id(event: IncomingEvent) -> str | None:
    """Return `bindingId` if it can be read, however wrong the rest is: it says where a record belongs."""
    binding_id = event.data.get("bindingId")
    if isinstance(binding_id, str) and _is_id(binding_id, BINDING_ID_MAX):
        return binding_id
    return None


def is_structured(content_type: bytes | None) -> bool:
    """Say whether a `content-type` header announces structured mode (any of its formats)."""
    return content_type is not None and content_type[:23].lower() == b"application/cloudevents"


def event_headers(
    *,
    event_id: str,
    source: str,
    event_type: str,
    at: int,
    subject: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> list[tuple[str, bytes]]:
    """Return the headers of an event in binary mode; `at` is in milliseconds since the Unix epoch."""
    headers = [
        _SPEC_VERSION_HEADER,
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", rfc3339(at).encode()),
        _CONTENT_TYPE_HEADER,
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    if correlation_id is not None:
        headers.append(("ce_correlationid", correlation_id.encode()))
    if causation_id is not None:
        headers.append(("ce_causationid", causation_id.encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
        if tracestate is not None:
            headers.append(("tracestate", tracestate.encode()))
    return headers


def _read_structured(value: bytes | None, *, headers: Headers) -> IncomingEvent:
    content_type = (dict(headers)["content-type"] or b"").split(b";", 1)[0].strip().lower()
    if content_type != STRUCTURED_CONTENT_TYPE.encode():
        raise _unreadable(
            f"structured mode is read as {STRUCTURED_CONTENT_TYPE} only, not as batch or in another format",
            {},
        )
    envelope = _parse_object(value, texts={}, what="the value")
    texts: dict[str, str] = {}
    for name, member in envelope.items():
        if isinstance(member, str):
            texts[name] = member
        elif name in _LIMITS and member is not None:
            raise _unreadable(f"attribute {name} is not text", texts)
    data = texts.pop("data", None)
    encoded = texts.pop("data_base64", None)
    _check_attributes(texts, prefix="")
    if encoded is not None:
        parsed = _parse_object(_decode_base64(encoded, texts), texts=texts, what="data_base64")
    elif isinstance(envelope.get("data"), dict):
        parsed = envelope["data"]
    else:
        raise _unreadable(
            "data is missing" if data is None and envelope.get("data") is None else _NOT_OBJECT, texts
        )
    return _event(
        texts,
        data=parsed,
        traceparent=texts.get("traceparent"),
        tracestate=texts.get("tracestate"),
        headers=headers,
    )


def _event(
    texts: dict[str, str],
    *,
    data: Mapping[str, Any],
    traceparent: str | None,
    tracestate: str | None,
    headers: Headers,
) -> IncomingEvent:
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) is None:
        traceparent = None
    if traceparent is None or (tracestate is not None and _TRACESTATE.fullmatch(tracestate) is None):
        tracestate = None
    return IncomingEvent(
        id=texts["id"],
        source=texts["source"],
        type=texts["type"],
        time=texts.get("time") or None,
        subject=texts.get("subject") or None,
        correlation_id=texts.get("correlationid") or None,
        causation_id=texts.get("causationid") or None,
        traceparent=traceparent,
        tracestate=tracestate,
        data=data,
        headers=headers,
        extensions=_extensions(texts) if texts.keys() - _NAMED else _NONE,
    )


def _extensions(texts: dict[str, str]) -> Mapping[str, str]:
    return {
        name: text
        for name, text in texts.items()
        if name not in _NAMED and _EXTENSION_NAME.fullmatch(name) is not None and _is_id(text, EXTENSION_MAX)
    }


def _check_attributes(texts: dict[str, str], *, prefix: str) -> None:
    if texts.get("specversion") != SPEC_VERSION:
        raise _unreadable(f"{prefix}specversion must be {SPEC_VERSION}", texts)
    for name in ("id", "source", "type"):
        if not texts.get(name):
            raise _unreadable(f"{prefix}{name} is missing", texts)
    for name, limit in _LIMITS.items():
        text = texts.get(name)
        if text and not _is_id(text, limit):
            raise _unreadable(
                f"{prefix}{name} must have at most {limit} characters and no control characters", texts
            )


def _parse_object(value: bytes | None, *, texts: dict[str, str], what: str) -> dict[str, Any]:
    if value is None:
        raise _unreadable(f"{what} is null", texts)
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        # Raised below, outside the handler: the decoder's error carries the whole document.
        problem = f"{what} is not JSON (line {error.lineno}, column {error.colno})"
    else:
        if not isinstance(parsed, dict):
            problem = f"{what} is not a JSON object"
        elif _is_too_deep(value, parsed):
            problem = f"{what} is nested deeper than {DEPTH_MAX} levels"
        else:
            return parsed
    if not _is_utf8(value):
        problem = f"{what} is not UTF-8"
    raise _unreadable(problem, texts)


def _is_too_deep(value: bytes, parsed: object) -> bool:
    # Counting brackets is cheap and settles nearly every record; the others are walked, level by level.
    if value.count(b"{") + value.count(b"[") <= DEPTH_MAX:
        return False
    level: list[object] = [parsed]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for node in level:
            children: Iterable[object] = node.values() if isinstance(node, dict) else node  # type: ignore[assignment]  # only containers get in
            below.extend(child for child in children if isinstance(child, dict | list))
        if not below:
            return False
        level = below
    return True


def _decode_base64(encoded: str, texts: dict[str, str]) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        problem = "data_base64 is not base64"
    raise _unreadable(problem, texts)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_id(text: str, limit: int) -> bool:
    return 0 < len(text) <= limit and not has_control_characters(text)


def _trace_text(raw: bytes | None) -> str | None:
    # Latin-1 decodes any bytes; the patterns then take ASCII only.
    return None if raw is None or len(raw) > TRACESTATE_MAX else raw.decode("latin-1")


def _shown(header: str) -> str:
    return (
        header if _EXTENSION_NAME.fullmatch(header[3:]) is not None else "ce_… (a name that is not allowed)"
    )


def _unreadable(problem: str, texts: Mapping[str, str]) -> UnreadableEvent:
    event_id, source = texts.get("id", ""), texts.get("source", "")
    return UnreadableEvent(
        problem,
        event_id=event_id if _is_id(event_id, ID_MAX) else None,
        source=source if _is_id(source, SOURCE_MAX) else None,
    )


_SPEC_VERSION_HEADER: Final = ("ce_specversion", SPEC_VERSION.encode())
_CONTENT_TYPE_HEADER: Final = ("content-type", JSON_CONTENT_TYPE.encode())
_LIMITS: Final[Mapping[str, int]] = {
    "id": ID_MAX,
    "source": SOURCE_MAX,
    "type": TYPE_MAX,
    "subject": SUBJECT_MAX,
    "time": TIME_MAX,
    "correlationid": EXTENSION_MAX,
    "causationid": EXTENSION_MAX,
}
_NAMED: Final = frozenset(
    {
        *_LIMITS,
        "specversion",
        "traceparent",
        "tracestate",
        "datacontenttype",
        "dataschema",
        "data",
        "data_base64",
    }
)
