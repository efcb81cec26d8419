"""Decides what a saga does next: ``decide(saga, what happened, now) -> decision``, pure, total.

Errors: `worker.saga.table.IllegalMove`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from contracts.states import Evidence, Reason, State, Step
from worker.saga.answering import take_result
from worker.saga.calling import (
    begin,
    due_again,
    fall_due,
    go_on,
    has_expired,
    is_guarded,
    next_step,
    pause,
    take_back,
    to_next,
    user_time_ends,
)
from worker.saga.ends import finish, lapse, park, publish, step_of, wake_or_rest
from worker.saga.evolve import evolve
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
    Requeue,
    Rest,
    Restored,
    Resumed,
    Turn,
)
from worker.saga.model import STEPS_OF, TARGET_OF, Kind, Phase
from worker.saga.patience import USER_TIME
from worker.saga.table import LEGAL, IllegalMove

if TYPE_CHECKING:
    from worker.saga.inputs import Happened
    from worker.saga.model import Saga, Target, Transition
    from worker.saga.patience import Rules


def admit(saga: Saga) -> Decision:
    """Open a saga: the first published state."""
    return publish(saga, State.REQUESTED, action=Rest())


def decide(saga: Saga, happened: Happened, *, now_at: int, rules: Rules, chance: float = 0.5) -> Decision:
    """Return what follows from what happened.

    ``now_at`` in ms since the Unix epoch; ``chance`` from 0 up to 1 spreads the waits.
    Raises IllegalMove where the tables have no entry; the saga given is never changed.
    """
    if happened.happening not in LEGAL[saga.phase]:
        raise IllegalMove(f"{happened.happening} cannot happen to a saga that is {saga.phase}")
    match happened:
        case Answered(result=result, line_open=line_open, stood_ms=stood_ms):
            return take_result(
                saga,
                result,
                line_open=line_open,
                now_at=now_at,
                rules=rules,
                chance=chance,
                stood_ms=stood_ms,
            )
        case Begin():
            return begin(saga, now_at=now_at, rules=rules)
        case Turn():
            return _turn(saga, happened, now_at=now_at)
        case HoldFound():
            return pause(saga, Phase.HELD, now_at=now_at, rules=rules)
        case LineFound():
            return pause(saga, Phase.STOPPED, now_at=now_at, rules=rules)
        case FellDue():
            return fall_due(saga, now_at=now_at)
        case HoldEnded() | LineTried():
            return go_on(saga, now_at=now_at, rules=rules)
        case Restored():
            return _restored(saga)
        case NotBegunYet():
            return Decision(evolve(take_back(saga), phase=Phase.DUE), (), Rest())
        case Joined():
            return _joined(saga, happened, now_at=now_at, rules=rules)
        case Died():
            return _died(saga, happened, now_at=now_at)
        case Broke():
            return _broke(saga, happened, now_at=now_at)
        case Resumed(from_start=from_start):
            return _resumed(saga, from_start=from_start)
        case Discarded():
            ended = evolve(saga, phase=Phase.ENDED, reason=None)
            return publish(ended, State.DISCARDED, action=Finish())
        case _ as never:
            assert_never(never)


# --- the turn ----------------------------------------------------------------


def _turn(saga: Saga, turn: Turn, *, now_at: int) -> Decision:
    """Its turn came: take over what others know and attempted, then go to the first step that is not done."""
    if not saga.steps:
        raise IllegalMove("a saga without steps has nothing to do: its request is invalid")
    published: tuple[Transition, ...] = ()
    heir = _inherit(saga, turn)
    dead = _newly_dead(heir, turn.dead)
    if dead:
        heir, published = _bury(heir, dead, Evidence.ALREADY_UNBOUND)
    step = next_step(heir)
    if step is None:
        return finish(heir, published)
    if has_expired(heir, at=now_at):
        # A replayed saga that had a turn before lapses like any that is under way.
        first = heir.kind is Kind.UNBINDING and heir.step is None
        if first and (step in USER_TIME or not heir.attempted):
            message = "expiresAt had passed when its turn came"
            return park(heir, Reason.EXPIRED, now_at=now_at, message=message, published=published)
        if is_guarded(heir, step):
            return lapse(heir, published=published)
    return to_next(heir, now_at=now_at, published=published)


def _inherit(saga: Saga, turn: Turn) -> Saga:
    """Take over the revocations that a parked saga attempted, where they are revocations of this one, too."""
    inherited = turn.inherited
    if inherited is None:
        return saga
    attempted = frozenset(step for step in inherited.attempted if step in saga.steps and saga.is_revoke(step))
    if not attempted:
        return saga
    done = saga.done
    if Step.CANCEL_TOKEN in attempted and saga.consults and Step.CONSULT not in done:
        # The token may be dead: consult would refuse what has happened.
        done = (*done, Step.CONSULT)
    return evolve(
        saga,
        done=done,
        attempted=saga.attempted | attempted,
        undecided=saga.undecided | (inherited.undecided & attempted - frozenset(done)),
        acquirer_id=saga.acquirer_id or inherited.acquirer_id,
        psp_id=saga.psp_id or inherited.psp_id,
    )


# --- what comes from outside -------------------------------------------------


def _restored(saga: Saga) -> Decision:
    """Go on where the journal stops; a call without a result is asked for again, and is in doubt."""
    match saga.phase:
        case Phase.CALLING:
            # Not performed at once: a hold, a stopped line or expiresAt may stand before it by now.
            return due_again(evolve(_in_doubt(saga), attempts=saga.attempts + 1))
        case Phase.WAITING | Phase.HELD | Phase.STOPPED:
            return Decision(saga, (), wake_or_rest(saga.due_at))
        case Phase.DUE:
            return Decision(saga, (), Ask(step_of(saga)))
        case Phase.QUEUED | Phase.PARKED | Phase.ENDED:
            return Decision(saga, (), Rest())
        case _ as never:
            assert_never(never)


def _in_doubt(saga: Saga) -> Saga:
    """Return the saga with the call under way undecided: bytes may have left, no result will come."""
    step = step_of(saga)
    return evolve(saga, undecided=saga.undecided | {step}) if step in saga.attempted else saga


def _broke(saga: Saga, broke: Broke, *, now_at: int) -> Decision:
    if saga.phase is Phase.CALLING:
        saga = _in_doubt(saga) if broke.begun else take_back(saga)
    return park(saga, broke.reason, now_at=now_at, message=broke.message)


def _joined(saga: Saga, joined: Joined, *, now_at: int, rules: Rules) -> Decision:
    """Let another request share this saga's end; a user who asks again does not wait for a consult."""
    later = (
        None
        if saga.expires_at is None or joined.expires_at is None
        else max(saga.expires_at, joined.expires_at)
    )
    both = evolve(saga, requests=(*saga.requests, joined.request), expires_at=later)
    if saga.step is not Step.CONSULT or saga.phase not in (Phase.WAITING, Phase.HELD, Phase.STOPPED):
        return publish(both, State.JOINED, action=Rest())
    if saga.phase is Phase.WAITING:
        woken = evolve(both, phase=Phase.DUE, waits=0, clock_from=None, due_since=now_at, due_at=None)
        return publish(woken, State.JOINED, action=Ask(Step.CONSULT), next_attempt_at=now_at)
    anew = evolve(both, waits=0, clock_from=now_at, due_since=now_at)
    end = user_time_ends(anew, rules=rules)
    return publish(evolve(anew, due_at=end), State.JOINED, action=wake_or_rest(end))


