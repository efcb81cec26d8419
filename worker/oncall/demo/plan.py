"""The demo's cases: every kind of request, and what has to become of each. Pure.

The words in a token tell the sandbox how to behave (`worker.sandbox.payment.token_words`).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Final

import orjson

from contracts.cloudevents import event_headers
from contracts.commands import CommandKind, Ruling
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Debits, Reason, State, Step
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import rfc3339
from worker.oncall.cluster import Message
from worker.oncall.demo.expectations import (
    ONCE,
    PARTITIONS,
    Act,
    Case,
    Expected,
    Published,
    Range,
    Stretch,
)

SOURCE: Final = "/demo/wallet"
SLOW_MS: Final = 2_500
"""How long the sandbox takes over the calls that the kill cuts off; less than an attempt may take."""
SLOW_EACH: Final = 3

_HOUR_MS: Final = 3_600_000
_LAST_PARTITION: Final = 0
"""Of the records whose reading nothing but a later request of the same partition shows."""

_REQUESTED, _ALLOWED, _REVOKED = Stretch(State.REQUESTED), Stretch(State.ALLOWED), Stretch(State.REVOKED)
_UNBOUND, _PARKED, _RESUMED = Stretch(State.UNBOUND), Stretch(State.PARKED), Stretch(State.RESUMED)
_WAITING = Stretch(State.WAITING)
_WAITING_LONG: Final = Stretch(State.WAITING, Range(1, 6))


def make_plan(*, now_at: int) -> tuple[Case, ...]:
    """Return all cases in the order in which they are published; `now_at` in ms since the epoch."""
    pen = _Pen(now_at)
    return (
        *_plain(pen),
        *_doubtful(pen),
        *_parked(pen),
        *_unfit(pen),
        *_several(pen),
        *_cut_off(pen),
        _last(pen),
    )


def expected_end(*, consults: int = 1, cancels: Range = ONCE, course: Sequence[Stretch] = ()) -> Expected:
    """Return the good end: revoked and unbound, with nothing open."""
    return Expected(
        course=tuple(course) or (_REQUESTED, _ALLOWED, _REVOKED, _UNBOUND),
        calls={Step.CONSULT: Range(consults, consults), Step.CANCEL_TOKEN: cancels},
        revoked=True,
        debits=Debits.BLOCKED,
    )


def _plain(pen: "_Pen") -> tuple[Case, ...]:
    elsewhere = pen.case("elsewhere", "written to the wrong partition", "allow", expected_end())
    binding = elsewhere.binding_id or ""
    stray = pen.request(
        "req-elsewhere", binding, elsewhere.token, partition=(elsewhere.partition + 1) % PARTITIONS
    )
    return (
        pen.case("allowed", "allowed", "allow", expected_end()),
        pen.case(
            "refused",
            "refused: a bill is still open",
            "refuse",
            Expected(
                course=(_REQUESTED, Stretch(State.REFUSED)),
                calls={Step.CONSULT: ONCE},
                debits=Debits.ALLOWED,
            ),
        ),
        replace(elsewhere, published=(stray,), forwarded=True),
    )


def _doubtful(pen: "_Pen") -> tuple[Case, ...]:
    wavering = pen.case(
        "wavering",
        "U three times, then S, at both steps",
        "consult-unknown3.cancel-unknown3",
        expected_end(
            consults=4,
            cancels=Range(4, 4),
            course=(_REQUESTED, _WAITING, _ALLOWED, _WAITING, _REVOKED, _UNBOUND),
        ),
    )
    silent = pen.case(
        "silent",
        "U at consult for good: lapses",
        "consult-unknown",
        Expected(
            course=(_REQUESTED, _WAITING_LONG, Stretch(State.LAPSED)),
            calls={Step.CONSULT: Range(2, 16)},
            debits=Debits.ALLOWED,
        ),
    )
    lost = pen.case(
        "lost",
        "revoked, but the answer is lost",
        "cancel-lost1",
        expected_end(cancels=Range(2, 2)),
    )
    return (
        lost,
        replace(wavering, before_kill=State.WAITING),
        replace(silent, before_kill=State.WAITING),
    )


def _parked(pen: "_Pen") -> tuple[Case, ...]:
    unknown = pen.case(
        "unknown",
        "U for long: parked; mended and replayed",
        "cancel-unknown",
        replace(
            expected_end(
                cancels=Range(3, 20),
                course=(_REQUESTED, _ALLOWED, _WAITING_LONG, _PARKED, _RESUMED, _REVOKED, _UNBOUND),
            ),
            parked_for=Reason.OUTCOME_UNKNOWN,
            ruling=Ruling.APPLIED,
        ),
    )
    mended = pen.case(
        "mended",
        "F at consult: parked; mended and replayed",
        "consult-fail",
        replace(
            expected_end(consults=2, course=(_REQUESTED, _PARKED, _RESUMED, _ALLOWED, _REVOKED, _UNBOUND)),
            parked_for=Reason.FAILED,
            ruling=Ruling.APPLIED,
        ),
    )
    failed = pen.case(
        "failed",
        "F at cancelToken: parked, then discarded",
        "cancel-fail",
        Expected(
            course=(_REQUESTED, _ALLOWED, _PARKED, Stretch(State.DISCARDED)),
            calls={Step.CONSULT: ONCE, Step.CANCEL_TOKEN: ONCE},
            debits=Debits.BLOCKED,
            parked_for=Reason.FAILED,
            ruling=Ruling.APPLIED,
        ),
    )
    return (
        replace(unknown, before_kill=State.WAITING, order=CommandKind.REPLAY, mended=True),
        replace(mended, before_kill=State.PARKED, order=CommandKind.REPLAY, mended=True),
        replace(failed, before_kill=State.PARKED, order=CommandKind.DISCARD),
    )


def _unfit(pen: "_Pen") -> tuple[Case, ...]:
    parked = Expected(course=(_PARKED,), parked_for=Reason.INVALID, letter_open=True)
    invalid = pen.case("invalid", "invalid: no such initiator", "allow", parked)
    late = pen.case(
        "late",
        "asked for too late; the replay is refused",
        "allow",
        Expected(
            course=(_REQUESTED, _PARKED),
            debits=Debits.ALLOWED,
            parked_for=Reason.EXPIRED,
            letter_open=True,
            ruling=Ruling.REFUSED,
        ),
    )
    token = token_of("allow", "unreadable")
    broken = f'{{"bindingId": "bnd-unreadable", "accessToken": "{token}", '.encode()
    unreadable = Case(
        name="unreadable",
        shows="unreadable: half a record",
        binding_id=None,
        token=token,
        published=(
            pen.record("req-unreadable", broken, binding=None, act=Act.OPENING, partition=_LAST_PARTITION),
        ),
        expected=Expected(course=(), parked_for=Reason.UNREADABLE, letter_open=True),
    )
    return (
        replace(
            invalid,
            published=(
                pen.request("req-invalid", invalid.binding_id or "", invalid.token, initiator="nobody"),
            ),
            before_kill=State.PARKED,
        ),
        replace(
            late,
            published=(
                pen.request(
                    "req-late", late.binding_id or "", late.token, expiresAt=rfc3339(pen.now_at - _HOUR_MS)
                ),
            ),
            before_kill=State.PARKED,
            order=CommandKind.REPLAY,
        ),
        unreadable,
    )


def _several(pen: "_Pen") -> tuple[Case, ...]:
    """Return what takes more than one request."""
    again = pen.binding("again", partition=_LAST_PARTITION)
    again_token = token_of("allow", "again")
    both = pen.binding("both")
    first_token, second_token = token_of("consult-slow300", "first"), token_of("allow", "second")
    twice = pen.binding("twice")
    twice_token = token_of("consult-slow600", "twice")
    return (
        Case(
            name="again",
            shows="sent twice, and again after its end",
            binding_id=again,
            token=again_token,
            published=(
                pen.request("req-again", again, again_token),
                pen.request("req-again", again, again_token),
                pen.request("req-again", again, again_token, act=Act.CLOSING),
            ),
            expected=expected_end(),
        ),
        Case(
            name="twice",
            shows="two of one binding, same token: joined",
            binding_id=twice,
            token=twice_token,
            published=(
                pen.request("req-twice-1", twice, twice_token),
                pen.request("req-twice-2", twice, twice_token),
            ),
            expected=replace(expected_end(), joins=1),
        ),
        Case(
            name="first",
            shows="two of one binding, two tokens: the first",
            binding_id=both,
            token=first_token,
            published=(pen.request("req-first", both, first_token),),
            expected=expected_end(),
        ),
        Case(
            name="second",
            shows="two of one binding, two tokens: the second waits",
            binding_id=both,
            token=second_token,
            published=(pen.request("req-second", both, second_token),),
            expected=expected_end(),
            after="first",
        ),
    )


def _cut_off(pen: "_Pen") -> tuple[Case, ...]:
    return tuple(
        _cut_off_at(pen, step, word, number)
        for step, word in ((Step.CONSULT, "consult"), (Step.CANCEL_TOKEN, "cancel"))
        for number in range(1, SLOW_EACH + 1)
    )


def _cut_off_at(pen: "_Pen", step: Step, word: str, number: int) -> Case:
    name = f"cut-{word}-{number}"
    expected = expected_end()
    expected = replace(expected, calls={**expected.calls, step: Range(2, 2)})
    case = pen.case(name, f"the kill cuts its {word} off ({number})", f"{word}-slow{SLOW_MS}", expected)
    request = pen.request(f"req-{name}", case.binding_id or "", case.token, act=Act.BEFORE_KILL)
    return replace(case, published=(request,), in_flight=step)


def _last(pen: "_Pen") -> Case:
    """Return the request after whose end all that was published has been read."""
    binding, token = pen.binding("last", partition=_LAST_PARTITION), token_of("allow", "last")
    return Case(
        name="last",
        shows="asked for last of all",
        binding_id=binding,
        token=token,
        published=(pen.request("req-last", binding, token, act=Act.CLOSING),),
        expected=expected_end(),
    )


def token_of(words: str, name: str) -> str:
    """Return a synthetic token that tells the sandbox how to behave."""
    return f"demo.{words}.{name}"


class _Pen:
    """Writes requests; bindings take turns over the partitions."""

    def __init__(self, now_at: int) -> None:
        self.now_at = now_at
        self._turns = count()

    def binding(self, name: str, *, partition: int | None = None) -> str:
        wanted = next(self._turns) % PARTITIONS if partition is None else partition
        return next(
            binding
            for number in count(1)
            if partition_of(binding := f"bnd-{name}-{number}", PARTITIONS) == wanted
        )

    def request(
        self,
        event_id: str,
        binding: str,
        token: str,
        *,
        act: Act = Act.OPENING,
        partition: int | None = None,
        initiator: str = "wallet",
        **fields: str,
    ) -> Published:
        data = {
            "bindingId": binding,
            "initiator": initiator,
            "requestedAt": rfc3339(self.now_at),
            "authClientId": "demo-merchant-app",
            "referenceMerchantId": "demo-merchant",
            "accessToken": token,
            **fields,
        }
        home = partition_of(binding, PARTITIONS)
        return self.record(
            event_id,
            orjson.dumps(data),
            binding=binding,
            act=act,
            partition=home if partition is None else partition,
        )

    def record(
        self, event_id: str, value: bytes, *, binding: str | None, act: Act, partition: int
    ) -> Published:
        headers = event_headers(
            event_id=event_id, source=SOURCE, event_type=UNBINDING_REQUESTED, at=self.now_at, subject=binding
        )
        message = Message(
            topic=LogicalTopic.REQUESTS,
            key=None if binding is None else binding.encode(),
            value=value,
            headers=tuple(headers),
            partition=partition,
        )
        return Published(act=act, event_id=event_id, message=message)

    def case(self, name: str, shows: str, words: str, expected: Expected) -> Case:
        """Return a case with a binding, a token and one request of its own, published at once."""
        binding, token = self.binding(name), token_of(words, name)
        return Case(
            name=name,
            shows=shows,
            binding_id=binding,
            token=token,
            published=(self.request(f"req-{name}", binding, token),),
            expected=expected,
        )
