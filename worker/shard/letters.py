"""Letters without a saga: records that cannot be served, parked under their origin."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from contracts.origins import Origin
from contracts.states import Reason
from contracts.wire import clean_message
from worker.ports import Input
from worker.shard import journal
from worker.shard.headers import kept_headers
from worker.shard.journal import LetterRecord, Meta
from worker.shard.memory import Loose

if TYPE_CHECKING:
    from worker.ports import Record
    from worker.sealing.seal import Sealed
    from worker.shard.memory import Memory
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault


class Letters:
    """Writes the letters without a saga of one memory, and resolves them."""

    def __init__(self, *, memory: Memory, vault: Vault, record_bytes: int) -> None:
        """Values larger than ``record_bytes`` are not copied."""
        self._memory = memory
        self._vault = vault
        self._record_bytes = record_bytes

    def park_unwritable(self, unit: Unit, record: Record, message: str) -> None:
        """Park a record whose admission the broker refuses, as small as possible."""
        self.park(unit, record, Reason.UNWRITABLE, message, copied=False)

    def park_crashed(self, unit: Unit, record: Record, message: str) -> None:
        """Park a record whose admission raised inside the worker."""
        copied = record.value is None or len(record.value) <= self._record_bytes
        self.park(unit, record, Reason.CRASHED, message, copied=copied)

    def park(self, unit: Unit, record: Record, reason: Reason, message: str, *, copied: bool = True) -> None:
        """Park a record without a saga: its letter's key is its origin."""
        origin = Origin(record.topic, record.partition, record.offset)
        meta = Meta(
            origin=origin,
            timestamp_at=record.timestamp_at,
            sha256=None if copied else hashlib.sha256(record.value or b"").hexdigest(),
            headers=kept_headers(record.headers),
        )
        sealed: Sealed | None = None
        if copied:
            sealed = self._vault.seal(record.value or b"", key=origin.text)
        loose = Loose(
            key=origin.text,
            record=LetterRecord(
                reason=reason,
                message=clean_message(message),
                replays=0,
                first_parked_at=unit.now_at,
                notice=record.input is Input.NOTICES,
            ),
            sealed=sealed,
            packed=journal.encode_meta(meta),
        )
        self.keep(unit, loose, meta=meta)

    def keep(self, unit: Unit, loose: Loose, *, meta: Meta) -> None:
        """Write a letter, and its journal."""
        self._memory.loose[loose.key] = loose
        unit.keep_letter(loose.key, loose.record)
        unit.keep_request(key=loose.key, sealed=loose.sealed, packed=loose.packed)
        unit.write_loose_letter(loose, meta=meta)
        unit.note(
            "letter.written", letter=loose.key, reason=str(loose.record.reason), cause=loose.record.message
        )

    def resolve(self, unit: Unit, loose: Loose) -> None:
        """Remove a letter, and its journal."""
        del self._memory.loose[loose.key]
        unit.drop_state(loose.key)
        unit.drop_request(loose.key)
        unit.resolve_letter(loose.key)
