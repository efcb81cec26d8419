import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts import asyncapi, generate, wire
from contracts.cloudevents import read_event
from contracts.events import EVENTS
from contracts.topics import TOPICS, LogicalTopic
from contracts.wire import InvalidEvent, read_data
from contracts.yaml_text import to_yaml
from tests.contracts.json_schema import fits
from tests.contracts.samples import SAMPLES, record_of

PACKAGE = Path(str(contracts.__file__)).parent
SCHEMAS = {event_type: generate.schema(event_type) for event_type in EVENTS}


def accepts(event_type: str, data: dict[str, Any]) -> bool:
    """Say whether the model of the event takes the data."""
    try:
        read_data(EVENTS[event_type].model, data)
    except InvalidEvent:
        return False
    return True


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside a JSON value."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(child)


def test_the_committed_files_are_the_generated_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m contracts.generate --check` finds nothing to say."""
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_check_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed, a missing and a foreign file each make it fail, with a summary; generating repairs all."""
    assert generate.main(["--into", str(tmp_path)]) == 0
    assert generate.main(["--into", str(tmp_path), "--check"]) == 0
    schemas = tmp_path / "schemas"
    (schemas / "hold.placed.v1.json").write_text("{}\n", encoding="utf-8")
    (schemas / "token.canceled.v1.json").unlink()
    (schemas / "old.v1.json").write_text("{}", encoding="utf-8")
    assert generate.main(["--into", str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().out
    assert "schemas/hold.placed.v1.json (generated)" in said
    assert "more lines of schemas/token.canceled.v1.json" in said
    assert "schemas/old.v1.json belongs to no event" in said
    assert "run python -m contracts.generate" in said
    assert generate.main(["--into", str(tmp_path)]) == 0
    assert generate.main(["--into", str(tmp_path), "--check"]) == 0


@pytest.mark.parametrize("event_type", EVENTS)
def test_samples_are_true(event_type: str) -> None:
    """Each sample is a readable event of its type whose data fit the model and the schema."""
    event = read_event(*record_of(event_type))
    assert event.type == event_type
    assert accepts(event_type, dict(event.data))
    assert fits(SCHEMAS[event_type], dict(event.data))


@pytest.mark.parametrize("event_type", EVENTS)
def test_samples_show_every_common_field(event_type: str) -> None:
    """A sample has no field that its schema does not describe, and all that are required."""
    schema = SCHEMAS[event_type]
    described = set(schema["properties"])
    assert set(SAMPLES[event_type]["data"]) <= described
    assert set(schema["required"]) <= set(SAMPLES[event_type]["data"])


@pytest.mark.parametrize("event_type", EVENTS)
def test_every_field_is_described(event_type: str) -> None:
    """No field of any schema is left without a sentence."""
    schema = SCHEMAS[event_type]
    definitions = [schema, *schema.get("$defs", {}).values()]
    bare = [
        name
        for definition in definitions
        for name, field in definition.get("properties", {}).items()
        if "description" not in field
    ]
    assert bare == []


def test_every_pattern_has_words() -> None:
    """A pattern that a field breaks is explained by its rule, never by the pattern."""
    used = {node["pattern"] for schema in SCHEMAS.values() for node in nodes(schema) if "pattern" in node}
    explained = wire._PATTERN_RULES.keys()  # noqa: SLF001 - the list under test
    assert used - explained == {"^sealed:"}


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a sample with some fields dropped, emptied, stretched, or exchanged."""
    event_type = draw(st.sampled_from(sorted(EVENTS)))
    data = dict(SAMPLES[event_type]["data"])
    schema = SCHEMAS[event_type]
    words = sorted(
        {word for node in nodes(schema) for word in node.get("enum", [])} | {"a", "a b", "", "\n", "http://a"}
    )
    values: st.SearchStrategy[Any] = (
        st.sampled_from([None, True, 0, -1, 7, 1.5, [], {}, ["a"], [""], "x" * 33, "x" * 300, "x" * 1100])
        | st.sampled_from(words)
        | st.just("sealed:" + "x" * 200)
        | st.just("2025-03-01T00:00:00Z")
    )
    for name in draw(st.lists(st.sampled_from(sorted(schema["properties"])), max_size=4, unique=True)):
        if draw(st.booleans()):
            data.pop(name, None)
        else:
            data[name] = draw(values)
    return event_type, data


def misses_only_a_moment(schema: dict[str, Any], data: dict[str, Any]) -> bool:
    """Say whether text stands where a moment belongs: `format` is no rule that a schema enforces."""
    moments = [name for name, field in schema["properties"].items() if "date-time" in json.dumps(field)]
    return any(isinstance(data.get(name), str) and len(data[name]) != 20 for name in moments)


@given(mutations())
def test_models_and_schemas_draw_the_same_line(case: tuple[str, dict[str, Any]]) -> None:
    """What the model takes the schema takes, and the other way round, but for the format of moments."""
    event_type, data = case
    by_schema, by_model = fits(SCHEMAS[event_type], data), accepts(event_type, data)
    assert by_schema or not by_model
    if by_schema and not misses_only_a_moment(SCHEMAS[event_type], data):
        assert by_model


def test_asyncapi_shows_every_public_topic_and_event() -> None:
    """The journal alone is left out; every reference leads somewhere."""
    document = asyncapi.document(SAMPLES)
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {about.name for about in TOPICS.values()} - {TOPICS[LogicalTopic.JOURNAL].name}
    shown = {message["name"] for message in document["components"]["messages"].values()}
    assert shown == {*EVENTS, "dead-letter"}
    for node in nodes(document):
        reference = node.get("$ref", "#")
        if reference.startswith("#"):
            target: Any = document
            for part in reference.split("/")[1:]:
                target = target[part]
        else:
            assert (PACKAGE / reference).is_file()


def test_asyncapi_says_what_the_worker_reads_and_writes() -> None:
    """Operations follow from who writes and who reads a topic."""
    operations = asyncapi.document(SAMPLES)["operations"]
    assert {name for name, about in operations.items() if about["action"] == "receive"} == {
        "receiveRequests",
        "receiveNotices",
        "receiveCommands",
        "receiveHolds",
    }
    assert {name for name, about in operations.items() if about["action"] == "send"} == {
        "sendRequests",
        "sendNotices",
        "sendStates",
        "sendDeadLetters",
        "sendVerdicts",
    }


def test_yaml_quotes_what_could_be_misread() -> None:
    """Text that looks like another type, or like syntax, is quoted; containers nest by two blanks."""
    document = {"a": "no", "b": "1.0", "c": "two words", "d": [{"e": None, "f": []}, "x: y", True], "n": {}}
    assert to_yaml(document).splitlines() == [
        'a: "no"',
        'b: "1.0"',
        "c: two words",
        "d:",
        "  - e: null",
        "    f: []",
        '  - "x: y"',
        "  - true",
        '"n": {}',
    ]
