from __future__ import annotations

import pytest

from contracts.states import Evidence, Reason, State, Step
from tests.saga.walk import CONSULTED, FULL, HOUR, MINUTE, TOKEN, WALLET, Walk, at_step, queued, turned
from worker.saga.inputs import (
    Ask,
    Broke,
    HoldFound,
    Inheritance,
    LineFound,
    NotBegunYet,
    Perform,
    Rest,
    Restored,
    Resumed,
    Turn,
)
from worker.saga.model import Phase
from worker.saga.results import Call, ResultClass

pytestmark = pytest.mark.promise("P3")

S = State
REVOKES = [Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT]


def call_of(walk: Walk) -> Call:
    """Return the call that was decided."""
    assert isinstance(walk.action, Perform)
    return walk.action.call


@pytest.mark.parametrize("step", REVOKES)
def test_decided_revoke_counts_as_attempted(step: Step) -> None:
    """A revoke call counts as attempted from the moment it is decided; telling the merchant is one alone."""
    walk = turned(step).begin()
    assert walk.saga.attempted == {step}
    assert not walk.saga.undecided


def test_telling_the_merchant_is_no_revocation_beside_a_token() -> None:
    """With a token or an agreement in the saga, notify_merchant is no revoke call."""
    walk = at_step(Step.NOTIFY_MERCHANT, *FULL).begin()
    assert walk.saga.attempted == {Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT}


def test_call_that_never_began_is_taken_back() -> None:
    """A clean shutdown takes back a first revoke call that had not begun; the saga is due and rests."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).begin().happen(NotBegunYet())
    assert (walk.saga.attempted, walk.saga.phase, walk.action) == (frozenset(), Phase.DUE, Rest())
    walk.pass_time(6 * MINUTE).begin()
    assert walk.saga.step is Step.CONSULT


def test_later_call_that_never_began_leaves_the_attempt() -> None:
    """A second call that never began takes nothing back: the first one was made."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).silence().until_due().begin().happen(NotBegunYet())
    assert walk.saga.attempted == walk.saga.undecided == {Step.CANCEL_TOKEN}


def test_restored_call_not_begun_stays_undecided() -> None:
    """A call repeated after a restore that did not begin leaves the doubt about the one before the crash."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).begin().happen(Restored()).begin().happen(NotBegunYet())
    assert walk.saga.attempted == walk.saga.undecided == {Step.CANCEL_TOKEN}


def test_restored_call_is_undecided_and_called_again() -> None:
    """A revoke call that a crash cut off is called again, in doubt, and consult is not asked."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).begin().pass_time(60 * MINUTE).happen(Restored())
    assert walk.action == Ask(Step.CANCEL_TOKEN)
    call = call_of(walk.begin())
    assert (call.step, call.undecided, call.attempt) == (Step.CANCEL_TOKEN, True, 2)


