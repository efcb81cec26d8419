from __future__ import annotations

import pytest

from contracts.states import Reason, State, Step
from tests.saga.walk import CONSULTED, FULL, HOUR, MINUTE, NOW, SECOND, Walk, at_step, saga_of, turned
from worker.saga.decide import admit
from worker.saga.inputs import HoldEnded, HoldFound, LineFound, LineTried, NotBegunYet, Resumed, Turn, Wake
from worker.saga.model import Phase
from worker.saga.patience import GIVE_UP, PATIENCE, GiveUp, Rules, wait_ms
from worker.saga.results import ResultClass

pytestmark = pytest.mark.promise("P4")

S = State
DAY = 24 * HOUR
NOTIFIED = (Step.CANCEL_TOKEN, Step.NOTIFY_HUB)

LADDERS = {
    Step.CONSULT: ([2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND], 2 * MINUTE),
    Step.CANCEL_TOKEN: ([5_000, 30_000, *(m * MINUTE for m in (1, 2, 5, 10, 30)), HOUR], DAY),
    Step.CANCEL_AGREEMENT: ([5_000, 30_000, *(m * MINUTE for m in (1, 2, 5, 10, 30)), HOUR], DAY),
    Step.NOTIFY_MERCHANT: (
        [2 * MINUTE, 10 * MINUTE, 10 * MINUTE, *(h * HOUR for h in (1, 2, 6, 15))],
        25 * HOUR,
    ),
    Step.NOTIFY_HUB: ([2 * MINUTE, 10 * MINUTE, 10 * MINUTE, *(h * HOUR for h in (1, 2, 6, 15))], 25 * HOUR),
    Step.OFFER: ([5 * SECOND, 15 * SECOND], MINUTE),
}


def plan_for(step: Step) -> tuple[Step, ...]:
    """Return the shortest plan that has the step."""
    return {Step.CONSULT: CONSULTED, Step.NOTIFY_HUB: NOTIFIED}.get(step, (step,))


@pytest.mark.parametrize("step", list(Step))
def test_defaults_are_as_decided(step: Step) -> None:
    """Each step has two quick tries, its ladder of waits, and its time."""
    waits, give_up = LADDERS[step]
    patience = PATIENCE[step]
    assert (patience.quick, list(patience.waits_ms), patience.give_up_after_ms) == (2, waits, give_up)


@pytest.mark.parametrize("step", list(Step))
def test_silence_walks_down_the_ladder_and_ends(step: Step) -> None:
    """Silence waits rung by rung, the last repeating, until the next wait would end beyond the time."""
    waits, give_up = LADDERS[step]
    walk = at_step(step, *plan_for(step))
    gaps = []
    while walk.silence().saga.phase is Phase.WAITING:
        assert walk.action == Wake(walk.saga.due_at or 0)
        assert walk.last.next_attempt_at == walk.saga.due_at
        gaps.append((walk.saga.due_at or 0) - walk.now)
        walk.until_due()
    assert gaps == [waits[min(rung, len(waits) - 1)] for rung in range(len(gaps))]
    following = waits[min(len(gaps), len(waits) - 1)]
    assert sum(gaps) <= give_up < sum(gaps) + following
    if GIVE_UP[step] is GiveUp.LAPSE:
        assert walk.states[-1] is S.LAPSED
    else:
        assert walk.saga.reason is Reason.OUTCOME_UNKNOWN


def test_time_counts_from_the_first_attempt() -> None:
    """A saga that came late to its first attempt, by a backlog of ours, has its whole patience."""
    assert turned(*CONSULTED).pass_time(HOUR).silence().saga.phase is Phase.WAITING


def test_late_timer_still_calls() -> None:
    """A step does not give up by the clock alone: a timer that fires far too late still makes its call."""
    walk = turned(*CONSULTED).silence().pass_time(HOUR).until_due().begin()
    assert walk.saga.phase is Phase.CALLING
    assert walk.silence().states[-1] is S.LAPSED


def test_waits_are_spread_by_a_tenth() -> None:
    """Chance spreads a wait by a tenth both ways."""
    patience = PATIENCE[Step.CONSULT]
    spread = [wait_ms(patience=patience, waits=0, chance=chance, jitter=0.1) for chance in (0.0, 0.5, 1.0)]
    assert spread == [1_800, 2_000, 2_200]
    walk = Walk(admit(saga_of(*CONSULTED)).saga, rules=Rules(), chance=0.0).happen(Turn()).silence()
    assert walk.saga.due_at == NOW + 1_800


