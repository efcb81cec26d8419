from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from contracts.dead_letters import LetterHeaders
from contracts.states import State
from contracts.topics import LogicalTopic, topic_name
from tests.shard.desk import EPOCH_MS, Desk
from tests.simulation.subject import vault_of
from tests.upgrade import snapshots
from worker.oncall.cluster import Found
from worker.oncall.letters import letter_of
from worker.saga.model import Phase
from worker.shard import claim, journal
from worker.shard.journal import JournalUnreadable, StateRecord

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.promise("P12"), pytest.mark.fault("what an older version wrote is taken over")]

PATHS = list(snapshots.paths())
ENDS = {"unbound", "refused", "lapsed", "offered", "discarded"}
kept = pytest.mark.parametrize("path", PATHS, ids=[f"{path.parent.name}/{path.stem}" for path in PATHS])


def test_snapshots_show_much() -> None:
    """The snapshots of each format show every kind of record, phase and way to be dead."""
    for folder in snapshots.FOLDER.iterdir():
        found = [snapshots.read(path)[1] for path in sorted(folder.glob("*.json"))]
        sagas = [saga for meaning in found for saga in meaning["sagas"].values()]
        # A saga is due for the moment between a step and its call: that is hardly ever journaled.
        assert {saga["phase"] for saga in sagas} >= {phase.value for phase in Phase} - {"due"}
        assert {saga["kind"] for saga in sagas} == {"unbinding", "rebinding"}
        assert {saga["evidence"] for saga in sagas} >= {"notice", "query", "already_unbound"}
        assert {saga["state"] for saga in sagas} >= {state.value for state in State} - {"joined"}
        for what in ("loose", "lines", "noticed", "remembered", "letters"):
            assert any(meaning[what] for meaning in found), what


@kept
def test_journal_means_the_same(path: Path) -> None:
    """A journal of an older version means to this one what it meant to its own: members, lanes, letters."""
    snapshot, meaning = snapshots.read(path)
    assert _only(_as_json({**snapshot.rest()}), meaning) == {
        name: content for name, content in meaning.items() if name not in ("sagas", "letters")
    }
    # Members that a newer version added to the saga are its own business.
    sagas = _as_json(snapshot.sagas())
    assert {key: _only(sagas[key], saga) for key, saga in meaning["sagas"].items()} == meaning["sagas"]


