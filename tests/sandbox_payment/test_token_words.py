"""The little language of demo tokens."""

import pytest

from contracts.states import Step
from tests.sandbox_payment.plain_client import cancel, consult
from worker.sandbox.payment import Sandbox, TokenWordError, parse_rules
from worker.sandbox.payment.token_words import WORDS, wish


def turns(token: str, step: Step = Step.CANCEL_TOKEN) -> list[tuple[str, int | None]]:
    """Return what a token asks for, as text and number."""
    return [(turn.behaviour.text, turn.times) for turn in wish(token, step).script]


def test_words_take_their_turns_per_api() -> None:
    """A scoped word counts at its API only, numbers say how often, order is kept."""
    token = "demo.consult-unknown1.cancel-lost2.busy.0042"
    assert turns(token, Step.CONSULT) == [("U", 1), ("U REQUEST_TRAFFIC_EXCEED_LIMIT", None)]
    assert turns(token) == [("lost", 2), ("U REQUEST_TRAFFIC_EXCEED_LIMIT", None)]


def test_any_code_can_be_said() -> None:
    """F-CODE and U-CODE say that code."""
    assert turns("demo.F-RISK_REJECT2.U-ODD.x") == [("F RISK_REJECT", 2), ("U ODD", None)]


def test_slow_adds_up_and_keeps_to_its_api() -> None:
    """The word slowN delays by N milliseconds where it is scoped to."""
    assert wish("demo.slow200.consult-slow50.1", Step.CONSULT).slow_ms == 250
    assert wish("demo.slow200.consult-slow50.1", Step.CANCEL_TOKEN).slow_ms == 200


@pytest.mark.parametrize(
    "token", ["tok_1", "demonstration.refuse.1", "xdemo.hang.1", "demo", "demo.1", "demo."]
)
def test_other_tokens_ask_nothing(token: str) -> None:
    """Tokens of other forms, and the free name at the end, are not looked at."""
    assert turns(token) == []


@pytest.mark.parametrize("word", ["refused", "", "slow", "hang-1", "CONSULT-hang", "F-", "2"])
def test_an_unknown_word_is_refused(word: str) -> None:
    """A slip of the pen is an error that lists the words, not an allowed call."""
    with pytest.raises(TokenWordError):
        wish(f"demo.{word}.1", Step.CONSULT)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_a_behaviour(word: str) -> None:
    """Each word of the table can be read, with and without scope and number."""
    assert turns(f"demo.{word}.1") == [(WORDS[word], None)]
    assert turns(f"demo.cancel-{word}3.1") == [(WORDS[word], 3)]


@pytest.mark.wire
async def test_a_demo_token_tells_the_sandbox_what_to_do(box: Sandbox) -> None:
    """Without any rule a demo token is unknown once, allowed, lost once, and revoked."""
    token = "demo.consult-unknown1.cancel-lost1.0042"
    assert [(await consult(box, token)).result[0] for _ in range(2)] == ["U", "S"]
    assert (await cancel(box, token)).ended == "closed"
    assert (await cancel(box, token)).result == ("S", "SUCCESS")
    assert [call.rule for call in box.ledger.calls()] == ["token words", "default", "token words", "default"]
    assert (await consult(box, "demo.refuse.001")).json["allowUnbinding"] == "false"


@pytest.mark.wire
async def test_a_slip_in_a_demo_token_is_answered_as_illegal(box: Sandbox) -> None:
    """An unknown word is F PARAM_ILLEGAL with the known words, and revokes nothing."""
    heard = await cancel(box, "demo.refused.1")
    assert heard.result == ("F", "PARAM_ILLEGAL")
    assert "refused" in heard.json["result"]["resultMessage"]
    assert box.ledger.token("demo.refused.1").is_live


@pytest.mark.wire
async def test_token_words_can_be_switched_off_and_rules_go_first(box: Sandbox) -> None:
    """With token_words = false demo tokens are tokens like others; with a rule the rule decides."""
    box.rules = parse_rules({"token_words": False})
    assert (await cancel(box, "demo.fail.1")).result == ("S", "SUCCESS")
    box.rules = parse_rules({"rules": [{"do": "U", "prefix": "demo."}]})
    assert (await cancel(box, "demo.fail.2")).result[0] == "U"
