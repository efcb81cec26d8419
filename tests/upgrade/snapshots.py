"""What a worker had left in its topics at one moment, kept as files, so that newer code can be tried on it.

A file holds the journal and the open letters of partition 0 of 2, compacted, and a reading of both in words.
The keys are synthetic: those that a simulated worker starts with.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.dead_letters import LetterHeaders
from contracts.topics import LogicalTopic, topic_name
from tests.simulation.setting import Keys
from worker.ports import JournalRecord
from worker.shard import claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.simulation.cluster import SimCluster
    from worker.ports import Headers, Input
    from worker.shard.memory import Memory

KEYS: Final = Keys()
FOLDER: Final = Path(__file__).parent / "kept"
"""One folder for each journal format and letter version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The compacted journal and letters of one partition at one moment."""

    taken_at: int
    """The wall clock then, in ms since the Unix epoch."""
    journal: tuple[JournalRecord, ...]
    letters: tuple[JournalRecord, ...]

    def to_json(self) -> bytes:
        """Return the file's content, its meaning included."""
        found = {
            "takenAt": self.taken_at,
            "meaning": {"sagas": self.sagas(), "letters": self.letter_headers(), **self.rest()},
            "journal": [_plain(record) for record in self.journal],
            "letters": [_plain(record) for record in self.letters],
        }
        return orjson.dumps(found, option=orjson.OPT_INDENT_2)

    # --- what it means -----------------------------------------------------------

    def sagas(self) -> dict[str, Any]:
        """Return each saga in words, by its id."""
        memory = self._memory()
        return {
            key: _words(
                {
                    **asdict(entry.saga),
                    "dead": [digest for digest, _ in entry.dead],
                    "endedAt": entry.ended_at,
                    "offeredSince": entry.offered_since,
                    "sealedWith": None if entry.sealed is None else entry.sealed.key_id,
                }
            )
            for key, entry in sorted(memory.entries.items())
        }

    def letter_headers(self) -> dict[str, Any]:
        """Return each letter in words, by its key."""
        return {
            record.key.decode(): _words(asdict(LetterHeaders.from_headers(record.headers)))
            for record in self.letters
        }

    def rest(self) -> dict[str, Any]:
        """Return what is neither saga nor letter, in words."""
        memory = self._memory()
        found = {
            "position": memory.position,
            "fingerprintKeys": sorted(memory.fingerprint_keys),
            "loose": {key: asdict(loose.record) for key, loose in sorted(memory.loose.items())},
            "lines": {name: asdict(line.record) for name, line in sorted(memory.lines.items())},
            "dead": sorted([digest, at] for digest, at in memory.dead.items()),
            "noticed": sorted(memory.noticed),
            "remembered": len(memory.seen),
        }
        return {name: _words(content) for name, content in found.items()}

    def position(self) -> dict[Input, int]:
        """Return the next offset to take of each input."""
        position = self._memory().position
        assert position is not None
        return position

    def _memory(self) -> Memory:
        return claim.build({record.key: record for record in self.journal})


def take(cluster: SimCluster, *, taken_at: int) -> Snapshot:
    """Return a snapshot of partition 0 as it stands."""
    return Snapshot(
        taken_at=taken_at,
        journal=_compacted(cluster, LogicalTopic.JOURNAL),
        letters=_compacted(cluster, LogicalTopic.DEAD_LETTERS),
    )


def read(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """Return a snapshot, and what it meant to the version that wrote it."""
    found: dict[str, Any] = orjson.loads(path.read_bytes())
    snapshot = Snapshot(
        taken_at=found["takenAt"],
        journal=tuple(_record(plain) for plain in found["journal"]),
        letters=tuple(_record(plain) for plain in found["letters"]),
    )
    return snapshot, found["meaning"]


def put(snapshot: Snapshot, cluster: SimCluster) -> None:
    """Write a snapshot into an empty cluster whose inputs begin where the snapshot goes on."""
    for name, offset in snapshot.position().items():
        topic = topic_name(_TOPIC_OF[str(name)])
        for _ in range(offset):
            cluster.append(topic, 0, key=None, value=b"taken long ago")
        cluster.retain(topic, 0, start=offset)
    for logical, records in (
        (LogicalTopic.JOURNAL, snapshot.journal),
        (LogicalTopic.DEAD_LETTERS, snapshot.letters),
    ):
        for record in records:
            cluster.append(topic_name(logical), 0, key=record.key, value=record.value, headers=record.headers)


_TOPIC_OF: Final[Mapping[str, LogicalTopic]] = {
    "requests": LogicalTopic.REQUESTS,
    "commands": LogicalTopic.COMMANDS,
    "notices": LogicalTopic.NOTICES,
}


def _compacted(cluster: SimCluster, topic: LogicalTopic) -> tuple[JournalRecord, ...]:
    latest: dict[bytes, JournalRecord] = {}
    for stored in cluster.archive(topic_name(topic), 0):
        assert stored.key is not None
        if stored.value is None:
            latest.pop(stored.key, None)
        else:
            latest[stored.key] = JournalRecord(stored.key, stored.value, stored.headers)
    return tuple(latest.values())


def _plain(record: JournalRecord) -> dict[str, Any]:
    return {
        "key": record.key.decode(),
        "value": _text(record.value or b""),
        "headers": _headers(record.headers),
    }


def _headers(headers: Headers) -> list[list[Any]]:
    return [[name, _text(value)] for name, value in headers]


def _text(value: bytes) -> str | dict[str, str]:
    """Return text as it is, anything else in Base64."""
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _record(plain: Mapping[str, Any]) -> JournalRecord:
    headers = tuple((name, _bytes(value)) for name, value in plain["headers"])
    return JournalRecord(plain["key"].encode(), _bytes(plain["value"]), headers)


def _bytes(value: str | Mapping[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def _words(content: Any) -> Any:
    """Return plain JSON: enums by their value, digests in hex, sets in order."""
    match content:
        case bytes():
            return content.hex()
        case Enum():
            return content.value
        case dict():
            return {str(_words(name)): _words(inner) for name, inner in content.items()}
        case set() | frozenset():
            return sorted(_words(inner) for inner in content)
        case list() | tuple():
            return [_words(inner) for inner in content]
        case _:
            return content


def paths(folder: Path = FOLDER) -> Iterable[Path]:
    """Return all snapshots that were ever kept."""
    return sorted(folder.glob("*/*.json"))