def _died(saga: Saga, died: Died, *, now_at: int) -> Decision:
    """Take evidence: what is dead needs no call; one in flight for it no longer counts."""
    dead = _newly_dead(saga, died.targets)
    if not dead:
        return Decision(saga, (), Rest())
    buried, published = _bury(saga, dead, died.evidence, announced=died.announced)
    if next_step(buried) is None:
        return finish(buried, published)
    moot = saga.step in buried.done
    if saga.phase is Phase.PARKED:
        spares = died.new_agreement and buried.to_cancel_agreement
        if spares or not (moot and published):
            # The letter stands, and with it the sequence that a command must expect: the next event shows it.
            return Decision(evolve(buried, sequence=saga.sequence, state=saga.state), (), Rest())
        return Decision(evolve(buried, phase=Phase.QUEUED, reason=None), published, Requeue())
    if moot and saga.phase is not Phase.QUEUED:
        return to_next(buried, now_at=now_at, published=published)
    return Decision(buried, published, Rest())


def _newly_dead(saga: Saga, dead: frozenset[Target]) -> frozenset[Target]:
    return frozenset(target for target in saga.targets if target in dead).difference(saga.dead_targets())


def _bury(
    saga: Saga, dead: frozenset[Target], evidence: Evidence, *, announced: bool = False
) -> tuple[Saga, tuple[Transition, ...]]:
    """Mark targets as dead and say so; the steps they settle are done. No attempt is made up for them."""
    settled = {step for target in dead for step in STEPS_OF[target.kind]}
    if Step.CANCEL_TOKEN in settled and (announced or evidence is Evidence.ALREADY_UNBOUND):
        # The hub is told of a token once: where another saga ended it, or takes its notice, that one tells.
        settled.add(Step.NOTIFY_HUB)
    ends = settled & TARGET_OF.keys()
    buried = evolve(
        saga,
        done=(*saga.done, *(step for step in saga.steps if step in settled and step not in saga.done)),
        evidence=evidence,
        undecided=saga.undecided - ends,
    )
    no_call = evidence is Evidence.ALREADY_UNBOUND and saga.phase in (Phase.QUEUED, Phase.PARKED)
    if ends == {Step.NOTIFY_MERCHANT} or (no_call and next_step(buried) is None):
        return buried, ()
    told = publish(buried, State.REVOKED, action=Rest(), evidence=evidence)
    return told.saga, told.transitions


def _resumed(saga: Saga, *, from_start: bool) -> Decision:
    """Go on at the failed step with patience anew; from the start, permission is asked for again."""
    if from_start and saga.attempted:
        raise IllegalMove("a saga that attempted a revocation goes on at its failed step, not from the start")
    done = saga.done
    if from_start and Step.CANCEL_TOKEN not in done:
        # What is dead stays dead: only the permission is asked for again.
        done = tuple(step for step in done if step is not Step.CONSULT)
    again = evolve(
        saga,
        phase=Phase.QUEUED,
        reason=None,
        replays=saga.replays + 1,
        waits=0,
        clock_from=None,
        due_since=None,
        paused_at=None,
        due_at=None,
        done=done,
    )
    return publish(again, State.RESUMED, action=Requeue())
