"""The demo's judgement: a right history is right, and a fault of each kind is found in its row."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from contracts.states import Debits, Reason, State, Step
from tests.demo.right_history import (
    BY_NAME,
    KILLED_AT,
    PLAN,
    changed,
    right_history,
    saga,
    with_events,
    with_token,
)
from worker.oncall.demo.history import CallSeen, History
from worker.oncall.demo.verdict import judge, sagas_of, went_on

EVENTS = "all events, across the kill"
KILL = "SIGKILL in the middle"
Spoil = Callable[[History], History]


def _call(step: Step, at: int) -> CallSeen:
    return CallSeen(step=step, received_at=at, ended_at=at + 10)


def _more_calls(name: str, step: Step, *, at: int) -> Spoil:
    return lambda history: with_token(
        history, name, lambda token: replace(token, calls=(*token.calls, _call(step, at)))
    )


def _without_letter(history: History, name: str) -> History:
    kept = {
        key: letter
        for key, letter in history.letters.items()
        if ("ce_id", BY_NAME[name].request_ids[0].encode()) not in letter.original
    }
    return replace(history, letters=kept)


def _wrong_letter(history: History, name: str, **fields: object) -> History:
    letter = replace(history.letters[saga(name)], **fields)  # type: ignore[arg-type]  # the tests' own fields
    return replace(history, letters={**history.letters, saga(name): letter})


def _second_too_early(history: History) -> History:
    return with_events(
        history,
        "second",
        lambda events: [events[0], *(replace(one, offset=0) for one in events[1:2]), *events[2:]],
    )


FAULTS: dict[str, tuple[str, Spoil]] = {
    "an event is lost": (EVENTS, lambda h: with_events(h, "allowed", lambda e: [*e[:1], *e[2:]])),
    "an event is repeated": (EVENTS, lambda h: with_events(h, "allowed", lambda e: [*e, e[-1]])),
    "events have other ids": (
        EVENTS,
        lambda h: with_events(h, "allowed", lambda e: [replace(one, event_id="x") for one in e]),
    ),
    "a saga nobody asked for": (
        EVENTS,
        lambda h: replace(
            h, states=(*h.states, changed(h.states[0], saga_id="stranger", request_ids=("nobody",)))
        ),
    ),
    "a record breaks the contract": (EVENTS, lambda h: replace(h, strangers=("binding.states/0/7",))),
    "a verdict too many": (EVENTS, lambda h: replace(h, verdicts=(*h.verdicts, h.verdicts[0]))),
    "a letter too many": (
        EVENTS,
        lambda h: replace(h, letters={**h.letters, "x": next(iter(h.letters.values()))}),
    ),
    "a state is missing": ("allowed", lambda h: with_events(h, "allowed", lambda e: e[:-1])),
    "no saga": ("allowed", lambda h: with_events(h, "allowed", lambda _events: [])),
    "two sagas of one request": (
        "again",
        lambda h: replace(
            h,
            states=(
                *h.states,
                *(changed(s, saga_id="other") for s in h.states if s.event.saga_id == saga("again")),
            ),
        ),
    ),
    "refused becomes allowed": (
        "refused",
        lambda h: with_events(h, "refused", lambda e: [e[0], changed(e[1], state=State.UNBOUND)]),
    ),
    "not joined": (
        "twice",
        lambda h: with_events(
            h, "twice", lambda e: [one for one in e if one.event.state is not State.JOINED]
        ),
    ),
    "joined twice": ("twice", lambda h: with_events(h, "twice", lambda e: [e[0], e[1], e[1], *e[2:]])),
    "a request without its end": (
        "twice",
        lambda h: with_events(
            h, "twice", lambda e: [changed(one, request_ids=("req-twice-1",)) for one in e]
        ),
    ),
    "debits stay allowed": (
        "allowed",
        lambda h: with_events(h, "allowed", lambda e: [*e[:-1], changed(e[-1], debits=Debits.ALLOWED)]),
    ),
    "parked for another reason": (
        "failed",
        lambda h: with_events(
            h,
            "failed",
            lambda e: [
                changed(one, reason=Reason.CRASHED) if one.event.state is State.PARKED else one for one in e
            ],
        ),
    ),
    "waits without end": (
        "silent",
        lambda h: with_events(h, "silent", lambda e: [e[0], *[e[1]] * 7, e[-1]]),
    ),
    "a wait too few": (
        "wavering",
        lambda h: with_events(h, "wavering", lambda e: [e[0], *e[2:]]),
    ),
    "in another partition": (
        "allowed",
        lambda h: with_events(h, "allowed", lambda e: [replace(one, partition=2) for one in e]),
    ),
    "both of one binding at once": ("second", _second_too_early),
    "not forwarded": ("elsewhere", lambda h: replace(h, forwarded=())),
    "forwarded twice": ("elsewhere", lambda h: replace(h, forwarded=h.forwarded * 2)),
    "a call too many": ("allowed", _more_calls("allowed", Step.CONSULT, at=KILLED_AT - 4_000)),
    "two calls after the kill": (
        "cut-cancel-1",
        _more_calls("cut-cancel-1", Step.CANCEL_TOKEN, at=KILLED_AT + 9_000),
    ),
    "not called again after the kill": (
        "cut-cancel-1",
        lambda h: with_token(h, "cut-cancel-1", lambda t: replace(t, calls=t.calls[:-1])),
    ),
    "the other step called again after the kill": (
        "cut-cancel-1",
        _more_calls("cut-cancel-1", Step.CONSULT, at=KILLED_AT + 9_000),
    ),
    "a call of a refused request": ("refused", _more_calls("refused", Step.CANCEL_TOKEN, at=KILLED_AT)),
    "no call": ("allowed", lambda h: with_token(h, "allowed", lambda token: replace(token, calls=()))),
    "the token lives": ("allowed", lambda h: with_token(h, "allowed", lambda t: replace(t, revoked=False))),
    "a token is dead that must live": (
        "refused",
        lambda h: with_token(h, "refused", lambda t: replace(t, revoked=True)),
    ),
    "consulted when dead": (
        "cut-cancel-1",
        lambda h: with_token(h, "cut-cancel-1", lambda t: replace(t, asked_after_revoke=1)),
    ),
    "two calls at once": ("allowed", lambda h: with_token(h, "allowed", lambda t: replace(t, overlapping=1))),
    "no letter": ("unreadable", lambda h: _without_letter(h, "unreadable")),
    "a letter that should be gone": (
        "failed",
        lambda h: replace(h, letters={**h.letters, saga("failed"): h.letters[saga("late")]}),
    ),
    "a letter for another reason": ("late", lambda h: _wrong_letter(h, "late", reason=Reason.FAILED)),
    "a letter at another sequence": ("late", lambda h: _wrong_letter(h, "late", sequence=9)),
    "no verdict": (
        "failed",
        lambda h: replace(h, verdicts=tuple(v for v in h.verdicts if v.letter != saga("failed"))),
    ),
    "not killed": (KILL, lambda h: replace(h, kill=None)),
    "the worker ended badly": (KILL, lambda h: replace(h, exit_code=1)),
    "a token can be read": ("tokens at rest", lambda h: replace(h, leaks=("unbinding.journal/0/3",))),
}


def test_a_right_history_is_right() -> None:
    """Where everything happened as it had to, no row has a problem."""
    wrong = [(row.shows, problem) for row in judge(PLAN, right_history()) for problem in row.problems]
    assert wrong == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    """A fault of each kind is found in the row it belongs to, with what was expected, found, and where."""
    name, spoil = FAULTS[fault]
    shows = BY_NAME[name].shows if name in BY_NAME else name
    rows = {row.shows: row for row in judge(PLAN, spoil(right_history()))}
    assert not rows[shows].right
    for problem in rows[shows].problems:
        assert all((problem.expected, problem.found, problem.where))


def test_a_result_just_before_the_kill_may_be_lost() -> None:
    """A call whose answer came a moment before the kill may be made once more, for nothing was committed."""
    history = with_token(
        right_history(),
        "allowed",
        lambda token: replace(
            token,
            calls=(
                token.calls[0],
                _call(Step.CANCEL_TOKEN, KILLED_AT - 50),
                _call(Step.CANCEL_TOKEN, KILLED_AT + 2_000),
            ),
        ),
    )
    assert all(row.right for row in judge(PLAN, history))


def test_tries_cut_off_may_save_a_wait() -> None:
    """Where the kill cut a call off, the tries it made count for nothing, and a wait may be missing."""
    history = with_token(
        with_events(
            right_history(),
            "wavering",
            lambda events: [
                changed(one, sequence=place) for place, one in enumerate([*events[:1], *events[2:]], 1)
            ],
        ),
        "wavering",
        lambda token: replace(token, calls=tuple(_call(call.step, KILLED_AT - 100) for call in token.calls)),
    )
    rows = {row.shows: row for row in judge(PLAN, history)}
    assert rows[BY_NAME["wavering"].shows].right


def test_sagas_that_went_on_are_those_in_the_middle() -> None:
    """Only sagas that had begun before the kill and moved after it are counted."""
    history = right_history()
    assert history.kill is not None
    doomed = [case for case in PLAN if case.in_flight is not None]
    assert went_on(sagas_of(history.states), history.kill) == len(doomed)
