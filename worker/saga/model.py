"""The saga as data: what it wants dead, how far it is, and what has been attempted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.states import Debits, Evidence, Outcome, Reason, State, Step

if TYPE_CHECKING:
    from worker.saga.results import Links


class Kind(StrEnum):
    """What a saga is for."""

    UNBINDING = "unbinding"
    REBINDING = "rebinding"


class Phase(StrEnum):
    """What the saga is doing now; finer than the public state, and internal."""

    QUEUED = "queued"
    """Admitted (or replayed); its turn in the lane has not come."""
    DUE = "due"
    """Its step may be called; holds, the line and the guards have yet to agree."""
    CALLING = "calling"
    """A call is decided; no result of it is in the journal."""
    WAITING = "waiting"
    """A durable timer runs until ``due_at``."""
    HELD = "held"
    """A call fell due under a hold."""
    STOPPED = "stopped"
    """The line to this client is stopped."""
    PARKED = "parked"
    """A dead letter stands; a person must look."""
    ENDED = "ended"
    """Nothing will happen any more."""


class TargetKind(StrEnum):
    """What a request wants dead."""

    TOKEN = "token"  # noqa: S105 - a kind of target, no secret
    AGREEMENT = "agreement"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to end, known by a keyed digest so that equal ones can be matched and none be read."""

    kind: TargetKind
    digest: bytes


@dataclass(frozen=True, slots=True)
class RequestRef:
    """A request that a saga answers: its CloudEvents id, and the keyed digest of its identity and targets."""

    id: str
    digest: bytes


STEPS_OF: dict[TargetKind, tuple[Step, ...]] = {
    TargetKind.TOKEN: (Step.CONSULT, Step.CANCEL_TOKEN),
    TargetKind.AGREEMENT: (Step.CANCEL_AGREEMENT,),
    TargetKind.ACCOUNT: (Step.NOTIFY_MERCHANT,),
}
"""The steps that a target's death settles, the one that ends it last."""

END_OF: dict[TargetKind, Step] = {kind: steps[-1] for kind, steps in STEPS_OF.items()}
"""The step that ends a target."""

TARGET_OF: dict[Step, TargetKind] = {step: kind for kind, step in END_OF.items()}
"""The target that a step ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga:
    """The whole course from one request to its end. All times are ms since the Unix epoch."""

    saga_id: str
    binding_id: str
    kind: Kind
    steps: tuple[Step, ...]
    """The plan, in order."""
    targets: tuple[Target, ...]
    requests: tuple[RequestRef, ...]
    """The first one opened the saga, the others joined it."""
    requested_at: int
    expires_at: int | None = None
    phase: Phase = Phase.QUEUED
    state: State = State.REQUESTED
    """The last published state."""
    sequence: int = 0
    step: Step | None = None
    done: tuple[Step, ...] = ()
    evidence: Evidence | None = None
    """Why a target is known to be dead without an own ``S``; the last one of several."""
    attempts: int = 0
    """HTTP attempts at the present step."""
    waits: int = 0
    """Durable waits used at the present step."""
    due_since: int | None = None
    """When the present step first fell due."""
    clock_from: int | None = None
    """From when the step's patience counts: its first attempt, moved on by time under holds and lines.

    At consult and offer such time counts: there it is ``due_since``, once a hold or a stopped line was met.
    """
    paused_at: int | None = None
    """Since when a hold or a stopped line keeps it."""
    due_at: int | None = None
    """When the timer fires: the next attempt, or the end of the user's time."""
    attempted: frozenset[Step] = frozenset()
    """Revoke steps (see ``is_revoke``) whose call was decided at least once, by this saga or a parked one."""
    undecided: frozenset[Step] = frozenset()
    """Of these, the ones that may have had their effect without a final answer."""
    fresh_attempt: bool = False
    """The call that is decided now is the first of its step (a call not begun takes this back)."""
    allowed_at: int | None = None
    """When consult last said yes. Set once: unbinding is decided, debits are blocked."""
    acquirer_id: str | None = None
    psp_id: str | None = None
    reason: Reason | None = None
    first_parked_at: int | None = None
    replays: int = 0

    @property
    def consults(self) -> bool:
        """Whether permission has to be asked before the first revoke call."""
        return Step.CONSULT in self.steps

    @property
    def revoked(self) -> bool:
        """Whether its token or its agreement is dead, on whatever evidence: nothing leads back from there."""
        return Step.CANCEL_TOKEN in self.done or Step.CANCEL_AGREEMENT in self.done

    @property
    def to_cancel_agreement(self) -> bool:
        """Whether the cancel of its agreement is still to come, next or later."""
        return Step.CANCEL_AGREEMENT in self.steps and Step.CANCEL_AGREEMENT not in self.done

    @property
    def debits(self) -> Debits | None:
        """What may be debited; a rebinding or an invalid request says nothing about it."""
        if self.kind is Kind.REBINDING or not self.steps:
            return None
        if self.state in (State.REFUSED, State.LAPSED):
            return Debits.ALLOWED
        blocked = bool(self.attempted) or self.revoked
        if self.state is not State.DISCARDED:
            blocked = blocked or not self.consults or self.allowed_at is not None
        return Debits.BLOCKED if blocked else Debits.ALLOWED

    def is_revoke(self, step: Step) -> bool:
        """Tell whether the step's call revokes; without token and agreement, telling the merchant does."""
        if step is Step.CANCEL_TOKEN or step is Step.CANCEL_AGREEMENT:
            return True
        return step is Step.NOTIFY_MERCHANT and not (
            Step.CANCEL_TOKEN in self.steps or Step.CANCEL_AGREEMENT in self.steps
        )

    def target(self, step: Step) -> Target | None:
        """Return the target that a step of this saga ends."""
        kind = TARGET_OF.get(step)
        return next((target for target in self.targets if target.kind is kind), None)

    def dead_targets(self) -> tuple[Target, ...]:
        """Return the targets that this saga knows to be dead."""
        return tuple(target for target in self.targets if END_OF[target.kind] in self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One published change of the binding state, before it is put into an event."""

    state: State
    sequence: int
    done: tuple[Step, ...]
    debits: Debits | None
    attempts: int
    step: Step | None = None
    outcome: Outcome | None = None
    code: str | None = None
    message: str | None = None
    next_attempt_at: int | None = None
    refuse_reason: str | None = None
    reason: Reason | None = None
    evidence: Evidence | None = None
    links: Links | None = None
