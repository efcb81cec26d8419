"""Records of the holds topic, of any kind: a hold that stands goes on standing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from hypothesis import strategies as st

from contracts.states import Step
from tests.contracts.samples import SAMPLES
from tests.fuzz.doors import door
from tests.fuzz.grammar import headers_of, value_of
from tests.fuzz.reception import StrictEar
from tests.fuzz.test_batches import batch
from worker.kafka.batches import read_batches
from worker.kafka.holds import HoldsFollower
from worker.kafka.reader import Fetched

if TYPE_CHECKING:
    from tests.fuzz.grammar import Draw, Headers
    from worker.kafka.reader import Reader

pytestmark = [
    pytest.mark.promise("P3", "P10"),
    pytest.mark.fault("holds of any bytes, headers and scopes among good ones"),
]

HOLD: Final = SAMPLES["hold.placed.v1"]["data"]
EVERYTHING: Final = {"scope": {"all": True}, "until": "2030-01-01T00:00:00Z", "by": "kim", "why": "stop"}
NOW_AT: Final = 1_800_000_000_000


class Page:
    """Stands for a reader of a topic that holds these bytes."""

    def __init__(self, *batches: bytes) -> None:
        self._data = b"".join(batches)
        self._end = len(batches)
        self.done = asyncio.Event()

    async def offsets(self, partitions: Any, at: int, **_: Any) -> dict[Any, int]:
        """Return begin or end."""
        return dict.fromkeys(partitions, 0 if at == -2 else self._end)

    async def fetch(self, partition: Any, position: int, **_: Any) -> Fetched:
        """Return what is new; after it, wait for ever."""
        del partition
        if position >= self._end:
            self.done.set()
            await asyncio.Event().wait()
        records, after = read_batches(self._data, position=position, aborted=[])
        return Fetched(records=records, position=after)


@st.composite
def _strange(draw: Draw) -> tuple[bytes | None, bytes | None, Headers]:
    value = draw(value_of(draw(st.sampled_from((HOLD, EVERYTHING)))))
    key = draw(st.sampled_from((b"the-hold", b"other", None, b"")) | st.binary(max_size=8))
    headers = draw(headers_of([("ce_id", b"hold-1")])) if draw(st.booleans()) else ()
    return key, value, headers


@door("holds", examples=80, strange=st.lists(_strange(), min_size=1, max_size=4))
def test_no_record_takes_a_hold_away(strange: list[tuple[bytes | None, bytes | None, Headers]]) -> None:
    """Whatever else is on the topic, following goes on, and a hold stands until its own id releases it."""
    ear = StrictEar()

    async def story() -> None:
        records = [
            (b"the-hold", json.dumps(EVERYTHING).encode(), ()),
            *strange,
            (b"last", json.dumps(EVERYTHING).encode(), ()),
        ]
        page = Page(*(batch(number, [one]) for number, one in enumerate(records)))
        follower = HoldsFollower(
            reader=cast("Reader", page),
            topic="unbinding.holds",
            counterpart_of=lambda _: "hub",
            changed=lambda: None,
            observer=ear,
        )
        running = asyncio.create_task(follower.run())
        reached = asyncio.create_task(page.done.wait())
        async with asyncio.timeout(30):
            await asyncio.wait((running, reached), return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), running
        assert follower.known()
        assert {"the-hold", "last"} <= follower.standing.keys()
        for step in Step:
            held = follower.held_until(
                step=step, auth_client_id="ac-1", merchants=("rm-1", "am-1"), now_at=NOW_AT
            )
            assert held is not None
            assert held > NOW_AT
        running.cancel()
        await asyncio.wait((running,))

    asyncio.run(story())
    assert ear.said()
