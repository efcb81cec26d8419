"""Hand-made histories that keep every promise: one for each way in which things may go right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from worker.verify.history import (
    Attempt,
    CommandSeen,
    History,
    JournalSeen,
    LetterSeen,
    Limits,
    NoticeSeen,
    RequestSeen,
    SagaKept,
    StateSeen,
    Topic,
    VerdictSeen,
    Written,
)

BASE = 1_000_000


def request(offset: int = 0, **changes: Any) -> RequestSeen:
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
    return replace(seen, **changes)


def event(sequence: int, state: str, **changes: Any) -> StateSeen:
    """Return an event of saga s, committed at ten times its sequence in a transaction of its own."""
    saga_id = changes.get("saga_id", "s")
    seen = StateSeen(
        partition=0,
        offset=sequence,
        moment=10 * sequence,
        transaction=sequence,
        event_id=f"{saga_id}:{sequence}",
        saga_id="s",
        binding_id="b",
        request_ids=("r0",),
        sequence=sequence,
        state=state,
        at=BASE + 10 * sequence,
    )
    return replace(seen, **changes)


def attempt(begun: int, step: str, **changes: Any) -> Attempt:
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
    return replace(made, **changes)


def letter(transaction: int | None, *, stands: bool = True, **changes: Any) -> LetterSeen:
    """Return the letter of saga s, or its tombstone."""
    seen = LetterSeen(
        partition=0,
        offset=transaction or 0,
        moment=10 * (transaction or 0),
        transaction=transaction,
        key="s",
        stands=stands,
        saga_id="s" if stands else None,
        origin="unbinding.requests/0/0" if stands else None,
    )
    return replace(seen, **changes)


def kept(sequence: int, **changes: Any) -> SagaKept:
    """Return what the journal keeps of saga s."""
    saga = SagaKept(offset=sequence, saga_id="s", binding_id="b", sequence=sequence, ended=False)
    return replace(saga, **changes)


def with_journal(history: History, *sagas: SagaKept, **changes: Any) -> History:
    """Return a history of a live cluster, with its partition's journal."""
    going_on = frozenset(saga.saga_id for saga in sagas if not saga.ended)
    journal = JournalSeen(partition=0, position=9, commands_position=9, sagas=sagas, requests=going_on)
    return replace(history, journals=(replace(journal, **changes),), at_rest=False)


def moved(events: tuple[StateSeen, ...], by: int, **changes: Any) -> tuple[StateSeen, ...]:
    """Return the events with later sequences."""
    return tuple(
        replace(
            one,
            sequence=one.sequence + by,
            event_id=f"{one.saga_id}:{one.sequence + by}",
            **changes,
        )
        for one in events
    )


REQUESTED = event(1, "requested")
ALLOWED = event(2, "allowed", done=("consult",), step="consult")
REVOKED = event(3, "revoked", done=("consult", "cancel_token"), step="cancel_token")
UNBOUND = event(4, "unbound", done=("consult", "cancel_token"), step="cancel_token")
CONSULT = attempt(15, "consult")
CANCEL = attempt(25, "cancel_token")
GOOD = History(
    requests=(request(),), states=(REQUESTED, ALLOWED, REVOKED, UNBOUND), attempts=(CONSULT, CANCEL)
)
"""One saga, from its request to its end."""

