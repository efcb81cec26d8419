from __future__ import annotations

import pytest

from contracts.states import Debits, Reason, State, Step
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
    at_step,
    queued,
    turned,
)
from worker.saga.inputs import (
    Ask,
    Broke,
    HoldEnded,
    HoldFound,
    Inheritance,
    Park,
    Perform,
    Restored,
    Resumed,
    Turn,
)
from worker.saga.model import Phase
from worker.saga.results import ResultClass

pytestmark = pytest.mark.promise("P3", "P4")

S = State
HOUR_FROM_NOW = NOW + 60 * MINUTE


def test_plain_saga_ends_unbound() -> None:
    """Consult and cancel give four events, the last two of one result; the call has the consult's ids."""
    walk = turned(*CONSULTED).answer(ResultClass.DONE, acquirer_id="acq", psp_id="psp").begin()
    assert isinstance(walk.action, Perform)
    assert (walk.action.call.acquirer_id, walk.action.call.psp_id) == ("acq", "psp")
    walk.done()
    assert walk.states == [S.REQUESTED, S.ALLOWED, S.REVOKED, S.UNBOUND]
    assert [transition.sequence for transition in walk.published] == [1, 2, 3, 4]
    assert walk.last.done == CONSULTED


def test_refusal_ends_without_a_revocation() -> None:
    """A consult that says no ends the saga as refused, with the reason, and debits go on."""
    walk = turned(*CONSULTED).answer(ResultClass.REFUSED, refuse_reason="open bill")
    assert walk.states == [S.REQUESTED, S.REFUSED]
    assert walk.last.refuse_reason == "open bill"
    assert walk.last.debits is Debits.ALLOWED
    assert not walk.saga.attempted


def test_permission_of_five_minutes_is_good() -> None:
    """A permission of exactly five minutes is good for the first revoke call."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).pass_time(5 * MINUTE).begin()
    assert walk.saga.phase is Phase.CALLING


def test_old_permission_is_asked_for_again() -> None:
    """A permission older than five minutes sends the saga back to consult, and `allowed` is told again."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).happen(HoldFound()).pass_time(5 * MINUTE + 1)
    walk.happen(HoldEnded()).begin()
    assert walk.action == Ask(Step.CONSULT)
    walk.done().done()
    assert walk.states == [S.REQUESTED, S.ALLOWED, S.HELD, S.ALLOWED, S.REVOKED, S.UNBOUND]


