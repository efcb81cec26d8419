"""Answers of every kind, judged by what the worker makes of them: events, letters, the ledger of calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.counterparts.errands import Errand, errand
from tests.faults.counterparts.habits import Habits
from tests.faults.counterparts.scene import Scene, open_scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker

pytestmark = pytest.mark.broker

FORGED = (
    "wrong signature",
    "unsigned",
    "old key version",
    "wrong client id",
    "wrong time header",
    "wrong path",
    "no client id",
    "no time header",
)
"""Ways to seal an answer so that it cannot be verified."""

LIES = ("allow", "refuse a bill is open", "F", "F INVALID_SIGNATURE", "never issued")
"""What would end a saga, stop a line or move it on, if it were believed."""

NO_ANSWER = {
    "hang + done": "NO_ANSWER",
    "reset": "NO_ANSWER",
    "reset after done": "NO_ANSWER",
    "lost": "NO_ANSWER",
    "half answer": "NO_ANSWER",
    "trickle 60000": "NO_ANSWER",
    "slow 10000": "NO_ANSWER",
    "junk": "NO_ANSWER",
    "odd chunks": "NO_ANSWER",
    "huge + done": "NO_ANSWER",
    "overlong": "NO_ANSWER",
    "garbage": "UNVERIFIED_ANSWER",
    "redirect": "UNVERIFIED_ANSWER",
    "http 500": "UNVERIFIED_ANSWER",
    "http 404": "UNVERIFIED_ANSWER",
    "empty + unsigned": "UNVERIFIED_ANSWER",
    "empty": "UNREADABLE_ANSWER",
    "signed garbage": "UNREADABLE_ANSWER",
    "result missing": "CONTRADICTORY_ANSWER",
    "S PROCESS_FAIL": "CONTRADICTORY_ANSWER",
    "U SUCCESS": "CONTRADICTORY_ANSWER",
    "U": "UNKNOWN_EXCEPTION",
    "U + done": "UNKNOWN_EXCEPTION",
    "U NEVER_HEARD_OF": "NEVER_HEARD_OF",
}
"""What leaves a call undecided, and the code under which the event tells of it."""

YES = ("interim", "clock off 7200", "clock off -86400", "http 500 + allow", "http 301 + allow")
"""Odd answers that are right: the signature fits."""

NO_PERMISSION = ("permission missing", "permission odd")
"""A consult that says `S` without the permission that goes with it."""


def rule(one: Errand, api: str, do: str) -> dict[str, Any]:
    """Tell the payment side what to do with the calls of one request."""
    return {"token": one.token, "api": api, "do": do}


@pytest.mark.promise("P1", "P3", "P6", "P9")
@pytest.mark.fault("answers of each kind, with a signature that is missing, old, or for something else")
async def test_an_answer_that_cannot_be_verified_is_no_answer(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """Whatever a forged answer says, nothing comes of it: consult lapses, a revocation stays open."""
    habits = Habits(consult="2s", cancel="3s", quick=0)
    servers = broker.bootstrap_servers
    async with open_scene(tmp_path, bootstrap_servers=servers, prefix=prefix, habits=habits) as scene:
        cases = [(lie, seal) for lie in LIES for seal in FORGED]
        asked = [errand(f"consult: {lie} + {seal}") for lie, seal in cases if lie != "never issued"]
        cancelled = [
            errand(f"cancel: {lie} + {seal}", merchant=number % 2 == 0)
            for number, (lie, seal) in enumerate(cases)
            if not lie.startswith("refuse")
        ]
        await scene.tell(
            *(rule(one, "consult", one.kind.removeprefix("consult: ")) for one in asked),
            *(rule(one, "cancel_token", one.kind.removeprefix("cancel: ")) for one in cancelled),
        )
        scene.hire("a")
        await scene.stage.settled()
        await scene.send([*asked, *cancelled])
        await scene.rest()
        await scene.judged()

        courses, letters = await scene.courses(), await scene.letters()
        for one in asked:
            events = courses[one.binding_id]
            assert states(events) == ["requested", *["waiting"] * (len(events) - 2), "lapsed"], one.kind
            assert codes(events) == {"UNVERIFIED_ANSWER"}, one.kind
        assert not await scene.calls(*asked, step="cancel_token")
        for one in cancelled:
            events = courses[one.binding_id]
            assert states(events)[-1] == "parked", one.kind
            assert not {"revoked", "unbound", "refused"} & set(states(events)), one.kind
            assert codes(event for event in events if event.get("step") == "cancel_token") == {
                "UNVERIFIED_ANSWER"
            }, one.kind
            assert letters[one.binding_id]["unbinding-reason"] == "outcome_unknown", one.kind
            assert letters[one.binding_id]["unbinding-step"] == "cancel_token", one.kind
        assert letters.keys() == {one.binding_id for one in cancelled}
        # No line was stopped by a forged word, either.
        assert not [line for line in scene.stage.lines() if line.event == "line.stopped"]


@pytest.mark.promise("P1", "P2", "P3", "P4", "P6", "P8", "P9")
@pytest.mark.fault("hangs, resets, trickles, half and false answers, odd codes, `U` that was done: one load")
async def test_every_kind_of_answer_in_one_load(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Silence and nonsense leave a call undecided and are asked again; right answers count, however odd."""
    async with open_scene(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as scene:
        asked = {do: errand(f"consult {do}") for do in NO_ANSWER}
        cancelled = {do: errand(f"cancel {do}") for do in NO_ANSWER}
        doubted = {do: errand(f"doubted {do}", merchant=True) for do in NO_ANSWER}
        yes = {do: errand(f"yes {do}") for do in YES}
        unpermitted = {do: errand(do) for do in NO_PERMISSION}
        unknown_no = errand("an unknown no", merchant=True)
        dead = errand("a dead token", merchant=True)
        reasons = {code: errand(code, merchant=True) for code in ("PROCESS_FAIL", "PARAM_ILLEGAL")}
        await scene.tell(
            *(rule(one, "consult", f"{do} 3 times then allow") for do, one in asked.items()),
            *(rule(one, "cancel_token", f"{do} 3 times then allow") for do, one in cancelled.items()),
            *(rule(one, "cancel_token", f"{do} 3 times then never issued") for do, one in doubted.items()),
            *(rule(one, api, do) for do, one in yes.items() for api in ("consult", "cancel_token")),
            *(rule(one, "consult", do) for do, one in unpermitted.items()),
            *(rule(one, "cancel_token", f"F {code}") for code, one in reasons.items()),
            rule(unknown_no, "cancel_token", "F NEVER_HEARD_OF"),
            rule(dead, "cancel_token", "never issued"),
        )
        scene.hire("a")
        await scene.stage.settled()
        errands = [*asked.values(), *cancelled.values(), *doubted.values(), *yes.values()]
        await scene.send([*errands, *unpermitted.values(), *reasons.values(), unknown_no, dead])
        await scene.rest()
        await scene.judged()

        courses, letters = await scene.courses(), await scene.letters()
        for do, one in asked.items():
            events = courses[one.binding_id]
            assert states(events) == ["requested", "waiting", "allowed", "revoked", "unbound"], do
            assert events[1]["resultCode"] == NO_ANSWER[do], do
            assert events[1]["outcome"] == "UNKNOWN", do
            assert await count(scene, one) == {"consult": 4, "cancel_token": 1}, do
        for do, one in cancelled.items():
            events = courses[one.binding_id]
            assert states(events) == ["requested", "allowed", "waiting", "revoked", "unbound"], do
            assert events[2]["resultCode"] == NO_ANSWER[do], do
            # An own `S` ended it: no other evidence was needed.
            assert "evidence" not in events[-1], do
            assert await count(scene, one) == {"consult": 1, "cancel_token": 4}, do
        for do, one in doubted.items():
            events = courses[one.binding_id]
            assert states(events) == ["requested", "waiting", "revoked", "unbound"], do
            # "No such token" after an own undecided attempt: that attempt ended it.
            assert events[-1]["evidence"] == "already_unbound", do
        for do, one in yes.items():
            assert states(courses[one.binding_id]) == ["requested", "allowed", "revoked", "unbound"], do
            assert await count(scene, one) == {"consult": 1, "cancel_token": 1}, do
        for do, one in unpermitted.items():
            events = courses[one.binding_id]
            assert set(states(events)) == {"requested", "waiting", "lapsed"}, do
            assert codes(events) == {"INCOMPLETE_ANSWER"}, do
        # Said at the first attempt, "no such token" is no success: it may have been refreshed.
        parked = {**reasons, "NEVER_HEARD_OF": unknown_no, "INVALID_TOKEN": dead}
        for code, one in parked.items():
            assert states(courses[one.binding_id]) == ["requested", "parked"], code
            letter = letters[one.binding_id]
            assert (letter["unbinding-reason"], letter["unbinding-result-code"]) == ("failed", code)
        assert letters.keys() == {one.binding_id for one in parked.values()}


async def count(scene: Scene, one: Errand) -> Counter[str]:
    """Count the calls of one request, by step."""
    return Counter(call.step for call in await scene.calls(one))


def states(events: list[dict[str, Any]]) -> list[str]:
    """Return the states of a course."""
    return [event["state"] for event in events]


def codes(events: Any) -> set[str]:
    """Return the result codes that a course tells of, a permission's apart."""
    return {event["resultCode"] for event in events if "resultCode" in event and event["state"] != "allowed"}