@pytest.mark.parametrize("found", [HoldFound(), LineFound()])
def test_restored_call_looks_for_holds_and_line(found: HoldFound | LineFound) -> None:
    """A call that a crash cut off is not made under a hold or behind a stopped line."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).begin().happen(Restored()).happen(found)
    assert walk.saga.phase in (Phase.HELD, Phase.STOPPED)
    assert walk.saga.undecided == {Step.CANCEL_TOKEN}


def test_restored_consult_is_asked_again() -> None:
    """A consult that a crash cut off is asked again; consult is never undecided."""
    walk = turned(*CONSULTED).begin().happen(Restored()).begin()
    assert call_of(walk).step is Step.CONSULT
    assert not walk.saga.undecided


def test_restore_leaves_what_rests() -> None:
    """A saga that waits, is held or parked goes on where it was after a restore."""
    for walk in (
        turned(*CONSULTED).silence(),
        turned(*CONSULTED).answer(ResultClass.FINAL),
        queued(*CONSULTED),
    ):
        before = walk.saga
        assert walk.happen(Restored()).saga == before


@pytest.mark.parametrize(
    ("result_class", "fields", "doubt"),
    [
        (ResultClass.SOON, {"undecided": True}, True),
        (ResultClass.SOON, {"undecided": False}, False),
        (ResultClass.SLOWLY, {"undecided": True}, True),
        (ResultClass.SLOWLY, {"undecided": False}, False),
        (ResultClass.LINE_STOP, {"undecided": True}, True),
        (ResultClass.LINE_STOP, {"undecided": False}, False),
        (ResultClass.FINAL, {"undecided": True}, True),
        (ResultClass.FINAL, {"undecided": False}, False),
        (ResultClass.CONFIRM_FIRST, {"undecided": False}, True),
    ],
)
def test_doubt_follows_the_result(result_class: ResultClass, fields: dict[str, bool], *, doubt: bool) -> None:
    """A cancel is undecided where bytes may have left without a final answer, or the answer is in doubt."""
    walk = turned(Step.CANCEL_AGREEMENT).answer(result_class, **fields)
    assert (Step.CANCEL_AGREEMENT in walk.saga.undecided) is doubt


@pytest.mark.parametrize(
    "later", [ResultClass.SOON, ResultClass.SLOWLY, ResultClass.FINAL, ResultClass.LINE_STOP]
)
def test_doubt_survives_what_comes_later(later: ResultClass) -> None:
    """A later answer that proves nothing leaves the doubt about an earlier attempt, through parking too."""
    walk = turned(Step.CANCEL_TOKEN).silence().until_due().answer(later, undecided=False)
    assert walk.saga.undecided == {Step.CANCEL_TOKEN}
    if walk.saga.phase is Phase.PARKED:
        assert call_of(walk.happen(Resumed()).happen(Turn()).begin()).undecided


def test_undecided_cancel_is_queried_first() -> None:
    """An undecided cancelByAuthInfo is asked about before it is repeated; a token is just cancelled again."""
    assert call_of(turned(Step.CANCEL_AGREEMENT).silence().until_due().begin()).query
    token = call_of(turned(Step.CANCEL_TOKEN).silence().until_due().begin())
    assert (token.query, token.undecided) == (False, True)
    assert not call_of(turned(Step.CANCEL_AGREEMENT).begin()).query


def test_query_that_finds_it_ended_is_evidence() -> None:
    """A query that says ended ends the step, with the query as evidence."""
    walk = turned(Step.CANCEL_AGREEMENT).silence().until_due()
    walk.answer(ResultClass.DONE_ALREADY, evidence=Evidence.QUERY)
    assert walk.states[-2:] == [S.REVOKED, S.UNBOUND]
    assert [transition.evidence for transition in walk.published[-2:]] == 2 * [Evidence.QUERY]


def test_query_that_finds_it_live_repeats_the_cancel_at_once() -> None:
    """A query that says live is followed by the cancel itself, without a wait and without an event."""
    walk = turned(Step.CANCEL_AGREEMENT).silence().until_due()
    told = len(walk.published)
    walk.answer(ResultClass.STILL_LIVE)
    assert walk.action == Ask(Step.CANCEL_AGREEMENT)
    assert len(walk.published) == told
    assert not call_of(walk.begin()).query


def test_query_ends_the_doubt_though_an_earlier_query_was_silent() -> None:
    """`still_live` ends the doubt whatever an earlier try of the same call said."""
    walk = turned(Step.CANCEL_AGREEMENT).silence().until_due().answer(ResultClass.STILL_LIVE, undecided=True)
    assert not walk.saga.undecided


def test_live_after_a_quick_query_waits() -> None:
    """Where the query was a quick try after a cancel of the same call, it is repeated after a wait."""
    walk = turned(Step.CANCEL_AGREEMENT).answer(ResultClass.STILL_LIVE, tries=2)
    assert walk.saga.phase is Phase.WAITING
    assert not call_of(walk.until_due().begin()).query


def test_live_agreement_gives_up_in_time() -> None:
    """A cancel and a query that chase each other end with the step's patience."""
    walk = turned(Step.CANCEL_AGREEMENT)
    for _ in range(200):
        if walk.saga.phase is Phase.PARKED:
            break
        walk.answer(ResultClass.CONFIRM_FIRST) if walk.saga.phase is Phase.DUE else walk.until_due()
        if walk.saga.phase is Phase.WAITING:
            walk.until_due().answer(ResultClass.STILL_LIVE)
    assert walk.saga.reason is Reason.OUTCOME_UNKNOWN


def test_live_agreement_beyond_the_time_parks() -> None:
    """A query that says live when the step's time is over parks: the cancel is not repeated at once."""
    walk = turned(Step.CANCEL_AGREEMENT).silence().pass_time(24 * HOUR + 1).until_due()
    assert walk.answer(ResultClass.STILL_LIVE).saga.reason is Reason.OUTCOME_UNKNOWN


def test_doubtful_query_waits_and_queries_again() -> None:
    """A query in doubt waits, and is a query again."""
    walk = turned(Step.CANCEL_AGREEMENT).answer(ResultClass.CONFIRM_FIRST).until_due()
    walk.answer(ResultClass.CONFIRM_FIRST).until_due().begin()
    assert call_of(walk).query


