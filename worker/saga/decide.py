"""Decides what a saga does next: ``decide(saga, what happened, now) -> decision``, pure, total over its tables.

IllegalMove    it cannot happen in the saga's phase, or no table gives this result at its step
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from contracts.states import Evidence, Reason, State, Step
from worker.saga.inputs import (
    Answered,
    Ask,
    Begin,
    Broke,
    Decision,
    Died,
    Discarded,
    FellDue,
    Finish,
    HoldEnded,
    HoldFound,
    Joined,
    LineFound,
    LineTried,
    NotBegunYet,
    Park,
    Perform,
    Requeue,
    Rest,
    Restored,
    Resumed,
    Turn,
    Wake,
)
from worker.saga.model import STEPS_OF, TARGET_OF, Kind, Phase, Saga, Transition
from worker.saga.patience import GIVE_UP, USER_TIME, GiveUp, Rules, wait_ms
from worker.saga.results import Call, Result, ResultClass
from worker.saga.table import LEGAL, MOVES, Move

if TYPE_CHECKING:
    from worker.saga.inputs import Action, Happened
    from worker.saga.model import Target


class IllegalMove(Exception):
    """It cannot happen in this phase; nothing was changed."""


def admit(saga: Saga) -> Decision:
    """Open a saga: the first published state."""
    return _publish(saga, State.REQUESTED, action=Rest())


def decide(saga: Saga, happened: Happened, *, now_at: int, rules: Rules, chance: float = 0.5) -> Decision:
    """Return what follows from what happened.

    ``now_at`` in ms since the Unix epoch; ``chance`` from 0 up to 1 spreads the waits.
    Raises IllegalMove where the tables have no entry; the saga given is never changed.
    """
    if happened.happening not in LEGAL[saga.phase]:
        raise IllegalMove(f"{happened.happening} cannot happen to a saga that is {saga.phase}")
    match happened:
        case Answered(result=result, line_open=line_open):
            return _answered(saga, result, line_open=line_open, now_at=now_at, rules=rules, chance=chance)
        case Begin():
            return _begin(saga, now_at=now_at, rules=rules)
        case Turn():
            return _turn(saga, happened, now_at=now_at)
        case HoldFound():
            return _paused(saga, Phase.HELD, now_at=now_at, rules=rules)
        case LineFound():
            return _paused(saga, Phase.STOPPED, now_at=now_at, rules=rules)
        case FellDue():
            return _fell_due(saga, now_at=now_at)
        case HoldEnded() | LineTried():
            return _unpaused(saga, now_at=now_at, rules=rules)
        case Restored():
            return _restored(saga, rules=rules)
        case NotBegunYet():
            return _not_begun(saga)
        case Joined():
            return _joined(saga, happened, now_at=now_at, rules=rules)
        case Died():
            return _died(saga, happened, now_at=now_at)
        case Broke(reason=reason, message=message):
            return _park(saga, reason, now_at=now_at, message=message)
        case Resumed(from_start=from_start):
            return _resumed(saga, from_start=from_start)
        case Discarded():
            return _publish(
                replace(saga, phase=Phase.ENDED, reason=None, state=State.DISCARDED),
                State.DISCARDED,
                action=Finish(),
            )
        case _ as never:
            assert_never(never)


# --- the turn, and what stands before a call -------------------------------


def _turn(saga: Saga, turn: Turn, *, now_at: int) -> Decision:
    """Its turn came: take over what others know and attempted, then go to the first step that is not done."""
    published: tuple[Transition, ...] = ()
    heir = _inherit(saga, turn)
    dead = frozenset(target for target in saga.targets if target in turn.dead) - set(saga.dead_targets())
    if dead:
        heir, published = _bury(heir, dead, Evidence.ALREADY_UNBOUND)
    if _next_step(heir) is None:
        return _finish(heir, published)
    if not heir.attempted and heir.expires_at is not None and now_at >= heir.expires_at:
        if heir.kind is Kind.REBINDING or heir.replays:
            return _lapse(heir, published=published)
        return _park(heir, Reason.EXPIRED, now_at=now_at, message="expiresAt had passed when its turn came")
    return _to_next(heir, now_at=now_at, published=published)


def _inherit(saga: Saga, turn: Turn) -> Saga:
    inherited = turn.inherited
    if inherited is None or not inherited.attempted:
        return saga
    done = saga.done
    if Step.CANCEL_TOKEN in inherited.attempted and saga.consults and Step.CONSULT not in done:
        # The token may be dead: consult would refuse what has happened.
        done = (*done, Step.CONSULT)
    return replace(
        saga,
        done=done,
        attempted=saga.attempted | inherited.attempted,
        undecided=saga.undecided | inherited.undecided,
        acquirer_id=saga.acquirer_id or inherited.acquirer_id,
        psp_id=saga.psp_id or inherited.psp_id,
    )


def _next_step(saga: Saga) -> Step | None:
    return next((step for step in saga.steps if step not in saga.done), None)


def _to_next(saga: Saga, *, now_at: int, published: tuple[Transition, ...] = ()) -> Decision:
    """Make the first step that is not done due; the caller has seen that there is one."""
    step = _next_step(saga)
    if step is None:
        return _finish(saga, published)
    same = step is saga.step
    due = replace(
        saga,
        phase=Phase.DUE,
        step=step,
        attempts=saga.attempts if same else 0,
        waits=0,
        due_since=now_at,
        clock_from=None,
        paused_at=None,
        due_at=None,
    )
    return Decision(due, published, Ask(step))


def _begin(saga: Saga, *, now_at: int, rules: Rules) -> Decision:
    """Decide the call, unless a guard of the time before the first revoke attempt says otherwise."""
    step = _step_of(saga)
    if not saga.attempted and saga.expires_at is not None and now_at >= saga.expires_at:
        return _lapse(saga)
    revokes = step in saga.revokes
    if revokes and not saga.attempted and _permission_is_old(saga, now_at=now_at, rules=rules):
        asking = replace(saga, done=tuple(done for done in saga.done if done is not Step.CONSULT))
        return _to_next(asking, now_at=now_at)
    fresh = revokes and step not in saga.attempted
    calling = replace(
        saga,
        phase=Phase.CALLING,
        clock_from=now_at if saga.clock_from is None else saga.clock_from,
        attempted=saga.attempted | {step} if fresh else saga.attempted,
        fresh_attempt=fresh,
        due_at=None,
        paused_at=None,
    )
    return Decision(calling, (), Perform(_call(calling, rules=rules)))


def _permission_is_old(saga: Saga, *, now_at: int, rules: Rules) -> bool:
    if not saga.consults or Step.CONSULT not in saga.done:
        return False
    return saga.allowed_at is None or now_at - saga.allowed_at > rules.permission_ms


def _call(saga: Saga, *, rules: Rules) -> Call:
    step = _step_of(saga)
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


def _paused(saga: Saga, phase: Phase, *, now_at: int, rules: Rules) -> Decision:
    """Keep the saga under a hold or a stopped line; at consult and offer the user's time runs on."""
    step = _step_of(saga)
    end = _user_time_ends(saga, rules=rules)
    if end is not None and now_at >= end:
        return _lapse(saga)
    paused = replace(saga, phase=phase, paused_at=now_at, due_at=end)
    if phase is Phase.HELD:
        return _publish(paused, State.HELD, action=_wake(end), step=step)
    # The line may open at any moment: nothing later than now is promised.
    return _publish(paused, State.WAITING, action=_wake(end), step=step, next_attempt_at=now_at)