PARKED = event(2, "parked", reason="failed")
PARKED_GOOD = History(
    requests=(request(),),
    states=(REQUESTED, PARKED),
    letters=(letter(2, sequence=2, reason="failed"),),
)
RESUMED = event(3, "resumed")
REPLAY = CommandSeen(origin="unbinding.commands/0/0", command_id="c", letter="s")
VERDICT = VerdictSeen(
    offset=0, moment=30, transaction=3, command="c", applied=True, letter="s", saga_id="s", sequence=2
)
REPLAYED = replace(
    PARKED_GOOD,
    states=(REQUESTED, PARKED, RESUMED, event(4, "refused")),
    letters=(letter(2), letter(3, stands=False)),
    commands=(REPLAY,),
    verdicts=(VERDICT,),
)
DISCARDED = replace(
    REPLAYED,
    states=(REQUESTED, PARKED, event(3, "discarded")),
    commands=(replace(REPLAY, replay=False),),
    verdicts=(replace(VERDICT, replay=False),),
)
OTHER: dict[str, Any] = {"saga_id": "o", "request_ids": ("r1",)}
OTHER_REQUEST = request(1, targets=frozenset({"token:u"}))
TWO_SAGAS = replace(
    GOOD,
    requests=(request(), OTHER_REQUEST),
    states=(
        *GOOD.states,
        event(1, "requested", offset=5, **OTHER),
        event(2, "refused", offset=6, moment=60, **OTHER),
    ),
    attempts=(CONSULT, CANCEL, attempt(50, "consult", saga_id="o", target="token:u")),
)
WAITING = event(2, "waiting", next_attempt_at=BASE + 30, step="consult", attempts=1)
WAITED = History(
    requests=(request(),),
    states=(REQUESTED, WAITING, event(3, "lapsed", moment=40, at=BASE + 40, step="consult", attempts=2)),
    attempts=(CONSULT, attempt(30, "consult", attempt=2)),
    limits=Limits(clocks_ms=0, patience_ms={"consult": 100}),
)
LOOSE_LETTER = replace(
    letter(1),
    key="unbinding.requests/0/0",
    saga_id=None,
    sequence=0,
    reason="unreadable",
)
LOOSE = History(requests=(request(request_id=None, binding_id=None),), letters=(LOOSE_LETTER,))
ASTRAY = request(7, partition_is_right=False, request_id="r0", digest=b"same")
FORWARD = request(forwarded_from=ASTRAY.origin, digest=b"same")
FORWARDED = replace(GOOD, requests=(ASTRAY, FORWARD))
JOINED_STATE = event(2, "joined", request_ids=("r0", "r1"), moment=16)
JOINED = replace(
    GOOD,
    requests=(request(), request(1)),
    states=(
        REQUESTED,
        JOINED_STATE,
        *moved((ALLOWED, REVOKED, UNBOUND), 1, request_ids=("r0", "r1")),
    ),
)
UNDER_WAY = replace(GOOD, states=(REQUESTED,), attempts=(CONSULT,), at_rest=False)
LIVE = with_journal(UNDER_WAY, kept(1))
"""A saga under way, and the journal that a restart would take it from."""

ENDED = with_journal(GOOD)
NOTICED = replace(
    GOOD,
    states=(
        REQUESTED,
        event(2, "revoked", done=("consult", "cancel_token"), evidence="notice"),
        event(3, "unbound", done=("consult", "cancel_token"), evidence="notice"),
    ),
    attempts=(CONSULT,),
    notices=(NoticeSeen(origin="unbinding.notices/0/0", at=BASE + 17, targets=frozenset({"token:t"})),),
)
AGREEMENT = frozenset({"agreement:m/a"})
BOUND_AGAIN = History(
    # The notice tells late of a death that lies before the second request: it was bound again in between.
    requests=(
        request(targets=AGREEMENT, consulted=False, requested_at=BASE),
        request(1, targets=AGREEMENT, consulted=False, requested_at=BASE + 10),
    ),
    states=(
        REQUESTED,
        event(2, "revoked", done=("cancel_agreement",), evidence="notice", at=BASE + 20),
        event(3, "unbound", done=("cancel_agreement",), evidence="notice", at=BASE + 20),
        event(1, "requested", offset=4, moment=31, **OTHER),
        event(
            2, "revoked", offset=5, moment=40, step="cancel_agreement", done=("cancel_agreement",), **OTHER
        ),
        event(3, "unbound", offset=6, moment=41, done=("cancel_agreement",), **OTHER),
    ),
    attempts=(attempt(35, "cancel_agreement", saga_id="o", target="agreement:m/a"),),
    notices=(NoticeSeen(origin="unbinding.notices/0/0", at=BASE + 5, targets=AGREEMENT),),
)
HELD = replace(
    GOOD,
    states=(REQUESTED, event(2, "held", step="consult"), *moved((ALLOWED, REVOKED, UNBOUND), 1)),
    attempts=(),
)
FROM_THE_MIDDLE = replace(
    GOOD,
    requests=(),
    states=(REVOKED, UNBOUND),
    begun_before=frozenset({Topic.REQUESTS, Topic.STATES}),
)
STRAYED = request(5, partition_is_right=False)
TAKEN = JournalSeen(partition=0, position=9, commands_position=9)
SECRETIVE = replace(
    GOOD,
    written=(Written(origin="unbinding.journal/0/1", content=b'{"state":"requested","sealed":"x9f2"}'),),
    secrets=frozenset({b"tok-4711-abcdef-0815"}),
)
CONSULT_AGAIN = replace(
    GOOD,
    states=(
        REQUESTED,
        ALLOWED,
        *moved((ALLOWED, REVOKED, UNBOUND), 1),
    ),
    attempts=(),
)

