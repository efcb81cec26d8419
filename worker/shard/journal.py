"""The journal's format: its keys, and how sagas, letters, lines and the position are written and read.

Format version 1. A version writes what the one before it reads, so that both can run side by side and the
newer one can be taken back: it may add members, which older versions keep as they are, and records under
``aside:``, which older versions pass over. A change that an older version must not pass over is a new format
version, and that one is written only after every worker reads it.

JournalUnreadable    a record that this version cannot read; the text names its key and what to do
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.origins import Origin
from contracts.states import Evidence, Reason, State, Step
from worker.ports import Input
from worker.saga.model import Kind, Phase, RequestRef, Saga, Target, TargetKind
from worker.sealing.fingerprints import DIGEST_BYTES
from worker.sealing.seal import Sealed
from worker.shard.seen import ENTRY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from worker.ports import Headers, JournalRecord

POSITION: Final = b"position"
STATE: Final = "state:"
REQUEST: Final = "request:"
SEEN: Final = "seen:"
DEAD: Final = "dead:"
LINE: Final = "line:"
ASIDE: Final = "aside:"
"""Records of newer versions that a version which does not know them may pass over."""

VERSION: Final = 1
SEALED_WITH_HEADER: Final = "sealed-with"
META_HEADER: Final = "meta"

_STEPS: Final[Mapping[Step, str]] = MappingProxyType(
    {
        Step.CONSULT: "c",
        Step.CANCEL_TOKEN: "t",
        Step.CANCEL_AGREEMENT: "a",
        Step.NOTIFY_MERCHANT: "m",
        Step.NOTIFY_HUB: "h",
        Step.OFFER: "o",
    }
)
_STEP_OF: Final = {letter: step for step, letter in _STEPS.items()}
_TARGETS: Final[Mapping[TargetKind, str]] = MappingProxyType(
    {
        TargetKind.TOKEN: "t",
        TargetKind.AGREEMENT: "a",
        TargetKind.ACCOUNT: "m",
    }
)
_TARGET_OF: Final = {letter: kind for kind, letter in _TARGETS.items()}
_SHOWN: Final = 300
_DIGITS: Final = 2 * DIGEST_BYTES


class JournalUnreadable(Exception):
    """The journal holds a record that this version cannot read: the shard stays closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What is known of a request beside its value: enough to write its letter and its events."""

    origin: Origin
    timestamp_at: int
    event_id: str = ""
    fingerprint: str | None = None
    sha256: str | None = None
    """Of a value that was not copied, hex."""
    headers: Headers = ()
    """The original CloudEvents attributes, content type and trace context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """A saga as the journal shows it, and what the shard knows beside it."""

    saga: Saga
    order: int
    """Its place in its lane; later ones are higher."""
    dead: tuple[tuple[bytes, int], ...] = ()
    """Targets that are dead, and since when (ms since the Unix epoch)."""
    ended_at: int | None = None
    offered_since: bool = False
    """A rebinding was offered while it stood, or may have been: a late cancel could end the new agreement."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRecord:
    """A letter without a saga: a record whose ids could not be read."""

    reason: Reason
    message: str
    replays: int
    first_parked_at: int
    notice: bool = False
    """It came as a notice."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """A stopped line."""

    stopped_at: int
    probe_at: int
    probes: int = 0
    code: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """The next offset to take of each input, and the fingerprint keys that digests here were made with."""

    offsets: dict[Input, int]
    fingerprint_keys: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)


def kind_and_name(key: bytes) -> tuple[str, str]:
    """Return the kind of a record (such as ``STATE``) and the rest of its key. Raises JournalUnreadable."""
    try:
        kind, colon, name = key.decode().partition(":")
    except UnicodeDecodeError:
        raise unknown_kind(key) from None
    return kind + colon, name


def unknown_kind(key: bytes) -> JournalUnreadable:
    """Return the error for a record that this version does not know."""
    return JournalUnreadable(
        f"journal record {key[:_SHOWN]!r} is of no kind that this version knows; run the newer version"
    )


def encode_position(position: PositionRecord) -> bytes:
    """Return the position's record."""
    offsets = {str(name): offset for name, offset in position.offsets.items()}
    keys = sorted(position.fingerprint_keys)
    return orjson.dumps({**position.extra, "v": VERSION, **offsets, "keys": keys})