def _unpaused(saga: Saga, *, now_at: int, rules: Rules) -> Decision:
    step = _step_of(saga)
    end = _user_time_ends(saga, rules=rules)
    if end is not None and now_at >= end:
        return _lapse(saga)
    clock_from = saga.clock_from
    if clock_from is not None and saga.paused_at is not None and step not in USER_TIME:
        clock_from += max(0, now_at - saga.paused_at)
    due = replace(saga, phase=Phase.DUE, clock_from=clock_from, paused_at=None, due_at=None)
    return Decision(due, (), Ask(step))


def _user_time_ends(saga: Saga, *, rules: Rules) -> int | None:
    step = _step_of(saga)
    if step not in USER_TIME or saga.due_since is None:
        return None
    end = saga.due_since + rules.patience[step].give_up_after_ms
    return end if saga.expires_at is None or saga.attempted else min(end, saga.expires_at)


def _fell_due(saga: Saga, *, now_at: int) -> Decision:
    if saga.due_at is not None and now_at < saga.due_at:
        raise IllegalMove("the timer fired before its time")
    if saga.phase is not Phase.WAITING:
        if saga.due_at is None:
            raise IllegalMove(f"no timer runs for a saga that is {saga.phase} at {saga.step}")
        return _lapse(saga)
    return Decision(replace(saga, phase=Phase.DUE, due_at=None), (), Ask(_step_of(saga)))


