from __future__ import annotations

import pytest

from contracts.states import Debits, Evidence, Reason, State, Step
from tests.saga.walk import (
    ACCOUNT,
    AGREEMENT,
    CONSULTED,
    FULL,
    MINUTE,
    NOW,
    SECOND,
    TOKEN,
    WALLET,
    Walk,
    at_step,
    queued,
    turned,
)
from worker.saga.inputs import (
    Ask,
    Broke,
    Died,
    Discarded,
    Finish,
    HoldEnded,
    HoldFound,
    Joined,
    LineFound,
    Requeue,
    Rest,
    Resumed,
    Turn,
    Wake,
)
from worker.saga.model import Phase, RequestRef
from worker.saga.results import ResultClass
from worker.saga.table import IllegalMove

pytestmark = pytest.mark.promise("P3", "P7")

S = State
SECOND_REF = RequestRef("request-2", b"request-digest-2")
BOTH = (Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT)


def join(walk: Walk, expires_at: int | None = None) -> Walk:
    """Let another request join."""
    return walk.happen(Joined(request=SECOND_REF, expires_at=expires_at))


# --- the turn ----------------------------------------------------------------


def test_nothing_left_at_the_turn() -> None:
    """A saga whose targets are all dead at its turn ends as unbound, without a call and without `revoked`."""
    walk = queued(*WALLET).happen(Turn(dead=frozenset({TOKEN})))
    assert walk.states == [S.REQUESTED, S.UNBOUND]
    assert (walk.last.evidence, walk.last.debits) == (Evidence.ALREADY_UNBOUND, Debits.BLOCKED)
    assert walk.action == Finish()


def test_dead_targets_are_skipped_at_the_turn() -> None:
    """Consult goes with a dead token; what is left is called."""
    walk = queued(*FULL).happen(Turn(dead=frozenset({TOKEN})))
    assert walk.states == [S.REQUESTED, S.REVOKED]
    assert walk.action == Ask(Step.CANCEL_AGREEMENT)


def test_foreign_targets_do_not_matter() -> None:
    """Dead targets of others change nothing."""
    assert queued(*CONSULTED).happen(Turn(dead=frozenset({AGREEMENT}))).action == Ask(Step.CONSULT)


# --- joins -------------------------------------------------------------------


def test_join_wakes_a_waiting_consult_with_patience_anew() -> None:
    """A request that joins a waiting consult wakes it and starts waits and time anew."""
    walk = turned(*CONSULTED).silence().until_due().silence().pass_time(4 * SECOND)
    told = walk.saga.state
    join(walk)
    assert walk.action == Ask(Step.CONSULT)
    assert (walk.last.state, walk.last.next_attempt_at, walk.saga.state) == (S.JOINED, walk.now, told)
    walk.pass_time(119 * SECOND).silence()
    assert walk.saga.due_at == walk.now + 2 * SECOND


@pytest.mark.parametrize("found", [HoldFound(), LineFound()])
def test_join_gives_a_held_consult_its_time_anew(found: HoldFound | LineFound) -> None:
    """A request that joins a consult under a hold gives it the user's time anew; it stays held."""
    walk = join(turned(*CONSULTED).happen(found).pass_time(MINUTE))
    assert walk.action == Wake(NOW + 3 * MINUTE)
    assert walk.last.next_attempt_at is None
    assert walk.until_due().states[-1] is S.LAPSED


