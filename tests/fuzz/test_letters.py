"""Dead letters, states and verdicts as those on call read them, whatever somebody wrote onto these topics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import strategies as st

from contracts.commands import CommandKind
from contracts.states import State
from contracts.topics import LogicalTopic
from tests.fuzz.doors import door
from tests.fuzz.grammar import headers_of, value_of
from tests.fuzz.screen import check_screen, data_lines, hostile, screen
from tests.oncall.examples import SAGA, SEALED, TOKEN, letter_headers, state_record, verdict_record
from tests.oncall.worlds import NOW_AT, FakeCluster, FakeWorld
from worker.oncall.cluster import Found
from worker.oncall.letters import find, letter_of
from worker.oncall.letters_view import letter_line, letter_table, letter_whole, letters_table
from worker.oncall.watch import sight
from worker.oncall.watch_view import problem_text, sighting_line, state_text

if TYPE_CHECKING:
    from tests.fuzz.grammar import Draw, Headers

pytestmark = [
    pytest.mark.promise("P8", "P10"),
    pytest.mark.fault("letters, states and verdicts of any bytes on the topics that people read"),
]


@st.composite
def _letter(draw: Draw) -> Found:
    """Return a letter as a worker writes it, with foreign texts in it, or forged altogether."""
    texts = {
        name: draw(hostile().map(lambda text: text.encode("utf-8", "replace").decode()))
        for name in ("binding_id", "request_id", "result_code", "message")
        if draw(st.booleans())
    }
    right = letter_headers(draw(st.sampled_from((SAGA, None))), **texts)
    headers: Headers = tuple(right.to_headers())
    if draw(st.booleans()):
        headers = draw(headers_of(headers, more=[name for name, _ in headers]))
    originals = draw(st.lists(st.tuples(hostile().map(_plain), hostile().map(_raw)), max_size=2))
    headers = (*headers, *((f"ce_{name}", value) for name, value in originals))
    return Found(
        partition=draw(st.integers(0, 2)),
        offset=draw(st.integers(0, 2**63 - 1)),
        timestamp_at=draw(st.sampled_from((NOW_AT, -1, 0, 2**63 - 1, -(2**63)))),
        key=draw(st.just(right.key.encode()) | hostile().map(_raw) | st.binary(max_size=8)),
        value=draw(st.just(SEALED) | st.binary(max_size=8)),
        headers=headers,
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_WIDTHS: Final = st.sampled_from((20, 80, 200))


@door("letters", examples=80, records=st.lists(_letter(), min_size=1, max_size=3), width=_WIDTHS)
def test_any_letter_is_shown_safely(records: list[Found], width: int) -> None:
    """Any letter can be listed and shown, to people and programs, and none commands the terminal."""
    letters = [letter_of(record) for record in records]
    check_screen(screen(letters_table(letters, total=9, now_at=NOW_AT), width=width))
    for letter in letters:
        check_screen(screen(letter_table(letter), width=width))
        told = data_lines(letter_line(letter), letter_whole(letter))
        check_screen(told)
        for line in told.splitlines():
            assert json.loads(line)["key"] == letter.key
        if letter.key:
            assert find([letter], letter.key) is letter


@door("letters", examples=40, records=st.lists(_letter(), min_size=1, max_size=3), data=st.data())
def test_the_commands_for_letters_take_any_letter(records: list[Found], data: Any) -> None:
    """List, show, replay and discard end with a documented code and one clear text, whatever the letters."""
    world = FakeWorld()
    for record in records:
        world.cluster.logs[LogicalTopic.DEAD_LETTERS].append(record)
    key = letter_of(records[0]).key[: data.draw(st.integers(1, 300))] or "x"
    for arguments in (
        ("letters", "list"),
        ("letters", "list", "--json"),
        ("letters", "show", "--", key),
        ("letters", "show", "--json", "--", key),
        ("letters", "replay", "--why", "test", "--yes", "--timeout", "1s", "--", key),
        ("letters", "discard", "--why", "test", "--yes", "--timeout", "1s", "--", key),
    ):
        result = world.run(*arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), arguments
        assert result.exit_code in (0, 1, 2, 4, 5), (arguments, result.output)
        assert "should not happen" not in result.output, result.output
        assert "Traceback" not in result.output
        check_screen(result.output)


@st.composite
def _state(draw: Draw) -> Found:
    state = draw(st.sampled_from((State.WAITING, State.PARKED, State.REFUSED, State.UNBOUND)))
    facts: dict[State, dict[str, Any]] = {
        State.WAITING: {"next_attempt_at": NOW_AT},
        State.PARKED: {"reason": "failed"},
        State.REFUSED: {"refuse_reason": draw(hostile().map(_plain))},
        State.UNBOUND: {},
    }
    more = facts[state]
    value, headers = state_record(
        state,
        sequence=draw(st.integers(1, 3)),
        binding=draw(hostile().map(_plain)),
        result_code=draw(hostile().map(_plain)),
        result_message=draw(hostile().map(_plain)),
        **more,
    )
    if draw(st.booleans()):
        value = draw(value_of(json.loads(value), most=2))
    if draw(st.integers(0, 3)) == 0:
        headers = draw(headers_of(headers))
    return Found(partition=0, offset=1, timestamp_at=NOW_AT, key=b"k", value=value, headers=headers)


@door("letters", examples=200, record=_state(), width=_WIDTHS)
def test_any_state_is_shown_safely(record: Found, width: int) -> None:
    """Any record of the states topic is told as a state or as none, and none commands the terminal."""
    sighting = sight(record)
    check_screen(data_lines(sighting_line(sighting)))
    if sighting.event is None:
        check_screen(screen(problem_text(sighting), width=width))
    else:
        check_screen(screen(state_text(sighting.event), width=width))


@door("letters", examples=40, states=st.lists(_state(), min_size=1, max_size=3), data=st.data())
def test_watch_and_replay_go_on_among_any_records(states: list[Found], data: Any) -> None:
    """Following states and verdicts passes over what is none, and ends as documented."""
    world = FakeWorld(cluster=FakeCluster())
    right = letter_headers()
    world.append(
        LogicalTopic.DEAD_LETTERS, 1, key=right.key.encode(), value=SEALED, headers=tuple(right.to_headers())
    )
    value, headers = verdict_record("c", because="told", kind=CommandKind.REPLAY)
    verdict = json.loads(value) | {"because": data.draw(hostile())}
    strange = Found(
        partition=0,
        offset=0,
        timestamp_at=NOW_AT,
        key=None,
        value=data.draw(value_of(verdict)),
        headers=headers,
    )

    def served(message: object) -> None:
        del message
        world.cluster.logs[LogicalTopic.STATES].extend(states)
        world.cluster.logs[LogicalTopic.VERDICTS].append(strange)

    world.cluster.served = served
    result = world.run("letters", "replay", SAGA, "--why", "test", "--yes", "--timeout", "1s")
    assert result.exit_code == 1, result.output
    assert "no verdict came" in result.output
    check_screen(result.output)
    for json_too in ((), ("--json",)):
        result = world.run("watch", "--from", "earliest", "--until-idle", "1s", *json_too)
        assert result.exit_code in (0, 5), result.output
        assert "Traceback" not in result.output
        assert TOKEN not in result.output
        check_screen(result.output)
