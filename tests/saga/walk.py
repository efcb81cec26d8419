"""Sagas to try the rules on, and a walk: one saga, what happened to it, and all that it published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from contracts.states import Evidence, Outcome, State, Step
from worker.saga.decide import admit, decide
from worker.saga.inputs import Answered, Begin, Died, FellDue, Turn
from worker.saga.model import Kind, RequestRef, Saga, Target, TargetKind
from worker.saga.patience import Rules
from worker.saga.results import Result, ResultClass

if TYPE_CHECKING:
    from worker.saga.inputs import Action, Happened
    from worker.saga.model import Transition

NOW = 1_700_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
RULES = Rules(jitter=0.0)

TOKEN = Target(TargetKind.TOKEN, b"token-digest-16b")
AGREEMENT = Target(TargetKind.AGREEMENT, b"agreement-digest")
ACCOUNT = Target(TargetKind.ACCOUNT, b"account-digest16")
TARGETS = {
    Step.CANCEL_TOKEN: TOKEN,
    Step.CANCEL_AGREEMENT: AGREEMENT,
    Step.NOTIFY_MERCHANT: ACCOUNT,
}
REF = RequestRef("request-1", b"request-digest-1")

CONSULTED = (Step.CONSULT, Step.CANCEL_TOKEN)
FULL = (Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT)
WALLET = (Step.CONSULT, Step.CANCEL_TOKEN, Step.NOTIFY_HUB)

_OUTCOMES = {
    ResultClass.DONE: Outcome.SUCCESS,
    ResultClass.DONE_ALREADY: Outcome.SUCCESS,
    ResultClass.REFUSED: Outcome.SUCCESS,
    ResultClass.STILL_LIVE: Outcome.SUCCESS,
    ResultClass.FINAL: Outcome.FAILURE,
    ResultClass.LINE_STOP: Outcome.FAILURE,
}


def saga_of(*steps: Step, expires_at: int | None = None) -> Saga:
    """Return a new saga with these steps and the targets that they end."""
    return Saga(
        saga_id="saga-1",
        binding_id="binding-1",
        kind=Kind.REBINDING if steps == (Step.OFFER,) else Kind.UNBINDING,
        steps=steps,
        targets=tuple(TARGETS[step] for step in steps if step in TARGETS),
        requests=(REF,),
        requested_at=NOW,
        expires_at=expires_at,
    )


def result_of(result_class: ResultClass, **fields: Any) -> Result:
    """Return a result of a class, verified unless said otherwise."""
    outcome = _OUTCOMES.get(result_class, Outcome.UNKNOWN)
    return replace(Result(result_class=result_class, outcome=outcome, verified=True), **fields)


@dataclass(slots=True)
class Walk:
    """One saga on its way. Each input happens at ``now``; ``pass_time`` moves it on."""

    saga: Saga
    now: int = NOW
    rules: Rules = RULES
    chance: float = 0.5
    published: list[Transition] = field(default_factory=list)
    action: Action | None = None

    def happen(self, happened: Happened) -> Walk:
        """Let something happen."""
        before, copy = self.saga, replace(self.saga)
        try:
            decision = decide(self.saga, happened, now_at=self.now, rules=self.rules, chance=self.chance)
        finally:
            assert before == copy, "a saga was changed in place"
        self.saga, self.action = decision.saga, decision.action
        self.published += decision.transitions
        return self

    def begin(self) -> Walk:
        """Begin the call that is due."""
        return self.happen(Begin())

    def answer(self, result_class: ResultClass, *, line_open: bool = True, **fields: Any) -> Walk:
        """Begin the call if it is due, and answer it."""
        if self.saga.phase == "due":
            self.begin()
        return self.happen(Answered(result=result_of(result_class, **fields), line_open=line_open))

    def done(self) -> Walk:
        """Let the call succeed."""
        return self.answer(ResultClass.DONE)

    def silence(self) -> Walk:
        """Let the call stay without an answer."""
        return self.answer(ResultClass.SOON, undecided=True, verified=False)

    def notice(self, *targets: Target, evidence: Evidence = Evidence.NOTICE) -> Walk:
        """Let targets be dead."""
        return self.happen(Died(targets=frozenset(targets), evidence=evidence))

    def pass_time(self, ms: int) -> Walk:
        """Let time pass."""
        self.now += ms
        return self

    def until_due(self) -> Walk:
        """Let the timer fire."""
        assert self.saga.due_at is not None
        self.now = max(self.now, self.saga.due_at)
        return self.happen(FellDue())

    @property
    def states(self) -> list[State]:
        """All that was published."""
        return [transition.state for transition in self.published]

    @property
    def last(self) -> Transition:
        """What was published last."""
        return self.published[-1]


def queued(*steps: Step, expires_at: int | None = None) -> Walk:
    """Return an admitted saga whose turn has not come."""
    admitted = admit(saga_of(*steps, expires_at=expires_at))
    return Walk(admitted.saga, published=list(admitted.transitions), action=admitted.action)


def turned(*steps: Step, expires_at: int | None = None) -> Walk:
    """Return a saga whose first step is due."""
    return queued(*steps, expires_at=expires_at).happen(Turn())


def at_step(step: Step, *steps: Step, expires_at: int | None = None) -> Walk:
    """Return a saga with this step due, all before it done."""
    walk = turned(*steps, expires_at=expires_at)
    while walk.saga.step is not step:
        walk.done()
    return walk