@pytest.mark.parametrize(
    "walk",
    [
        queued(*CONSULTED),
        turned(*CONSULTED),
        turned(*CONSULTED).begin(),
        at_step(Step.CANCEL_TOKEN, *CONSULTED).silence(),
        at_step(Step.CANCEL_TOKEN, *CONSULTED).happen(HoldFound()),
    ],
    ids=lambda walk: f"{walk.saga.phase}-{walk.saga.step}",
)
def test_join_wakes_nothing_else(walk: Walk) -> None:
    """Elsewhere a join only adds the request: no call, no timer, the patience as it was."""
    before = walk.saga
    join(walk)
    after = walk.saga
    assert walk.action == Rest()
    assert (after.phase, after.waits, after.clock_from, after.due_since, after.due_at) == (
        before.phase,
        before.waits,
        before.clock_from,
        before.due_since,
        before.due_at,
    )
    assert [ref.id for ref in after.requests] == ["request-1", "request-2"]


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [(5, 9, 9), (9, 5, 9), (5, None, None), (None, 5, None), (None, None, None)],
)
def test_latest_expiry_counts(first: int | None, second: int | None, counts: int | None) -> None:
    """Of joined requests the latest expiresAt counts; none is the latest of all."""
    assert join(queued(*CONSULTED, expires_at=first), second).saga.expires_at == counts


# --- notices -----------------------------------------------------------------


def phases(step: Step) -> list[Walk]:
    """Return a saga of token and agreement in each live phase at a step."""
    return [
        at_step(step, *BOTH),
        at_step(step, *BOTH).begin(),
        at_step(step, *BOTH).silence(),
        at_step(step, *BOTH).happen(HoldFound()),
        at_step(step, *BOTH).happen(LineFound()),
        at_step(step, *BOTH).answer(ResultClass.FINAL),
    ]


@pytest.mark.parametrize("step", [Step.CONSULT, Step.CANCEL_TOKEN])
@pytest.mark.parametrize("index", range(6))
def test_notice_ends_the_step_of_its_target(step: Step, index: int) -> None:
    """In each phase a notice settles the token's consult and revoke, and the saga goes on to what is left."""
    walk = phases(step)[index].notice(TOKEN)
    assert (walk.states[-1], walk.last.evidence) == (S.REVOKED, Evidence.NOTICE)
    if walk.saga.phase is Phase.QUEUED:
        assert walk.action == Requeue()
        walk.happen(Turn(dead=frozenset({TOKEN})))
    assert walk.action == Ask(Step.CANCEL_AGREEMENT)
    assert (walk.saga.attempts, walk.saga.waits, walk.saga.due_at, walk.saga.paused_at) == (0, 0, None, None)
    assert set(walk.saga.done) == {Step.CONSULT, Step.CANCEL_TOKEN}
    assert walk.done().states[-2:] == [S.REVOKED, S.UNBOUND]


@pytest.mark.parametrize("step", [Step.CONSULT, Step.CANCEL_TOKEN])
@pytest.mark.parametrize("index", range(5))
def test_notice_for_another_step_lets_the_present_one_go_on(step: Step, index: int) -> None:
    """A notice for the agreement is told at once; what the saga does at the token goes on as it was."""
    walk = phases(step)[index]
    before = walk.saga
    walk.notice(AGREEMENT)
    assert walk.states[-1] is S.REVOKED
    assert walk.action == Rest()
    assert (walk.saga.phase, walk.saga.step, walk.saga.due_at) == (before.phase, before.step, before.due_at)
    assert Step.CANCEL_AGREEMENT in walk.saga.done


def test_notice_at_another_step_leaves_a_letter_as_it_stands() -> None:
    """Parked at the token, a notice for the agreement is kept without an event: the letter stands."""
    walk = phases(Step.CANCEL_TOKEN)[5]
    told = len(walk.published)
    walk.notice(AGREEMENT)
    assert (walk.saga.phase, walk.action, len(walk.published)) == (Phase.PARKED, Rest(), told)
    assert walk.saga.sequence == walk.last.sequence
    walk.happen(Resumed()).happen(Turn()).done()
    assert walk.states[-3:] == [S.RESUMED, S.REVOKED, S.UNBOUND]
    assert [transition.sequence for transition in walk.published] == list(range(1, len(walk.published) + 1))


