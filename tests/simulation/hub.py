"""The simulated payment side: what is live and dead there, how it behaves, and the ledger of all attempts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from contracts.requests import UnbindingRequested
from contracts.states import Evidence, Outcome, Step
from worker.ports import NotBegun
from worker.saga.results import Links, Result, ResultClass
from worker.verify.history import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from contracts.requests import RebindingRequested
    from tests.simulation.network import Network
    from worker.saga.results import Call

LINES = {
    Step.CONSULT: "hub",
    Step.NOTIFY_HUB: "hub",
    Step.CANCEL_TOKEN: "tokens",
    Step.CANCEL_AGREEMENT: "alipayhk",
    Step.NOTIFY_MERCHANT: "merchants",
    Step.OFFER: "antom",
}
ATTEMPT_LIMIT = 5.0
BACKOFF_MOST = 0.5
LATE_MOST = 60.0
RETRY_AFTER_MOST_MS = 90_000
_C = ResultClass


class Stumble(Exception):
    """What a mistake of ours raises: the shard has to park whatever it was handling."""


class Act(Enum):
    """What the payment side does with one attempt."""

    OBEY = "obey"
    """Does it, if it can be done, and says so."""
    REFUSE = "refuse"
    """consult: says that the binding may not be ended. Elsewhere: obeys."""
    FAIL = "fail"
    """Answers F with a code that repetition cannot help."""
    UNKNOWN = "unknown"
    """Answers U and has done nothing."""
    UNKNOWN_DONE = "unknown_done"
    """Answers U and has done it."""
    UNVERIFIED = "unverified"
    """Does it; the signature of its answer is wrong."""
    LOST = "lost"
    """The request never arrives."""
    LOST_ANSWER = "lost_answer"
    """Does it; the answer never arrives."""
    LATE = "late"
    """The request arrives long after its sender gave up, and is done then."""
    NOT_SENT = "not_sent"
    """The connection is refused."""
    SLOWLY = "slowly"
    """Asks for fewer calls."""
    STUMBLE = "stumble"
    """Does it; a mistake of ours raises over its answer."""


NO_ANSWER = frozenset({Act.LOST, Act.LOST_ANSWER, Act.LATE})
WITH_EFFECT = frozenset(
    {Act.OBEY, Act.UNKNOWN_DONE, Act.UNVERIFIED, Act.LOST_ANSWER, Act.LATE, Act.REFUSE, Act.STUMBLE}
)


@dataclass(slots=True)
class PaymentSide:
    """What is true over there. Targets are named `token:…`, `agreement:…/…`, `account:…`."""

    acts: dict[tuple[str, Step], list[Act]] = field(default_factory=dict)
    """By target and step: what happens to its attempts one after the other; then it obeys."""
    dead: set[str] = field(default_factory=set)
    told: set[tuple[str, Step]] = field(default_factory=set)
    """Notices that have arrived."""
    stopped: set[str] = field(default_factory=set)
    """Lines whose client is refused now."""
    in_line_s: float = 0.0
    """How long an attempt stands in line before its gate, at most: a counterpart takes so many at a time."""
    dead_token_is_success: bool = True
    """Whether cancelToken of a dead token answers S (idempotent) or INVALID_TOKEN."""
    ledger: list[Attempt] = field(default_factory=list)

    def act(self, target: str, step: Step, *, query: bool) -> Act:
        """Take what happens to the next attempt."""
        acts = self.acts.get((target, step), [])
        if not acts:
            return Act.OBEY
        act = acts.pop(0)
        if query and act not in NO_ANSWER | {Act.UNKNOWN, Act.FAIL}:
            return Act.OBEY
        return act

    def carry_out(self, target: str, step: Step) -> None:
        """Let the step have its effect."""
        if step in (Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT):
            self.dead.add(target)
        else:
            self.told.add((target, step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes the attempts, and what the world knows of the caller."""

    name: str
    now: Callable[[], int]
    moment: Callable[[], int]
    owner: Callable[[str], str | None]
    """The process that owns the partition of a binding, as the group's coordinator sees it."""