IN_DOUBT = History(
    # Saga o decided its call and was given up before it was made: no ledger has it.
    requests=(request(1, consulted=False), request()),
    states=(
        event(1, "requested", **OTHER),
        event(2, "parked", step="cancel_token", reason="crashed", attempts=1, transaction=20, **OTHER),
        event(1, "requested", offset=3, moment=30),
        event(2, "revoked", offset=4, moment=40, step="cancel_token", done=("consult", "cancel_token")),
        event(3, "unbound", offset=5, moment=40, step="cancel_token", done=("consult", "cancel_token")),
    ),
    letters=(letter(20, key="o", saga_id="o", sequence=2, reason="crashed"),),
    attempts=(attempt(35, "cancel_token"),),
)

RIGHT: dict[str, History] = {
    "empty": History(),
    "unbound": GOOD,
    "parked": PARKED_GOOD,
    "replayed": REPLAYED,
    "replayed from the start, after a notice had ended its token": replace(
        REPLAYED,
        states=(
            REQUESTED,
            event(2, "revoked", done=("consult", "cancel_token"), evidence="notice"),
            event(3, "parked", reason="failed", done=("consult", "cancel_token")),
            event(4, "resumed", done=("consult", "cancel_token")),
            event(5, "unbound", done=("consult", "cancel_token"), evidence="notice"),
        ),
        letters=(letter(3), letter(4, stands=False)),
        verdicts=(replace(VERDICT, from_start=True, sequence=3),),
    ),
    "discarded": DISCARDED,
    "one after the other": TWO_SAGAS,
    "waited": WAITED,
    "held": HELD,
    "asked again": CONSULT_AGAIN,
    "asked again, after a notice had ended its agreement": replace(
        GOOD,
        requests=(request(targets=frozenset({"token:t", "agreement:m/a"})),),
        states=(
            REQUESTED,
            ALLOWED,
            event(3, "revoked", done=("consult", "cancel_agreement"), evidence="notice"),
            *(
                replace(one, done=(*one.done, "cancel_agreement"))
                for one in moved((ALLOWED, REVOKED, UNBOUND), 2, evidence="notice")
            ),
        ),
        attempts=(),
    ),
    "permitted by a parked saga that needed no permission": replace(
        GOOD,
        requests=(request(1, consulted=False), request()),
        states=(
            event(1, "requested", **OTHER),
            event(2, "parked", step="cancel_token", reason="failed", transaction=20, **OTHER),
            event(1, "requested", offset=3, moment=30),
            event(2, "revoked", offset=4, moment=40, step="cancel_token", done=("consult", "cancel_token")),
            event(3, "unbound", offset=5, moment=40, step="cancel_token", done=("consult", "cancel_token")),
        ),
        letters=(letter(20, key="o", saga_id="o", sequence=2, reason="failed"),),
        attempts=(),
    ),
    "permitted by a parked saga whose call may have been made": IN_DOUBT,
    "bound again by the clock of a worker that was set back": History(
        requests=(
            request(targets=AGREEMENT, consulted=False, requested_at=BASE + 500),
            request(1, targets=AGREEMENT, consulted=False, requested_at=BASE + 490),
        ),
        states=(
            REQUESTED,
            event(2, "revoked", step="cancel_agreement", done=("cancel_agreement",), evidence="query"),
            event(3, "unbound", step="cancel_agreement", done=("cancel_agreement",), evidence="query"),
            event(1, "requested", offset=4, moment=31, **OTHER),
            event(
                2,
                "revoked",
                offset=5,
                moment=40,
                step="cancel_agreement",
                done=("cancel_agreement",),
                **OTHER,
            ),
            event(3, "unbound", offset=6, moment=41, done=("cancel_agreement",), **OTHER),
        ),
        attempts=(attempt(35, "cancel_agreement", saga_id="o", target="agreement:m/a"),),
    ),
    "a letter without a saga": LOOSE,
    "a letter without a saga that a person closed, compacted away": replace(
        LOOSE,
        letters=(),
        commands=(replace(REPLAY, replay=False, letter=LOOSE_LETTER.key),),
        verdicts=(replace(VERDICT, replay=False, letter=LOOSE_LETTER.key, saga_id=None, sequence=None),),
    ),
    "a letter without a saga, and its journal": with_journal(
        LOOSE, letters=frozenset({LOOSE_LETTER.key}), requests=frozenset({LOOSE_LETTER.key})
    ),
    "forwarded": FORWARDED,
    "forwarded, and a forged header": replace(
        FORWARDED,
        requests=(
            ASTRAY,
            FORWARD,
            request(1, request_id="r0", forwarded_from=ASTRAY.origin, digest=b"other"),
        ),
    ),
    "in the wrong partition, and parked there": replace(
        GOOD,
        requests=(request(), replace(ASTRAY, request_id="r9")),
        letters=(replace(LOOSE_LETTER, key=ASTRAY.origin, origin=ASTRAY.origin),),
    ),
    "repeated": replace(GOOD, requests=(request(), request(5, request_id="r0"))),
    "repeated after it was forgotten": replace(
        GOOD,
        requests=(request(), request(5, request_id="r0", at=2_000)),
        states=(
            *GOOD.states,
            event(1, "requested", saga_id="o", offset=5),
            event(2, "refused", saga_id="o", offset=6),
        ),
        limits=Limits(remember_ms=1_000),
    ),
    "repeated after too many others": replace(
        GOOD,
        requests=(request(), request(5, request_id="r0")),
        states=(
            *GOOD.states,
            event(1, "requested", saga_id="o", offset=5),
            event(2, "refused", saga_id="o", offset=6),
        ),
        limits=Limits(remember_requests=3),
    ),
    "two requests with one id, for different things": replace(
        TWO_SAGAS,
        requests=(request(), replace(OTHER_REQUEST, request_id="r0")),
        states=tuple(replace(one, request_ids=("r0",)) for one in TWO_SAGAS.states),
    ),
    "joined": JOINED,
    "a wait that a join woke": replace(
        WAITED,
        requests=(request(), request(1)),
        states=(
            REQUESTED,
            WAITING,
            event(3, "joined", request_ids=("r0", "r1"), next_attempt_at=BASE + 21),
            event(4, "refused", request_ids=("r0", "r1"), step="consult", attempts=2, at=BASE + 25),
        ),
        attempts=(CONSULT,),
    ),
    "waits for a stopped line beyond its patience": replace(
        WAITED,
        states=(
            REQUESTED,
            WAITING,
            event(3, "waiting", step="consult", at=BASE + 200, next_attempt_at=BASE + 200, attempts=1),
            event(4, "waiting", step="consult", at=BASE + 300, next_attempt_at=BASE + 310, attempts=2),
            event(5, "refused", step="consult", at=BASE + 320, attempts=3),
        ),
        attempts=(),
    ),
    "called when its line opened, by a clock that was set back": replace(
        WAITED,
        states=(REQUESTED, replace(WAITING, next_attempt_at=WAITING.at), WAITED.states[2]),
        attempts=(CONSULT, attempt(30, "consult", attempt=2, begun_at=BASE - 3_600_000)),
        limits=Limits(),
    ),
    "under way": UNDER_WAY,
    "under way, with its journal": LIVE,
    "a request not taken yet": replace(
        LIVE, requests=(request(), request(9, targets=frozenset({"token:u"})))
    ),
    "ended, and still in the journal": with_journal(GOOD, kept(4, ended=True)),
    "ended, and taken over by a block": ENDED,
    "a command not taken yet": replace(
        with_journal(PARKED_GOOD, kept(2)),
        commands=(replace(REPLAY, origin="unbinding.commands/0/9"),),
    ),
    "one command sent twice": replace(
        REPLAYED,
        commands=(REPLAY, replace(REPLAY, origin="unbinding.commands/0/1")),
        verdicts=(VERDICT, replace(VERDICT, offset=1, applied=False)),
    ),
    "a command that breaks its contract": replace(
        GOOD,
        commands=(CommandSeen(origin="unbinding.commands/0/0", command_id=None),),
        verdicts=(
            VerdictSeen(offset=0, moment=1, command="unbinding.commands/0/0", applied=False, letter=None),
        ),
    ),
    "ended by a notice": NOTICED,
    "bound again before a late notice": BOUND_AGAIN,
    "bound again between two notices of one death": replace(
        BOUND_AGAIN,
        notices=(
            *BOUND_AGAIN.notices,
            NoticeSeen(origin="unbinding.notices/0/1", at=BASE + 18, targets=AGREEMENT),
        ),
    ),
    "a window that begins within a saga": FROM_THE_MIDDLE,
    "a window with a repetition of an older request": replace(
        FROM_THE_MIDDLE, requests=(request(50, request_id="old"),)
    ),
    "a window with the letter of an older saga": replace(
        FROM_THE_MIDDLE, letters=(letter(None, key="older", saga_id="older"),)
    ),
    "a window with a verdict on an older command": replace(
        FROM_THE_MIDDLE,
        verdicts=(replace(VERDICT, letter="older", saga_id="older"),),
        begun_before=FROM_THE_MIDDLE.begun_before | {Topic.COMMANDS, Topic.VERDICTS},
    ),
    "a window with the replay of an older command": replace(
        FROM_THE_MIDDLE,
        states=(event(7, "resumed"), event(8, "refused")),
        begun_before=FROM_THE_MIDDLE.begun_before | {Topic.COMMANDS, Topic.VERDICTS},
    ),
    "a copy that lies in what was cut from the requests": History(
        requests=(STRAYED,), journals=(TAKEN,), at_rest=False, begun_before=frozenset({Topic.REQUESTS})
    ),
    "a request in the wrong partition, closed by a person in what was cut from the verdicts": History(
        requests=(STRAYED,), journals=(TAKEN,), at_rest=False, begun_before=frozenset({Topic.VERDICTS})
    ),
    "a verdict that lies in what was cut": History(
        commands=(REPLAY,), journals=(TAKEN,), at_rest=False, begun_before=frozenset({Topic.VERDICTS})
    ),
    "a request without a letter that a person closed in what was cut": History(
        requests=(request(request_id=None, binding_id=None),),
        journals=(TAKEN,),
        at_rest=False,
        begun_before=frozenset({Topic.VERDICTS}),
    ),
    "one of two requests with one id, closed by a person in what was cut": replace(
        GOOD,
        requests=(request(), request(1, request_id="r0", targets=frozenset({"token:u"}))),
        begun_before=frozenset({Topic.VERDICTS}),
    ),
    "a window that ends before the present": replace(
        GOOD, states=(REQUESTED,), attempts=(), ended_before=True, requests=(request(), OTHER_REQUEST)
    ),
    "a window before the calls of older sagas": replace(
        FROM_THE_MIDDLE, attempts=(attempt(5, "cancel_token", saga_id="older"),)
    ),
    "letters compacted to the latest of each key": replace(REPLAYED, letters=(letter(None, stands=False),)),
    "tombstones gone, too": replace(
        REPLAYED, states=tuple(replace(one, transaction=None) for one in REPLAYED.states), letters=()
    ),
    "secrets that are nowhere": SECRETIVE,
}
