"""Floods in which every answer is `F`, or `U`: nothing is lost; memory, calls and log lines are bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.counterparts.errands import errand
from tests.faults.counterparts.habits import Habits
from tests.faults.counterparts.scene import WRITTEN_AT, open_scene
from tests.faults.stage import now_ms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.faults.counterparts.errands import Errand
    from tests.faults.counterparts.scene import Scene

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P5", "P6", "P8")]

FAILURES: Final = 1_500
"""Requests of one of two floods: the first one makes the room that any flood needs."""
UNKNOWNS: Final = 600
GOOD: Final = 30
"""Requests of others in the middle of a flood."""
LETTER_BYTES: Final = 12_000
"""Resident memory that a parked saga may cost at most."""
LINES_PER_SAGA: Final = 1.2
"""Log lines for each saga at most: one tells how it ended."""


@pytest.mark.fault("thousands of requests, and every answer is `F`")
async def test_a_flood_of_failures(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Each request gets its letter, others are served in between, and a letter costs little memory."""
    async with open_scene(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as scene:
        await scene.tell({"prefix": "secret-flood", "do": "F"}, default="allow")
        staff = scene.hire("a")
        await scene.stage.settled()
        first = [errand("flood") for _ in range(FAILURES)]
        await scene.send(first)
        await scene.all_are(first, "parked", within_s=180)
        empty = staff.child.resident_bytes
        lines = len(staff.lines())
        began_at = now_ms()

        flood = [errand("flood") for _ in range(FAILURES)]
        good = [errand("good") for _ in range(GOOD)]
        await scene.send([*flood[: FAILURES // 2], *good, *flood[FAILURES // 2 :]])
        await scene.all_are(good, "unbound", within_s=120)
        await scene.all_are(flood, "parked", within_s=180)
        took_s = (now_ms() - began_at) / 1000
        await scene.rest()
        # Who came in the middle did not wait for the end: not all of them.
        assert (await ended_at(scene, good))[0] < (await ended_at(scene, flood))[-1]

        letters = await scene.letters()
        assert len(letters) == 2 * FAILURES
        assert {letter["unbinding-reason"] for letter in letters.values()} == {"failed"}
        assert {letter["unbinding-result-code"] for letter in letters.values()} == {"PROCESS_FAIL"}
        # "Repeating is forbidden": each was asked once.
        assert len(await scene.calls(step="consult")) == 2 * FAILURES + GOOD
        grown = staff.child.resident_bytes - empty
        assert grown < FAILURES * LETTER_BYTES, f"{grown / FAILURES:.0f} bytes for each letter"
        written = len(staff.lines()) - lines
        assert written < LINES_PER_SAGA * (FAILURES + GOOD) + 50
        scene.stage.note(
            f"{FAILURES} failures: {FAILURES / took_s:.0f} a second, {grown / FAILURES:.0f} bytes and "
            f"{written / FAILURES:.2f} lines each, {staff.child.cpu_s:.1f} s CPU"
        )
        await scene.judged()


@pytest.mark.promise("P4")
@pytest.mark.fault("hundreds of requests, and every answer is `U`")
async def test_a_flood_of_unknowns(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Each saga is tried as often as its patience says, then lapses or parks; others are served meanwhile."""
    habits = Habits(consult="3s", cancel="3s", quick=0, waits=("400ms", "800ms", "1s"))
    async with open_scene(
        tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix, habits=habits
    ) as scene:
        await scene.tell({"prefix": "secret-flood", "do": "U"})
        staff = scene.hire("a")
        await scene.stage.settled()
        lines, began_at = len(staff.lines()), now_ms()
        users = [errand("flood") for _ in range(UNKNOWNS)]
        merchants = [errand("flood", merchant=True) for _ in range(UNKNOWNS)]
        good = [errand("good") for _ in range(GOOD)]
        await scene.send([*users, *good, *merchants])
        await scene.all_are(good, "unbound", within_s=120)
        await scene.all_are(users, "lapsed", within_s=180)
        await scene.all_are(merchants, "parked", within_s=180)
        took_s = (now_ms() - began_at) / 1000
        await scene.rest()
        assert (await ended_at(scene, good))[0] < (await ended_at(scene, [*users, *merchants]))[-1]

        letters = await scene.letters()
        assert letters.keys() == {one.binding_id for one in merchants}
        assert {letter["unbinding-reason"] for letter in letters.values()} == {"outcome_unknown"}
        calls = len(await scene.calls(*users, *merchants))
        # The first, and after waits of 0.4, 0.8, 1 s (less a tenth): five fit into three seconds, and on a
        # machine that is behind some have only one.
        assert 2 * UNKNOWNS < calls <= 5 * 2 * UNKNOWNS
        written = len(staff.lines()) - lines
        assert written < LINES_PER_SAGA * (2 * UNKNOWNS + GOOD) + 50
        scene.stage.note(
            f"{2 * UNKNOWNS} unknowns: {2 * UNKNOWNS / took_s:.0f} a second, {calls} calls, "
            f"{written / UNKNOWNS / 2:.2f} lines each, {staff.child.cpu_s:.1f} s CPU"
        )
        await scene.judged()


async def ended_at(scene: Scene, errands: list[Errand]) -> list[int]:
    """Return when the last event of each request was written, in order."""
    courses = await scene.courses()
    return sorted(courses[one.binding_id][-1][WRITTEN_AT] for one in errands)
