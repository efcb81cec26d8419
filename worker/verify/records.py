"""Reads one committed record of each topic as any outsider can: into plain data, or what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contracts.cloudevents import read_event
from contracts.commands import CommandKind, ReplayFrom, ReplayRequested, Ruling, read_command, read_verdict
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import BindingStateChanged, read_state, state_event_id
from contracts.wire import ContractError
from worker.verify.history import (
    CommandSeen,
    LetterSeen,
    StateSeen,
    Topic,
    Unreadable,
    VerdictSeen,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


_DIGEST_BYTES = 8


class Committed(Protocol):
    """One committed record."""

    @property
    def topic(self) -> str:
        """The topic's name, without a prefix."""
        ...

    @property
    def partition(self) -> int:
        """The partition's number."""
        ...

    @property
    def offset(self) -> int:
        """The offset in the partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """The key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The value; `None` for a tombstone."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers, in order."""
        ...

    @property
    def timestamp_at(self) -> int:
        """The record's own time, in ms since the Unix epoch."""
        ...

    @property
    def moment(self) -> int:
        """A number that grows: from this moment on a read_committed reader may see the record."""
        ...

    @property
    def transaction_number(self) -> int | None:
        """The transaction that wrote it; `None`: none, or not known."""
        ...


class Memo:
    """Keeps one copy of each text and list that many records share."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lists: dict[tuple[str, ...], tuple[str, ...]] = {}

    def text(self, text: str) -> str:
        """Return the copy of a text."""
        return self._texts.setdefault(text, text)

    def texts(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the copy of a list of texts."""
        kept = self._lists.get(texts)
        if kept is None:
            kept = self._lists[texts] = tuple(self.text(text) for text in texts)
        return kept


def state_of(stored: Committed, *, memo: Memo) -> StateSeen | Unreadable:
    """Read an event of the states."""
    try:
        event = read_event(stored.value, stored.headers)
        changed = read_state(event)
    except ContractError as error:
        return Unreadable(topic=Topic.STATES, origin=origin_of(stored), why=str(error))
    change = changed if isinstance(changed, BindingStateChanged) else None
    return StateSeen(
        partition=stored.partition,
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        event_id="" if event.id == state_event_id(changed.saga_id, changed.sequence) else event.id,
        saga_id=memo.text(changed.saga_id),
        binding_id=memo.text(changed.binding_id),
        request_ids=memo.texts(changed.request_ids),
        sequence=changed.sequence,
        state=changed.state.value,
        done=memo.texts(tuple(step.value for step in changed.done)),
        step=None if changed.step is None else changed.step.value,
        next_attempt_at=None if change is None else change.next_attempt_at_ms,
        reason=None if change is None or change.reason is None else change.reason.value,
        evidence=None if change is None or change.evidence is None else change.evidence.value,
        at=changed.at_ms,
        attempts=changed.attempts,
    )


def letter_of(stored: Committed) -> LetterSeen | Unreadable:
    """Read a dead letter, or the tombstone of one."""
    key = (stored.key or b"").decode(errors="replace")
    if stored.value is None:
        return LetterSeen(
            partition=stored.partition,
            offset=stored.offset,
            moment=stored.moment,
            transaction=stored.transaction_number,
            key=key,
            stands=False,
        )
    try:
        letter = LetterHeaders.from_headers(stored.headers)
    except ContractError as error:
        return Unreadable(topic=Topic.DEAD_LETTERS, origin=origin_of(stored), why=str(error))
    return LetterSeen(
        partition=stored.partition,
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        key=key,
        stands=True,
        saga_id=letter.saga_id,
        origin=letter.origin.text,
        sequence=letter.sequence,
        reason=letter.reason.value,
    )


def command_of(stored: Committed) -> CommandSeen:
    """Read a command; one that breaks its contract is one, too: it has a verdict under its origin."""
    try:
        event = read_event(stored.value, stored.headers)
        command = read_command(event)
    except ContractError:
        return CommandSeen(origin=origin_of(stored), command_id=None, at=stored.timestamp_at)
    return CommandSeen(
        origin=origin_of(stored),
        command_id=event.id,
        replay=isinstance(command, ReplayRequested),
        letter=command.letter,
        at=stored.timestamp_at,
    )


def verdict_of(stored: Committed) -> VerdictSeen | Unreadable:
    """Read a verdict."""
    try:
        verdict = read_verdict(read_event(stored.value, stored.headers))
    except ContractError as error:
        return Unreadable(topic=Topic.VERDICTS, origin=origin_of(stored), why=str(error))
    return VerdictSeen(
        partition=stored.partition,
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        command=verdict.command_id or verdict.letter,
        applied=verdict.ruling is Ruling.APPLIED,
        replay=verdict.command is CommandKind.REPLAY,
        letter=verdict.letter,
        saga_id=verdict.saga_id,
        sequence=verdict.expected_sequence if verdict.saga_id is not None else None,
        from_start=verdict.resume_from is ReplayFrom.START,
    )


def written_of(stored: Committed) -> Written:
    """Take a record's bytes in one piece."""
    headers = b"\n".join(name.encode() + b"=" + (content or b"") for name, content in stored.headers)
    content = b"\n".join((stored.key or b"", stored.value or b"", headers))
    return Written(origin=origin_of(stored), content=content)


def origin_of(stored: Committed) -> str:
    """Return where a record lies."""
    return Origin(stored.topic, stored.partition, stored.offset).text