# --- results ---------------------------------------------------------------


def _answered(
    saga: Saga, result: Result, *, line_open: bool, now_at: int, rules: Rules, chance: float
) -> Decision:
    step = _step_of(saga)
    move = MOVES[step, result.result_class]
    if move is Move.ILLEGAL:
        raise IllegalMove(f"{result.result_class} is no result of {step}")
    asked_first = step in saga.undecided
    slowly = move is Move.WAIT_SLOWLY
    heard = replace(
        saga,
        # What asks for fewer calls uses up no attempt; quick tries before it do.
        attempts=saga.attempts + (result.tries - 1 if slowly else result.tries),
        undecided=_undecided_after(saga, step, result),
        fresh_attempt=False,
    )
    match move:
        case Move.ALLOW:
            return _allow(heard, result, now_at=now_at)
        case Move.REFUSE:
            refused = replace(heard, phase=Phase.ENDED, state=State.REFUSED)
            return _publish(refused, State.REFUSED, action=Finish(), step=step, result=result)
        case Move.ADVANCE:
            return _advance(heard, result, now_at=now_at)
        case Move.OFFER:
            offered = replace(heard, phase=Phase.ENDED, done=(*heard.done, step))
            return _publish(offered, State.OFFERED, action=Finish(), step=step, result=result)
        case Move.WAIT | Move.WAIT_SLOWLY:
            return _wait(heard, result, slowly=slowly, now_at=now_at, rules=rules, chance=chance)
        case Move.REPEAT:
            if asked_first and not _used_up(heard, now_at=now_at, rules=rules):
                return _to_same(heard)
            # The query was a quick try after a cancel of this very call: no wait, and they chase each other.
            return _wait(heard, result, slowly=False, now_at=now_at, rules=rules, chance=chance)
        case Move.STOP:
            if line_open:
                return _park(heard, Reason.LINE_STOPPED, now_at=now_at, result=result)
            return _stopped(heard, result, now_at=now_at, rules=rules)
        case Move.PARK:
            return _park(heard, Reason.FAILED, now_at=now_at, result=result)
        case Move.ILLEGAL:  # pragma: no cover - raised above
            raise IllegalMove(f"{result.result_class} is no result of {step}")
        case _ as never:
            assert_never(never)


def _undecided_after(saga: Saga, step: Step, result: Result) -> frozenset[Step]:
    if step not in saga.attempted:
        return saga.undecided
    if result.undecided or result.result_class is ResultClass.CONFIRM_FIRST:
        return saga.undecided | {step}
    if MOVES[step, result.result_class] in (Move.ADVANCE, Move.REPEAT):
        return saga.undecided - {step}
    # A later "no" or silence says nothing about an earlier attempt that may have had its effect.
    return saga.undecided


def _allow(saga: Saga, result: Result, *, now_at: int) -> Decision:
    allowed = replace(
        saga,
        done=(*saga.done, Step.CONSULT),
        allowed_at=now_at,
        acquirer_id=result.acquirer_id or saga.acquirer_id,
        psp_id=result.psp_id or saga.psp_id,
    )
    published = _publish(allowed, State.ALLOWED, action=Rest(), step=Step.CONSULT, result=result)
    return _to_next(published.saga, now_at=now_at, published=published.transitions)


def _advance(saga: Saga, result: Result, *, now_at: int) -> Decision:
    """Publish a dead token or agreement, then go on or end."""
    step = _step_of(saga)
    done = replace(saga, done=(*saga.done, step), evidence=result.evidence or saga.evidence)
    published: tuple[Transition, ...] = ()
    if step in (Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT):
        revoked = _publish(
            done, State.REVOKED, action=Rest(), step=step, result=result, evidence=result.evidence
        )
        done, published = revoked.saga, revoked.transitions
    if _next_step(done) is not None:
        return _to_next(done, now_at=now_at, published=published)
    return _finish(done, published, step=step, result=result)


def _to_same(saga: Saga) -> Decision:
    return Decision(replace(saga, phase=Phase.DUE, due_at=None), (), Ask(_step_of(saga)))


def _used_up(saga: Saga, *, now_at: int, rules: Rules) -> bool:
    if saga.clock_from is None:
        return False
    return now_at > saga.clock_from + rules.patience[_step_of(saga)].give_up_after_ms


