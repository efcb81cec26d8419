"""What the command line does on any cluster: the suite that the fake and Apache Kafka both pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from contracts.cloudevents import read_event
from contracts.commands import DiscardRequested, ReplayFrom, ReplayRequested, read_command
from contracts.states import Outcome, Reason, State, Step
from contracts.topics import LogicalTopic, partition_of
from tests.oncall.examples import (
    OTHER_SAGA,
    SAGA,
    SEALED,
    TOKEN,
    letter_headers,
    lines,
    notice,
    put_letter,
    put_state,
    request,
)
from tests.oncall.worlds import PARTITIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.oncall.worlds import World


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return standard output as the programs that read it do: every line is JSON."""
    return [json.loads(line) for line in text.splitlines()]


class CliSuite:
    """Commands and what they leave behind; a subclass gives the fixture `world`."""

    def test_submitted_requests_lie_where_their_shard_reads_them(self, world: World, tmp_path: Path) -> None:
        """Each request lies under its key in its binding's partition, as it was given, and is told there."""
        file = tmp_path / "requests.jsonl"
        given = [request(f"bnd-{number}") for number in range(5)]
        file.write_text(lines(*given))
        result = world.run("submit", str(file), "--yes", "--json", "--source", "/wallet/app")
        assert result.exit_code == 0, result.output
        told = {line["bindingId"]: line for line in json_lines(result.stdout)}
        found = world.records(LogicalTopic.REQUESTS)
        assert len(found) == len(told) == 5
        for record in found:
            event = read_event(record.value, record.headers)
            binding = event.data["bindingId"]
            assert event.data == request(binding)
            assert event.source == "/wallet/app"
            assert event.id == told[binding]["id"]
            assert record.key == binding.encode()
            assert record.partition == partition_of(binding, PARTITIONS) == told[binding]["partition"]
            assert record.offset == told[binding]["offset"]

    def test_notices_go_to_their_own_topic(self, world: World) -> None:
        """A notice goes to the notices, by its binding where it has one, from standard input as well."""
        given = lines(notice(), notice(bindingId="bnd-7", noticeId="ntc-2"))
        result = world.run("submit", "-", "--yes", stdin=given)
        assert result.exit_code == 0, result.output
        keys = {record.key: record.partition for record in world.records(LogicalTopic.NOTICES)}
        assert keys.keys() == {None, b"bnd-7"}
        assert keys[b"bnd-7"] == partition_of("bnd-7", PARTITIONS)
        assert world.records(LogicalTopic.REQUESTS) == []

    def test_one_wrong_entry_keeps_all_back(self, world: World) -> None:
        """Where one entry is wrong nothing is published; its line and field are told, never its values."""
        wrong = request("bnd-2", initiator=TOKEN)
        result = world.run("submit", "-", "--yes", stdin=lines(request(), wrong))
        assert result.exit_code == 1
        assert "line 2: initiator must be one of" in result.stderr
        assert TOKEN not in result.output
        assert world.records(LogicalTopic.REQUESTS) == []

    def test_nothing_is_changed_unasked(self, world: World) -> None:
        """Without a person to ask and without --yes: the plan, a clear refusal, and no change."""
        put_letter(world, letter_headers())
        for arguments in (
            ("submit", "-"),
            ("letters", "replay", SAGA, "--why", "test"),
            ("letters", "discard", SAGA, "--why", "test"),
        ):
            result = world.run(*arguments, stdin=lines(request()))
            assert result.exit_code == 4
            assert "--yes" in result.stderr
            assert result.stdout == ""
        assert world.records(LogicalTopic.REQUESTS) == []
        assert world.records(LogicalTopic.COMMANDS) == []

    def test_open_letters_are_listed(self, world: World) -> None:
        """The list has the letters that are open now: not the resolved ones, the latest writing of each."""
        put_letter(world, letter_headers(OTHER_SAGA, reason=Reason.EXPIRED), partition=0)
        put_letter(world, letter_headers(sequence=5))
        put_letter(world, letter_headers("aaaa"))
        put_letter(world, letter_headers(sequence=9))
        world.append(LogicalTopic.DEAD_LETTERS, 1, key=b"aaaa", value=None)
        found = json_lines(world.run("letters", "list", "--json").stdout)
        assert {(line["key"], line["sequence"], line["partition"]) for line in found} == {
            (SAGA, 9, 1),
            (OTHER_SAGA, 9, 0),
        }
        expired = json_lines(world.run("letters", "list", "--reason", "expired", "--json").stdout)
        assert [line["key"] for line in expired] == [OTHER_SAGA]
        assert world.run("letters", "list", "--step", "offer").exit_code == 5

    def test_a_letter_is_shown_without_its_value(self, world: World) -> None:
        """The start of a key is enough; every header fact is told, the sealed value only by size and key."""
        put_letter(world, letter_headers())
        result = world.run("letters", "show", SAGA[:6])
        assert result.exit_code == 0, result.output
        for fact in (
            SAGA,
            "outcome_unknown",
            "cancel_token, 12 attempts",
            "UNKNOWN_EXCEPTION",
            "unbinding.requests/2/41",
            "/wallet/app",
            f"{len(SEALED)} bytes, sealed with key 2025-03",
            "the saga goes on at cancel_token",
            "debits stay blocked",
        ):
            assert fact in result.stdout
        assert "nobody-may-see" not in result.output
        as_json = world.run("letters", "show", SAGA, "--json").stdout
        assert json_lines(as_json)[0]["sealedBytes"] == len(SEALED)
        assert "nobody-may-see" not in as_json

    def test_a_key_must_name_one_letter(self, world: World) -> None:
        """A start that fits two keys is a mistake of use, one that fits none matches nothing."""
        put_letter(world, letter_headers())
        put_letter(world, letter_headers(OTHER_SAGA))
        both = world.run("letters", "show", "5e9")
        assert both.exit_code == 2
        assert SAGA in both.stderr
        assert OTHER_SAGA in both.stderr
        assert world.run("letters", "show", "ffff").exit_code == 5

    def test_a_replay_lies_in_the_letters_partition(self, world: World) -> None:
        """The command lies where the letter was found, not where its key hashes to, and expects its sequence.

        Without a worker there is no verdict: that is told, and the command stands.
        """
        homes = {partition: letter_headers(f"5e9a{partition}") for partition in range(PARTITIONS)}
        for partition, headers in homes.items():
            put_letter(world, headers, partition=partition)
        keys = [headers.key for headers in homes.values()]
        result = world.run(
            "letters", "replay", *keys, "--why", "outage over", "--by", "kim", "--timeout", "500ms", "--yes"
        )
        assert result.exit_code == 1
        assert "does a worker run?" in result.stderr
        found = world.records(LogicalTopic.COMMANDS)
        assert {record.partition: record.key for record in found} == {
            partition: headers.key.encode() for partition, headers in homes.items()
        }
        for record in found:
            command = read_command(read_event(record.value, record.headers))
            assert isinstance(command, ReplayRequested)
            assert command.letter.encode() == record.key
            assert (command.expected_sequence, command.by, command.why) == (9, "kim", "outage over")
            assert command.resume_from is ReplayFrom.FAILED_STEP
            assert not command.force

    def test_a_discard_is_ordered_for_a_letter_without_a_saga(self, world: World) -> None:
        """A letter that has no saga is named by its origin, and expects its number of replays."""
        headers = letter_headers(None)
        put_letter(world, headers, partition=2)
        arguments = ("--why", "junk", "--timeout", "300ms", "--yes")
        assert world.run("letters", "discard", headers.origin.text, *arguments).exit_code == 1
        (record,) = world.records(LogicalTopic.COMMANDS)
        command = read_command(read_event(record.value, record.headers))
        assert isinstance(command, DiscardRequested)
        assert (record.partition, command.letter, command.by) == (2, "unbinding.requests/2/41", "kim")
        assert command.expected_sequence == 0

    def test_states_are_watched_in_order(self, world: World) -> None:
        """All states of a saga are told in their order, and only those that are asked for."""
        put_state(world, State.REQUESTED, sequence=1)
        put_state(world, State.ALLOWED, sequence=2, step=Step.CONSULT, outcome=Outcome.SUCCESS)
        put_state(world, State.REQUESTED, sequence=1, saga=OTHER_SAGA, binding="bnd-2", partition=2)
        watching = ("watch", "--from", "earliest", "--until-idle", "300ms")
        told = json_lines(world.run(*watching, "--binding", "bnd-1", "--json").stdout)
        assert [(line["sequence"], line["state"], line["partition"]) for line in told] == [
            (1, "requested", 1),
            (2, "allowed", 1),
        ]
        assert len(json_lines(world.run(*watching, "--json").stdout)) == 3
        text = world.run(*watching, "--saga", OTHER_SAGA[:8]).stdout
        assert len(text.splitlines()) == 1
        assert "bnd-2" in text
        assert world.run(*watching, "--binding", "none").exit_code == 5

    def test_a_record_that_is_no_state_is_told_apart(self, world: World) -> None:
        """A stranger's record on the states topic goes to standard error; data stay clean."""
        world.append(LogicalTopic.STATES, 0, key=b"x", value=b"no event")
        put_state(world, State.UNBOUND, sequence=1)
        result = world.run("watch", "--from", "earliest", "--until-idle", "300ms", "--json")
        assert [line["state"] for line in json_lines(result.stdout)] == ["unbound"]
        assert "is no state" in result.stderr

    def test_the_same_entry_again_has_the_same_identity(self, world: World) -> None:
        """Submitting a file twice gives the same ids: workers take the second as repetitions."""
        for _ in range(2):
            assert world.run("submit", "-", "--yes", stdin=lines(request())).exit_code == 0
        first, second = world.records(LogicalTopic.REQUESTS)
        assert dict(first.headers)["ce_id"] == dict(second.headers)["ce_id"]
        assert orjson.loads(first.value or b"") == request()
