"""Reading requests and notices that a person submits, and making the records that carry them. Pure."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from contracts.cloudevents import (
    DEPTH_MAX,
    STRUCTURED_CONTENT_TYPE,
    IncomingEvent,
    event_headers,
    peek_binding_id,
    read_event,
)
from contracts.notices import TOKEN_CANCELED, read_notice
from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED, read_request
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import ContractError, parse_rfc3339
from worker.oncall.cluster import Message
from worker.oncall.errors import CommandError

DEFAULT_SOURCE: Final = "/unbinding-cli"
PROBLEMS_SHOWN: Final = 20

_TOPICS: Final[Mapping[str, LogicalTopic]] = {
    UNBINDING_REQUESTED: LogicalTopic.REQUESTS,
    REBINDING_REQUESTED: LogicalTopic.REQUESTS,
    TOKEN_CANCELED: LogicalTopic.NOTICES,
}
# Each of these is required in its type and unknown in the others.
_TELLING_FIELDS: Final = {
    "initiator": UNBINDING_REQUESTED,
    "customerBelongsTo": REBINDING_REQUESTED,
    "noticeId": TOKEN_CANCELED,
}


class SubmitType(StrEnum):
    """What may be submitted."""

    UNBINDING = UNBINDING_REQUESTED
    REBINDING = REBINDING_REQUESTED
    NOTICE = TOKEN_CANCELED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event that is fit to be published."""

    place: str
    """Where it stands in the file: `line 3` or `entry 3`."""
    event_id: str
    source: str
    event_type: str
    binding_id: str | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def topic(self) -> LogicalTopic:
        """The topic that it belongs to."""
        return _TOPICS[self.event_type]

    def message(self, *, partitions: Mapping[LogicalTopic, int]) -> Message:
        """Return the record, in the partition of its binding; `partitions` are the topics' counts."""
        binding_id = self.binding_id
        return Message(
            topic=self.topic,
            key=None if binding_id is None else binding_id.encode(),
            value=self.value,
            headers=self.headers,
            partition=None if binding_id is None else partition_of(binding_id, partitions[self.topic]),
        )


class SubmitRejected(CommandError):
    """Some entries are wrong, so nothing is published: each is told with its place, none with its values."""

    def __init__(self, problems: Sequence[str], *, entries: int) -> None:
        self.problems = tuple(problems)
        shown = [f"  {problem}" for problem in self.problems[:PROBLEMS_SHOWN]]
        if len(self.problems) > PROBLEMS_SHOWN:
            shown.append(f"  … and {len(self.problems) - PROBLEMS_SHOWN} more")
        head = f"{len(self.problems)} of {entries} entries are wrong; nothing was published. Mend them:"
        super().__init__("\n".join([head, *shown]))