@kept
def test_letters_are_read(path: Path) -> None:
    """A letter of an older version is read by the contract and by on-call's commands, and says the same."""
    snapshot, meaning = snapshots.read(path)
    letters = _as_json(snapshot.letter_headers())
    assert {key: _only(letters[key], letter) for key, letter in meaning["letters"].items()} == meaning[
        "letters"
    ]
    for record in snapshot.letters:
        found = letter_of(
            Found(
                partition=0,
                offset=0,
                timestamp_at=snapshot.taken_at,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
        )
        assert found.problem is None


@kept
def test_state_is_written_as_it_was(path: Path) -> None:
    """What this version writes of an untouched saga is what the older one wrote: it can be taken back."""
    snapshot, _ = snapshots.read(path)
    compared = 0
    for record in snapshot.journal:
        if not record.key.startswith(b"state:") or record.value is None:
            continue
        found = journal.decode_state(record.key.decode().removeprefix("state:"), record.value)
        again = (
            journal.encode_state(found) if isinstance(found, StateRecord) else journal.encode_letter(found)
        )
        assert orjson.loads(again) == orjson.loads(record.value)
        compared += 1
    assert compared == sum(record.key.startswith(b"state:") for record in snapshot.journal)


@kept
def test_sagas_go_on(path: Path) -> None:
    """Each saga of an older version goes on where it was, to its end; its sequence goes on, too."""
    snapshot, meaning = snapshots.read(path)
    desk = _desk(snapshot)
    begun = {key: saga for key, saga in meaning["sagas"].items() if saga["phase"] not in ("parked", "ended")}

    async def story() -> None:
        await desk.open()
        await desk.until(
            lambda: all(_last(desk, key) in ENDS | {"parked"} for key in begun), limit=7 * 24 * 3600
        )

    desk.play(story())
    for key, saga in begun.items():
        sequences = [event["sequence"] for event in desk.states() if event["sagaId"] == key]
        assert sequences == list(range(saga["sequence"] + 1, sequences[-1] + 1))
    # What was done is not done again.
    for call in desk.hub.calls:
        assert call.step.value not in meaning["sagas"][call.saga_id]["done"]
    # What had ended stays so; a parked saga moves only if another one has ended all that it wants dead.
    moved = [event for event in desk.states() if event["sagaId"] in set(meaning["sagas"]) - set(begun)]
    assert {meaning["sagas"][event["sagaId"]]["phase"] for event in moved} <= {"parked"}
    assert {event["evidence"] for event in moved} <= {"already_unbound"}


@kept
def test_letters_are_replayed(path: Path) -> None:
    """A letter of an older version is replayed, or refused for a reason of its own; a discard clears it."""
    snapshot, meaning = snapshots.read(path)
    desk = _desk(snapshot)

    async def story() -> None:
        await desk.open()
        for discard in (False, True):
            letters = desk.letters()
            for key, letter in letters.items():
                desk.command(key, letter.sequence, discard=discard, force=True)
            await desk.until(partial(_judged, desk, len(desk.verdicts()) + len(letters)), limit=3600)
            await desk.rest(3 * 24 * 3600)
        desk.hub.answers.clear()
        await desk.crash()

    desk.play(story())
    assert desk.letters() == {}
    replayed = [found for found in desk.verdicts() if found["letter"] in meaning["letters"]]
    assert len(replayed) >= len(meaning["letters"])
    assert {found["ruling"] for found in replayed} <= {"applied", "refused"}
    assert not any("inside the worker" in str(found.get("because")) for found in replayed)
    assert not desk.ear.heard("saga.crashed")
    assert not desk.ear.heard("shard.crashed")


def test_newer_format_is_left_alone() -> None:
    """A journal of a newer format keeps the shard closed; the text names the record and what to run."""
    snapshot, _ = snapshots.read(PATHS[0])
    (record,) = [record for record in snapshot.journal if record.key == b"position"]
    assert record.value is not None
    newer = {**orjson.loads(record.value), "v": journal.VERSION + 1}
    with pytest.raises(JournalUnreadable, match=r"record position is of format 2.*run the newer version"):
        claim.build({record.key: record._replace(value=orjson.dumps(newer))})
    with pytest.raises(JournalUnreadable, match=r"b'pledge:1' is of no kind.*run the newer version"):
        claim.build({b"pledge:1": record._replace(key=b"pledge:1")})


def test_newer_letter_is_left_alone() -> None:
    """A letter of a newer version is listed with what is wrong, and says what to do."""
    snapshot, _ = next(found for found in map(snapshots.read, PATHS) if found[0].letters)
    letter = snapshot.letters[0]
    headers = tuple(
        (name, b"2" if name == "unbinding-letter-version" else value) for name, value in letter.headers
    )
    found = letter_of(
        Found(partition=0, offset=0, timestamp_at=0, key=letter.key, value=letter.value, headers=headers)
    )
    assert found.headers is None
    assert found.problem == "unbinding-letter-version must be 1; use a newer version to read this letter"
    known = LetterHeaders.from_headers((*letter.headers, ("unbinding-of-tomorrow", b"\xff")))
    assert known == LetterHeaders.from_headers(letter.headers)


# --- the kit -------------------------------------------------------------------------


def _desk(snapshot: snapshots.Snapshot) -> Desk:
    desk = Desk()
    desk.vault = vault_of(snapshots.KEYS)
    desk.hire()
    desk.jumped_ms = snapshot.taken_at - EPOCH_MS
    snapshots.put(snapshot, desk.cluster)
    letters = desk.cluster.committed(topic_name(LogicalTopic.DEAD_LETTERS), 0)
    assert len(letters) == len(snapshot.letters)
    return desk


def _judged(desk: Desk, count: int) -> bool:
    return len(desk.verdicts()) >= count


def _last(desk: Desk, saga_id: str) -> str | None:
    told = [event["state"] for event in desk.states() if event["sagaId"] == saga_id]
    return told[-1] if told else None


def _as_json(content: Any) -> Any:
    return orjson.loads(orjson.dumps(content))


def _only(found: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return {name: content for name, content in found.items() if name in names}