def test_slowly_is_no_attempt_and_its_time_counts() -> None:
    """A traffic limit waits half a minute or more, uses up neither attempt nor rung, and its time counts."""
    walk = turned(*CONSULTED)
    for _ in range(4):
        walk.answer(ResultClass.SLOWLY)
        assert walk.saga.due_at == walk.now + 30 * SECOND
        assert (walk.saga.attempts, walk.saga.waits) == (0, 0)
        walk.until_due()
    assert walk.answer(ResultClass.SLOWLY).states[-1] is S.LAPSED


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(None, 30 * SECOND), (5_000, 30 * SECOND), (45_000, 45_000), (9 * HOUR, HOUR), (-5, 30_000)],
)
def test_retry_after_is_believed_up_to_an_hour(asked: int | None, waited: int) -> None:
    """The wait after `slowly` is what Retry-After says, at least half a minute, at most an hour."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).answer(ResultClass.SLOWLY, retry_after_ms=asked)
    assert walk.saga.due_at == walk.now + waited


def test_slowly_never_shortens_the_ladder() -> None:
    """Where the ladder's wait is longer than what `slowly` asks for, the ladder's counts."""
    walk = at_step(Step.NOTIFY_MERCHANT, Step.NOTIFY_MERCHANT).answer(ResultClass.SLOWLY)
    assert walk.saga.due_at == walk.now + 2 * MINUTE


def test_quick_tries_before_slowly_count() -> None:
    """Of three tries of which the last was `slowly`, two are counted."""
    assert turned(*CONSULTED).answer(ResultClass.SLOWLY, tries=3).saga.attempts == 2


def test_tries_are_counted_per_step() -> None:
    """Attempts count every try of a step and begin anew at the next one; the call names its number."""
    walk = turned(*CONSULTED).answer(ResultClass.SOON, tries=3).until_due().answer(ResultClass.SOON, tries=2)
    assert walk.last.attempts == 5
    walk.until_due().done()
    assert (walk.last.attempts, walk.saga.attempts) == (6, 0)


def test_replay_starts_waits_and_time_anew() -> None:
    """A replayed step has its whole ladder and time again; its attempts are counted on."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).silence()
    while walk.saga.phase is not Phase.PARKED:
        walk.until_due().silence()
    tried = walk.saga.attempts
    walk.happen(Resumed()).happen(Turn()).silence()
    assert walk.saga.due_at == walk.now + 5 * SECOND
    assert walk.saga.attempts == tried + 1


# --- holds and stopped lines -------------------------------------------------


def test_hold_uses_no_patience_of_a_revocation() -> None:
    """Two days under a hold leave a revocation's waits and time as they were."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).silence().until_due().happen(HoldFound())
    assert walk.states[-1] is S.HELD
    assert walk.saga.due_at is None
    walk.pass_time(2 * DAY).happen(HoldEnded()).silence()
    assert walk.saga.due_at == walk.now + 30 * SECOND


def test_stopped_line_uses_no_patience_of_a_revocation() -> None:
    """Two days behind a stopped line leave a revocation's waits and time as they were."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).answer(ResultClass.LINE_STOP, line_open=False)
    assert (walk.states[-1], walk.saga.phase, walk.saga.waits) == (S.WAITING, Phase.STOPPED, 0)
    walk.pass_time(2 * DAY).happen(LineTried()).silence()
    assert walk.saga.due_at == walk.now + 5 * SECOND


@pytest.mark.parametrize("step", [Step.CONSULT, Step.OFFER])
@pytest.mark.parametrize("found", [HoldFound(), LineFound()])
def test_users_time_runs_on_under_a_hold(step: Step, found: HoldFound | LineFound) -> None:
    """At consult and offer the saga lapses that long after first falling due, though the hold stays."""
    walk = at_step(step, *plan_for(step)).pass_time(10 * SECOND).happen(found)
    assert walk.saga.due_at == NOW + LADDERS[step][1]
    assert walk.until_due().states[-1] is S.LAPSED


def test_users_time_ends_with_expiry_under_a_hold() -> None:
    """Under a hold a consult lapses at expiresAt if that comes first."""
    walk = turned(*CONSULTED, expires_at=NOW + MINUTE).happen(HoldFound())
    assert walk.until_due().states[-1] is S.LAPSED
    assert walk.now == NOW + MINUTE


def test_users_time_counts_after_the_hold_too() -> None:
    """After a hold a consult gives up that long after it first fell due, not after its first attempt."""
    walk = turned(*CONSULTED).happen(HoldFound()).pass_time(MINUTE + 59 * SECOND).happen(HoldEnded())
    assert walk.silence().states[-1] is S.LAPSED


def test_hold_that_ends_too_late_for_the_user_lapses() -> None:
    """A hold whose end is noticed after the user's time lapses the consult without a call."""
    walk = turned(*CONSULTED).happen(HoldFound()).pass_time(2 * MINUTE).happen(HoldEnded())
    assert walk.states == [S.REQUESTED, S.HELD, S.LAPSED]


def test_hold_found_after_the_users_time_lapses() -> None:
    """A consult that meets a hold when the user's time is over lapses at once."""
    assert turned(*CONSULTED).pass_time(2 * MINUTE).happen(HoldFound()).states[-1] is S.LAPSED


def test_first_of_a_stopped_line_parks() -> None:
    """The first saga that a line stops at is parked as line_stopped; the others wait."""
    first = at_step(Step.CANCEL_TOKEN, *FULL).answer(ResultClass.LINE_STOP)
    assert first.saga.reason is Reason.LINE_STOPPED
    other = at_step(Step.CANCEL_TOKEN, *FULL).answer(ResultClass.LINE_STOP, line_open=False)
    assert (other.states[-1], other.last.next_attempt_at) == (S.WAITING, other.now)


def test_stopped_probe_parks_nobody() -> None:
    """A probe that the line stops again waits on; any other result goes its way."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).happen(LineFound())
    walk.happen(LineTried()).answer(ResultClass.LINE_STOP, line_open=False)
    assert walk.saga.phase is Phase.STOPPED
    assert walk.happen(LineTried()).done().states[-1] is S.UNBOUND


def test_call_not_begun_uses_no_time() -> None:
    """A first call that never began does not start the clock: the time until the next owner is ours."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).begin().happen(NotBegunYet()).pass_time(2 * DAY)
    assert walk.silence().saga.phase is Phase.WAITING


def test_call_not_begun_keeps_the_time_used() -> None:
    """A later call that never began leaves the clock of the first attempt."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CANCEL_TOKEN).silence().until_due().begin().happen(NotBegunYet())
    assert walk.pass_time(2 * DAY).silence().saga.reason is Reason.OUTCOME_UNKNOWN
