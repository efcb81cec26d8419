from __future__ import annotations

import re
from itertools import product

import pytest

from contracts.states import ENDS, Reason, State, Step
from tests.saga.walk import NOW, RULES, at_step, queued, result_of, saga_of, turned
from worker.saga.decide import decide
from worker.saga.inputs import (
    Answered,
    Begin,
    Broke,
    Died,
    Discarded,
    FellDue,
    Happened,
    HoldEnded,
    HoldFound,
    Joined,
    LineFound,
    LineTried,
    NotBegunYet,
    Restored,
    Resumed,
    Turn,
)
from worker.saga.model import Phase, RequestRef, Saga
from worker.saga.results import ResultClass
from worker.saga.table import FINAL, FIRST, FLOW, LEGAL, MOVES, Happening, IllegalMove, Move

pytestmark = pytest.mark.promise("P1")

WANTED_MOVES = """
                consult      cancel_token  cancel_agreement  notify_merchant  notify_hub   offer
done            allow        advance       advance           advance          advance      offer
done_already    illegal      advance       advance           advance          advance      illegal
refused         refuse       illegal       illegal           illegal          illegal      illegal
soon            wait         wait          wait              wait             wait         wait
slowly          wait_slowly  wait_slowly   wait_slowly       wait_slowly      wait_slowly  wait_slowly
confirm_first   illegal      illegal       wait              illegal          illegal      illegal
still_live      illegal      illegal       repeat            illegal          illegal      illegal
line_stop       stop         stop          stop              stop             stop         stop
final           park         park          park              park             park         park
"""

WANTED_FLOW = """
requested: joined allowed refused lapsed revoked unbound offered waiting held parked
joined: joined allowed refused lapsed revoked unbound offered waiting held parked
allowed: joined allowed refused lapsed revoked waiting held parked
revoked: joined allowed refused lapsed revoked unbound waiting held parked
waiting: joined allowed refused lapsed revoked unbound offered waiting held parked
held: joined allowed refused lapsed revoked unbound offered waiting held parked
resumed: joined allowed refused lapsed revoked unbound offered waiting held parked
parked: resumed discarded revoked unbound
refused:
lapsed:
unbound:
offered:
discarded:
"""

WANTED_LEGAL = """
queued: turn restored joined died broke
due: begin hold_found line_found restored joined died broke
calling: answered not_begun restored joined died broke
waiting: fell_due restored joined died broke
held: fell_due hold_ended restored joined died broke
stopped: fell_due line_tried restored joined died broke
parked: restored died resumed discarded
ended: restored
"""

EACH: dict[Happening, Happened] = {
    Happening.TURN: Turn(),
    Happening.BEGIN: Begin(),
    Happening.HOLD_FOUND: HoldFound(),
    Happening.LINE_FOUND: LineFound(),
    Happening.ANSWERED: Answered(result=result_of(ResultClass.DONE)),
    Happening.NOT_BEGUN: NotBegunYet(),
    Happening.FELL_DUE: FellDue(),
    Happening.HOLD_ENDED: HoldEnded(),
    Happening.LINE_TRIED: LineTried(),
    Happening.RESTORED: Restored(),
    Happening.JOINED: Joined(request=RequestRef("request-2", b"2"), expires_at=None),
    Happening.DIED: Died(targets=frozenset(), evidence="notice"),  # type: ignore[arg-type]  # a value will do
    Happening.BROKE: Broke(reason=Reason.CRASHED, message="broke"),
    Happening.RESUMED: Resumed(),
    Happening.DISCARDED: Discarded(),
}


def sagas_by_phase() -> dict[Phase, Saga]:
    """Return one saga per phase, each on its own lawful way, at consult."""
    due = turned(Step.CONSULT, Step.CANCEL_TOKEN)
    return {
        Phase.QUEUED: queued(Step.CONSULT, Step.CANCEL_TOKEN).saga,
        Phase.DUE: due.saga,
        Phase.CALLING: turned(Step.CONSULT, Step.CANCEL_TOKEN).begin().saga,
        Phase.WAITING: turned(Step.CONSULT, Step.CANCEL_TOKEN).silence().saga,
        Phase.HELD: turned(Step.CONSULT, Step.CANCEL_TOKEN).happen(HoldFound()).saga,
        Phase.STOPPED: turned(Step.CONSULT, Step.CANCEL_TOKEN).happen(LineFound()).saga,
        Phase.PARKED: turned(Step.CONSULT, Step.CANCEL_TOKEN).answer(ResultClass.FINAL).saga,
        Phase.ENDED: turned(Step.CONSULT, Step.CANCEL_TOKEN).answer(ResultClass.REFUSED).saga,
    }