def test_notice_wakes_no_letter_that_would_cancel_a_new_agreement() -> None:
    """Where a new agreement may stand, a letter with a cancel to come stands until evidence ends that too."""
    walk = at_step(Step.CANCEL_TOKEN, *FULL).answer(ResultClass.FINAL)
    told = len(walk.published)
    walk.happen(Died(targets=frozenset({TOKEN}), evidence=Evidence.NOTICE, new_agreement=True))
    assert (walk.saga.phase, walk.action, len(walk.published)) == (Phase.PARKED, Rest(), told)
    assert (walk.saga.sequence, walk.saga.done) == (walk.last.sequence, (Step.CONSULT, Step.CANCEL_TOKEN))
    walk.happen(Died(targets=frozenset({AGREEMENT}), evidence=Evidence.NOTICE, new_agreement=True))
    assert (walk.saga.phase, walk.action, walk.states[-1]) == (Phase.QUEUED, Requeue(), S.REVOKED)
    assert walk.happen(Turn()).action == Ask(Step.NOTIFY_MERCHANT)


@pytest.mark.parametrize("index", range(6))
def test_notices_for_all_targets_end_the_saga(index: int) -> None:
    """Where nothing is left the saga ends as unbound at once, parked or not, on the notice's evidence."""
    walk = phases(Step.CONSULT)[index].notice(TOKEN, AGREEMENT)
    assert walk.states[-2:] == [S.REVOKED, S.UNBOUND]
    assert (walk.action, walk.last.evidence) == (Finish(), Evidence.NOTICE)
    assert (walk.saga.reason, walk.saga.phase) == (None, Phase.ENDED)


def test_queued_saga_takes_a_notice() -> None:
    """A queued saga notes a notice and waits for its turn; with nothing left it ends."""
    walk = queued(*BOTH).notice(TOKEN)
    assert (walk.saga.phase, walk.action, walk.states[-1]) == (Phase.QUEUED, Rest(), S.REVOKED)
    assert walk.notice(AGREEMENT).states[-2:] == [S.REVOKED, S.UNBOUND]


def test_second_notice_changes_nothing() -> None:
    """A notice for what is dead already changes nothing and tells nothing."""
    walk = turned(*BOTH).notice(TOKEN)
    before = walk.saga
    assert walk.notice(TOKEN).saga is before


def test_notice_leaves_the_notice_to_the_hub() -> None:
    """A token that a notice ended still owes the notice to the hub; one that another saga ended does not."""
    assert turned(*WALLET).notice(TOKEN).action == Ask(Step.NOTIFY_HUB)
    parked = turned(*WALLET).answer(ResultClass.FINAL)
    parked.notice(TOKEN, evidence=Evidence.ALREADY_UNBOUND)
    assert parked.states[-2:] == [S.PARKED, S.UNBOUND]


def test_a_notice_that_another_saga_announces_leaves_nothing() -> None:
    """Where another saga tells the hub, a notice for the token ends this one; it stays the evidence."""
    told = Died(targets=frozenset({TOKEN}), evidence=Evidence.NOTICE, announced=True)
    for walk in (queued(*WALLET), turned(*WALLET), turned(*WALLET).answer(ResultClass.FINAL)):
        walk.happen(told)
        assert walk.states[-2:] == [S.REVOKED, S.UNBOUND]
        assert (walk.action, walk.last.evidence) == (Finish(), Evidence.NOTICE)


def test_a_saga_at_its_notice_to_the_hub_still_owes_it() -> None:
    """It ended the token itself: that another saga announces it, too, takes nothing from it."""
    walk = at_step(Step.NOTIFY_HUB, *WALLET)
    before = walk.saga
    died = Died(targets=frozenset({TOKEN}), evidence=Evidence.NOTICE, announced=True)
    assert walk.happen(died).saga is before


def test_letter_without_a_step_stays_until_all_is_dead() -> None:
    """A saga parked before its turn stays parked while one of its targets lives."""
    walk = queued(*BOTH).happen(Broke(reason=Reason.QUEUE_FULL, message="full")).notice(TOKEN)
    assert walk.saga.phase is Phase.PARKED
    assert walk.notice(AGREEMENT).saga.phase is Phase.ENDED


