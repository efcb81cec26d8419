"""Every kind of violation by its stable name: which promise it breaks, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from worker.verify.shown import line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise, and the records that show it."""

    promise: str
    what: str
    shown_by: tuple[object, ...] = ()
    kind: str = ""
    """Its stable name in `KINDS`; empty where a test's own judgement found it."""

    @override
    def __str__(self) -> str:
        name = f"{self.promise} {self.kind}" if self.kind else self.promise
        return "\n".join([f"{name}: {self.what}", *(f"    {line_of(record)}" for record in self.shown_by)])


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of violation."""

    promise: str
    means: str


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # P1: every request ends in exactly one way
        "request.lost": Kind("P1", "a request was taken, and no saga answers it and no letter names it"),
        "request.not_forwarded": Kind(
            "P1", "a request in the wrong partition was neither forwarded nor parked"
        ),
        "request.forwarded_again": Kind("P1", "a request in the wrong partition went more than one way"),
        "request.served_again": Kind("P1", "one request is served more than once"),
        "request.overlooked": Kind("P1", "of several requests with one id not all are served"),
        "saga.unended": Kind("P1", "all is at rest, and a saga came to no end"),
        "journal.saga_missing": Kind(
            "P1", "the journal does not hold a saga that goes on: a restart loses it"
        ),
        "journal.request_missing": Kind("P1", "the journal does not hold the request of a saga that goes on"),
        "journal.position_missing": Kind("P1", "events were written, and the journal holds no position"),
        "journal.position_beyond": Kind("P1", "the journal's position lies beyond the end of the requests"),
        "journal.unreadable": Kind("P1", "a journal record cannot be read: the shard would stay closed"),
        # P2: each transition once, in order
        "event.unreadable": Kind("P2", "a record among the states is no event of the contract"),
        "event.repeated": Kind("P2", "an event was published more than once"),
        "event.misnamed": Kind("P2", "the id of an event is not that of its saga and sequence"),
        "event.out_of_sequence": Kind("P2", "the sequence of a saga has a gap, or goes back"),
        "event.wrong_beginning": Kind("P2", "a saga begins with a state that none begins with"),
        "event.illegal": Kind("P2", "a state follows that must not follow"),
        "event.step_undone": Kind("P2", "a step that was done is no longer"),
        "event.requests_changed": Kind("P2", "the requests of a saga changed other than by a join"),
        "event.other_binding": Kind("P2", "one saga speaks of several bindings"),
        "event.wrong_partition": Kind("P2", "an event lies in another partition than its binding's"),
        "event.of_no_request": Kind("P2", "an event answers a request that nobody made"),
        "journal.ahead": Kind("P2", "the journal is ahead of the events: a transition was not published"),
        "journal.behind": Kind("P2", "the journal is behind the events: a restart would repeat a transition"),
        "journal.of_no_saga": Kind("P2", "the journal holds a saga that has no event"),
        # P3: no revoke call without permission, none after a committed revoke
        "call.by_another": Kind("P3", "a call by a process that did not own the partition"),
        "call.unannounced": Kind("P3", "a call before any event of its saga was committed"),
        "call.unexplained": Kind("P3", "a call that no saga explains"),
        "revoke.unpermitted": Kind("P3", "a revoke call without a committed permission"),
        "revoke.repeated": Kind("P3", "a revoke call after a committed revoke of its target"),
        "revoked.unpermitted": Kind("P3", "revoked by a call, without a permission before it"),
        "revoked.again": Kind("P3", "a token was revoked by a call, after another saga had revoked it"),
        # P4: no call too early, none after the user's time, none beyond patience
        "call.early": Kind("P4", "a call before its nextAttemptAt"),
        "call.expired": Kind("P4", "a call after expiresAt"),
        "result.early": Kind("P4", "a result before the nextAttemptAt of its call"),
        "wait.beyond_patience": Kind("P4", "an attempt was planned beyond the patience of its step"),
        # P5: sagas of one binding never overlap
        "attempts.overlap": Kind("P5", "two attempts of one saga at the same time"),
        "sagas.overlap": Kind("P5", "a call while another saga of the binding was under way"),
        "sagas.interleaved": Kind("P5", "a saga went on while another one of the binding was under way"),
        # P6: a letter stands as long as its saga is parked
        "letter.unreadable": Kind("P6", "a record among the dead letters is no letter of the contract"),
        "letter.missing": Kind("P6", "a parked saga has no letter"),
        "letter.left": Kind("P6", "a letter stands for a saga that is not parked"),
        "letter.stale": Kind("P6", "a letter tells of another parking than the last"),
        "letter.of_no_saga": Kind("P6", "a letter names a saga that has no event"),
        "letter.written_apart": Kind("P6", "parked without a letter in the same transaction"),
        "letter.removed_apart": Kind("P6", "left parked without removing its letter in the same transaction"),
        "letter.not_journaled": Kind(
            "P6", "a letter without a saga stands, and the journal does not know it"
        ),
        "letter.gone": Kind("P6", "the journal knows a letter without a saga that does not stand"),
        # P7: at most one run per command
        "verdict.unreadable": Kind("P7", "a record among the verdicts is no verdict of the contract"),
        "verdict.of_no_command": Kind("P7", "a verdict on a command that nobody gave"),
        "verdict.without_effect": Kind("P7", "a command was applied, and its saga does not show it"),
        "command.unjudged": Kind("P7", "a command was taken, and has no verdict"),
        "command.judged_again": Kind("P7", "a command has more than one verdict"),
        "command.applied_again": Kind("P7", "a command was applied more than once"),
        "replay.unordered": Kind("P7", "a saga was resumed without an applied replay"),
        "replay.of_a_revoke": Kind("P7", "a replay from the start, after a revoke"),
        "discard.unordered": Kind("P7", "a saga was discarded without an applied discard"),
        # P8: no secret in clear
        "secret.in_clear": Kind("P8", "a secret stands in clear in what the worker wrote"),
        "secret.kept": Kind("P8", "the journal keeps the sealed request of a saga that has ended"),
    }
)
"""Each kind of violation; the names are public: programs may look for them."""

PROMISES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "P1": "every request ends in exactly one way",
        "P2": "every transition is seen once, in order",
        "P3": "no revoke without permission, none twice",
        "P4": "no call too early or too late",
        "P5": "sagas of one binding never overlap",
        "P6": "a letter stands while its saga is parked",
        "P7": "at most one run per command",
        "P8": "no secret in clear",
    }
)
"""The promises that a history can show broken, in short."""


def broken(kind: str, shown_by: Iterable[object], *, what: str | None = None) -> Violation:
    """Return a violation of this kind; `what` says more exactly what is broken."""
    entry = KINDS[kind]
    return Violation(entry.promise, what or entry.means, tuple(shown_by), kind)
