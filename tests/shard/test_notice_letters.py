"""What evidence does to a dead letter: it goes with its cause, and stands where its cause stands."""

from __future__ import annotations

import pytest

from contracts.states import Step
from tests.shard.desk import FAILED, Desk, home
from tests.shard.test_evidence_and_orders import NAMED
from tests.shard.test_lanes import AGREEMENT
from worker.ports import Input

pytestmark = pytest.mark.promise("P6", "P7")

A = home("a")


def evidence(desk: Desk) -> list[str | None]:
    """Return the evidence of each published state."""
    return [event.get("evidence") for event in desk.states()]


def test_evidence_takes_away_the_cause_of_a_letter(desk: Desk) -> None:
    """Parked at the token: its notice removes the letter, is told, and the saga goes on to what is left."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A, agreement=AGREEMENT)
        await desk.until(desk.letters)
        await desk.crash()
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "allowed", "parked", "revoked", "revoked", "unbound"]
        assert evidence(desk)[3:] == ["notice", None, "notice"]
        assert desk.letters() == {}
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT]

    desk.play(story())


def test_evidence_about_another_step_leaves_a_letter_as_it_stands(desk: Desk) -> None:
    """Parked at the token: the agreement's notice keeps the letter and its sequence, and spares a call."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A, agreement=AGREEMENT)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        desk.notice(bindingId=A, **NAMED)
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        await desk.crash()
        assert desk.letters() == {key: letter}
        desk.command(key, letter.sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told()[2:] == ["parked", "resumed", "revoked", "unbound"]
        assert Step.CANCEL_AGREEMENT not in desk.hub.steps()

    desk.play(story())
