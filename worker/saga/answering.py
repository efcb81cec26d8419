"""What a result does to a saga: the move of its table row."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from contracts.states import Evidence, Reason, State, Step
from worker.saga.calling import due_again, has_expired, is_guarded, next_step, pause, to_next
from worker.saga.ends import finish, lapse, park, publish, step_of
from worker.saga.evolve import evolve
from worker.saga.inputs import Decision, Finish, Rest, Wake
from worker.saga.model import Phase
from worker.saga.patience import GIVE_UP, GiveUp, wait_ms
from worker.saga.results import ResultClass
from worker.saga.table import MOVES, IllegalMove, Move

if TYPE_CHECKING:
    from worker.saga.model import Saga, Transition
    from worker.saga.patience import Rules
    from worker.saga.results import Result


def take_result(
    saga: Saga,
    result: Result,
    *,
    line_open: bool,
    now_at: int,
    rules: Rules,
    chance: float,
    stood_ms: int = 0,
) -> Decision:
    """Make the move that the table names. Raises IllegalMove where it names none."""
    step = step_of(saga)
    move = MOVES[step, result.result_class]
    slowly = move is Move.WAIT_SLOWLY
    heard = evolve(
        saga,
        # What asks for fewer calls uses up no attempt; quick tries before it do.
        attempts=saga.attempts + (result.tries - 1 if slowly else result.tries),
        undecided=_undecided_after(saga, step, result),
        fresh_attempt=False,
        clock_from=None if saga.clock_from is None else saga.clock_from + stood_ms,
    )
    match move:
        case Move.ALLOW:
            return _allow(heard, result, now_at=now_at)
        case Move.REFUSE:
            refused = evolve(heard, phase=Phase.ENDED)
            return publish(refused, State.REFUSED, action=Finish(), step=step, result=result)
        case Move.ADVANCE:
            return _advance(heard, step, result, now_at=now_at)
        case Move.OFFER:
            offered = evolve(heard, phase=Phase.ENDED, done=(*heard.done, step))
            return publish(offered, State.OFFERED, action=Finish(), step=step, result=result)
        case Move.WAIT | Move.WAIT_SLOWLY:
            return _wait(heard, step, result, slowly=slowly, now_at=now_at, rules=rules, chance=chance)
        case Move.REPEAT:
            if step in saga.undecided and not _used_up(heard, step, now_at=now_at, rules=rules):
                return due_again(heard)
            # The query was a quick try after a cancel of this very call: no wait, and they chase each other.
            return _wait(heard, step, result, slowly=False, now_at=now_at, rules=rules, chance=chance)
        case Move.STOP:
            if line_open:
                return park(heard, Reason.LINE_STOPPED, now_at=now_at, result=result)
            return pause(heard, Phase.STOPPED, now_at=now_at, rules=rules, result=result)
        case Move.PARK:
            return park(heard, Reason.FAILED, now_at=now_at, result=result)
        case Move.ILLEGAL:
            raise IllegalMove(f"{result.result_class} is no result of {step}")
        case _ as never:
            assert_never(never)


def _undecided_after(saga: Saga, step: Step, result: Result) -> frozenset[Step]:
    if step not in saga.attempted:
        return saga.undecided
    if MOVES[step, result.result_class] in (Move.ADVANCE, Move.REPEAT):
        # It is dead, or the query says that it lives: either way the doubt is over.
        return saga.undecided - {step}
    if result.undecided or result.result_class is ResultClass.CONFIRM_FIRST:
        return saga.undecided | {step}
    # A later "no" or silence says nothing about an earlier attempt that may have had its effect.
    return saga.undecided


def _allow(saga: Saga, result: Result, *, now_at: int) -> Decision:
    allowed = evolve(
        saga,
        done=(*saga.done, Step.CONSULT),
        allowed_at=now_at,
        acquirer_id=result.acquirer_id or saga.acquirer_id,
        psp_id=result.psp_id or saga.psp_id,
    )
    published = publish(allowed, State.ALLOWED, action=Rest(), step=Step.CONSULT, result=result)
    return to_next(published.saga, now_at=now_at, published=published.transitions)


def _advance(saga: Saga, step: Step, result: Result, *, now_at: int) -> Decision:
    """Publish a dead token or agreement, then go on or end."""
    evidence: Evidence | None = None
    if result.result_class is ResultClass.DONE_ALREADY:
        evidence = result.evidence or Evidence.ALREADY_UNBOUND
    done = evolve(saga, done=(*saga.done, step), evidence=evidence or saga.evidence)
    published: tuple[Transition, ...] = ()
    if step in (Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT):
        revoked = publish(done, State.REVOKED, action=Rest(), step=step, result=result, evidence=evidence)
        done, published = revoked.saga, revoked.transitions
    if next_step(done) is not None:
        return to_next(done, now_at=now_at, published=published)
    return finish(done, published, step=step, result=result)


def _used_up(saga: Saga, step: Step, *, now_at: int, rules: Rules) -> bool:
    clock_from = now_at if saga.clock_from is None else saga.clock_from
    return now_at > clock_from + rules.patience[step].give_up_after_ms


def _wait(
    saga: Saga, step: Step, result: Result, *, slowly: bool, now_at: int, rules: Rules, chance: float
) -> Decision:
    """Wait for the next call, or give up where that call would come too late."""
    patience = rules.patience[step]
    gap = wait_ms(patience=patience, waits=saga.waits, chance=chance, jitter=rules.jitter)
    if slowly:
        gap = max(gap, rules.slow_ms, min(result.retry_after_ms or 0, rules.slow_most_ms))
    due_at = now_at + gap
    if is_guarded(saga, step) and has_expired(saga, at=due_at):
        return lapse(saga, result=result)
    if _used_up(saga, step, now_at=due_at, rules=rules):
        if GIVE_UP[step] is GiveUp.LAPSE:
            return lapse(saga, result=result)
        return park(saga, Reason.OUTCOME_UNKNOWN, now_at=now_at, result=result)
    waits = saga.waits if slowly else saga.waits + 1
    waiting = evolve(saga, phase=Phase.WAITING, waits=waits, due_at=due_at)
    return publish(
        waiting, State.WAITING, action=Wake(due_at), step=step, result=result, next_attempt_at=due_at
    )