def _wait(saga: Saga, result: Result, *, slowly: bool, now_at: int, rules: Rules, chance: float) -> Decision:
    """Wait for the next call, or give up where that call would come too late."""
    step = _step_of(saga)
    patience = rules.patience[step]
    gap = wait_ms(patience=patience, waits=saga.waits, chance=chance, jitter=rules.jitter)
    if slowly:
        gap = max(gap, rules.slow_ms, min(result.retry_after_ms or 0, rules.slow_most_ms))
    due_at = now_at + gap
    clock_from = now_at if saga.clock_from is None else saga.clock_from
    if not saga.attempted and saga.expires_at is not None and due_at >= saga.expires_at:
        return _lapse(saga, result=result)
    if due_at > clock_from + patience.give_up_after_ms:
        if GIVE_UP[step] is GiveUp.LAPSE:
            return _lapse(saga, result=result)
        return _park(saga, Reason.OUTCOME_UNKNOWN, now_at=now_at, result=result)
    waiting = replace(
        saga, phase=Phase.WAITING, waits=saga.waits if slowly else saga.waits + 1, due_at=due_at
    )
    return _publish(
        waiting, State.WAITING, action=Wake(due_at), step=step, result=result, next_attempt_at=due_at
    )


def _stopped(saga: Saga, result: Result, *, now_at: int, rules: Rules) -> Decision:
    end = _user_time_ends(saga, rules=rules)
    if end is not None and now_at >= end:
        return _lapse(saga, result=result)
    stopped = replace(saga, phase=Phase.STOPPED, paused_at=now_at, due_at=end)
    return _publish(
        stopped, State.WAITING, action=_wake(end), step=saga.step, result=result, next_attempt_at=now_at
    )


# --- what comes from outside -----------------------------------------------


def _restored(saga: Saga, *, rules: Rules) -> Decision:
    """Go on where the journal stops; a call without a result is made again, and is in doubt."""
    match saga.phase:
        case Phase.CALLING:
            step = _step_of(saga)
            again = replace(
                saga,
                attempts=saga.attempts + 1,
                fresh_attempt=False,
                undecided=saga.undecided | {step} if step in saga.attempted else saga.undecided,
            )
            return Decision(again, (), Perform(_call(again, rules=rules)))
        case Phase.WAITING | Phase.HELD | Phase.STOPPED:
            return Decision(saga, (), _wake(saga.due_at))
        case Phase.DUE:
            return Decision(saga, (), Ask(_step_of(saga)))
        case Phase.QUEUED | Phase.PARKED | Phase.ENDED:
            return Decision(saga, (), Rest())
        case _ as never:
            assert_never(never)


def _not_begun(saga: Saga) -> Decision:
    step = _step_of(saga)
    attempted = saga.attempted - {step} if saga.fresh_attempt else saga.attempted
    due = replace(saga, phase=Phase.DUE, attempted=attempted, fresh_attempt=False)
    return Decision(due, (), Rest())


def _joined(saga: Saga, joined: Joined, *, now_at: int, rules: Rules) -> Decision:
    """Let another request share this saga's end; a user who asks again does not wait for a consult."""
    later = (
        None
        if saga.expires_at is None or joined.expires_at is None
        else max(saga.expires_at, joined.expires_at)
    )
    both = replace(saga, requests=(*saga.requests, joined.request), expires_at=later)
    if saga.step is not Step.CONSULT or saga.phase not in (Phase.WAITING, Phase.HELD, Phase.STOPPED):
        return _publish(both, State.JOINED, action=Rest(), keep_state=True)
    anew = replace(both, waits=0, clock_from=None, due_since=now_at)
    if saga.phase is not Phase.WAITING:
        end = _user_time_ends(anew, rules=rules)
        return _publish(replace(anew, due_at=end), State.JOINED, action=_wake(end), keep_state=True)
    woken = replace(anew, phase=Phase.DUE, due_at=None)
    return _publish(woken, State.JOINED, action=Ask(Step.CONSULT), next_attempt_at=now_at, keep_state=True)


def _died(saga: Saga, died: Died, *, now_at: int) -> Decision:
    """Take evidence: what is dead needs no call; one in flight for it no longer counts."""
    dead = frozenset(target for target in saga.targets if target in died.targets) - set(saga.dead_targets())
    if not dead or saga.phase is Phase.ENDED:
        return Decision(saga, (), Rest())
    buried, published = _bury(saga, dead, died.evidence)
    moot = saga.step in buried.done if saga.step is not None else _next_step(buried) is None
    if saga.phase is Phase.PARKED:
        if not moot:
            # The letter stands, and with it the sequence that a command must expect: the next event shows it.
            kept = replace(buried, sequence=saga.sequence, state=saga.state)
            return Decision(kept, (), Rest())
        alive = replace(buried, phase=Phase.QUEUED, reason=None)
        if _next_step(alive) is None:
            return _finish(alive, published)
        return Decision(alive, published, Requeue())
    if _next_step(buried) is None:
        return _finish(buried, published)
    if moot and saga.phase is not Phase.QUEUED:
        return _to_next(buried, now_at=now_at, published=published)
    return Decision(buried, published, Rest())


