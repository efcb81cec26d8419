"""What a shard tells of itself: log lines and metrics, by the names of the telemetry room's closed lists."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from worker.ports import Observer
    from worker.shard.memory import Memory
    from worker.shard.unit import Fact, Unit

_STATES: Final = ("closed", "claiming", "open", "draining")
_LETTERS: Final = frozenset({"saga.parked", "letter.written"})
_VERDICTS: Final = {"command.applied": "applied", "command.refused": "refused"}
_EVERY_MS: Final = 1_000


class Report:
    """Tells one shard's observer; what is only a measure of now is told once a second at most."""

    def __init__(self, observer: Observer, *, partition: int) -> None:
        """Take whom to tell, and of which partition."""
        self._observer = observer
        self._partition = partition
        self._told_at = 0

    def event(self, name: str, **fields: object) -> None:
        """Write a log line of this partition."""
        self._observer.log(name, partition=self._partition, **fields)

    def failed(self, cause: str) -> None:
        """Count a transaction that was not committed: ``fenced``, ``interrupted`` or ``refused``."""
        self._observer.count("unbinding_transaction_failures", cause=cause)

    def restored(self, *, sagas: int, took_ms: float) -> None:
        """Tell that the journal was read."""
        self._observer.observe("unbinding_restore_seconds", took_ms)
        self.event("shard.restored", sagas=sagas, duration_ms=round(took_ms))

    def state(self, state: str) -> None:
        """Show where the shard is in its life."""
        for name in _STATES:
            self._observer.gauge(
                "unbinding_shard_state", float(name == state), partition=str(self._partition), state=name
            )

    def committed(self, unit: Unit, *, records: int, took_ms: float) -> None:
        """Tell what a transaction made true."""
        observer = self._observer
        for fact in unit.facts:
            observer.log(fact.event, **fact.fields)
            self._count(fact)
        if unit.resolved:
            observer.count("unbinding_letters_resolved", unit.resolved)
        for state, count in Counter(unit.told).items():
            observer.count("unbinding_transitions", count, state=str(state))
        observer.observe("unbinding_commit_seconds", took_ms)
        observer.observe("unbinding_commit_records", records)

    def _count(self, fact: Fact) -> None:
        if fact.event in _LETTERS:
            self._observer.count("unbinding_letters", reason=str(fact.fields["reason"]))
        elif fact.event in _VERDICTS and fact.fields["command"] is not None:
            command = str(fact.fields["command"])
            self._observer.count("unbinding_commands", command=command, verdict=_VERDICTS[fact.event])

    def answered(self, *, step: str, result_class: str, took_ms: float) -> None:
        """Measure a call, its quick tries included."""
        self._observer.observe("unbinding_call_seconds", took_ms, step=step, result_class=result_class)

    def measure(self, memory: Memory, *, now_at: int) -> None:
        """Show the sizes of now, if the last time was a second ago."""
        if abs(now_at - self._told_at) < _EVERY_MS:
            return
        self._told_at = now_at
        horizon = memory.seen.oldest_hour()
        values = {
            "unbinding_live_sagas": memory.live,
            "unbinding_live_bytes": memory.live_bytes,
            "unbinding_waiting_timers": memory.timers,
            "unbinding_letters_open": memory.letters,
            "unbinding_remembered_horizon_seconds": 0 if horizon is None else now_at - horizon * 3_600_000,
        }
        for name, value in values.items():
            self._observer.gauge(name, value, partition=str(self._partition))