def decode_position(value: bytes) -> PositionRecord:
    """Return the position; an input that it does not name starts at its log's beginning.

    Raises JournalUnreadable.
    """
    found = _object(value, POSITION.decode())
    offsets = {name: found[name] for name in Input if name in found}
    keys = found.get("keys", [])
    if not (_are(offsets.values(), int) and isinstance(keys, list) and _are(keys, str)):
        raise JournalUnreadable("journal record position is garbled; run the version that wrote it")
    return PositionRecord(
        offsets=offsets,
        fingerprint_keys=frozenset(keys),
        extra=_beyond(found, _POSITION_MEMBERS),
    )


def encode_state(record: StateRecord) -> bytes:
    """Return a saga's state record: what is at its default is left out."""
    saga = record.saga
    found: dict[str, Any] = {
        **record.extra,
        "v": VERSION,
        "b": saga.binding_id,
        "p": saga.phase,
        "s": saga.state,
        "n": saga.sequence,
        "o": record.order,
        "plan": _letters(saga.steps),
        "r": [[ref.id, ref.digest.hex()] for ref in saga.requests],
        "at": saga.requested_at,
    }
    if saga.targets:
        found["x"] = {_TARGETS[target.kind]: target.digest.hex() for target in saga.targets}
    if saga.kind is not Kind.UNBINDING:
        found["k"] = saga.kind
    optional: tuple[tuple[str, Any], ...] = (
        ("exp", saga.expires_at),
        ("st", None if saga.step is None else _STEPS[saga.step]),
        ("d", _letters(saga.done)),
        ("e", saga.evidence),
        ("a", saga.attempts),
        ("w", saga.waits),
        ("ds", saga.due_since),
        ("cf", saga.clock_from),
        ("pa", saga.paused_at),
        ("due", saga.due_at),
        ("att", _letters(sorted(saga.attempted))),
        ("und", _letters(sorted(saga.undecided))),
        ("fa", saga.fresh_attempt),
        ("al", saga.allowed_at),
        ("acq", saga.acquirer_id),
        ("psp", saga.psp_id),
        ("why", saga.reason),
        ("fp", saga.first_parked_at),
        ("rep", saga.replays),
        ("dead", [[digest.hex(), at] for digest, at in record.dead]),
        ("end", record.ended_at),
        ("off", record.offered_since),
    )
    # Left out is what decodes to the same again: zero of a moment is no absence.
    found |= {name: content for name, content in optional if content or (content == 0 and name in _MOMENTS)}
    return orjson.dumps(found)


def decode_state(key: str, value: bytes) -> StateRecord | LetterRecord:
    """Return what a ``state:`` record holds; ``key`` without its prefix. Raises JournalUnreadable."""
    found = _object(value, STATE + key)
    try:
        if "letter" in found:
            return _letter(found["letter"])
        return _state(key, found)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise JournalUnreadable(
            f"journal record {STATE}{shown(key)} lacks or garbles a member ({type(error).__name__}); "
            "run the version that wrote it"
        ) from error


_MOMENTS: Final = frozenset({"exp", "ds", "cf", "pa", "due", "al", "fp", "end"})
_TYPES: Final[Mapping[str, type]] = MappingProxyType(
    dict.fromkeys(("b", "p", "s", "plan", "k", "st", "d", "e", "att", "und", "acq", "psp", "why"), str)
    | dict.fromkeys(("v", "n", "o", "at", "a", "w", "rep", *_MOMENTS), int)
    | dict.fromkeys(("fa", "off"), bool)
    | {"r": list, "dead": list, "x": dict}
)
"""Every member of a saga's state that this version knows: what has another type is never taken for it."""
_KNOWN: Final = frozenset(_TYPES)
_WITHOUT_STEP: Final = frozenset({Phase.QUEUED, Phase.PARKED, Phase.ENDED})
_POSITION_MEMBERS: Final = frozenset({"v", "keys", *Input})
_LETTER_MEMBERS: Final = frozenset({"why", "message", "rep", "fp", "notice"})
_LINE_MEMBERS: Final = frozenset({"v", "at", "probe", "n", "code"})