def test_done_already_without_evidence_says_already_unbound() -> None:
    """`done_already` always publishes evidence."""
    walk = turned(Step.CANCEL_TOKEN).answer(ResultClass.DONE_ALREADY)
    assert [transition.evidence for transition in walk.published[1:]] == 2 * [Evidence.ALREADY_UNBOUND]


def test_own_success_has_no_evidence() -> None:
    """An own success is told without evidence."""
    assert all(transition.evidence is None for transition in turned(*WALLET).done().done().done().published)


def test_each_revocation_is_told() -> None:
    """Token, agreement, merchant: `revoked` for the first two, `unbound` with the last."""
    walk = turned(*FULL).done().done().done()
    assert walk.states == [S.REQUESTED, S.ALLOWED, S.REVOKED, S.REVOKED]
    assert walk.done().states[4:] == [S.UNBOUND]


def test_what_fails_later_parks_at_its_step() -> None:
    """A merchant who cannot be told parks the saga there; the revocation stays done."""
    walk = at_step(Step.NOTIFY_MERCHANT, *FULL).answer(ResultClass.FINAL, code="PROCESS_FAIL", message="no")
    assert (walk.saga.step, walk.saga.reason) == (Step.NOTIFY_MERCHANT, Reason.FAILED)
    assert (walk.last.code, walk.last.message) == ("PROCESS_FAIL", "no")
    assert walk.saga.done == FULL[:3]


def test_links_are_offered() -> None:
    """A rebinding ends as offered."""
    walk = turned(Step.OFFER).done()
    assert (walk.states[-1], walk.saga.phase, walk.last.done) == (S.OFFERED, Phase.ENDED, (Step.OFFER,))


# --- broke -------------------------------------------------------------------


def test_revoke_call_that_broke_is_undecided() -> None:
    """A saga that broke while a revoke call was under way parks in doubt: bytes may have left."""
    walk = turned(Step.CANCEL_AGREEMENT).begin().happen(Broke(reason=Reason.CRASHED, message="broke"))
    assert (walk.saga.phase, walk.last.message) == (Phase.PARKED, "broke")
    assert call_of(walk.happen(Resumed()).happen(Turn()).begin()).query


def test_revoke_call_that_broke_before_it_began_is_taken_back() -> None:
    """A saga that broke before its first revoke call began has attempted nothing."""
    broke = Broke(reason=Reason.CRASHED, message="broke", begun=False)
    walk = turned(Step.CANCEL_TOKEN).begin().happen(broke)
    assert walk.saga.attempted == walk.saga.undecided == frozenset()


# --- inherited ---------------------------------------------------------------


def test_attempt_of_a_parked_saga_counts() -> None:
    """A new saga takes over what a parked one attempted: no consult, in doubt, with the consult's ids."""
    inherited = Inheritance(
        attempted=frozenset({Step.CANCEL_TOKEN}),
        undecided=frozenset({Step.CANCEL_TOKEN}),
        acquirer_id="acq",
        psp_id="psp",
    )
    call = call_of(queued(*CONSULTED).happen(Turn(inherited=inherited)).pass_time(60 * MINUTE).begin())
    assert (call.step, call.undecided, call.acquirer_id, call.psp_id) == (
        Step.CANCEL_TOKEN,
        True,
        "acq",
        "psp",
    )


def test_own_ids_go_before_inherited_ones() -> None:
    """Ids that a saga has keep standing where it takes over an attempt."""
    walk = turned(*CONSULTED).answer(ResultClass.DONE, acquirer_id="own").answer(ResultClass.FINAL)
    inherited = Inheritance(attempted=frozenset({Step.CANCEL_TOKEN}), acquirer_id="other", psp_id="psp")
    walk.happen(Resumed()).happen(Turn(inherited=inherited))
    assert (walk.saga.acquirer_id, walk.saga.psp_id) == ("own", "psp")


def test_step_that_is_no_revocation_here_is_not_inherited() -> None:
    """That a parked saga told the merchant is no revoke attempt of a saga with a token."""
    inherited = Inheritance(attempted=frozenset({Step.NOTIFY_MERCHANT}))
    assert not queued(*FULL).happen(Turn(inherited=inherited)).saga.attempted


def test_doubt_about_a_dead_target_is_not_inherited() -> None:
    """What is dead is no longer in doubt."""
    both = frozenset({Step.CANCEL_TOKEN})
    walk = queued(*FULL)
    walk.happen(Turn(dead=frozenset({TOKEN}), inherited=Inheritance(attempted=both, undecided=both)))
    assert not walk.saga.undecided