class SimHub:
    """`ports.Hub` of one process."""

    def __init__(self, *, side: PaymentSide, network: Network, caller: Caller) -> None:
        self._side = side
        self._network = network
        self._random: Random = network.random
        self._caller = caller

    def line(self, step: Step) -> str:
        """Name the counterpart's client that the step is called with."""
        return LINES[step]

    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Make the first attempt and the quick tries; each begins in the very step of its gate."""
        result: Result | None = None
        undecided = False
        for turn in range(1 + call.quick):
            await self._stand_in_line()
            query = call.query or (undecided and call.step is Step.CANCEL_AGREEMENT)
            try:
                gate()
            except NotBegun:
                if result is None:
                    raise
                return result
            attempt = self._begin(call, request, turn=turn, query=query)
            act = await self._exchange(attempt, call.step)
            answer = self._read(act, attempt, call, undecided=undecided or call.undecided)
            undecided = (undecided or (answer.undecided and not query)) and not _settles(answer)
            attempt.ended = self._caller.moment()
            if act is Act.STUMBLE:
                raise Stumble("the hub stumbles over this answer")
            attempt.result_class = answer.result_class.value
            result = replace(answer, tries=turn + 1, undecided=undecided)
            if answer.result_class not in (_C.SOON, _C.CONFIRM_FIRST):
                return result
            await asyncio.sleep(self._random.random() * BACKOFF_MOST)
        if result is None:
            raise AssertionError("a call has one attempt at least")
        return result

    async def _stand_in_line(self) -> None:
        await self._network.breathe()
        if self._side.in_line_s:
            await asyncio.sleep((0.5 + self._random.random() / 2) * self._side.in_line_s)

    def _begin(
        self, call: Call, request: UnbindingRequested | RebindingRequested, *, turn: int, query: bool
    ) -> Attempt:
        attempt = Attempt(
            number=len(self._side.ledger) + 1,
            process=self._caller.name,
            owner=self._caller.owner(request.binding_id),
            saga_id=call.saga_id,
            binding_id=request.binding_id,
            step=call.step.value,
            attempt=call.attempt + turn,
            quick=turn > 0,
            query=query,
            target=target_of(call.step, request),
            begun=self._caller.moment(),
            begun_at=self._caller.now(),
        )
        self._side.ledger.append(attempt)
        return attempt

    async def _exchange(self, attempt: Attempt, step: Step) -> Act | None:
        """Return what happened as the caller can tell, `None` where the line is stopped."""
        side, target = self._side, attempt.target
        act = side.act(target, step, query=attempt.query)
        if act is Act.NOT_SENT:
            await self._network.breathe()
            return act
        if act in NO_ANSWER:
            if act is Act.LOST_ANSWER:
                self._network.outside(self._latency(), lambda: self._effect(attempt, step, act))
            elif act is Act.LATE:
                late = ATTEMPT_LIMIT + self._random.random() * LATE_MOST
                self._network.outside(late, lambda: self._effect(attempt, step, act))
            await asyncio.sleep(ATTEMPT_LIMIT)
            return act
        return await self._network.ask(
            lambda: self._serve(attempt, step, act), there=self._latency(), back=self._latency()
        )

    def _serve(self, attempt: Attempt, step: Step, act: Act) -> Act | None:
        if LINES[step] in self._side.stopped:
            return None
        attempt.was_dead = attempt.target in self._side.dead
        self._effect(attempt, step, act)
        return act

    def _effect(self, attempt: Attempt, step: Step, act: Act) -> None:
        attempt.arrived = self._caller.moment()
        if not attempt.query and act in WITH_EFFECT:
            self._side.carry_out(attempt.target, step)

    def _latency(self) -> float:
        return self._random.choice((0.0, 0.001, 0.05, 0.2, self._random.random()))

    def _read(self, act: Act | None, attempt: Attempt, call: Call, *, undecided: bool) -> Result:
        if act is None:
            return Result(
                result_class=_C.LINE_STOP,
                outcome=Outcome.FAILURE,
                code="INVALID_SIGNATURE",
                message="The signature is invalid.",
                verified=self._random.random() < 0.5,
            )
        if act is Act.NOT_SENT:
            return _silence("NOT_SENT", undecided=False, query=attempt.query)
        if act in NO_ANSWER or act is Act.UNVERIFIED:
            return _silence("NO_ANSWER", undecided=True, query=attempt.query)
        if act is Act.SLOWLY:
            return Result(
                result_class=_C.SLOWLY,
                outcome=Outcome.UNKNOWN,
                code="REQUEST_TRAFFIC_EXCEED_LIMIT",
                verified=True,
                retry_after_ms=self._random.choice((None, self._random.randrange(RETRY_AFTER_MOST_MS))),
            )
        if act in (Act.UNKNOWN, Act.UNKNOWN_DONE):
            return Result(
                result_class=_C.CONFIRM_FIRST if attempt.query else _C.SOON,
                outcome=Outcome.UNKNOWN,
                code="UNKNOWN_EXCEPTION",
                verified=True,
                undecided=True,
            )
        if act is Act.FAIL and not attempt.query:
            return _failure("PROCESS_FAIL")
        if attempt.query:
            return self._query_answer(act, attempt)
        return _step_answer(
            call,
            act,
            dead=attempt.was_dead,
            dead_token_is_success=self._side.dead_token_is_success,
            undecided=undecided,
        )

    @staticmethod
    def _query_answer(act: Act, attempt: Attempt) -> Result:
        if act is Act.FAIL:
            return Result(
                result_class=_C.CONFIRM_FIRST, outcome=Outcome.FAILURE, code="SYSTEM_ERROR", verified=True
            )
        if attempt.was_dead:
            return Result(
                result_class=_C.DONE_ALREADY,
                outcome=Outcome.SUCCESS,
                code="SUCCESS",
                verified=True,
                evidence=Evidence.QUERY,
            )
        return Result(result_class=_C.STILL_LIVE, outcome=Outcome.SUCCESS, code="SUCCESS", verified=True)


def target_of(step: Step, request: UnbindingRequested | RebindingRequested) -> str:
    """Name what an attempt of the step at this request is about."""
    if not isinstance(request, UnbindingRequested):
        return f"binding:{request.binding_id}"
    if step is Step.CANCEL_AGREEMENT and request.agreement is not None:
        return f"agreement:{request.agreement.auth_merchant_id}/{request.agreement.merchant_agreement_id}"
    if step is Step.NOTIFY_MERCHANT and request.merchant_account is not None:
        return f"account:{request.merchant_account.account_id}"
    return f"token:{request.access_token}"


def _silence(code: str, *, undecided: bool, query: bool) -> Result:
    return Result(
        result_class=_C.CONFIRM_FIRST if query else _C.SOON,
        outcome=Outcome.UNKNOWN,
        code=code,
        undecided=undecided,
    )


def _failure(code: str) -> Result:
    return Result(
        result_class=_C.FINAL, outcome=Outcome.FAILURE, code=code, message="Process fail.", verified=True
    )


def _step_answer(call: Call, act: Act, *, dead: bool, dead_token_is_success: bool, undecided: bool) -> Result:
    """Read a verified, final answer, by the classes of the documents (Alipay+ and AlipayHK)."""
    success = Result(result_class=_C.DONE, outcome=Outcome.SUCCESS, code="SUCCESS", verified=True)
    match call.step:
        case Step.CONSULT if dead:
            return _failure("INVALID_TOKEN")
        case Step.CONSULT if act is Act.REFUSE:
            return Result(
                result_class=_C.REFUSED,
                outcome=Outcome.SUCCESS,
                code="SUCCESS",
                verified=True,
                refuse_reason="An open bill stands.",
            )
        case Step.CONSULT:
            return Result(
                result_class=_C.DONE,
                outcome=Outcome.SUCCESS,
                code="SUCCESS",
                verified=True,
                acquirer_id="acquirer-1",
                psp_id="psp-1",
            )
        case Step.CANCEL_TOKEN if dead and not dead_token_is_success:
            if not undecided:
                return _failure("INVALID_TOKEN")
            return Result(
                result_class=_C.DONE_ALREADY,
                outcome=Outcome.FAILURE,
                code="INVALID_TOKEN",
                verified=True,
                evidence=Evidence.ALREADY_UNBOUND,
            )
        case Step.CANCEL_AGREEMENT if dead:
            return Result(
                result_class=_C.CONFIRM_FIRST, outcome=Outcome.FAILURE, code="SYSTEM_ERROR", verified=True
            )
        case Step.OFFER:
            return Result(
                result_class=_C.DONE,
                outcome=Outcome.SUCCESS,
                code="SUCCESS",
                verified=True,
                links=Links(normal_url="https://wallet.example/bind"),
            )
        case _:
            return success


def _settles(answer: Result) -> bool:
    """Say whether this answer also tells what became of the tries before it."""
    return answer.result_class in (_C.DONE, _C.DONE_ALREADY, _C.REFUSED, _C.FINAL, _C.STILL_LIVE)
