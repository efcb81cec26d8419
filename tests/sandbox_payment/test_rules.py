"""Rules and behaviours as text: what is read, what is refused and how, and which rule decides."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.states import Step
from worker.sandbox.payment import (
    BehaviourError,
    Rules,
    RulesError,
    load_rules,
    parse_behaviour,
    parse_rules,
    parse_script,
)
from worker.sandbox.payment.apis import APIS
from worker.sandbox.payment.behaviour import WORDLESS, Leaving, Saying, Seal, turn_at
from worker.sandbox.payment.behaviour_text import KNOWN
from worker.sandbox.payment.rules import Choice

KNOWS = {api.step: api.sayings.keys() for api in APIS}

WORDS = st.sampled_from(
    [
        "allow",
        "S",
        "F",
        "U",
        "F RISK_REJECT",
        "U SUCCESS",
        "S PROCESS_FAIL",
        "refuse",
        "refuse an open bill",
        "never issued",
        "permission odd",
        "result missing",
        "garbage",
        "signed garbage",
    ]
)
SEALS = st.sampled_from(
    ["wrong signature", "unsigned", "old key version", "wrong client id", "wrong time header"]
)
SPOKEN = st.sampled_from(["half answer", "trickle", "trickle 5"])
UNSPOKEN = st.sampled_from(["hang", "reset", "junk"])
REST = st.sampled_from(["slow 20", "slow 20 ms", "done"])
STATUSES = st.sampled_from(["429", "503 9", "http 418", "http 500 1"])
BEHAVIOURS = (
    st.one_of(
        st.tuples(WORDS, SEALS, SPOKEN, STATUSES),
        st.tuples(UNSPOKEN, REST),
        st.tuples(WORDS, REST),
        st.tuples(WORDS),
    )
    .flatmap(st.permutations)
    .map(" + ".join)
)
COUNTS = st.one_of(st.none(), st.integers(min_value=1, max_value=5))


def ask(
    rules: Rules,
    *,
    token: str = "tok_1",  # noqa: S107 - synthetic
    step: Step = Step.CANCEL_TOKEN,
    nth: int = 0,
    taken: Any = None,
) -> Choice:
    """Ask the rules about one call."""
    return rules.choose(step=step, token=token, nth=nth, taken=taken or {}, knows=KNOWS[step])


@given(BEHAVIOURS)
def test_clauses_may_stand_in_any_order(text: str) -> None:
    """A behaviour is the same whatever the order of its clauses, and keeps its text."""
    read = parse_behaviour(text)
    turned = parse_behaviour(" + ".join(reversed(text.split(" + "))))
    assert read.text == text
    assert all(getattr(read, name) == getattr(turned, name) for name in read.__slots__ if name != "text")


@given(st.lists(st.tuples(BEHAVIOURS, COUNTS), min_size=1, max_size=5))
def test_a_script_takes_each_turn_so_often_and_the_last_for_ever(parts: list[tuple[str, int | None]]) -> None:
    """A script is each behaviour N times, one without a number once, the last without one for ever."""
    texts = [text if times is None else f"{text} {times} times" for text, times in parts]
    script = parse_script(" then ".join(texts))
    expected = [text for text, times in parts for _ in range(times or 1)]
    taken = [turn_at(script, number) for number in range(len(expected))]
    assert [behaviour.text for behaviour in taken if behaviour] == expected
    after = turn_at(script, len(expected) + 7)
    assert (None if after is None else after.text) == (parts[-1][0] if parts[-1][1] is None else None)
    assert parse_script(texts) == script


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    """No text makes the reader raise anything but its own error."""
    said = ""
    try:
        said = repr(parse_script(text))
    except BehaviourError as error:
        said = str(error)
    assert said


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["rules", "do", "api", "token", "prefix", "rate", "seed", "default", "name"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused_with_its_problems(data: Any) -> None:
    """No document makes the reader raise anything but RulesError, which lists problems."""
    problems: tuple[str, ...] = ("none",)
    try:
        parse_rules(data)
    except RulesError as error:
        problems = error.problems
    assert problems


@given(st.integers(), st.floats(min_value=0, max_value=1))
def test_a_rate_hits_about_its_fraction(seed: int, rate: float) -> None:
    """Over many tokens a rule hits its fraction of calls, whatever the seed; 0 never, 1 always."""
    rules = parse_rules({"seed": seed, "rules": [{"do": "F", "rate": rate}]})
    hits = Counter(ask(rules, token=f"t{number}").rule for number in range(400))["rule 1"] / 400
    assert abs(hits - rate) < 0.15
    if rate in {0, 1}:
        assert hits == rate


@pytest.mark.parametrize("form", KNOWN)
def test_every_form_that_messages_show_is_read(form: str) -> None:
    """What an error lists as known can be written."""
    example = form.replace("[CODE]", "ANY_CODE").replace("[REASON]", "because")
    example = (
        example.replace("[SECONDS]", "3").replace("[MS]", "3").replace("STATUS", "502").replace("MS", "3")
    )
    example = example.replace("SECONDS", "-3").replace("after TEXT", "after Fri, 31 Dec 2999 23:59:59 GMT")
    assert parse_behaviour(example).text == example


def test_every_saying_seal_and_way_of_leaving_can_be_written() -> None:
    """No member of the three lists is out of a person's reach."""
    texts = [
        "allow",
        "refuse",
        "F",
        "never issued",
        "permission missing",
        "permission odd",
        "permission boolean",
        "result missing",
        "garbage",
        "signed garbage",
        "503",
        "wrong signature",
        "unsigned",
        "old key version",
        "wrong client id",
        "wrong time header",
        "wrong path",
        "no client id",
        "no time header",
        "empty",
        "huge",
        "odd chunks",
        "overlong",
        "interim",
        "redirect",
        "hang",
        "reset",
        "lost",
        "half answer",
        "trickle",
        "junk",
    ]
    read = [parse_behaviour(text) for text in texts]
    assert {behaviour.saying for behaviour in read} == set(Saying)
    assert {behaviour.seal for behaviour in read} == set(Seal)
    assert {behaviour.leaving for behaviour in read} == set(Leaving)


