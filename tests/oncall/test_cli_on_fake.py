"""The command line on a cluster in memory: the common suite, and what needs answers or a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.cloudevents import read_event
from contracts.commands import CommandKind, read_command
from contracts.states import State, Step
from contracts.topics import LogicalTopic
from tests.oncall.cli_suite import CliSuite, json_lines
from tests.oncall.examples import (
    OTHER_SAGA,
    SAGA,
    letter_headers,
    lines,
    put_letter,
    put_state,
    request,
    verdict_record,
)
from tests.oncall.worlds import FakeWorld
from worker.kafka.topics import Finding, Remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.oncall.cluster import Message

REPLAY = ("letters", "replay", "--why", "outage over", "--timeout", "5s", "--yes")
MISSING = Finding(
    topic=LogicalTopic.REQUESTS,
    name="unbinding.requests",
    what="topic unbinding.requests is missing",
    to_do="create it",
    remedy=Remedy.CREATE,
    serious=True,
)
TOO_FEW = Finding(
    topic=LogicalTopic.STATES,
    name="binding.states",
    what="topic binding.states has 1 replicas, not 3",
    to_do="reassign its partitions",
    remedy=Remedy.BY_HAND,
    serious=False,
)


@pytest.fixture
def world() -> FakeWorld:
    """Give a world of the test's own."""
    return FakeWorld()


class TestOnFake(CliSuite):
    """The common suite."""


def serve(world: FakeWorld, rulings: Mapping[str, str | None], *, then: tuple[State, ...] = ()) -> None:
    """Let a worker answer: each letter's `because`, `None` for applied, and the states that follow."""

    def served(message: Message) -> None:
        event = read_event(message.value, message.headers)
        command = read_command(event)
        if command.letter not in rulings:
            return
        because = rulings[command.letter]
        kind = CommandKind(command.type.partition(".")[0])
        value, headers = verdict_record(event.id, letter=command.letter, because=because, kind=kind)
        world.append(LogicalTopic.VERDICTS, 0, key=command.letter.encode(), value=value, headers=headers)
        for number, state in enumerate(then, command.expected_sequence + 1):
            put_state(world, state, sequence=number, saga=command.letter)

    world.cluster.served = served


def test_a_replay_is_followed_to_its_end(world: FakeWorld) -> None:
    """Verdict and states are told as they come, until the saga ends."""
    put_letter(world, letter_headers())
    serve(world, {SAGA: None}, then=(State.RESUMED, State.REVOKED, State.UNBOUND))
    result = world.run(*REPLAY, SAGA)
    assert result.exit_code == 0, result.output
    told = [line.split() for line in result.stdout.splitlines()]
    assert told[0] == [SAGA, "replay", "applied"]
    assert [line[4] for line in told[1:]] == ["resumed", "revoked", "unbound"]


def test_a_saga_that_goes_on_is_left_in_time(world: FakeWorld) -> None:
    """Where a replayed saga does not end in time, the command still succeeded, and how to follow is told."""
    put_letter(world, letter_headers())
    serve(world, {SAGA: None}, then=(State.RESUMED,))
    result = world.run(*REPLAY, SAGA)
    assert result.exit_code == 0
    assert f"unbinding watch --saga {SAGA}" in result.stderr


def test_states_of_before_the_replay_do_not_end_it(world: FakeWorld) -> None:
    """States with sequences up to the letter's own are old news, however late they come."""
    put_letter(world, letter_headers(sequence=9))
    serve(world, {SAGA: None})
    respond = world.cluster.served

    def late(message: Message) -> None:
        respond(message)
        put_state(world, State.UNBOUND, sequence=9)

    world.cluster.served = late
    result = world.run(*REPLAY, SAGA, "--json")
    assert [line.keys() - {"letter"} for line in json_lines(result.stdout)] == [{"verdict"}]
    assert "unbinding watch" in result.stderr


def test_a_refusal_says_why_and_what_is_lawful(world: FakeWorld) -> None:
    """A refused command ends with code 4, the reason and the lawful command."""
    put_letter(world, letter_headers())
    serve(world, {SAGA: "the saga is not parked"})
    result = world.run(*REPLAY, SAGA)
    assert result.exit_code == 4
    assert "refused: the saga is not parked" in result.stdout
    assert f"instead: unbinding letters discard {SAGA}" in result.stdout


def test_some_refused_is_partly_done(world: FakeWorld) -> None:
    """Where one of two is applied the code is 3, as where one is refused and the other has no verdict."""
    put_letter(world, letter_headers())
    put_letter(world, letter_headers(OTHER_SAGA))
    serve(world, {SAGA: None, OTHER_SAGA: "stale"}, then=(State.UNBOUND,))
    assert world.run(*REPLAY, SAGA, OTHER_SAGA).exit_code == 3
    serve(world, {OTHER_SAGA: "stale"})
    assert world.run(*REPLAY, SAGA, OTHER_SAGA).exit_code == 3