def test_old_permission_may_turn_into_refusal() -> None:
    """Where consult is asked again it may refuse: nothing was revoked, debits are allowed again."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).pass_time(6 * MINUTE).begin().answer(ResultClass.REFUSED)
    assert walk.states[-2:] == [S.ALLOWED, S.REFUSED]
    assert [transition.debits for transition in walk.published[-2:]] == [Debits.BLOCKED, Debits.ALLOWED]


def test_attempted_revocation_is_never_consulted_about_again() -> None:
    """After a revoke attempt the age of the permission no longer counts."""
    walk = at_step(Step.CANCEL_TOKEN, *CONSULTED).silence().pass_time(60 * MINUTE).until_due().begin()
    assert isinstance(walk.action, Perform)
    assert walk.action.call.step is Step.CANCEL_TOKEN


def test_replay_asks_again_only_if_nothing_was_attempted() -> None:
    """A replay asks consult again where the permission is too old and no revoke was attempted."""
    held = at_step(Step.CANCEL_TOKEN, *CONSULTED)
    held.happen(_crashed()).pass_time(6 * MINUTE).happen(Resumed()).happen(Turn()).begin()
    assert held.saga.step is Step.CONSULT
    failed = at_step(Step.CANCEL_TOKEN, *CONSULTED).answer(ResultClass.FINAL)
    failed.pass_time(6 * MINUTE).happen(Resumed()).happen(Turn()).begin()
    assert failed.saga.step is Step.CANCEL_TOKEN


@pytest.mark.parametrize("target", [AGREEMENT, ACCOUNT])
def test_evidence_for_another_target_keeps_the_age_of_the_permission(target: object) -> None:
    """That an agreement or account is dead does not make an old permission for the token good."""
    assert target in (AGREEMENT, ACCOUNT)
    walk = at_step(Step.CANCEL_TOKEN, *FULL)
    walk.notice(AGREEMENT if target is AGREEMENT else ACCOUNT).pass_time(6 * MINUTE).begin()
    assert walk.saga.step is Step.CONSULT


def test_dead_token_needs_no_permission() -> None:
    """Once a notice ended the token, the agreement is cancelled without asking consult."""
    walk = turned(*FULL).notice(TOKEN).pass_time(60 * MINUTE).begin()
    assert walk.saga.step is Step.CANCEL_AGREEMENT
    assert walk.saga.phase is Phase.CALLING


def test_inherited_agreement_attempt_does_not_replace_permission() -> None:
    """What a parked saga attempted at the agreement says nothing of the token: consult is asked."""
    walk = queued(*FULL)
    walk.happen(Turn(inherited=Inheritance(attempted=frozenset({Step.CANCEL_AGREEMENT}))))
    assert walk.saga.step is Step.CONSULT
    walk.done().pass_time(6 * MINUTE).begin()
    assert walk.saga.step is Step.CONSULT


# --- expiresAt ---------------------------------------------------------------


def test_expired_at_its_turn_parks() -> None:
    """A request whose expiresAt has passed when its turn comes is parked as expired."""
    walk = queued(*CONSULTED, expires_at=NOW).happen(Turn())
    assert walk.states == [S.REQUESTED, S.PARKED]
    assert walk.saga.reason is Reason.EXPIRED
    assert isinstance(walk.action, Park)


def test_expired_rebinding_lapses_at_its_turn() -> None:
    """A rebinding that comes too late lapses: nobody has to look."""
    assert queued(Step.OFFER, expires_at=NOW).happen(Turn()).states == [S.REQUESTED, S.LAPSED]


def test_expiry_before_a_call_lapses() -> None:
    """Passed after the turn and before the first revoke attempt, expiresAt ends the saga as lapsed."""
    for step in CONSULTED:
        walk = at_step(step, *CONSULTED, expires_at=NOW + MINUTE).pass_time(MINUTE).begin()
        assert walk.states[-1] is S.LAPSED
        assert walk.last.debits is Debits.ALLOWED
        assert walk.saga.phase is Phase.ENDED


def test_wait_that_would_end_after_expiry_lapses() -> None:
    """A consult whose next wait would reach expiresAt lapses at once."""
    assert turned(*CONSULTED, expires_at=NOW + 2 * SECOND).silence().states[-1] is S.LAPSED
    assert turned(*CONSULTED, expires_at=NOW + 2 * SECOND + 1).silence().states[-1] is S.WAITING


def test_expiry_means_nothing_after_a_revoke_attempt() -> None:
    """After the first revoke attempt expiresAt guards nothing any more."""
    walk = (
        at_step(Step.CANCEL_TOKEN, *FULL, expires_at=NOW + MINUTE).silence().pass_time(2 * MINUTE).until_due()
    )
    walk.done().done().done()
    assert walk.states[-1] is S.UNBOUND


def test_expiry_means_nothing_after_the_token_died() -> None:
    """A saga whose token a notice ended goes on after expiresAt: it never lapses behind `revoked`."""
    walk = turned(*FULL, expires_at=NOW + MINUTE).notice(TOKEN).happen(HoldFound()).pass_time(2 * MINUTE)
    walk.happen(HoldEnded()).done().done()
    assert walk.states[-3:] == [S.HELD, S.REVOKED, S.UNBOUND]


def test_expiry_guards_consult_whatever_else_is_dead() -> None:
    """That the agreement is dead gives no consult of the token after expiresAt."""
    walk = turned(*FULL, expires_at=NOW + MINUTE).notice(AGREEMENT).pass_time(MINUTE).begin()
    assert walk.states == [S.REQUESTED, S.REVOKED, S.LAPSED]


def test_dead_account_is_no_revoke_attempt() -> None:
    """A known dead account lifts no guard and counts as no attempt of a saga that has a token."""
    walk = queued(*FULL, expires_at=NOW + MINUTE).happen(Turn(dead=frozenset({ACCOUNT})))
    assert not walk.saga.attempted
    assert walk.saga.debits is Debits.ALLOWED
    assert walk.pass_time(MINUTE).begin().states[-1] is S.LAPSED


def test_restored_consult_after_expiry_is_not_called() -> None:
    """A consult that a crash cut off is not repeated after expiresAt."""
    walk = turned(*CONSULTED, expires_at=NOW + MINUTE).begin().pass_time(MINUTE)
    walk.happen(Restored()).begin()
    assert walk.states[-1] is S.LAPSED


def test_expired_on_replay() -> None:
    """A replayed saga that had its turn lapses after expiresAt; one that never had it parks as expired."""
    had = turned(*CONSULTED, expires_at=NOW + MINUTE).answer(ResultClass.FINAL).pass_time(MINUTE)
    assert had.happen(Resumed()).happen(Turn()).states[-1] is S.LAPSED
    never = queued(*CONSULTED, expires_at=NOW + MINUTE).happen(_crashed()).pass_time(MINUTE)
    assert never.happen(Resumed()).happen(Turn()).saga.reason is Reason.EXPIRED


def test_expired_turn_tells_what_is_dead_first() -> None:
    """Where part of an expired request is dead already, `revoked` is told before `parked`, without a gap."""
    walk = queued(*FULL, expires_at=NOW).happen(Turn(dead=frozenset({AGREEMENT})))
    assert walk.states == [S.REQUESTED, S.REVOKED, S.PARKED]
    assert [transition.sequence for transition in walk.published] == [1, 2, 3]


# --- debits ------------------------------------------------------------------


def test_debits_are_blocked_from_allowed_on() -> None:
    """Debits are allowed until consult says yes, and blocked from then on."""
    walk = turned(*WALLET).done().done().done()
    assert [transition.debits for transition in walk.published] == [Debits.ALLOWED] + 3 * [Debits.BLOCKED]


def test_debits_are_blocked_at_once_without_consult() -> None:
    """Where nothing is consulted, debits are blocked from `requested` on."""
    assert queued(Step.CANCEL_TOKEN).last.debits is Debits.BLOCKED
    assert queued(Step.NOTIFY_MERCHANT).last.debits is Debits.BLOCKED


def test_debits_are_blocked_when_a_notice_ends_the_token() -> None:
    """A token that is dead on evidence blocks debits before any permission."""
    assert turned(*FULL).notice(TOKEN).last.debits is Debits.BLOCKED


def test_rebinding_says_nothing_of_debits() -> None:
    """Neither a rebinding nor an invalid request says anything of debits."""
    assert queued(Step.OFFER).last.debits is None
    assert queued().last.debits is None


def _crashed() -> Broke:
    return Broke(reason=Reason.CRASHED, message="broke")
