"""The command line, dying where it is told: `python -m tests.crash.doomed_oncall FILE COMMAND …`.

FILE is where a sentence is put. Settings, commands and cluster are those of `unbinding`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from contracts.topics import LogicalTopic
from tests.crash.doom import Doom
from tests.crash.wire import ListeningLoop
from worker.oncall.command_line import NAME, app
from worker.oncall.kafka_cluster import open_cluster
from worker.oncall.outside import Outside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from contracts.origins import Origin
    from worker.oncall.cluster import Found, Message
    from worker.oncall.kafka_cluster import KafkaCluster
    from worker.settings import Settings


class OnCallMoment(StrEnum):
    """Where a command that orders something may die, beside the moments on the wire."""

    PLANNED = "planned"
    """The plan is agreed to; nothing is published."""
    PUBLISHED = "published"
    """The commands are acknowledged; no verdict has been read."""
    JUDGED = "judged"
    """A verdict has come; nothing was told."""


class DoomedCluster:
    """The cluster as the commands use it, with a fate."""

    def __init__(self, inner: KafkaCluster, doom: Doom) -> None:
        self._inner = inner
        self._doom = doom

    async def publish(self, messages: Sequence[Message]) -> list[Origin]:
        """Publish between two moments."""
        self._doom.passed(None, OnCallMoment.PLANNED)
        placed = await self._inner.publish(messages)
        self._doom.passed(None, OnCallMoment.PUBLISHED)
        return placed

    async def follow(self, topic: LogicalTopic, *, since: int | None) -> AsyncIterator[Sequence[Found]]:
        """Follow; what comes is a moment where it is a verdict."""
        async for batch in self._inner.follow(topic, since=since):
            if batch and topic is LogicalTopic.VERDICTS:
                self._doom.passed(None, OnCallMoment.JUDGED)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Gives event loops that listen to the wire."""

    def __init__(self, doom: Doom) -> None:
        super().__init__()
        self._doom = doom

    @override
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return ListeningLoop(self._doom.passed)


def main() -> None:
    """Run one command line, until its end or its death."""
    doom = Doom(Path(sys.argv[1]))
    asyncio.set_event_loop_policy(_Policy(doom))

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Any]:
        async with open_cluster(settings) as cluster:
            yield DoomedCluster(cluster, doom)

    app(args=sys.argv[2:], prog_name=NAME, obj=Outside(open_cluster=opened))


if __name__ == "__main__":
    main()
