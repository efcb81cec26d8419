"""The checker finds each broken promise, and only that one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.verify.checker import check
from worker.verify.history import (
    Attempt,
    CommandSeen,
    History,
    LetterSeen,
    RequestSeen,
    StateSeen,
    VerdictSeen,
    Written,
)
from worker.verify.legal import follows

BASE = 1_000_000


def request(offset: int = 0, **changes: object) -> RequestSeen:
    """Return a readable request for one token of one binding."""
    seen = RequestSeen(
        origin=f"unbinding.requests/0/{offset}",
        moment=0,
        request_id=f"r{offset}",
        source="app",
        binding_id="b",
        targets=frozenset({"token:t"}),
        consulted=True,
    )
    return replace(seen, **changes)  # type: ignore[arg-type]  # the tests name fields that there are


def event(sequence: int, state: str, **changes: object) -> StateSeen:
    """Return an event of saga s, committed at ten times its sequence in a transaction of its own."""
    seen = StateSeen(
        partition=0,
        offset=sequence,
        moment=10 * sequence,
        transaction=sequence,
        event_id=f"s:{sequence}",
        saga_id="s",
        binding_id="b",
        request_ids=("r0",),
        sequence=sequence,
        state=state,
    )
    return replace(seen, **changes)  # type: ignore[arg-type]  # the tests name fields that there are


def attempt(begun: int, step: str, **changes: object) -> Attempt:
    """Return an attempt of saga s that took one moment."""
    made = Attempt(
        number=begun,
        process="w1",
        owner="w1",
        saga_id="s",
        binding_id="b",
        step=step,
        attempt=1,
        quick=False,
        query=False,
        target="token:t",
        begun=begun,
        begun_at=BASE + begun,
        ended=begun + 1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests name fields that there are


def letter(transaction: int, *, stands: bool = True) -> LetterSeen:
    """Return the letter of saga s, or its tombstone."""
    return LetterSeen(
        partition=0,
        offset=transaction,
        moment=10 * transaction,
        transaction=transaction,
        key="s",
        stands=stands,
        saga_id="s" if stands else None,
        origin="unbinding.requests/0/0" if stands else None,
    )


REQUESTED = event(1, "requested")
ALLOWED = event(2, "allowed", done=("consult",))
REVOKED = event(3, "revoked", done=("consult", "cancel_token"))
UNBOUND = event(4, "unbound", done=("consult", "cancel_token"))
CONSULT = attempt(15, "consult")
CANCEL = attempt(25, "cancel_token")
GOOD = History(
    requests=(request(),), states=(REQUESTED, ALLOWED, REVOKED, UNBOUND), attempts=(CONSULT, CANCEL)
)
PARKED = event(2, "parked", reason="failed")
PARKED_GOOD = History(requests=(request(),), states=(REQUESTED, PARKED), letters=(letter(2),))
RESUMED = event(3, "resumed")
REPLAY = CommandSeen(origin="unbinding.commands/0/0", command_id="c", letter="s")
VERDICT = VerdictSeen(offset=0, moment=30, transaction=3, command="c", applied=True, letter="s")
REPLAYED_GOOD = replace(
    PARKED_GOOD,
    states=(REQUESTED, PARKED, RESUMED, event(4, "refused")),
    letters=(letter(2), letter(3, stands=False)),
    commands=(REPLAY,),
    verdicts=(VERDICT,),
)
OTHER = {"saga_id": "o", "request_ids": ("r1",)}
TWO_SAGAS = replace(
    GOOD,
    requests=(request(), request(1, targets=frozenset({"token:u"}))),
    states=(
        *GOOD.states,
        event(1, "requested", event_id="o:1", **OTHER),
        event(2, "refused", event_id="o:2", moment=60, **OTHER),
    ),
    attempts=(CONSULT, CANCEL, attempt(50, "consult", saga_id="o", target="token:u")),
)
WAITING = event(2, "waiting", next_attempt_at=BASE + 30)
WAITED_GOOD = History(
    requests=(request(),),
    states=(REQUESTED, WAITING, event(3, "lapsed", moment=40)),
    attempts=(CONSULT, attempt(30, "consult", attempt=2)),
)

GOOD_HISTORIES = {
    "empty": History(),
    "unbound": GOOD,
    "parked": PARKED_GOOD,
    "replayed": REPLAYED_GOOD,
    "one after the other": TWO_SAGAS,
    "waited": WAITED_GOOD,
    "a letter without a saga": History(
        requests=(request(request_id=None, binding_id=None),),
        letters=(replace(letter(1), key="unbinding.requests/0/0", saga_id=None),),
    ),
    "forwarded": replace(
        GOOD,
        requests=(
            request(7, partition_is_right=False, request_id="r0"),
            request(forwarded_from="unbinding.requests/0/7"),
        ),
    ),
    "repeated": replace(GOOD, requests=(request(), request(5, request_id="r0"))),
    "joined": replace(
        GOOD,
        requests=(request(), request(1)),
        states=(
            REQUESTED,
            event(2, "joined", request_ids=("r0", "r1"), moment=16),
            *(
                replace(
                    later,
                    sequence=later.sequence + 1,
                    event_id=f"s:{later.sequence + 1}",
                    request_ids=("r0", "r1"),
                )
                for later in (ALLOWED, REVOKED, UNBOUND)
            ),
        ),
    ),
    "under way": replace(GOOD, states=(REQUESTED,), attempts=(CONSULT,), at_rest=False),
}

BAD_HISTORIES = {
    "a lost request": ("P1", replace(GOOD, requests=(request(), request(1)))),
    "a saga without an end": ("P1", replace(GOOD, states=GOOD.states[:3])),
    "a request that was not forwarded": (
        "P1",
        replace(GOOD, requests=(request(), request(7, partition_is_right=False))),
    ),
    "a request that was forwarded twice": (
        "P1",
        replace(
            GOOD,
            requests=(
                request(7, partition_is_right=False, request_id="r0"),
                request(forwarded_from="unbinding.requests/0/7"),
                request(1, request_id="r0", forwarded_from="unbinding.requests/0/7"),
            ),
        ),
    ),
    "a request with two sagas": (
        "P1",
        replace(
            GOOD,
            states=(
                *GOOD.states,
                event(1, "requested", saga_id="o", event_id="o:1"),
                event(2, "refused", saga_id="o", event_id="o:2"),
            ),
        ),
    ),
    "a gap in the sequence": (
        "P2",
        replace(
            GOOD, states=(REQUESTED, ALLOWED, replace(REVOKED, sequence=4), replace(UNBOUND, sequence=5))
        ),
    ),
    "an event twice": (
        "P2",
        replace(GOOD, states=(*GOOD.states, replace(event(5, "unbound"), event_id="s:4"))),
    ),
    "an end that goes on": (
        "P2",
        replace(GOOD, states=(*GOOD.states, event(5, "waiting"), event(6, "unbound"))),
    ),
    "a permission after a revoke": (
        "P2",
        replace(
            GOOD,
            states=(
                *GOOD.states[:3],
                event(4, "allowed", done=REVOKED.done),
                event(5, "unbound", done=REVOKED.done),
            ),
        ),
    ),
    "a saga that begins in the middle": (
        "P2",
        History(requests=(request(),), states=(event(1, "waiting"), event(2, "lapsed"))),
    ),
    "a step undone": ("P2", replace(GOOD, states=(*GOOD.states[:3], replace(UNBOUND, done=("consult",))))),
    "a request that came without a join": (
        "P2",
        replace(
            GOOD,
            requests=(request(), request(1)),
            states=(*GOOD.states[:3], replace(UNBOUND, request_ids=("r0", "r1"))),
        ),
    ),
    "a revoke without permission": ("P3", replace(GOOD, attempts=(attempt(15, "cancel_token"),))),
    "a revoke in the step of its permission": ("P3", replace(GOOD, attempts=(attempt(20, "cancel_token"),))),
    "a revoke after a revoke": (
        "P3",
        replace(GOOD, attempts=(CONSULT, CANCEL, attempt(35, "cancel_token"))),
    ),
    "a call by a worker that lost the partition": (
        "P3",
        replace(GOOD, attempts=(CONSULT, replace(CANCEL, owner="w2"))),
    ),
    "a call before its admission": (
        "P3",
        replace(GOOD, attempts=(attempt(5, "consult"), CANCEL)),
    ),
    "a call too early": (
        "P4",
        replace(WAITED_GOOD, attempts=(CONSULT, attempt(29, "consult", attempt=2))),
    ),
    "a call after the user's time": (
        "P4",
        replace(GOOD, requests=(request(expires_at=BASE - 10_000),)),
    ),
    "two sagas of a binding at once": (
        "P5",
        replace(TWO_SAGAS, attempts=(CONSULT, CANCEL, attempt(30, "consult", saga_id="o", target="token:u"))),
    ),
    "two calls of a saga at once": (
        "P5",
        replace(GOOD, attempts=(replace(CONSULT, ended=18), attempt(17, "consult"), CANCEL)),
    ),
    "a parked saga without a letter": ("P6", replace(PARKED_GOOD, letters=())),
    "a letter that outlives its saga": (
        "P6",
        replace(GOOD, letters=(replace(letter(2), transaction=None),)),
    ),
    "a letter written later": ("P6", replace(PARKED_GOOD, letters=(letter(9),))),
    "a letter removed later": (
        "P6",
        replace(REPLAYED_GOOD, letters=(letter(2), letter(9, stands=False))),
    ),
    "a letter of no saga": (
        "P6",
        replace(GOOD, letters=(replace(letter(2), key="x", saga_id="x"),)),
    ),
    "a command without a verdict": ("P7", replace(PARKED_GOOD, commands=(REPLAY,))),
    "a command with two verdicts": (
        "P7",
        replace(REPLAYED_GOOD, verdicts=(VERDICT, replace(VERDICT, applied=False))),
    ),
    "a run without a command": ("P7", replace(REPLAYED_GOOD, commands=(), verdicts=())),
    "a token in clear": (
        "P8",
        replace(
            GOOD,
            written=(Written(origin="unbinding.journal/0/1", content=b'{"token":"tok-1"}'),),
            secrets=frozenset({b"tok-1"}),
        ),
    ),
}


@pytest.mark.parametrize("history", GOOD_HISTORIES.values(), ids=GOOD_HISTORIES.keys())
def test_good_history(history: History) -> None:
    """A history that keeps all promises shows no violation."""
    assert [str(violation) for violation in check(history)] == []


@pytest.mark.parametrize(("promise", "history"), BAD_HISTORIES.values(), ids=BAD_HISTORIES.keys())
def test_bad_history(promise: str, history: History) -> None:
    """A history that breaks one promise shows violations of that one only, with the records that prove it."""
    violations = check(history)
    assert {violation.promise for violation in violations} == {promise}
    assert promise in str(violations[0])


def test_every_promise_of_the_checker_has_a_bad_history() -> None:
    """Each promise that the checker proves is broken by at least one hand-made history."""
    assert {promise for promise, _ in BAD_HISTORIES.values()} == {f"P{number}" for number in range(1, 9)}


@pytest.mark.parametrize("state", ["requested", "waiting", "resumed", "parked", "unbound"])
@pytest.mark.parametrize("end", ["refused", "lapsed", "unbound", "offered", "discarded"])
def test_nothing_follows_an_end(end: str, state: str) -> None:
    """After an end no state is legal."""
    assert not follows(event(2, state), standing=end, before=event(1, end))
