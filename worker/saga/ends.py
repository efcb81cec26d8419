"""How states are told, and how a saga ends or is parked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.states import State
from worker.saga.evolve import evolve
from worker.saga.inputs import Decision, Finish, Park, Rest, Wake
from worker.saga.model import Phase, Transition
from worker.saga.table import IllegalMove

if TYPE_CHECKING:
    from contracts.states import Evidence, Reason, Step
    from worker.saga.inputs import Action
    from worker.saga.model import Saga
    from worker.saga.results import Result


def publish(
    saga: Saga,
    state: State,
    *,
    action: Action,
    step: Step | None = None,
    result: Result | None = None,
    message: str | None = None,
    next_attempt_at: int | None = None,
    evidence: Evidence | None = None,
) -> Decision:
    """Publish a state: the only place where the sequence moves. A join leaves the saga's state as it was."""
    kept = saga.state if state is State.JOINED else state
    told = evolve(saga, sequence=saga.sequence + 1, state=kept)
    transition = Transition(
        state=state,
        sequence=told.sequence,
        done=told.done,
        debits=told.debits,
        attempts=told.attempts,
        step=step,
        outcome=None if result is None else result.outcome,
        code=None if result is None else result.code,
        message=message if result is None else result.message,
        next_attempt_at=next_attempt_at,
        refuse_reason=result.refuse_reason if result is not None and state is State.REFUSED else None,
        reason=told.reason if state is State.PARKED else None,
        evidence=evidence,
        links=result.links if result is not None and state is State.OFFERED else None,
    )
    return Decision(told, (transition,), action)


def finish(
    saga: Saga,
    published: tuple[Transition, ...],
    *,
    step: Step | None = None,
    result: Result | None = None,
) -> Decision:
    """End as unbound: nothing is left to do."""
    ended = evolve(saga, phase=Phase.ENDED, step=None, due_at=None, paused_at=None, reason=None)
    last = publish(ended, State.UNBOUND, action=Finish(), step=step, result=result, evidence=saga.evidence)
    return Decision(last.saga, (*published, *last.transitions), Finish())


def lapse(saga: Saga, *, result: Result | None = None, published: tuple[Transition, ...] = ()) -> Decision:
    """End without a permission in the user's time; the user may ask again."""
    lapsed = evolve(saga, phase=Phase.ENDED, due_at=None, paused_at=None)
    last = publish(lapsed, State.LAPSED, action=Finish(), step=saga.step, result=result)
    return Decision(last.saga, (*published, *last.transitions), Finish())


def park(
    saga: Saga,
    reason: Reason,
    *,
    now_at: int,
    result: Result | None = None,
    message: str | None = None,
    published: tuple[Transition, ...] = (),
) -> Decision:
    """Stop for a person, with a dead letter."""
    parked = evolve(
        saga,
        phase=Phase.PARKED,
        reason=reason,
        due_at=None,
        paused_at=None,
        fresh_attempt=False,
        first_parked_at=now_at if saga.first_parked_at is None else saga.first_parked_at,
    )
    text = message or (result.message if result is not None else None)
    last = publish(
        parked,
        State.PARKED,
        action=Park(reason=reason, message=text),
        step=saga.step,
        result=result,
        message=text,
    )
    return Decision(last.saga, (*published, *last.transitions), last.action)


def wake_or_rest(at: int | None) -> Action:
    """Set the timer, if there is one."""
    return Rest() if at is None else Wake(at)


def step_of(saga: Saga) -> Step:
    """Return the step that the saga is at. Raises IllegalMove where it is at none."""
    if saga.step is None:
        raise IllegalMove(f"a saga that is {saga.phase} has no step")
    return saga.step
