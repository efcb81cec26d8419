"""Hand-made histories that break one promise each: a right one, changed in one place."""

from __future__ import annotations

from dataclasses import replace

from tests.verify.right import (
    ALLOWED,
    ASTRAY,
    BASE,
    BOUND_AGAIN,
    CANCEL,
    CONSULT,
    DISCARDED,
    FORWARD,
    FORWARDED,
    GOOD,
    IN_DOUBT,
    JOINED,
    JOINED_STATE,
    LIVE,
    LOOSE,
    LOOSE_LETTER,
    NOTICED,
    OTHER,
    OTHER_REQUEST,
    PARKED,
    PARKED_GOOD,
    REPLAY,
    REPLAYED,
    REQUESTED,
    RESUMED,
    REVOKED,
    SECRETIVE,
    TWO_SAGAS,
    UNBOUND,
    UNDER_WAY,
    VERDICT,
    WAITED,
    WAITING,
    attempt,
    event,
    kept,
    letter,
    moved,
    request,
    with_journal,
)
from worker.verify.history import History, Topic, Unreadable, VerdictSeen, Written


def _unreadable(topic: Topic) -> Unreadable:
    return Unreadable(topic=topic, origin=f"{topic.value}/0/9", why="ce_specversion must be 1.0")


def _with_clear_text(content: bytes) -> History:
    return replace(SECRETIVE, written=(Written(origin="unbinding.journal/0/1", content=content),))