def read_entries(
    content: bytes,
    *,
    now_at: int,
    source: str = DEFAULT_SOURCE,
    event_type: str | None = None,
    record_bytes: int,
) -> list[Entry]:
    """Return all entries of a file, or raise `SubmitRejected` with everything that is wrong.

    The file is one JSON object, an array of objects, or JSON Lines. An object with `specversion` is a
    CloudEvent; any other is data alone, with `source`, its own `id` or one made of its content (so that the
    same entry again is a repetition), and `event_type` or the type that its fields tell.
    `record_bytes` is the size that the worker copies at most.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    count = 0
    for place, document in _documents(content):
        count += 1
        if isinstance(document, str):
            problems.append(f"{place}: {document}")
            continue
        try:
            entry = _entry(place, document, now_at=now_at, source=source, event_type=event_type)
        except ContractError as error:
            problems.append(f"{place}: {error}")
            continue
        if len(entry.value) > record_bytes:
            problems.append(
                f"{place}: {len(entry.value)} bytes; the worker parks what has more than {record_bytes} "
                "(limits.record_bytes)"
            )
            continue
        entries.append(entry)
    if problems:
        raise SubmitRejected(problems, entries=count)
    if not entries:
        raise CommandError("the file has no entries: give JSON objects, one a line or as an array")
    return entries


def repetitions(entries: Sequence[Entry]) -> int:
    """Return how many entries have the identity of an earlier one: the worker takes them as repetitions."""
    return len(entries) - len({(entry.source, entry.event_id) for entry in entries})


def _documents(content: bytes) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield place and object of each entry; text in the object's stead says what is wrong."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    whole: Any = _NO_JSON
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        where = f"it is not JSON (line {error.lineno}, column {error.colno})"
    if isinstance(whole, list):
        for number, document in enumerate(whole, 1):
            yield f"entry {number}", document if isinstance(document, dict) else "it is not a JSON object"
        return
    if isinstance(whole, dict):
        yield "entry 1", whole
        return
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    parsed = [(number, _line(line)) for number, line in lines]
    if whole is _NO_JSON and parsed and all(isinstance(document, str) for _, document in parsed):
        # Not one line is an entry: this is one document that is broken.
        yield "the file", where
        return
    for number, document in parsed:
        yield f"line {number}", document


def _line(line: bytes) -> dict[str, Any] | str:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"it is not JSON (column {error.colno})"
    return document if isinstance(document, dict) else "it is not a JSON object"


def _entry(
    place: str, document: dict[str, Any], *, now_at: int, source: str, event_type: str | None
) -> Entry:
    if "specversion" in document:
        event = read_event(_json(document), [("content-type", STRUCTURED_CONTENT_TYPE.encode())])
        headers = _headers(event, now_at=now_at)
        value = _json(event.data)
    else:
        data = {name: content for name, content in document.items() if name != "id"}
        value = _json(data)
        told = event_type or _told_type(data)
        binding_id = data.get("bindingId")
        headers = event_headers(
            event_id=_event_id(document.get("id"), told, data),
            source=source,
            event_type=told,
            at=now_at,
            subject=binding_id if isinstance(binding_id, str) else None,
        )
    # Read as the worker will read it: what passes here is admitted there.
    event = read_event(value, headers)
    if event.type not in _TOPICS:
        raise ContractError(f"type must be one of {', '.join(_TOPICS)}")
    if _TOPICS[event.type] is LogicalTopic.NOTICES:
        read_notice(event)
    else:
        read_request(event)
    return Entry(
        place=place,
        event_id=event.id,
        source=event.source,
        event_type=event.type,
        binding_id=peek_binding_id(event),
        value=value,
        headers=tuple(headers),
    )


def _json(document: object) -> bytes:
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:
        # What is read may be nested four times as deep as what can be written.
        raise ContractError(f"it is nested deeper than {DEPTH_MAX} levels") from None


def _headers(event: IncomingEvent, *, now_at: int) -> list[tuple[str, bytes]]:
    at = now_at
    if event.time is not None:
        try:
            at = parse_rfc3339(event.time)
        except ValueError as error:
            raise ContractError(f"time {error}") from None
    headers = event_headers(
        event_id=event.id,
        source=event.source,
        event_type=event.type,
        at=at,
        subject=event.subject or peek_binding_id(event),
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        traceparent=event.traceparent,
        tracestate=event.tracestate,
    )
    return headers + [(f"ce_{name}", text.encode()) for name, text in event.extensions.items()]


def _told_type(data: Mapping[str, Any]) -> str:
    told = {event_type for name, event_type in _TELLING_FIELDS.items() if name in data}
    if len(told) != 1:
        raise ContractError(
            f"its fields do not tell its type: give one of {', '.join(_TELLING_FIELDS)}, or --type"
        )
    return told.pop()


def _event_id(given: object, event_type: str, data: Mapping[str, Any]) -> str:
    if given is not None:
        if not isinstance(given, str):
            raise ContractError("id must be text")
        return given
    canonical = orjson.dumps([event_type, data], option=orjson.OPT_SORT_KEYS)
    return f"cli-{hashlib.sha256(canonical).hexdigest()[:32]}"


_NO_JSON: Final = object()