def rows(text: str) -> dict[str, frozenset[str]]:
    """Read a table of `name: words`."""
    pairs = (line.split(":") for line in text.strip().splitlines())
    return {name: frozenset(words.split()) for name, words in pairs}


def test_moves_are_as_written_here_and_complete() -> None:
    """Each pair of step and result class has the move that the table of this test names."""
    head, *lines = WANTED_MOVES.strip().splitlines()
    wanted = {
        (Step(step), ResultClass(name)): Move(move)
        for name, *cells in (line.split() for line in lines)
        for step, move in zip(head.split(), cells, strict=True)
    }
    assert set(wanted) == set(product(Step, ResultClass))
    assert dict(MOVES) == wanted


def test_flow_is_as_written_here() -> None:
    """Which state may follow which is what the contract says, state by state."""
    assert {str(state): frozenset(map(str, after)) for state, after in FLOW.items()} == rows(WANTED_FLOW)
    assert set(FLOW) == set(State)
    assert FINAL == ENDS
    assert frozenset({State.REQUESTED, State.PARKED}) == FIRST


def test_legal_happenings_are_as_written_here() -> None:
    """What may happen in each phase is what the table of this test names."""
    assert {str(phase): frozenset(map(str, may)) for phase, may in LEGAL.items()} == rows(WANTED_LEGAL)
    assert set(LEGAL) == set(Phase)


def test_every_input_has_a_happening_of_its_own() -> None:
    """Inputs and happenings are in one-to-one correspondence."""
    assert {type(happened).happening for happened in EACH.values()} == set(Happening)
    assert all(happened.happening is name for name, happened in EACH.items())


@pytest.mark.parametrize(("phase", "happening"), sorted(product(Phase, Happening)))
def test_illegal_happening_raises_and_changes_nothing(phase: Phase, happening: Happening) -> None:
    """What the table does not allow in a phase raises and leaves the saga as it was; the rest decides."""
    saga = sagas_by_phase()[phase]
    assert saga.phase is phase
    copy = sagas_by_phase()[phase]
    due_at = NOW if saga.due_at is None else saga.due_at
    if happening in LEGAL[phase]:
        assert decide(saga, EACH[happening], now_at=due_at, rules=RULES).saga is not None
    else:
        with pytest.raises(
            IllegalMove, match=re.escape(f"{happening} cannot happen to a saga that is {phase}")
        ):
            decide(saga, EACH[happening], now_at=due_at, rules=RULES)
    assert saga == copy


@pytest.mark.parametrize(
    ("step", "result_class"), sorted(pair for pair, move in MOVES.items() if move is Move.ILLEGAL)
)
def test_result_without_a_row_is_illegal(step: Step, result_class: ResultClass) -> None:
    """A result class that no table of the hub gives at this step raises and changes nothing."""
    plan = (step,) if step is not Step.NOTIFY_HUB else (Step.CANCEL_TOKEN, Step.NOTIFY_HUB)
    walk = at_step(step, *plan).begin()
    before = walk.saga
    with pytest.raises(IllegalMove, match=f"{result_class} is no result of {step}"):
        walk.answer(result_class)
    assert walk.saga is before


def test_timer_before_its_time_is_illegal() -> None:
    """A timer that fires a millisecond early raises: no call is made before it was announced."""
    walk = turned(Step.CONSULT, Step.CANCEL_TOKEN).silence().pass_time(1_999)
    with pytest.raises(IllegalMove, match="1 ms before its time"):
        walk.happen(FellDue())


def test_timer_of_a_held_revocation_is_illegal() -> None:
    """No timer runs for a revocation under a hold."""
    walk = at_step(Step.CANCEL_TOKEN, Step.CONSULT, Step.CANCEL_TOKEN).happen(HoldFound())
    with pytest.raises(IllegalMove, match="no timer runs"):
        walk.happen(FellDue())


def test_turn_without_steps_is_illegal() -> None:
    """A saga without steps never ends as unbound by taking its turn: it is an invalid request's."""
    with pytest.raises(IllegalMove, match="without steps"):
        decide(saga_of(), Turn(), now_at=NOW, rules=RULES)
