"""Serves replay and discard: each command ends in exactly one verdict, in the transaction that applies it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.commands import (
    WHY_MAX,
    CommandKind,
    DiscardRequested,
    ReplayFrom,
    ReplayRequested,
    Ruling,
    VerdictRecorded,
    read_command,
)
from contracts.origins import Origin
from contracts.states import Reason, Step
from contracts.wire import InvalidEvent, clean_message
from worker.saga.inputs import Discarded, Resumed
from worker.saga.model import Phase
from worker.shard import journal, lanes
from worker.shard.unsealing import meta_of
from worker.shard.vault import VaultError

if TYPE_CHECKING:
    from contracts.cloudevents import IncomingEvent
    from worker.ports import Record
    from worker.saga.model import Saga
    from worker.sealing.seal import Sealed
    from worker.shard.admission import Admission
    from worker.shard.driver import Driver
    from worker.shard.letters import Letters
    from worker.shard.memory import Entry, Loose, Memory
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault

REPLAYS_MOST: Final = 2
"""How often a letter is replayed without ``force``."""

_DISCARD_ONLY: Final = frozenset({Reason.EXPIRED})
_READ_ANEW: Final = frozenset({Reason.INVALID})

Command = ReplayRequested | DiscardRequested


class Refusal(Exception):
    """A guard says no: why, and what would be lawful."""

    def __init__(self, because: str, instead: str | None = None) -> None:
        super().__init__(because)
        self.because = because
        self.instead = instead


class Commands:
    """Applies commands to parked sagas and to letters without a saga, or refuses them."""

    def __init__(
        self, *, memory: Memory, driver: Driver, admission: Admission, letters: Letters, vault: Vault
    ) -> None:
        self._memory = memory
        self._driver = driver
        self._admission = admission
        self._letters = letters
        self._vault = vault

    def refuse(self, unit: Unit, record: Record, because: str) -> None:
        """Give the verdict of a command whose handling failed inside the worker."""
        self.take(unit, record, original=None, unable=because)

    def origin_needed(self, record: Record) -> Origin | None:
        """Name the record that this command needs to be read again at its origin, if there is one."""
        try:
            command = read_command(read_event(record.value, record.headers))
        except (UnreadableEvent, InvalidEvent):
            return None
        loose = self._memory.loose.get(command.letter)
        if isinstance(command, DiscardRequested) or loose is None or loose.sealed is not None:
            return None
        return journal.decode_meta(loose.packed).origin

    def take(self, unit: Unit, record: Record, *, original: bytes | None, unable: str | None = None) -> None:
        """Take one record of ``unbinding.commands`` in; ``original`` is what stands at its letter's origin.

        ``unable`` says why it cannot be served, if that is known already.
        """
        origin = Origin(record.topic, record.partition, record.offset).text
        try:
            event = read_event(record.value, record.headers)
            command = read_command(event)
        except (UnreadableEvent, InvalidEvent) as error:
            self._record(
                unit,
                origin,
                VerdictRecorded(
                    letter=origin, ruling=Ruling.REFUSED, because=_because(str(error)), at=_moment(unit)
                ),
            )
            return
        entry = self._memory.entries.get(command.letter)
        loose = self._memory.loose.get(command.letter)
        found = None if entry is None else entry.saga.sequence
        if loose is not None:
            found = loose.record.replays
        try:
            _demand_able(unable)
            if loose is not None:
                self._serve_loose(unit, loose, command, original=original)
            else:
                self._serve(unit, entry, command, event)
        except Refusal as refusal:
            verdict = _verdict(unit, command, event, Ruling.REFUSED, refusal=refusal)
        else:
            verdict = _verdict(unit, command, event, Ruling.APPLIED)
        if entry is not None:
            verdict = verdict.model_copy(update={"saga_id": entry.key, "binding_id": entry.saga.binding_id})
        if found is not None:
            verdict = verdict.model_copy(update={"found_sequence": found})
        self._record(unit, origin, verdict, causation_id=event.id)

    def _record(
        self, unit: Unit, origin: str, verdict: VerdictRecorded, *, causation_id: str | None = None
    ) -> None:
        event_id = hashlib.blake2b(f"verdict\n{origin}".encode(), digest_size=16).hexdigest()
        unit.record_verdict(verdict, event_id=event_id, causation_id=causation_id)
        applied = verdict.ruling is Ruling.APPLIED
        unit.note(
            "command.applied" if applied else "command.refused",
            letter=verdict.letter,
            command=verdict.command,
            cause=verdict.because,
            plan_id=verdict.plan_id,
        )

    # --- letters with a saga ------------------------------------------------------

    def _serve(self, unit: Unit, entry: Entry | None, command: Command, event: IncomingEvent) -> None:
        if entry is None:
            raise Refusal(
                "no open dead letter has this key in this partition: it was resolved, or the command lies "
                "in another partition than its letter",
                "unbinding letters show KEY",
            )
        saga = entry.saga
        if saga.phase is not Phase.PARKED:
            raise Refusal(f"the saga is not parked, its state is {saga.state}", "unbinding letters list")
        if saga.sequence != command.expected_sequence:
            raise Refusal(
                f"the letter moved on: it is at sequence {saga.sequence}, the command expected "
                f"{command.expected_sequence}",
                "look at the letter again, then order anew",
            )
        if isinstance(command, DiscardRequested):
            self._driver.happen(unit, entry, Discarded(), causation_id=event.id)
            return
        self._guard_replay(entry, command)
        if saga.reason in _READ_ANEW:
            self._replay_invalid(unit, entry, command, event)
            return
        from_start = command.resume_from is ReplayFrom.START
        self._driver.happen(unit, entry, Resumed(from_start=from_start), causation_id=event.id)

    def _guard_replay(self, entry: Entry, command: ReplayRequested) -> None:
        saga = entry.saga
        discard = f"unbinding letters discard {entry.key}"
        if saga.reason in _DISCARD_ONLY:
            raise Refusal(f"a letter with the reason {saga.reason} can only be discarded", discard)
        if entry.sealed is None or entry.sealed.key_id not in self._vault.sealing_keys:
            raise Refusal("its sealed request cannot be opened any more: its sealing key is gone", discard)
        self._guard_new_agreement(entry, saga)
        if saga.replays >= REPLAYS_MOST and not command.force:
            raise Refusal(
                f"it was replayed {saga.replays} times already: another run is unlikely to end otherwise",
                f"unbinding letters replay {entry.key} --force",
            )
        if command.resume_from is ReplayFrom.START and saga.attempted:
            raise Refusal(
                "a revocation was attempted: asking for permission again would refuse what may have happened",
                f"unbinding letters replay {entry.key} --from failed_step",
            )
        dead = [
            target
            for target in saga.targets
            if self._memory.known_dead(target, requested_at=saga.requested_at)
        ]
        if saga.targets and len(dead) == len(saga.targets) and saga.step is not Step.NOTIFY_HUB:
            raise Refusal("all that the request wants dead is dead by now", discard)

    def _guard_new_agreement(self, entry: Entry, saga: Saga) -> None:
        """Refuse what could end an agreement that was bound after the request, or is about to be."""
        if not lanes.could_hit_new_agreement(self._memory, entry, saga):
            return
        discard = f"unbinding letters discard {entry.key}"
        why = "and its cancel_agreement, still to come, could end the new agreement"
        if entry.offered_since:
            raise Refusal(
                f"a rebinding was offered since, or may have been before it had a saga, {why}",
                f"{discard}, and a new request for what is still to be ended",
            )
        raise Refusal(
            f"a rebinding of this binding is under way or queued, {why}",
            f"the same again if the rebinding ends without an offer, else {discard}",
        )

    def _replay_invalid(
        self, unit: Unit, entry: Entry, command: ReplayRequested, event: IncomingEvent
    ) -> None:
        """Read an invalid request anew: the worker's profile or version may have changed."""
        del command
        if entry.sealed is None:
            raise AssertionError("the guard lets no letter without a value through")
        meta = meta_of(entry)
        value = self._unsealed(entry.sealed, key=entry.key)
        planned = self._admission.plan_again(entry, value=value, meta=meta)
        if isinstance(planned, str):
            self._driver.resume_only(unit, entry, causation_id=event.id)
            self._driver.broke(unit, entry, reason=Reason.INVALID, message=planned, causation_id=event.id)
            return
        # Only now it is known which steps it has.
        self._guard_new_agreement(entry, planned.saga)
        self._admission.take_plan(entry, planned)
        unit.keep_request(key=entry.key, sealed=entry.sealed, packed=entry.packed)
        self._driver.happen(unit, entry, Resumed(), causation_id=event.id)

    # --- letters without a saga -----------------------------------------------------

    def _serve_loose(self, unit: Unit, loose: Loose, command: Command, *, original: bytes | None) -> None:
        record = loose.record
        if record.replays != command.expected_sequence:
            raise Refusal(
                f"the letter moved on: it is at sequence {record.replays}, the command expected "
                f"{command.expected_sequence}",
                "look at the letter again, then order anew",
            )
        if isinstance(command, DiscardRequested):
            self._letters.resolve(unit, loose)
            return
        discard = f"unbinding letters discard {loose.key}"
        if record.notice:
            raise Refusal("it came as a notice: send the mended notice again, and discard this", discard)
        if record.replays >= REPLAYS_MOST and not command.force:
            raise Refusal(
                f"it was replayed {record.replays} times already: another run is unlikely to end otherwise",
                f"unbinding letters replay {loose.key} --force",
            )
        value = self._value(loose, original, discard=discard)
        if self._admission.would_cancel_agreement(loose, value=value):
            # Nobody knew its binding while it stood, and so nobody marked it when links were offered.
            raise Refusal(
                "it names an agreement, and whether a rebinding was offered since is not known of a letter "
                "without a saga: its cancel_agreement could end the new agreement",
                f"{discard}, and a new request for what is still to be ended",
            )
        self._admission.read_again(unit, loose, value=value)

    def _value(self, loose: Loose, original: bytes | None, *, discard: str) -> bytes:
        if loose.sealed is not None:
            return self._unsealed(loose.sealed, key=loose.key)
        meta = journal.decode_meta(loose.packed)
        if original is None:
            raise Refusal(f"its value was not copied, and {meta.origin.text} is gone", discard)
        if hashlib.sha256(original).hexdigest() != meta.sha256:
            raise Refusal(f"the value at {meta.origin.text} is not the one that was parked", discard)
        return original

    def _unsealed(self, sealed: Sealed, *, key: str) -> bytes:
        try:
            return self._vault.unseal(sealed, key=key)
        except VaultError as error:
            raise Refusal(str(error), f"unbinding letters discard {key}") from error


def _demand_able(unable: str | None) -> None:
    if unable is not None:
        raise Refusal(_because(unable), "look at the letter again, then order anew")


def _because(text: str) -> str:
    return clean_message(text, max_bytes=WHY_MAX) or "no reason is known"


def _verdict(
    unit: Unit,
    command: Command,
    event: IncomingEvent,
    ruling: Ruling,
    *,
    refusal: Refusal | None = None,
) -> VerdictRecorded:
    replays = isinstance(command, ReplayRequested)
    return VerdictRecorded(
        letter=command.letter,
        ruling=ruling,
        because=None if refusal is None else refusal.because,
        instead=None if refusal is None else refusal.instead,
        command=CommandKind.REPLAY if replays else CommandKind.DISCARD,
        command_id=event.id,
        expected_sequence=command.expected_sequence,
        resume_from=command.resume_from if isinstance(command, ReplayRequested) else None,
        force=command.force if isinstance(command, ReplayRequested) else False,
        plan_id=command.plan_id,
        by=command.by,
        why=command.why,
        at=_moment(unit),
    )


def _moment(unit: Unit) -> datetime:
    return datetime.fromtimestamp(unit.now_at / 1000, UTC)
