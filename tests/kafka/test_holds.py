"""The follower of holds on Apache Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from contracts.states import Step
from contracts.topics import LogicalTopic
from tests.brokers.topics import create_topics
from tests.kafka.bench import KafkaBench, until
from tests.kafka.recorder import Recorder
from worker.kafka.holds import HoldsFollower
from worker.kafka.reader import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.fixtures import Broker

pytestmark = [pytest.mark.broker, pytest.mark.promise("P3")]
HOLDS = LogicalTopic.HOLDS
NOW = 1_800_000_000_000
UNTIL = "2027-06-01T00:00:00Z"
UNTIL_AT = 1_811_808_000_000


def hold(*, until: str = UNTIL, **scope: Any) -> bytes:
    """Return the value of a hold."""
    return orjson.dumps({"scope": scope, "until": until, "by": "kim", "why": "the hub is being moved"})


class Following:
    """A follower at work, and what it told."""

    def __init__(self, bench: KafkaBench) -> None:
        self.recorder = Recorder()
        self.changes = 0
        self.holds = HoldsFollower(
            reader=Reader(bench.connection, role="holds", limit_ms=1_000),
            topic=bench.names[HOLDS],
            counterpart_of=lambda step: "tokens" if step is Step.CANCEL_TOKEN else "hub",
            changed=self._changed,
            observer=self.recorder,
        )

    def _changed(self) -> None:
        self.changes += 1

    def held(
        self, step: Step = Step.CONSULT, *, merchants: tuple[str, ...] = (), now_at: int = NOW
    ) -> int | None:
        """Return until when a call is held."""
        return self.holds.held_until(step=step, auth_client_id=None, merchants=merchants, now_at=now_at)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Following]:
        """Follow, and stop in the end."""
        task = asyncio.create_task(self.holds.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.holds.stop()


async def test_reads_whole_before_it_knows(bench: KafkaBench) -> None:
    """Holds that stand are all there when the follower first says that it knows."""
    await bench.append(HOLDS, 0, key=b"a", value=hold(counterpart="tokens"))
    await bench.append(HOLDS, 0, key=b"b", value=hold(all=True))
    await bench.append(HOLDS, 0, key=b"b", value=None)
    following = Following(bench)
    assert not following.holds.known()
    async with following.running():
        await until(following.holds.known)
        assert set(following.holds.standing) == {"a"}
        assert following.held(Step.CANCEL_TOKEN) == UNTIL_AT
        assert following.held(Step.CONSULT) is None
        assert following.changes == 1


async def test_empty_topic_is_known(bench: KafkaBench) -> None:
    """An empty topic means: no holds, go."""
    async with Following(bench).running() as following:
        await until(following.holds.known)
        assert following.held() is None


async def test_follows_and_tells(bench: KafkaBench) -> None:
    """A hold and its release take effect while following, and each is told."""
    async with Following(bench).running() as following:
        await until(following.holds.known)
        await bench.append(HOLDS, 0, key=b"a", value=hold(referenceMerchantId="m1"))
        await until(lambda: following.held(merchants=("m0", "m1")) == UNTIL_AT)
        assert following.held(merchants=("m0",)) is None
        await bench.append(HOLDS, 0, key=b"a", value=None)
        await until(lambda: following.held(merchants=("m1",)) is None)
        assert following.changes == 3
        assert [event for event in following.recorder.events() if event.startswith("hold.")] == [
            "hold.began",
            "hold.ended",
        ]


async def test_expired_holds_are_ignored(bench: KafkaBench) -> None:
    """A hold whose time is over covers nothing."""
    await bench.append(HOLDS, 0, key=b"a", value=hold(all=True))
    async with Following(bench).running() as following:
        await until(following.holds.known)
        assert following.held(now_at=UNTIL_AT - 1) == UNTIL_AT
        assert following.held(now_at=UNTIL_AT) is None


async def test_junk_is_told_and_stops_nothing(bench: KafkaBench) -> None:
    """A record that is no hold is told and ignored; an earlier hold under its id stays."""
    await bench.append(HOLDS, 0, key=b"a", value=hold(all=True))
    await bench.append(HOLDS, 0, key=b"a", value=b"\xff{")
    await bench.append(HOLDS, 0, key=b"\xff", value=b"[]")
    async with Following(bench).running() as following:
        await until(following.holds.known)
        assert following.held() == UNTIL_AT
        assert following.recorder.events().count("hold.ignored") == 2


@pytest.mark.fault("the topic of holds is missing")
async def test_missing_topic_is_told_once_and_asked_for_again(broker: Broker, prefix: str) -> None:
    """Without the topic nothing is known, the reason is told once, and when it is there all is well."""
    bench = KafkaBench(broker.bootstrap_servers, prefix)
    async with Following(bench).running() as following:
        await until(lambda: "holds.missed" in following.recorder.events())
        assert not following.holds.known()
        assert bench.names[HOLDS] in str(following.holds.trouble)
        await create_topics(broker.bootstrap_servers, {bench.names[HOLDS]: 1})
        await until(following.holds.known)
        assert following.holds.trouble is None
        assert following.recorder.events().count("holds.missed") == 1
    await bench.close()