def _bury(saga: Saga, dead: frozenset[Target], evidence: Evidence) -> tuple[Saga, tuple[Transition, ...]]:
    """Mark targets as dead and say so; the steps they settle are done."""
    settled = {step for target in dead for step in STEPS_OF[target.kind]}
    if any(Step.CANCEL_TOKEN in STEPS_OF[target.kind] for target in dead) and (
        evidence is Evidence.ALREADY_UNBOUND
    ):
        # Another saga ended the token, and its notice to the hub went with it.
        settled.add(Step.NOTIFY_HUB)
    done = (*saga.done, *(step for step in saga.steps if step in settled and step not in saga.done))
    ends = {step for target in dead for step in STEPS_OF[target.kind] if step in TARGET_OF}
    buried = replace(
        saga,
        done=done,
        evidence=evidence,
        attempted=saga.attempted | ends,
        undecided=saga.undecided - ends,
    )
    nothing_left = _next_step(buried) is None and evidence is Evidence.ALREADY_UNBOUND
    if nothing_left or ends <= {Step.NOTIFY_MERCHANT}:
        return buried, ()
    told = _publish(buried, State.REVOKED, action=Rest(), evidence=evidence)
    return told.saga, told.transitions


def _resumed(saga: Saga, *, from_start: bool) -> Decision:
    if from_start and saga.attempted:
        raise IllegalMove("a saga that attempted a revocation goes on at its failed step, not from the start")
    again = replace(
        saga,
        phase=Phase.QUEUED,
        reason=None,
        replays=saga.replays + 1,
        waits=0,
        clock_from=None,
        due_since=None,
        paused_at=None,
        due_at=None,
        done=() if from_start else saga.done,
        step=None if from_start else saga.step,
    )
    return _publish(again, State.RESUMED, action=Requeue())


# --- ends, and how they are told -------------------------------------------


def _finish(
    saga: Saga,
    published: tuple[Transition, ...],
    *,
    step: Step | None = None,
    result: Result | None = None,
) -> Decision:
    ended = replace(saga, phase=Phase.ENDED, step=None, due_at=None)
    last = _publish(ended, State.UNBOUND, action=Finish(), step=step, result=result, evidence=saga.evidence)
    return Decision(last.saga, (*published, *last.transitions), Finish())


def _lapse(saga: Saga, *, result: Result | None = None, published: tuple[Transition, ...] = ()) -> Decision:
    lapsed = replace(saga, phase=Phase.ENDED, state=State.LAPSED, due_at=None)
    last = _publish(lapsed, State.LAPSED, action=Finish(), step=saga.step, result=result)
    return Decision(last.saga, (*published, *last.transitions), Finish())


def _park(
    saga: Saga, reason: Reason, *, now_at: int, result: Result | None = None, message: str | None = None
) -> Decision:
    parked = replace(
        saga,
        phase=Phase.PARKED,
        reason=reason,
        due_at=None,
        paused_at=None,
        fresh_attempt=False,
        first_parked_at=saga.first_parked_at or now_at,
    )
    text = message or (result.message if result is not None else None)
    return _publish(
        parked,
        State.PARKED,
        action=Park(reason=reason, message=text),
        step=saga.step,
        result=result,
        message=text,
    )


def _publish(
    saga: Saga,
    state: State,
    *,
    action: Action,
    step: Step | None = None,
    result: Result | None = None,
    message: str | None = None,
    next_attempt_at: int | None = None,
    evidence: Evidence | None = None,
    keep_state: bool = False,
) -> Decision:
    """Publish a state: the only place where the sequence moves."""
    told = replace(saga, sequence=saga.sequence + 1, state=saga.state if keep_state else state)
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


def _wake(at: int | None) -> Action:
    return Rest() if at is None else Wake(at)


def _step_of(saga: Saga) -> Step:
    if saga.step is None:
        raise IllegalMove(f"a saga that is {saga.phase} has no step")
    return saga.step