def test_every_api_says_what_every_api_must_say() -> None:
    """Each API has words for success, for any code and for a token that was never issued."""
    for api in APIS:
        assert {Saying.ALLOW, Saying.CODE, Saying.NEVER_ISSUED} <= api.sayings.keys()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("explode", "'explode' is no behaviour; known are: allow"),
        ("U + F", "settles what is said twice"),
        ("hang + reset", "settles how it leaves twice"),
        ("lost + done", "settles the effect twice"),
        ("hang + U", "no word leaves"),
        ("slow 999999999", "longer than a day"),
        ("F lower", "'F lower' is no behaviour"),
        ("", "'' is no behaviour"),
    ],
)
def test_a_wrong_behaviour_is_refused_in_words(text: str, problem: str) -> None:
    """The error says what is wrong with which text."""
    with pytest.raises(BehaviourError) as error:
        parse_script(text)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"rules": [{"do": "allow"}, {"do": "explode"}]}, "rules.2: do: 'explode' is no behaviour"),
        (
            {"rules": [{"do": "allow", "api": "offer"}]},
            "rules.1.api: Input should be 'consult' or 'cancel_token'",
        ),
        ({"rules": [{"do": "allow", "token": "a", "prefix": "b"}]}, "rules.1: has both 'token' and 'prefix'"),
        ({"rules": [{"do": "allow", "rate": 1.5}]}, "rules.1.rate: Input should be less than or equal to 1"),
        ({"rules": [{"do": "allow", "rat": 1}]}, "rules.1.rat: Extra inputs are not permitted"),
        ({"rules": [{}]}, "rules.1.do: Field required"),
        ({"rules": [{"do": "allow", "name": "a"}, {"do": "F", "name": "a"}]}, "the name 'a' stands twice"),
        ({"rules": [{"do": "allow", "name": "default"}]}, "the name 'default' is the sandbox's own"),
        ({"default": "no"}, "default: 'no' is no behaviour"),
        ({"revoked_consult": "hang"}, "revoked_consult: 'hang' says nothing"),
        ({"latency_ms": -1}, "latency_ms: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_document_is_refused_with_the_place(data: dict[str, Any], problem: str) -> None:
    """Each problem names its place in the document, rules counted from 1."""
    with pytest.raises(RulesError) as error:
        parse_rules(data)
    assert any(problem in found for found in error.value.problems), error.value.problems


def test_all_problems_are_listed_at_once() -> None:
    """A document with three mistakes gives three problems."""
    with pytest.raises(RulesError) as error:
        parse_rules({"seed": "x", "rules": [{"do": "explode"}, {"do": "allow", "rate": -1}]})
    assert len(error.value.problems) == 3


def test_the_first_rule_that_fits_decides() -> None:
    """Exact tokens, prefixes and rules for all are asked in the order of the document."""
    rules = parse_rules(
        {
            "rules": [
                {"name": "one", "do": "F", "prefix": "tok_"},
                {"name": "two", "do": "U", "token": "tok_1"},
                {"name": "three", "do": "U", "token": "other"},
                {"name": "four", "do": "reset"},
            ]
        }
    )
    assert [ask(rules, token=token).rule for token in ("tok_1", "tok_2", "other", "else")] == [
        "one",
        "one",
        "three",
        "four",
    ]


def test_a_used_up_script_leaves_the_call_to_the_next_rule() -> None:
    """A counted script stops to apply; what comes after it decides."""
    rules = parse_rules({"rules": [{"name": "a", "do": "U 2 times"}, {"name": "b", "do": "F 1 time"}]})
    step = Step.CANCEL_TOKEN
    assert ask(rules, taken={(step, "a"): 1}).rule == "a"
    assert ask(rules, taken={(step, "a"): 2}).rule == "b"
    assert ask(rules, taken={(step, "a"): 2, (step, "b"): 1}).rule == "default"


def test_a_rule_applies_to_its_api_only() -> None:
    """A rule for one API leaves the other alone, and so does one that the other has no words for."""
    rules = parse_rules({"rules": [{"do": "U", "api": "consult"}, {"do": "refuse"}]})
    assert ask(rules, step=Step.CONSULT).rule == "rule 1"
    assert ask(rules, step=Step.CANCEL_TOKEN).rule == "default"


def test_the_default_can_be_set_and_does_not_undo_the_token_words() -> None:
    """Calls without rule or word get the default."""
    rules = parse_rules({"default": "U"})
    assert ask(rules).behaviour.status == "U"
    assert ask(rules, token="demo.allow.1").behaviour.saying is Saying.ALLOW


def test_files_of_both_forms_are_read(tmp_path: Path) -> None:
    """TOML and JSON give the same rules."""
    (tmp_path / "rules.toml").write_text(
        'seed = 7\n[[rules]]\nprefix = "tok_"\nrate = 0.5\ndo = ["U 2 times", "allow"]\n'
    )
    document = {"seed": 7, "rules": [{"prefix": "tok_", "rate": 0.5, "do": ["U 2 times", "allow"]}]}
    (tmp_path / "rules.json").write_text(json.dumps(document))
    assert load_rules(tmp_path / "rules.toml").document == load_rules(tmp_path / "rules.json").document


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.toml", "seed = ", "is not TOML"),
        ("a.json", "{", "is not JSON"),
        ("a.toml", None, "cannot be read"),
        ("a.json", "[]", "valid dictionary"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str | None, problem: str
) -> None:
    """The error names the file and what is wrong with it."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(RulesError, match=problem) as error:
        load_rules(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_silent_ways_of_leaving_have_an_effect_only_when_told() -> None:
    """Nothing is revoked where nothing is said, unless `done` is written."""
    for text in ("hang", "reset", "junk"):
        assert parse_behaviour(text).leaving in WORDLESS
        assert not parse_behaviour(text).has_effect
        assert parse_behaviour(f"{text} + done").has_effect
    assert parse_behaviour("lost").has_effect
    assert parse_behaviour("wrong signature").has_effect
    assert not parse_behaviour("S PROCESS_FAIL").has_effect