def test_a_discard_waits_for_its_verdict_alone(world: FakeWorld) -> None:
    """A discard is complete with its verdict; no states are waited for."""
    put_letter(world, letter_headers())
    serve(world, {SAGA: None})
    result = world.run("letters", "discard", SAGA, "--why", "closed by hand", "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{SAGA}  discard applied\n"


def test_a_verdict_on_another_command_does_not_count(world: FakeWorld) -> None:
    """A verdict on the same letter, but for somebody else's command, is not taken for ours."""
    put_letter(world, letter_headers())
    value, headers = verdict_record("of-somebody-else")
    world.cluster.served = lambda _message: world.append(
        LogicalTopic.VERDICTS, 0, key=SAGA.encode(), value=value, headers=headers
    )
    assert world.run(*REPLAY, SAGA).exit_code == 1


def test_a_letter_named_twice_is_ordered_once(world: FakeWorld) -> None:
    """A key and its start name one letter: one command."""
    put_letter(world, letter_headers())
    serve(world, {SAGA: None}, then=(State.UNBOUND,))
    assert world.run(*REPLAY, SAGA, SAGA[:5]).exit_code == 0
    assert len(world.records(LogicalTopic.COMMANDS)) == 1


def test_start_and_force_reach_the_command(world: FakeWorld) -> None:
    """`--from start` and `--force` are in the command."""
    put_letter(world, letter_headers(replays=2, step=Step.CONSULT))
    world.run(*REPLAY, SAGA, "--from", "start", "--force")
    (record,) = world.records(LogicalTopic.COMMANDS)
    data = read_event(record.value, record.headers).data
    assert (data["from"], data["force"]) == ("start", True)


@pytest.mark.parametrize(("answers", "code", "count"), [(["y"], 0, 1), (["n"], 4, 0), ([], 4, 0)])
def test_a_person_is_asked(world: FakeWorld, answers: list[str], code: int, count: int) -> None:
    """Only a yes counts; a no, or the end of input, changes nothing."""
    world.answers = answers
    assert world.run("submit", "-", stdin=lines(request())).exit_code == code
    assert len(world.records(LogicalTopic.REQUESTS)) == count


def test_who_orders_must_be_known(world: FakeWorld) -> None:
    """Without a login name and without --by there is no command."""
    world.environ = {"USER": "", "LOGNAME": ""}
    put_letter(world, letter_headers())
    result = world.run(*REPLAY, SAGA)
    assert result.exit_code == 2
    assert "--by" in result.stderr


def test_a_dry_run_publishes_nothing(world: FakeWorld) -> None:
    """A dry run shows each entry and its partition, and publishes nothing."""
    result = world.run("submit", "-", "--dry-run", "--json", stdin=lines(request()))
    assert result.exit_code == 0
    assert json_lines(result.stdout)[0]["topic"] == "requests"
    assert world.records(LogicalTopic.REQUESTS) == []


def test_other_partition_counts_are_refused(world: FakeWorld) -> None:
    """Where the topic has another number of partitions than the settings say, nothing is published."""
    world.cluster.count = 12
    result = world.run("submit", "-", "--yes", stdin=lines(request()))
    assert result.exit_code == 1
    assert "topics.partitions" in result.stderr
    assert world.records(LogicalTopic.REQUESTS) == []


def test_no_letters_is_no_error(world: FakeWorld) -> None:
    """An empty list is good news: code 0, and no data."""
    result = world.run("letters", "list", "--json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no dead letter is open" in result.stderr


def test_the_list_is_limited_and_says_so(world: FakeWorld) -> None:
    """A limited list says how many there are, and begins with the longest parked."""
    for number in range(5):
        put_letter(world, letter_headers(f"saga-{number}", parked_at=1_740_000_000_000 - number))
    result = world.run("letters", "list", "--limit", "2")
    assert "5 open dead letters, the 2 longest parked" in result.stdout
    assert "saga-4" in result.stdout
    assert "saga-0" not in result.stdout


def test_a_missing_topic_is_told_in_one_text(world: FakeWorld) -> None:
    """A missing topic is one line that says what to do, without a traceback."""
    world.cluster.missing = {LogicalTopic.DEAD_LETTERS}
    result = world.run("letters", "list")
    assert result.exit_code == 1
    assert result.stderr == "unbinding: topic dead_letters is missing: unbinding topics apply\n"


def test_topics_are_checked(world: FakeWorld) -> None:
    """A serious finding ends with code 1, a warning and no finding with 0."""
    world.cluster.findings = [MISSING, TOO_FEW]
    result = world.run("topics", "check")
    assert result.exit_code == 1
    assert "topic unbinding.requests is missing" in result.stdout
    world.cluster.findings = [TOO_FEW]
    assert world.run("topics", "check").exit_code == 0
    world.cluster.findings = []
    assert world.run("topics", "check", "--json").stdout == ""


def test_topics_are_applied_after_a_yes(world: FakeWorld) -> None:
    """Nothing is applied without a yes; what only a person can do is left, with code 3."""
    world.cluster.findings = [MISSING]
    assert world.run("topics", "apply").exit_code == 4
    assert world.cluster.findings == [MISSING]
    assert world.run("topics", "apply", "--yes").exit_code == 0
    assert world.cluster.findings == []
    world.cluster.findings = [MISSING, TOO_FEW]
    result = world.run("topics", "apply", "--yes")
    assert result.exit_code == 3
    assert "reassign" in result.stdout