def _state(key: str, found: dict[str, Any]) -> StateRecord:
    get = found.get
    for name, content in found.items():
        if name in _TYPES and type(content) is not _TYPES[name]:
            raise TypeError(name)
    phase = Phase(found["p"])
    if (
        (phase is Phase.WAITING and "due" not in found)
        or (phase is Phase.PARKED and "why" not in found)
        or (phase not in _WITHOUT_STEP and "st" not in found)
    ):
        raise KeyError(phase)
    return StateRecord(
        saga=Saga(
            saga_id=key,
            binding_id=found["b"],
            kind=Kind(get("k", Kind.UNBINDING)),
            steps=_steps(found["plan"]),
            targets=tuple(
                Target(_TARGET_OF[letter], _digest(digest)) for letter, digest in get("x", {}).items()
            ),
            requests=tuple(RequestRef(_text(event_id), _digest(digest)) for event_id, digest in found["r"]),
            requested_at=found["at"],
            expires_at=get("exp"),
            phase=phase,
            state=State(found["s"]),
            sequence=found["n"],
            step=None if "st" not in found else _STEP_OF[found["st"]],
            done=_steps(get("d", "")),
            evidence=None if "e" not in found else Evidence(found["e"]),
            attempts=get("a", 0),
            waits=get("w", 0),
            due_since=get("ds"),
            clock_from=get("cf"),
            paused_at=get("pa"),
            due_at=get("due"),
            attempted=frozenset(_steps(get("att", ""))),
            undecided=frozenset(_steps(get("und", ""))),
            fresh_attempt=get("fa", False),
            allowed_at=get("al"),
            acquirer_id=get("acq"),
            psp_id=get("psp"),
            reason=None if "why" not in found else Reason(found["why"]),
            first_parked_at=get("fp"),
            replays=get("rep", 0),
        ),
        order=found["o"],
        dead=tuple((_digest(digest), _whole(at)) for digest, at in get("dead", ())),
        ended_at=get("end"),
        offered_since=get("off", False),
        extra=_beyond(found, _KNOWN),
    )


def encode_letter(letter: LetterRecord) -> bytes:
    """Return the state record of a letter without a saga."""
    return orjson.dumps(
        {
            "v": VERSION,
            "letter": {
                **letter.extra,
                "why": letter.reason,
                "message": letter.message,
                "rep": letter.replays,
                "fp": letter.first_parked_at,
                "notice": letter.notice,
            },
        }
    )


def _letter(found: dict[str, Any]) -> LetterRecord:
    notice = found.get("notice", False)
    if type(notice) is not bool:
        raise TypeError("notice")
    return LetterRecord(
        reason=Reason(found["why"]),
        message=_text(found["message"]),
        replays=_whole(found["rep"]),
        first_parked_at=_whole(found["fp"]),
        notice=notice,
        extra=_beyond(found, _LETTER_MEMBERS),
    )


def encode_meta(meta: Meta) -> bytes:
    """Return what is known of a request beside its value."""
    found: dict[str, Any] = {
        "v": VERSION,
        "origin": meta.origin.text,
        "ts": meta.timestamp_at,
        "id": meta.event_id,
        # Header values are bytes of any kind; Latin-1 maps each byte to one character and back.
        "h": [[name, value.decode("latin-1")] for name, value in meta.headers],
    }
    if meta.fingerprint is not None:
        found["fp"] = meta.fingerprint
    if meta.sha256 is not None:
        found["sha256"] = meta.sha256
    return orjson.dumps(found)


