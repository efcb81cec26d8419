"""Turns a partition's journal into the checker's plain data: the checker itself does not know its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import Input
from worker.shard.journal import (
    POSITION,
    REQUEST,
    STATE,
    JournalUnreadable,
    LetterRecord,
    decode_position,
    decode_state,
)
from worker.verify.history import JournalSeen, SagaKept

if TYPE_CHECKING:
    from worker.oncall.cluster import Found

_STATE = STATE.encode()
_REQUEST = REQUEST.encode()


class JournalFold:
    """Keeps the latest record of each key, as compaction does; blocks of what is remembered are left out."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._states: dict[bytes, tuple[int, bytes]] = {}
        self._requests: dict[bytes, None] = {}
        self._position: bytes | None = None

    def take(self, record: Found) -> None:
        """Take a record in, in order."""
        key, value = record.key or b"", record.value
        if key == POSITION:
            self._position = value
        elif key.startswith(_STATE):
            if value is None:
                self._states.pop(key, None)
            else:
                self._states[key] = (record.offset, value)
        elif key.startswith(_REQUEST):
            if value is None:
                self._requests.pop(key, None)
            else:
                self._requests[key] = None

    def seen(self) -> JournalSeen:
        """Return what the journal holds now."""
        problems: list[str] = []
        sagas: list[SagaKept] = []
        letters: set[str] = set()
        for key, (offset, value) in self._states.items():
            name = key[len(_STATE) :].decode(errors="replace")
            try:
                record = decode_state(name, value)
            except JournalUnreadable as error:
                problems.append(f"{error} (offset {offset})")
                continue
            if isinstance(record, LetterRecord):
                letters.add(name)
                continue
            sagas.append(
                SagaKept(
                    offset=offset,
                    saga_id=name,
                    binding_id=record.saga.binding_id,
                    sequence=record.saga.sequence,
                    ended=record.ended_at is not None,
                )
            )
        position, commands = self._positions(problems)
        return JournalSeen(
            partition=self._partition,
            position=position,
            commands_position=commands,
            sagas=tuple(sagas),
            letters=frozenset(letters),
            requests=frozenset(key[len(_REQUEST) :].decode(errors="replace") for key in self._requests),
            problems=tuple(problems),
        )

    def _positions(self, problems: list[str]) -> tuple[int | None, int | None]:
        """Return the next offsets of requests and commands; an input without a name is at its beginning."""
        if self._position is None:
            return None, None
        try:
            offsets = decode_position(self._position).offsets
        except (JournalUnreadable, ValueError, TypeError) as error:
            problems.append(str(error) if isinstance(error, JournalUnreadable) else "the position is garbled")
            return None, None
        return offsets.get(Input.REQUESTS, 0), offsets.get(Input.COMMANDS, 0)
