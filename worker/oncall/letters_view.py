"""How dead letters are shown: never their sealed value, only its size and the id of its key."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from contracts.dead_letters import LetterHeaders
from contracts.wire import clean_message, has_control_characters, rfc3339
from worker.oncall.letters import Letter, outlooks, parked_at

_UNREAD = "cannot be read"
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


def letters_table(letters: Sequence[Letter], *, total: int, now_at: int) -> Table:
    """Return the letters, a line each; `total` is how many there are."""
    title = f"{total} open dead letters" if total != 1 else "1 open dead letter"
    if len(letters) < total:
        title += f", the {len(letters)} longest parked"
    table = Table(title=title, title_justify="left", expand=False)
    for column in ("key", "binding", "reason", "step", "result", "parked for"):
        table.add_column(column, overflow="fold")
    table.add_column("replays", justify="right")
    table.add_column("message", overflow="fold")
    for letter in letters:
        table.add_row(*_row(letter, now_at=now_at))
    return table


def letter_table(letter: Letter) -> Table:
    """Return all that is known of one letter."""
    table = Table(
        title=f"Dead letter {letter.key}", title_justify="left", show_header=False, expand=False, box=None
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in _facts(letter):
        table.add_row(name, Text(text))
    for outlook in outlooks(letter):
        table.add_row(outlook.command, Text(outlook.sentence, style="" if outlook.lawful else "yellow"))
    return table


def letter_whole(letter: Letter) -> dict[str, object]:
    """Return one letter as data for JSON Lines, with what replay and discard would do."""
    return letter_line(letter) | {
        outlook.command.value: {"refused": not outlook.lawful, "does": outlook.sentence}
        for outlook in outlooks(letter)
    }


def letter_line(letter: Letter) -> dict[str, object]:
    """Return one letter as data for JSON Lines, without its value."""
    line: dict[str, object] = {
        "key": letter.key,
        "partition": letter.partition,
        "offset": letter.offset,
        "sealedBytes": letter.sealed_bytes,
    }
    headers = letter.headers
    if headers is None:
        return {**line, "problem": letter.problem}
    facts: dict[str, object] = {
        "sagaId": headers.saga_id,
        "bindingId": headers.binding_id,
        "requestId": headers.request_id,
        "joinedRequestIds": list(headers.joined_request_ids) or None,
        "sequence": headers.sequence,
        "reason": headers.reason.value,
        "step": headers.step,
        "outcome": headers.outcome,
        "resultCode": headers.result_code,
        "message": headers.message,
        "attempts": headers.attempts,
        "replays": headers.replays,
        "firstParkedAt": rfc3339(headers.first_parked_at),
        "parkedAt": rfc3339(headers.parked_at),
        "origin": headers.origin.text,
        "originTimestamp": _moment(headers.origin_timestamp),
        "originSha256": headers.origin_sha256,
        "sealedWith": headers.sealed_with,
        "original": dict(_originals(headers)) or None,
    }
    return line | {name: fact for name, fact in facts.items() if fact is not None}


def duration_text(duration_ms: int) -> str:
    """Return a duration for people, coarsely: `40 s`, `12 min`, `5 h`, `3 d`."""
    if duration_ms < _MINUTE_MS:
        return f"{max(duration_ms, 0) // 1000} s"
    if duration_ms < _HOUR_MS:
        return f"{duration_ms // _MINUTE_MS} min"
    if duration_ms < _DAY_MS:
        return f"{duration_ms // _HOUR_MS} h"
    return f"{duration_ms // _DAY_MS} d"


def _row(letter: Letter, *, now_at: int) -> tuple[Text, ...]:
    parked_for = duration_text(now_at - parked_at(letter))
    headers = letter.headers
    if headers is None:
        cells = (letter.key, "", _UNREAD, "", "", parked_for, "", letter.problem or "")
    else:
        cells = (
            letter.key,
            headers.binding_id or "",
            headers.reason.value,
            headers.step or "",
            _result(headers),
            parked_for,
            str(headers.replays),
            headers.message,
        )
    return tuple(Text(cell) for cell in cells)


def _facts(letter: Letter) -> Iterator[tuple[str, str]]:
    yield "lies at", f"partition {letter.partition}, offset {letter.offset}"
    headers = letter.headers
    if headers is None:
        yield "problem", letter.problem or _UNREAD
        yield "value", f"{letter.sealed_bytes} bytes"
        return
    yield "reason", headers.reason.value
    yield "message", headers.message or "none"
    yield "saga", headers.saga_id or "none: its ids could not be read"
    yield "binding", headers.binding_id or "unknown"
    yield "request", headers.request_id or "unknown"
    if headers.joined_request_ids:
        yield "joined requests", ", ".join(headers.joined_request_ids)
    yield "sequence", str(headers.sequence)
    if headers.step is not None:
        yield "step", f"{headers.step}, {headers.attempts} attempts"
        yield "result", _result(headers) or "none"
    yield "replays", str(headers.replays)
    yield "first parked", rfc3339(headers.first_parked_at)
    yield "parked", rfc3339(headers.parked_at)
    yield "origin", headers.origin.text
    if headers.origin_timestamp is not None:
        yield "written there", _moment(headers.origin_timestamp) or str(headers.origin_timestamp)
    yield "value", _value(letter, headers)
    yield from _originals(headers)


def _value(letter: Letter, headers: LetterHeaders) -> str:
    if headers.sealed_with is not None:
        return f"{letter.sealed_bytes} bytes, sealed with key {headers.sealed_with}"
    if headers.origin_sha256 is not None:
        return f"not copied; SHA-256 at its origin {headers.origin_sha256}"
    return "not copied"


def _result(headers: LetterHeaders) -> str:
    return " ".join(part for part in (headers.outcome, headers.result_code) if part)


def _originals(headers: LetterHeaders) -> Iterator[tuple[str, str]]:
    """Yield the request's own headers; they are foreign text, so they are cleaned."""
    for name, value in headers.original:
        yield (
            name if not has_control_characters(name) else clean_message(name),
            clean_message(value.decode(errors="replace")),
        )


def _moment(at: int | None) -> str | None:
    if at is None:
        return None
    try:
        return rfc3339(at)
    except (ValueError, OverflowError, OSError):
        # Kafka takes any number for a record's time.
        return f"{at} ms"