def decode_meta(value: bytes) -> Meta:
    """Return what ``encode_meta`` wrote. Raises JournalUnreadable."""
    found = _object(value, "a request's meta header")
    try:
        return Meta(
            origin=Origin.parse(found["origin"]),
            timestamp_at=_whole(found["ts"]),
            event_id=_text(found["id"]),
            headers=tuple((_text(name), text.encode("latin-1")) for name, text in found["h"]),
            fingerprint=_text_or_none(found.get("fp")),
            sha256=_text_or_none(found.get("sha256")),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise JournalUnreadable(
            "a request's meta header is garbled; run the version that wrote it"
        ) from error


def request_headers(*, sealed: Sealed | None, meta: bytes) -> Headers:
    """Return the headers of a ``request:`` record."""
    head = () if sealed is None else ((SEALED_WITH_HEADER, sealed.key_id.encode()),)
    return (*head, (META_HEADER, meta))


def read_request_record(record: JournalRecord) -> tuple[Sealed | None, bytes]:
    """Return the sealed value (``None`` if it was not copied) and the meta of a ``request:`` record.

    Raises JournalUnreadable.
    """
    headers = dict(record.headers)
    meta = headers.get(META_HEADER)
    if meta is None or record.value is None:
        raise JournalUnreadable(
            f"journal record {shown(record.key)} has no {META_HEADER} header; run the version that wrote it"
        )
    key_id = headers.get(SEALED_WITH_HEADER)
    if key_id is None:
        return None, meta
    try:
        return Sealed(key_id=key_id.decode("ascii"), value=record.value), meta
    except UnicodeDecodeError:
        raise JournalUnreadable(
            f"journal record {shown(record.key)} names no key that can be; run the version that wrote it"
        ) from None


def encode_line(line: LineRecord) -> bytes:
    """Return the record of a stopped line."""
    return orjson.dumps(
        {
            **line.extra,
            "v": VERSION,
            "at": line.stopped_at,
            "probe": line.probe_at,
            "n": line.probes,
            "code": line.code,
        }
    )


def decode_line(name: str, value: bytes) -> LineRecord:
    """Return a stopped line. Raises JournalUnreadable."""
    found = _object(value, LINE + name)
    try:
        return LineRecord(
            stopped_at=_whole(found["at"]),
            probe_at=_whole(found["probe"]),
            probes=_whole(found["n"]),
            code=_text_or_none(found.get("code")),
            extra=_beyond(found, _LINE_MEMBERS),
        )
    except (KeyError, TypeError) as error:
        raise JournalUnreadable(
            f"journal record {LINE}{shown(name)} lacks or garbles a member; run the version that wrote it"
        ) from error


def encode_dead(at: int) -> bytes:
    """Return the record of a target that a notice has shown to be dead, without a saga."""
    return orjson.dumps({"v": VERSION, "at": at})


def decode_dead(name: str, value: bytes) -> tuple[bytes, int]:
    """Return a dead target's digest, and since when it is dead (ms since the Unix epoch)."""
    found = _object(value, DEAD + name)
    try:
        return _digest(name), _whole(found["at"])
    except (KeyError, ValueError, TypeError) as error:
        raise JournalUnreadable(
            f"journal record {DEAD}{shown(name)} is garbled; run the version that wrote it"
        ) from error


def decode_block(name: str, value: bytes) -> bytes:
    """Return a block of what is remembered. Raises JournalUnreadable."""
    if len(value) % ENTRY_BYTES:
        raise JournalUnreadable(
            f"journal record {SEEN}{shown(name)} is no whole number of entries; run the version that wrote it"
        )
    return value


def _object(value: bytes, what: str) -> dict[str, Any]:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise JournalUnreadable(
            f"journal record {shown(what)} is no JSON object; run the version that wrote it"
        )
    version = found.get("v")
    if type(version) is not int or version != VERSION:
        raise JournalUnreadable(
            f"journal record {shown(what)} is of format {shown(str(version))}, this version reads {VERSION}; "
            "run the newer version"
        )
    return found


def _are(contents: Iterable[object], kind: type) -> bool:
    return all(type(content) is kind for content in contents)


def _whole(content: object) -> int:
    if type(content) is not int:
        raise TypeError("not a whole number")
    return content


def _text(content: object) -> str:
    if type(content) is not str:
        raise TypeError("not text")
    return content


def _text_or_none(content: object) -> str | None:
    return None if content is None else _text(content)


def _digest(digits: str) -> bytes:
    if len(digits) != _DIGITS:
        raise ValueError("not a digest")
    return bytes.fromhex(digits)


def shown(key: str | bytes) -> str:
    """Return a key, or a part of one, fit for a message: it may be anything."""
    text = key.decode(errors="replace") if isinstance(key, bytes) else key
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])


def _beyond(found: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Return the members that this version does not know."""
    return {name: content for name, content in found.items() if name not in known}


def _letters(steps: tuple[Step, ...] | list[Step]) -> str:
    return "".join(_STEPS[step] for step in steps)


def _steps(letters: str) -> tuple[Step, ...]:
    return tuple(_STEP_OF[letter] for letter in letters)
