"""The simulated hub keeps the seam's rules: the gate, the quick tries, what is undecided, the ledger."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from contracts.requests import UnbindingRequested
from contracts.states import Step
from tests.simulation.hub import Act, Caller, PaymentSide, SimHub
from tests.simulation.loop import SimLoop, run
from tests.simulation.network import Network
from worker.ports import NotBegun
from worker.saga.results import Call, Result, ResultClass

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = UnbindingRequested.model_validate(
    {
        "bindingId": "b",
        "initiator": "wallet",
        "requestedAt": "2026-01-01T00:00:00Z",
        "authClientId": "c",
        "referenceMerchantId": "m",
        "accessToken": "t",
        "agreement": {
            "authMerchantId": "a",
            "merchantAgreementId": "1",
            "activatedVia": "bills_and_utilities",
        },
    }
)
TOKEN, AGREEMENT = "token:t", "agreement:a/1"


def opened() -> None:
    """Let each attempt begin."""


def performed(
    side: PaymentSide,
    step: Step,
    *,
    quick: int = 0,
    gate: Callable[[], None] = opened,
    undecided: bool = False,
) -> Result:
    """Perform one call of the step at this payment side."""
    loop = SimLoop()
    network = Network(loop=loop, random=Random(1))  # noqa: S311 - a seed, no secret
    caller = Caller(name="w", now=lambda: 0, moment=lambda: loop.steps, owner=lambda _: "w")
    hub = SimHub(side=side, network=network, caller=caller)
    call = Call(saga_id="s", step=step, attempt=1, quick=quick, undecided=undecided)
    return run(loop, hub.perform(call, REQUEST, gate))


def refusing_from(number: int) -> Callable[[], None]:
    """Return a gate that lets fewer attempts than `number` begin."""
    passed: list[None] = []

    def gate() -> None:
        passed.append(None)
        if len(passed) >= number:
            raise NotBegun

    return gate


def test_refused_first_attempt_never_began() -> None:
    """A gate that refuses the first attempt raises NotBegun, and the ledger stays empty."""
    side = PaymentSide()
    with pytest.raises(NotBegun):
        performed(side, Step.CANCEL_TOKEN, gate=refusing_from(1))
    assert side.ledger == []
    assert side.dead == set()


def test_refused_quick_try_ends_the_tries() -> None:
    """A gate that refuses a quick try ends the call with the result so far."""
    side = PaymentSide(acts={(TOKEN, Step.CANCEL_TOKEN): [Act.UNKNOWN] * 3})
    result = performed(side, Step.CANCEL_TOKEN, quick=2, gate=refusing_from(2))
    assert (result.result_class, result.tries, result.undecided) == (ResultClass.SOON, 1, True)
    assert len(side.ledger) == 1


@pytest.mark.parametrize(
    ("act", "undecided", "dead"),
    [
        (Act.OBEY, False, True),
        (Act.UNKNOWN, True, False),
        (Act.UNKNOWN_DONE, True, True),
        (Act.LOST, True, False),
        (Act.LOST_ANSWER, True, True),
        (Act.UNVERIFIED, True, True),
        (Act.NOT_SENT, False, False),
        (Act.SLOWLY, False, False),
        (Act.FAIL, False, False),
    ],
)
def test_effect_and_doubt(act: Act, *, undecided: bool, dead: bool) -> None:
    """Each act has its effect or not, and leaves the call undecided or not."""
    side = PaymentSide(acts={(TOKEN, Step.CANCEL_TOKEN): [act]})
    result = performed(side, Step.CANCEL_TOKEN)
    assert result.undecided is undecided
    assert (TOKEN in side.dead) is dead


@pytest.mark.parametrize(
    ("undecided", "expected"), [(True, ResultClass.DONE_ALREADY), (False, ResultClass.FINAL)]
)
def test_dead_token_is_success_only_after_doubt(*, undecided: bool, expected: ResultClass) -> None:
    """INVALID_TOKEN means done after an own undecided attempt, and is final at first."""
    side = PaymentSide(dead={TOKEN}, dead_token_is_success=False)
    assert performed(side, Step.CANCEL_TOKEN, undecided=undecided).result_class is expected


def test_quick_try_after_an_undecided_cancel_is_the_query() -> None:
    """After an undecided cancelByAuthInfo the quick try asks the query, which tells the truth."""
    side = PaymentSide(acts={(AGREEMENT, Step.CANCEL_AGREEMENT): [Act.UNKNOWN_DONE]})
    result = performed(side, Step.CANCEL_AGREEMENT, quick=1)
    assert result.result_class is ResultClass.DONE_ALREADY
    assert [attempt.query for attempt in side.ledger] == [False, True]
    live = PaymentSide(acts={(AGREEMENT, Step.CANCEL_AGREEMENT): [Act.UNKNOWN]})
    assert performed(live, Step.CANCEL_AGREEMENT, quick=1).result_class is ResultClass.STILL_LIVE


def test_consult_of_a_dead_token_is_final() -> None:
    """Asked about a token that is dead, consult says F: the reason why it must not be asked again."""
    assert performed(PaymentSide(dead={TOKEN}), Step.CONSULT).result_class is ResultClass.FINAL


def test_stopped_line() -> None:
    """A stopped line refuses each call and does nothing."""
    side = PaymentSide(stopped={"tokens"})
    assert performed(side, Step.CANCEL_TOKEN).result_class is ResultClass.LINE_STOP
    assert side.dead == set()


def test_cancelled_call_may_still_have_its_effect() -> None:
    """A call that is cancelled after its gate stands in the ledger, and its effect comes all the same."""
    loop, side, began = SimLoop(), PaymentSide(), asyncio.Event()
    network = Network(loop=loop, random=Random(1))  # noqa: S311 - a seed, no secret
    caller = Caller(name="w", now=lambda: 0, moment=lambda: loop.steps, owner=lambda _: "w")
    hub = SimHub(side=side, network=network, caller=caller)

    async def main() -> None:
        call = asyncio.ensure_future(
            hub.perform(Call(saga_id="s", step=Step.CANCEL_TOKEN, attempt=1), REQUEST, began.set)
        )
        await began.wait()
        call.cancel()
        await asyncio.wait([call])
        await asyncio.sleep(10)

    run(loop, main())
    assert len(side.ledger) == 1
    assert side.dead == {TOKEN}
