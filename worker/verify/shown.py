"""How the records of a violation are shown: place, time, ids and state, and never a value or a token."""

from __future__ import annotations

from typing import Any

from contracts.topics import LogicalTopic, topic_name
from contracts.wire import rfc3339
from worker.verify.history import (
    Attempt,
    CommandSeen,
    JournalSeen,
    LetterSeen,
    NoticeSeen,
    RequestSeen,
    SagaKept,
    StateSeen,
    Unreadable,
    VerdictSeen,
    Written,
)


def fields_of(record: object) -> dict[str, object]:
    """Return what is shown of a record, by name; what it does not say is left out."""
    match record:
        case RequestSeen():
            found = _request(record)
        case StateSeen():
            found = _state(record)
        case LetterSeen():
            found = _letter(record)
        case CommandSeen():
            found = {"command": record.command_id, "place": record.origin, "at": _at(record.at)}
            found |= {"orders": "replay" if record.replay else "discard", "letter": record.letter}
        case VerdictSeen():
            found = _verdict(record)
        case Attempt():
            found = _attempt(record)
        case SagaKept():
            found = {"journal": record.offset, "binding": record.binding_id, "saga": record.saga_id}
            found |= {"sequence": record.sequence, "ended": record.ended or None}
        case JournalSeen():
            found = {"journal": f"partition {record.partition}", "position": record.position}
        case NoticeSeen():
            found = {"notice": record.origin, "at": _at(record.at), "binding": record.binding_id}
        case Unreadable():
            found = {"place": record.origin, "why": record.why}
        case Written():
            found = {"place": record.origin}
        case _:
            found = {"record": str(record)}
    return {name: content for name, content in found.items() if content is not None}


def line_of(record: object) -> str:
    """Return what is shown of a record as one line."""
    return " ".join(f"{name}={_text(content)}" for name, content in fields_of(record).items())


def _request(record: RequestSeen) -> dict[str, Any]:
    return {
        "request": record.request_id or "unreadable",
        "place": record.origin,
        "at": _at(record.at),
        "binding": record.binding_id,
        "forwarded_from": record.forwarded_from,
    }


def _state(record: StateSeen) -> dict[str, Any]:
    return {
        "event": record.state,
        "place": f"{topic_name(LogicalTopic.STATES)}/{record.partition}/{record.offset}",
        "at": _at(record.at),
        "binding": record.binding_id,
        "saga": record.saga_id,
        "sequence": record.sequence,
        "step": record.step,
        "done": ",".join(record.done) or None,
        "requests": ",".join(record.request_ids),
        "next_attempt_at": _at(record.next_attempt_at),
        "reason": record.reason,
        "evidence": record.evidence,
    }


def _letter(record: LetterSeen) -> dict[str, Any]:
    return {
        "letter": record.key,
        "place": f"{topic_name(LogicalTopic.DEAD_LETTERS)}/{record.partition}/{record.offset}",
        "what": "stands" if record.stands else "is removed",
        "saga": record.saga_id,
        "sequence": record.sequence,
        "origin": record.origin,
    }


def _verdict(record: VerdictSeen) -> dict[str, Any]:
    return {
        "verdict": "applied" if record.applied else "refused",
        "place": f"{topic_name(LogicalTopic.VERDICTS)}/{record.partition}/{record.offset}",
        "command": record.command,
        "orders": "replay" if record.replay else "discard",
        "letter": record.letter,
        "sequence": record.sequence,
    }


def _attempt(record: Attempt) -> dict[str, Any]:
    return {
        "call": record.number,
        "step": record.step,
        "at": _at(record.begun_at),
        "process": record.process,
        "owner": record.owner,
        "binding": record.binding_id,
        "saga": record.saga_id,
        "ended": record.result_class,
    }


def _at(moment: int | None) -> str | None:
    """Return a moment as text; small numbers are a test's own."""
    return None if not moment or moment < 0 else rfc3339(moment)


def _text(content: object) -> str:
    text = str(content)
    return f'"{text}"' if " " in text else text


def identity_of(shown_by: tuple[object, ...]) -> tuple[str, ...]:
    """Return what makes two showings of a violation the same; a journal's position moves all the time."""
    return tuple(
        f"journal {record.partition}" if isinstance(record, JournalSeen) else line_of(record)
        for record in shown_by
    )