def test_notice_is_no_attempt() -> None:
    """What a notice ended was not attempted by us, and is no longer in doubt."""
    walk = at_step(Step.CANCEL_AGREEMENT, *BOTH[2:]).silence().notice(AGREEMENT)
    assert walk.saga.undecided == frozenset()
    assert turned(*BOTH).notice(TOKEN).saga.attempted == frozenset()


# --- replay and discard ------------------------------------------------------


def test_replay_goes_on_at_the_failed_step() -> None:
    """A replay keeps what is done and goes on at the step that failed."""
    walk = at_step(Step.CANCEL_AGREEMENT, *FULL).answer(ResultClass.FINAL).happen(Resumed())
    assert (walk.action, walk.saga.replays, walk.saga.reason) == (Requeue(), 1, None)
    assert walk.happen(Turn(dead=frozenset({TOKEN}))).action == Ask(Step.CANCEL_AGREEMENT)
    assert walk.states[-1] is S.RESUMED


def test_replay_from_the_start_asks_consult_again() -> None:
    """From the start, consult is asked again; what a notice ended stays done."""
    walk = at_step(Step.CANCEL_TOKEN, *BOTH).notice(AGREEMENT)
    walk.happen(Broke(reason=Reason.CRASHED, message="broke"))
    walk.happen(Resumed(from_start=True)).happen(Turn())
    assert walk.saga.step is Step.CONSULT
    assert walk.saga.done == (Step.CANCEL_AGREEMENT,)


def test_replay_from_the_start_counts_on() -> None:
    """From the start at consult itself, attempts are counted on."""
    walk = turned(*CONSULTED).answer(ResultClass.FINAL, tries=3)
    assert walk.happen(Resumed(from_start=True)).happen(Turn()).silence().saga.attempts == 4


def test_no_replay_from_the_start_after_a_revoke_attempt() -> None:
    """After a revoke attempt a replay from the start raises and changes nothing."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).answer(ResultClass.FINAL)
    before = walk.saga
    with pytest.raises(IllegalMove, match="goes on at its failed step"):
        walk.happen(Resumed(from_start=True))
    assert walk.saga is before


def test_first_parked_at_stays() -> None:
    """A letter keeps the moment at which its saga was parked first."""
    walk = turned(*CONSULTED).answer(ResultClass.FINAL).pass_time(MINUTE)
    walk.happen(Resumed()).happen(Turn()).answer(ResultClass.FINAL)
    assert walk.saga.first_parked_at == NOW


def test_discard_before_any_attempt_allows_debits() -> None:
    """A discard before any revoke attempt allows debits again, even after a permission."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).happen(Broke(reason=Reason.CRASHED, message="broke"))
    assert walk.last.debits is Debits.BLOCKED
    walk.happen(Discarded())
    assert (walk.last.state, walk.last.debits, walk.action) == (S.DISCARDED, Debits.ALLOWED, Finish())


def test_discard_without_consult_allows_debits() -> None:
    """A discard of a saga that consults nothing and attempted nothing allows debits again."""
    walk = turned(Step.CANCEL_TOKEN).happen(Broke(reason=Reason.CRASHED, message="broke"))
    assert walk.happen(Discarded()).last.debits is Debits.ALLOWED


def test_discard_after_an_attempt_leaves_debits_blocked() -> None:
    """A discard after a revoke attempt, or after evidence that the token is dead, leaves debits blocked."""
    tried = at_step(Step.CANCEL_TOKEN, *CONSULTED).answer(ResultClass.FINAL).happen(Discarded())
    assert tried.last.debits is Debits.BLOCKED
    dead = turned(*WALLET).notice(TOKEN).answer(ResultClass.FINAL).happen(Discarded())
    assert dead.last.debits is Debits.BLOCKED


def test_account_that_died_alone_is_not_told() -> None:
    """`revoked` speaks of a token or an agreement: an account that another saga ended is told with `done`."""
    walk = turned(*FULL).happen(HoldFound()).notice(ACCOUNT, evidence=Evidence.ALREADY_UNBOUND)
    assert walk.states[-1] is S.HELD
    walk.happen(HoldEnded()).done()
    assert Step.NOTIFY_MERCHANT in walk.last.done
