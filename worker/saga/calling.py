"""What stands before a call: the next step, the guards before the first revocation, holds, stopped lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.states import State, Step
from worker.saga.ends import finish, lapse, publish, step_of, wake_or_rest
from worker.saga.evolve import evolve
from worker.saga.inputs import Ask, Decision, Perform
from worker.saga.model import Phase
from worker.saga.patience import USER_TIME
from worker.saga.results import Call
from worker.saga.table import IllegalMove

if TYPE_CHECKING:
    from worker.saga.model import Saga, Transition
    from worker.saga.patience import Rules
    from worker.saga.results import Result


def next_step(saga: Saga) -> Step | None:
    """Return the first step that is not done."""
    return next((step for step in saga.steps if step not in saga.done), None)


def to_next(saga: Saga, *, now_at: int, published: tuple[Transition, ...] = ()) -> Decision:
    """Make the first step that is not done due, with patience anew; end where there is none."""
    step = next_step(saga)
    if step is None:
        return finish(saga, published)
    due = evolve(
        saga,
        phase=Phase.DUE,
        step=step,
        attempts=saga.attempts if step is saga.step else 0,
        waits=0,
        due_since=now_at,
        clock_from=None,
        paused_at=None,
        due_at=None,
        fresh_attempt=False,
    )
    return Decision(due, published, Ask(step))


def due_again(saga: Saga) -> Decision:
    """Make the present step due, its patience as it is."""
    return Decision(evolve(saga, phase=Phase.DUE, due_at=None, fresh_attempt=False), (), Ask(step_of(saga)))


def begin(saga: Saga, *, now_at: int, rules: Rules) -> Decision:
    """Decide the call, unless a guard of the time before the first revoke attempt says otherwise."""
    step = step_of(saga)
    if is_guarded(saga, step) and has_expired(saga, at=now_at):
        return lapse(saga)
    if _permission_is_old(saga, step, now_at=now_at, rules=rules):
        asking = evolve(saga, done=tuple(done for done in saga.done if done is not Step.CONSULT))
        return to_next(asking, now_at=now_at)
    fresh = step not in saga.attempted and saga.is_revoke(step)
    calling = evolve(
        saga,
        phase=Phase.CALLING,
        # One that lies ahead is of before the clock was set back: patience is no longer for it.
        clock_from=now_at if saga.clock_from is None else min(saga.clock_from, now_at),
        attempted=saga.attempted | {step} if fresh else saga.attempted,
        fresh_attempt=fresh,
        due_at=None,
        paused_at=None,
    )
    return Decision(calling, (), Perform(_call(calling, step, rules=rules)))


def take_back(saga: Saga) -> Saga:
    """Return the saga without the call that was decided and never began."""
    never_tried = not saga.attempts and not saga.waits
    return evolve(
        saga,
        attempted=saga.attempted - {step_of(saga)} if saga.fresh_attempt else saga.attempted,
        fresh_attempt=False,
        # Patience counts from the first attempt; the time until the next owner comes is ours, not the step's.
        clock_from=None if never_tried else saga.clock_from,
    )


def has_expired(saga: Saga, *, at: int) -> bool:
    """Tell whether ``expiresAt`` has passed at that moment."""
    return saga.expires_at is not None and at >= saga.expires_at


def is_guarded(saga: Saga, step: Step) -> bool:
    """Tell whether ``expiresAt`` counts at this step: before the first revoke attempt, while nothing is dead.

    Permission and offer are the user's time whatever a notice ended or a parked saga attempted elsewhere.
    """
    return step in USER_TIME or not (saga.attempted or saga.revoked)


def _permission_is_old(saga: Saga, step: Step, *, now_at: int, rules: Rules) -> bool:
    """Tell whether consult has to be asked again: it speaks of the token, before that one's first attempt.

    A permission of the future is as old as it is far off: the clock was set back since, nobody knows when.
    """
    if step is not Step.CANCEL_TOKEN or step in saga.attempted or not saga.consults:
        return False
    return saga.allowed_at is None or abs(now_at - saga.allowed_at) > rules.permission_ms


def _call(saga: Saga, step: Step, *, rules: Rules) -> Call:
    undecided = step in saga.undecided
    return Call(
        saga_id=saga.saga_id,
        step=step,
        attempt=saga.attempts + 1,
        quick=rules.patience[step].quick,
        # AlipayHK, cancelByAuthInfo: an undecided cancel is asked about before it is repeated.
        query=undecided and step is Step.CANCEL_AGREEMENT,
        undecided=undecided,
        acquirer_id=saga.acquirer_id,
        psp_id=saga.psp_id,
    )


# --- holds and stopped lines -------------------------------------------------


def pause(saga: Saga, phase: Phase, *, now_at: int, rules: Rules, result: Result | None = None) -> Decision:
    """Keep the saga under a hold or a stopped line; at consult and offer the user's time runs on."""
    step = step_of(saga)
    end = user_time_ends(saga, rules=rules)
    if end is not None and now_at >= end:
        return lapse(saga, result=result)
    paused = evolve(
        saga,
        phase=phase,
        paused_at=now_at,
        due_at=end,
        # From here on the user's time counts from when the step fell due, also once the way is free again.
        clock_from=saga.clock_from if end is None else saga.due_since,
    )
    action = wake_or_rest(end)
    if phase is Phase.HELD:
        return publish(paused, State.HELD, action=action, step=step, result=result)
    # The line may open at any moment: nothing later than now is promised.
    return publish(paused, State.WAITING, action=action, step=step, result=result, next_attempt_at=now_at)


def go_on(saga: Saga, *, now_at: int, rules: Rules) -> Decision:
    """Make the step due again when the hold ended or the line may be tried; that time does not count."""
    end = user_time_ends(saga, rules=rules)
    if end is not None:
        return lapse(saga) if now_at >= end else due_again(evolve(saga, paused_at=None))
    clock_from = saga.clock_from
    if clock_from is not None and saga.paused_at is not None:
        clock_from += max(0, now_at - saga.paused_at)
    return due_again(evolve(saga, clock_from=clock_from, paused_at=None))


def fall_due(saga: Saga, *, now_at: int) -> Decision:
    """Make the step due when its wait is over; under a hold or a stopped line the user's time is over.

    Raises IllegalMove where no timer runs, or before its time.
    """
    if saga.due_at is None:
        raise IllegalMove(f"no timer runs for a saga that is {saga.phase} at {saga.step}")
    if now_at < saga.due_at:
        raise IllegalMove(f"the timer fired {saga.due_at - now_at} ms before its time")
    return due_again(saga) if saga.phase is Phase.WAITING else lapse(saga)


def user_time_ends(saga: Saga, *, rules: Rules) -> int | None:
    """Return when the user's time is over (ms since the Unix epoch), at the steps that the user waits for."""
    step = step_of(saga)
    if step not in USER_TIME or saga.due_since is None:
        return None
    end = saga.due_since + rules.patience[step].give_up_after_ms
    return end if saga.expires_at is None else min(end, saga.expires_at)
