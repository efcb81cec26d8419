"""What on-call orders in a scenario: replays and discards, lawful ones and all kinds of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from contracts.dead_letters import LetterHeaders
from contracts.topics import LogicalTopic, topic_name

if TYPE_CHECKING:
    from tests.simulation.cluster import Stored
    from tests.simulation.post import Post


@dataclass(slots=True)
class OnCall:
    """Sends commands for the letters that it sees, or saw."""

    post: Post
    _ordered: list[tuple[dict[str, Any], str, int]] = field(default_factory=list)
    _sent: list[tuple[dict[str, Any], list[tuple[str, bytes]], int]] = field(default_factory=list)

    def command(self) -> None:
        """Order a replay or a discard of a letter that stands."""
        partition = self.post.random.randrange(self.post.world.partitions)
        letters = self._letters(partition)
        if letters:
            self._order(self.post.random.choice(letters), partition)

    def all_of_them(self) -> None:
        """Order a replay of each letter that stands in a partition, as a plan does."""
        partition = self.post.random.randrange(self.post.world.partitions)
        for letter in self._letters(partition):
            self._order(letter, partition, replay=True)

    def again(self) -> None:
        """Order the same once more, though the letter may have moved on or be gone."""
        if self._ordered:
            data, kind, partition = self.post.random.choice(self._ordered)
            self._send(data, kind, partition)

    def repeat(self) -> None:
        """Send the very same command twice, in the same or in another partition, as a producer may."""
        if self._sent:
            data, headers, partition = self.post.random.choice(self._sent)
            if self.post.random.random() < 0.2:
                partition = self.post.random.randrange(self.post.world.partitions)
            self.post.append(LogicalTopic.COMMANDS, data, headers, partition=partition)
            name = dict(headers)["ce_id"].decode()
            self.post.world.reach("deed repeat command")
            self.post.world.note(f"on-call repeats {name} in partition {partition}")

    def insist(self) -> None:
        """Order one letter's replay several times, each with the sequence that it should have by then."""
        partition = self.post.random.randrange(self.post.world.partitions)
        letters = self._letters(partition)
        if letters:
            letter = LetterHeaders.from_headers(self.post.random.choice(letters).headers)
            ahead = 1 if letter.saga_id is None else 2
            for number in range(4):
                self._send(
                    _replay(letter.key, sequence=letter.sequence + ahead * number),
                    REPLAY_REQUESTED,
                    partition,
                )

    def junk(self) -> None:
        """Send what is no command, or one that breaks its contract."""
        partition = self.post.random.randrange(self.post.world.partitions)
        kind = self.post.random.choice((REPLAY_REQUESTED, "promote.requested.v1"))
        value: object = self.post.random.choice((b"junk", None, {"letter": "x"}))
        if isinstance(value, dict):
            self.post.world.reach("deed break contract of command")
        self.post.append(LogicalTopic.COMMANDS, value, self.post.headers(kind), partition=partition)
        self.post.world.note(f"on-call sends junk to partition {partition}")

    def _letters(self, partition: int) -> list[Stored]:
        """Return the letters that stand, and now and then one that was removed."""
        name = topic_name(LogicalTopic.DEAD_LETTERS)
        standing: dict[bytes | None, Stored] = {}
        for stored in self.post.world.cluster.committed(name, partition):
            if stored.value is not None:
                standing[stored.key] = stored
            elif self.post.random.random() < 0.9:
                standing.pop(stored.key, None)
        return list(standing.values())

    def _order(self, stored: Stored, partition: int, *, replay: bool | None = None) -> None:
        random = self.post.random
        letter = LetterHeaders.from_headers(stored.headers)
        data = _replay(letter.key, sequence=letter.sequence + (random.random() < 0.1))
        kind = REPLAY_REQUESTED
        if replay is None and random.random() < 0.3:
            kind = DISCARD_REQUESTED
            del data["from"]
        else:
            data["from"] = random.choice(("failed_step", "failed_step", "start"))
            data["force"] = random.random() < 0.1
        if random.random() < 0.05:
            partition = (partition + 1) % self.post.world.partitions
        self._send(data, kind, partition)

    def _send(self, data: dict[str, Any], kind: str, partition: int) -> None:
        self._ordered.append((data, kind, partition))
        headers = self.post.headers(kind)
        self._sent.append((data, headers, partition))
        self.post.append(LogicalTopic.COMMANDS, data, headers, partition=partition)
        origin = f"from {data['from']}" if "from" in data else ""
        verb = "replay" if kind == REPLAY_REQUESTED else "discard"
        self.post.world.note(
            f"on-call orders {verb} of {data['letter'][:30]} at {data['expectedSequence']} {origin}"
        )


def _replay(letter: str, *, sequence: int) -> dict[str, Any]:
    return {
        "letter": letter,
        "expectedSequence": sequence,
        "planId": "plan-1",
        "by": "on-call",
        "why": "a test",
        "from": "failed_step",
    }
