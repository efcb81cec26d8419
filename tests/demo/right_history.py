"""The history in which everything happens as the plan wants it; tests spoil it in one place at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from contracts.commands import Ruling, VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import BindingStateChanged, State, state_event_id
from worker.oncall.demo.expectations import PARTITIONS, Case
from worker.oncall.demo.history import CallSeen, Forwarded, History, Kill, StateSeen, TokenSeen
from worker.oncall.demo.plan import make_plan

KILLED_AT = 1_800_000_010_000
BACK_AT = KILLED_AT + 2_000
PLAN = make_plan(now_at=KILLED_AT - 10_000)
BY_NAME = {case.name: case for case in PLAN}


def right_history() -> History:
    """Return a history without a fault."""
    states: list[StateSeen] = []
    for case in PLAN:
        states += _events(case, first_offset=len(states))
    return History(
        states=tuple(states),
        letters={letter.key: letter for case in PLAN if (letter := _letter(case)) is not None},
        verdicts=tuple(_verdict(case) for case in PLAN if case.order is not None),
        forwarded=tuple(
            Forwarded(
                event_id=case.request_ids[0],
                partition=case.partition,
                origin=Origin("unbinding.requests", (case.partition + 1) % PARTITIONS, 0),
            )
            for case in PLAN
            if case.forwarded
        ),
        tokens={case.name: _token(case) for case in PLAN},
        kill=Kill(
            killed_at=KILLED_AT,
            back_at=BACK_AT,
            in_flight=sum(1 for case in PLAN if case.in_flight is not None),
        ),
    )


def saga(name: str) -> str:
    """Return the id of a case's saga."""
    return f"saga-{name}"


def with_token(history: History, name: str, change: Callable[[TokenSeen], TokenSeen]) -> History:
    """Return the history with what the ledger says of one case's token changed."""
    return replace(history, tokens={**history.tokens, name: change(history.tokens[name])})


def with_events(history: History, name: str, change: Callable[[list[StateSeen]], list[StateSeen]]) -> History:
    """Return the history with the events of one case's saga changed."""
    mine = [seen for seen in history.states if seen.event.saga_id == saga(name)]
    others = [seen for seen in history.states if seen.event.saga_id != saga(name)]
    return replace(history, states=(*others, *change(mine)))


def changed(seen: StateSeen, **fields: object) -> StateSeen:
    """Return an event with other fields."""
    return replace(seen, event=seen.event.model_copy(update=fields))


def _events(case: Case, *, first_offset: int) -> list[StateSeen]:
    states = [stretch.state for stretch in case.expected.course for _ in range(stretch.times.least)]
    states[1:1] = [State.JOINED] * case.expected.joins
    return [_event(case, states, place, offset=first_offset + place) for place in range(len(states))]


def _event(case: Case, states: Sequence[State], place: int, *, offset: int) -> StateSeen:
    state, last = states[place], place == len(states) - 1
    # The sagas that the kill cuts in two have one event before it.
    at_ms = BACK_AT if case.in_flight is not None and place else KILLED_AT - 5_000
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    event = BindingStateChanged(
        binding_id=case.binding_id or "",
        saga_id=saga(case.name),
        request_ids=case.request_ids if place else case.request_ids[:1],
        sequence=place + 1,
        state=state,
        next_attempt_at=at if state is State.WAITING else None,
        reason=case.expected.parked_for if state is State.PARKED else None,
        debits=case.expected.debits if last else None,
        at=at,
    )
    return StateSeen(
        partition=case.partition,
        offset=offset,
        event_id=state_event_id(saga(case.name), place + 1),
        event=event,
    )


def _letter(case: Case) -> LetterHeaders | None:
    if not case.expected.letter_open or case.expected.parked_for is None:
        return None
    course = case.expected.course
    return LetterHeaders(
        reason=case.expected.parked_for,
        sequence=len(course),
        origin=Origin("unbinding.requests", case.partition, 7),
        first_parked_at=KILLED_AT,
        parked_at=KILLED_AT,
        saga_id=saga(case.name) if course else None,
        original=(("ce_id", case.request_ids[0].encode()),),
    )


def _verdict(case: Case) -> VerdictRecorded:
    ruling = case.expected.ruling
    return VerdictRecorded(
        letter=saga(case.name),
        ruling=ruling or Ruling.APPLIED,
        because="a letter of this reason can only be discarded" if ruling is Ruling.REFUSED else None,
        command=case.order,
        at=datetime.fromtimestamp(BACK_AT / 1000, UTC),
    )


def _token(case: Case) -> TokenSeen:
    calls: list[CallSeen] = []
    for step, times in case.expected.calls.items():
        received = [KILLED_AT - 5_000] * times.least
        if case.in_flight is step:
            received = [KILLED_AT - 100, BACK_AT]
        elif case.in_flight is not None:
            received = [BACK_AT + 500 if calls else KILLED_AT - 200]
        calls += [
            CallSeen(step=step, received_at=at, ended_at=KILLED_AT + 5 if at == KILLED_AT - 100 else at + 10)
            for at in received
        ]
    return TokenSeen(calls=tuple(calls), revoked=case.expected.revoked)