WRONG: dict[str, tuple[str, History]] = {
    # --- P1 -------------------------------------------------------------------------------
    "a lost request": ("request.lost", replace(GOOD, requests=(request(), request(1)))),
    "a request lost before the journal's position": (
        "request.lost",
        replace(LIVE, requests=(request(), request(1))),
    ),
    "an unreadable request without a letter": ("request.lost", replace(LOOSE, letters=())),
    "a request of another binding under the same id, lost": (
        "request.lost",
        replace(GOOD, requests=(request(), request(1, request_id="r0", binding_id="c"))),
    ),
    "one of two requests with one id, lost": (
        "request.overlooked",
        replace(GOOD, requests=(request(), replace(OTHER_REQUEST, request_id="r0"))),
    ),
    "a request that was not forwarded": (
        "request.not_forwarded",
        replace(FORWARDED, requests=(ASTRAY, request())),
    ),
    "a request whose forward is another's": (
        "request.not_forwarded",
        replace(FORWARDED, requests=(ASTRAY, replace(FORWARD, digest=b"other"))),
    ),
    "a request that was forwarded twice": (
        "request.forwarded_again",
        replace(
            FORWARDED,
            requests=(ASTRAY, FORWARD, replace(FORWARD, origin="unbinding.requests/0/1")),
        ),
    ),
    "a request that was forwarded and parked": (
        "request.forwarded_again",
        replace(FORWARDED, letters=(replace(LOOSE_LETTER, key=ASTRAY.origin, origin=ASTRAY.origin),)),
    ),
    "a request with two sagas": (
        "request.served_again",
        replace(
            GOOD,
            states=(
                *GOOD.states,
                event(1, "requested", saga_id="o", offset=5),
                event(2, "refused", saga_id="o", offset=6),
            ),
        ),
    ),
    "a request that joined twice": (
        "request.served_again",
        replace(
            JOINED,
            states=(
                *JOINED.states[:2],
                event(3, "joined", request_ids=("r0", "r1", "r1"), moment=17),
                *moved((ALLOWED, REVOKED, UNBOUND), 2, request_ids=("r0", "r1", "r1")),
            ),
        ),
    ),
    "a repetition served while it was remembered": (
        "request.served_again",
        replace(
            GOOD,
            requests=(request(), request(5, request_id="r0", at=900)),
            states=(
                *GOOD.states,
                event(1, "requested", saga_id="o", offset=5),
                event(2, "refused", saga_id="o", offset=6),
            ),
            limits=replace(GOOD.limits, remember_ms=1_000, remember_requests=1_000),
        ),
    ),
    "a saga without an end": ("saga.unended", replace(GOOD, states=GOOD.states[:3])),
    "a saga that hangs after a join": (
        "saga.unended",
        replace(JOINED, states=JOINED.states[:2], attempts=(CONSULT,)),
    ),
    "a saga that the journal has lost": (
        "journal.saga_missing",
        with_journal(UNDER_WAY, requests=frozenset({"s"})),
    ),
    "a parked saga that the journal has lost": ("journal.saga_missing", with_journal(PARKED_GOOD)),
    "a saga that the journal takes for ended": (
        "journal.saga_missing",
        with_journal(UNDER_WAY, kept(1, ended=True), requests=frozenset({"s"})),
    ),
    "a sealed request that the journal has lost": (
        "journal.request_missing",
        with_journal(UNDER_WAY, kept(1), requests=frozenset()),
    ),
    "a journal without a position": (
        "journal.position_missing",
        with_journal(UNDER_WAY, kept(1), position=None, commands_position=None),
    ),
    "a position beyond the end": ("journal.position_beyond", replace(LIVE, ends={0: 8})),
    "a journal record that cannot be read": (
        "journal.unreadable",
        with_journal(UNDER_WAY, problems=("journal record state:s is no JSON object",)),
    ),
    # --- P2 -------------------------------------------------------------------------------
    "a record that is no event": ("event.unreadable", replace(GOOD, unreadable=(_unreadable(Topic.STATES),))),
    "an event twice": (
        "event.repeated",
        replace(GOOD, states=(*GOOD.states, replace(UNBOUND, offset=9))),
    ),
    "an event under another's id": (
        "event.misnamed",
        replace(GOOD, states=(*GOOD.states[:3], replace(UNBOUND, event_id="s:5"))),
    ),
    "a gap in the sequence": (
        "event.out_of_sequence",
        replace(GOOD, states=(REQUESTED, ALLOWED, *moved((REVOKED, UNBOUND), 1))),
    ),
    "a missing beginning": (
        "event.out_of_sequence",
        replace(GOOD, states=GOOD.states[1:], attempts=(CANCEL,)),
    ),
    "events in the wrong order": (
        "event.out_of_sequence",
        replace(GOOD, states=(REQUESTED, REVOKED, ALLOWED, UNBOUND), attempts=()),
    ),
    "a gap within a window": (
        "event.out_of_sequence",
        replace(
            GOOD,
            states=(ALLOWED, *moved((REVOKED, UNBOUND), 1)),
            begun_before=frozenset({Topic.STATES}),
        ),
    ),
    "a saga that begins in the middle": (
        "event.wrong_beginning",
        History(requests=(request(),), states=(event(1, "waiting"), event(2, "lapsed"))),
    ),
    "an end that goes on": (
        "event.illegal",
        replace(GOOD, states=(*GOOD.states, event(5, "waiting"), event(6, "unbound"))),
    ),
    "two ends": ("event.illegal", replace(GOOD, states=(*GOOD.states, event(5, "unbound")))),
    "a permission after a revoke": (
        "event.illegal",
        replace(
            GOOD,
            states=(
                *GOOD.states[:3],
                event(4, "allowed", done=REVOKED.done),
                event(5, "unbound", done=REVOKED.done),
            ),
        ),
    ),
    "a refusal after a revoke": (
        "event.illegal",
        replace(GOOD, states=(*GOOD.states[:3], event(4, "refused", done=REVOKED.done))),
    ),
    "resumed, never parked": (
        "event.illegal",
        replace(
            REPLAYED,
            states=(REQUESTED, event(2, "waiting"), RESUMED, event(4, "refused")),
            letters=(),
        ),
    ),
    "a step undone": (
        "event.step_undone",
        replace(GOOD, states=(*GOOD.states[:3], replace(UNBOUND, done=()))),
    ),
    "a request that came without a join": (
        "event.requests_changed",
        replace(
            GOOD,
            requests=(request(), request(1)),
            states=(*GOOD.states[:3], replace(UNBOUND, request_ids=("r0", "r1"))),
        ),
    ),
    "a join of nobody": (
        "event.requests_changed",
        replace(
            JOINED,
            states=(
                REQUESTED,
                replace(JOINED_STATE, request_ids=("r1", "r0")),
                *moved((ALLOWED, REVOKED, UNBOUND), 1, request_ids=("r1", "r0")),
            ),
        ),
    ),
    "a saga of two bindings": (
        "event.other_binding",
        replace(
            GOOD,
            requests=(request(), request(1, request_id="r0", binding_id="c")),
            states=(*GOOD.states[:3], replace(UNBOUND, binding_id="c")),
            at_rest=False,
        ),
    ),
    "an event in the wrong partition": ("event.wrong_partition", replace(GOOD, partitions=12)),
    "an event of a request that nobody made": (
        "event.of_no_request",
        replace(
            GOOD,
            states=(
                *GOOD.states,
                event(1, "requested", saga_id="o", request_ids=("x",)),
                event(2, "refused", saga_id="o", request_ids=("x",)),
            ),
        ),
    ),
    "a transition that was not published": ("journal.ahead", with_journal(UNDER_WAY, kept(2))),
    "a transition that was not journaled": (
        "journal.behind",
        with_journal(replace(UNDER_WAY, states=(REQUESTED, ALLOWED)), kept(1)),
    ),
    "an end that was not journaled": ("journal.behind", with_journal(GOOD, kept(3))),
    "a saga in the journal alone": ("journal.of_no_saga", with_journal(GOOD, kept(1, saga_id="o"))),
    # --- P3 -------------------------------------------------------------------------------
    "a revoke without permission": (
        "revoke.unpermitted",
        replace(GOOD, attempts=(attempt(15, "cancel_token"),)),
    ),
    "a revoke after a parked saga that attempted none": (
        "revoke.unpermitted",
        replace(
            IN_DOUBT,
            states=(IN_DOUBT.states[0], replace(IN_DOUBT.states[1], attempts=0), *IN_DOUBT.states[2:]),
        ),
    ),
    "a revoke after another token's parked saga": (
        "revoke.unpermitted",
        replace(
            IN_DOUBT, requests=(replace(IN_DOUBT.requests[0], targets=frozenset({"token:u"})), request())
        ),
    ),
    "a revoke in the moment of its permission": (
        "revoke.unpermitted",
        replace(GOOD, attempts=(attempt(20, "cancel_token"),)),
    ),
    "a revoke after a revoke": (
        "revoke.repeated",
        replace(GOOD, attempts=(CONSULT, CANCEL, attempt(35, "cancel_token"))),
    ),
    "a revoke after another saga's revoke": (
        "revoke.repeated",
        replace(
            TWO_SAGAS,
            requests=(request(), request(1)),
            attempts=(CONSULT, CANCEL, attempt(50, "cancel_token", saga_id="o")),
        ),
    ),
    "a revoke after a notice": (
        "revoke.repeated",
        replace(NOTICED, attempts=(CONSULT, attempt(25, "cancel_token"))),
    ),
    "a revoke of what a notice showed dead since the request": (
        "revoke.repeated",
        replace(BOUND_AGAIN, notices=(replace(BOUND_AGAIN.notices[0], at=BASE + 15),)),
    ),
    "a call by a worker that lost the partition": (
        "call.by_another",
        replace(GOOD, attempts=(CONSULT, replace(CANCEL, owner="w2"))),
    ),
    "a call before its admission": (
        "call.unannounced",
        replace(GOOD, attempts=(attempt(5, "consult"), CANCEL)),
    ),
    "a call of no saga": (
        "call.unannounced",
        replace(GOOD, attempts=(replace(CONSULT, saga_id="x"),)),
    ),
    "revoked, never allowed": (
        "revoked.unpermitted",
        replace(GOOD, states=(REQUESTED, *moved((REVOKED, UNBOUND), -1)), attempts=()),
    ),
    "revoked twice by calls": (
        "revoked.again",
        replace(
            TWO_SAGAS,
            requests=(request(), request(1)),
            states=(
                *GOOD.states,
                event(1, "requested", offset=5, **OTHER),
                *(
                    replace(one, saga_id="o", request_ids=("r1",), event_id=f"o:{one.sequence}", moment=70)
                    for one in (ALLOWED, REVOKED, UNBOUND)
                ),
            ),
            attempts=(),
        ),
    ),
    # --- P4 -------------------------------------------------------------------------------
    "a call too early": (
        "call.early",
        replace(WAITED, attempts=(CONSULT, attempt(29, "consult", attempt=2))),
    ),
    "a call too early after a join": (
        "call.early",
        replace(
            WAITED,
            requests=(request(), request(1)),
            states=(
                *WAITED.states[:2],
                event(3, "joined", request_ids=("r0", "r1"), moment=22),
                event(4, "lapsed", request_ids=("r0", "r1"), moment=40),
            ),
            attempts=(CONSULT, attempt(29, "consult", attempt=2)),
        ),
    ),
    "a call after the user's time": (
        "call.expired",
        replace(GOOD, requests=(request(expires_at=BASE - 10_000),)),
    ),
    "a result too early": (
        "result.early",
        replace(WAITED, states=(*WAITED.states[:2], replace(WAITED.states[2], at=BASE + 29))),
    ),
    "a wait beyond its patience": (
        "wait.beyond_patience",
        replace(
            WAITED,
            states=(REQUESTED, replace(WAITING, next_attempt_at=BASE + 121), event(3, "lapsed", moment=40)),
            attempts=(),
        ),
    ),
    "a later wait beyond its patience": (
        "wait.beyond_patience",
        replace(
            WAITED,
            states=(
                REQUESTED,
                WAITING,
                event(3, "waiting", step="consult", at=BASE + 40, next_attempt_at=BASE + 121, attempts=2),
                event(4, "lapsed"),
            ),
            attempts=(),
        ),
    ),
    # --- P5 -------------------------------------------------------------------------------
    "two sagas of a binding at once": (
        "sagas.overlap",
        replace(TWO_SAGAS, attempts=(CONSULT, CANCEL, attempt(30, "consult", saga_id="o", target="token:u"))),
    ),
    "two calls of a saga at once": (
        "attempts.overlap",
        replace(GOOD, attempts=(replace(CONSULT, ended=18), attempt(17, "consult"), CANCEL)),
    ),
    "events of two sagas of a binding in one another": (
        "sagas.interleaved",
        replace(
            TWO_SAGAS,
            states=(*GOOD.states[:3], *TWO_SAGAS.states[4:], UNBOUND),
            attempts=(),
        ),
    ),
    # --- P6 -------------------------------------------------------------------------------
    "a record that is no letter": (
        "letter.unreadable",
        replace(PARKED_GOOD, unreadable=(_unreadable(Topic.DEAD_LETTERS),)),
    ),
    "a parked saga without a letter": ("letter.missing", replace(PARKED_GOOD, letters=())),
    "a parked saga whose letter was removed": (
        "letter.missing",
        replace(PARKED_GOOD, letters=(letter(None), letter(None, stands=False))),
    ),
    "a letter that outlives its saga": (
        "letter.left",
        replace(GOOD, letters=(replace(letter(2), transaction=None),)),
    ),
    "a letter that stands on after its replay": (
        "letter.left",
        replace(REPLAYED, letters=(replace(letter(2), transaction=None),)),
    ),
    "a letter of an earlier parking": (
        "letter.stale",
        replace(PARKED_GOOD, letters=(letter(2, sequence=1),)),
    ),
    "a letter with another reason": (
        "letter.stale",
        replace(PARKED_GOOD, letters=(letter(2, sequence=2, reason="expired"),)),
    ),
    "a letter of no saga": ("letter.of_no_saga", replace(GOOD, letters=(letter(2, key="x", saga_id="x"),))),
    "a letter written later": ("letter.written_apart", replace(PARKED_GOOD, letters=(letter(9),))),
    "a letter removed later": (
        "letter.removed_apart",
        replace(REPLAYED, letters=(letter(2), letter(9, stands=False))),
    ),
    "a letter without a saga that the journal has lost": ("letter.not_journaled", with_journal(LOOSE)),
    "a letter without a saga that is in the journal alone": (
        "letter.gone",
        with_journal(GOOD, letters=frozenset({"unbinding.requests/0/3"})),
    ),
    # --- P7 -------------------------------------------------------------------------------
    "a record that is no verdict": (
        "verdict.unreadable",
        replace(GOOD, unreadable=(_unreadable(Topic.VERDICTS),)),
    ),
    "a command without a verdict": ("command.unjudged", replace(PARKED_GOOD, commands=(REPLAY,))),
    "a command before the journal's position without a verdict": (
        "command.unjudged",
        replace(with_journal(PARKED_GOOD, kept(2)), commands=(REPLAY,)),
    ),
    "a repeated command with one verdict": (
        "command.unjudged",
        replace(REPLAYED, commands=(REPLAY, replace(REPLAY, origin="unbinding.commands/0/1"))),
    ),
    "a command with two verdicts": (
        "command.judged_again",
        replace(REPLAYED, verdicts=(VERDICT, replace(VERDICT, applied=False))),
    ),
    "a command applied twice": (
        "command.applied_again",
        replace(
            REPLAYED,
            commands=(REPLAY, replace(REPLAY, origin="unbinding.commands/0/1")),
            verdicts=(VERDICT, replace(VERDICT, offset=1)),
        ),
    ),
    "a verdict on no command": ("verdict.of_no_command", replace(REPLAYED, commands=())),
    "a replay that did nothing": (
        "verdict.without_effect",
        replace(PARKED_GOOD, commands=(REPLAY,), verdicts=(VERDICT,)),
    ),
    "a replay that did something else": (
        "verdict.without_effect",
        replace(
            DISCARDED,
            commands=(REPLAY,),
            verdicts=(
                VERDICT,
                VerdictSeen(offset=1, moment=31, command="d", applied=True, replay=False, letter="s"),
            ),
        ),
    ),
    "a run without a command": ("replay.unordered", replace(REPLAYED, commands=(), verdicts=())),
    "a run for a refused command": (
        "replay.unordered",
        replace(REPLAYED, verdicts=(replace(VERDICT, applied=False),)),
    ),
    "two runs for one command": (
        "replay.unordered",
        replace(
            REPLAYED,
            states=(
                REQUESTED,
                PARKED,
                RESUMED,
                event(4, "parked", reason="failed"),
                event(5, "resumed"),
                event(6, "refused"),
            ),
            letters=(letter(None, stands=False),),
        ),
    ),
    "a replay from the start after a revoke": (
        "replay.of_a_revoke",
        replace(
            REPLAYED,
            states=(
                REQUESTED,
                ALLOWED,
                REVOKED,
                event(4, "parked", reason="failed", done=REVOKED.done),
                event(5, "resumed", done=REVOKED.done),
                event(6, "unbound", done=REVOKED.done),
            ),
            letters=(letter(4), letter(5, stands=False)),
            verdicts=(replace(VERDICT, from_start=True, sequence=4),),
        ),
    ),
    "a discard that nobody ordered": ("discard.unordered", replace(DISCARDED, commands=(), verdicts=())),
    # --- P8 -------------------------------------------------------------------------------
    "a token in clear": ("secret.in_clear", _with_clear_text(b'{"token":"tok-4711-abcdef-0815"}')),
    "a token in base64": ("secret.in_clear", _with_clear_text(b"x=dG9rLTQ3MTEtYWJjZGVmLTA4MTU=")),
    "a token at the end of a header": ("secret.in_clear", _with_clear_text(b"\n\nx=tok-4711-abcdef-0815")),
    "a sealed request that outlives its saga": (
        "secret.kept",
        with_journal(GOOD, requests=frozenset({"s"})),
    ),
}
"""By name: the kind of violation that is to be found, and the history."""

UNREACHED: dict[str, str] = {
    "call.unexplained": "found by the reading of a ledger: tests/oncall/test_verify.py",
}
"""Kinds that no history alone can show, and where they are shown."""
