"""This worker's membership in the group that shares out the partitions of the requests topic.

The group's consumer reads nothing: its partitions are paused as soon as they are assigned. It keeps up the
membership, says which partitions are ours, and commits positions: for the lease and for all who watch lag.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from typing_extensions import override

from worker.kafka.connection import client_arguments
from worker.kafka.faults import FencedInstanceId, read_fault_of
from worker.kafka.lease import Expelled, NotRenewed
from worker.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from worker.kafka.connection import Connection
    from worker.ports import Observer

_BEAT_MS: Final = 1_000
_ALONE_MS: Final = 3_000
_POLL_LIMIT_MS: Final = 60_000
_RETRY_S: Final = 1.0
_STOP_S: Final = 10.0
_EXPULSIONS: Final = 3
_EXPULSIONS_WITHIN_S: Final = 60.0


class InstanceIdTaken(Exception):
    """Another process uses this worker's instance id: the two would throw each other out for ever."""


class Host(Protocol):
    """Who takes the partitions: the pump."""

    def assigned(self, partitions: frozenset[int]) -> None:
        """Take these: all that are ours now. Must not wait: no heartbeat is sent meanwhile."""
        ...

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Give these back: drained, or after a bounded time. Heartbeats go on meanwhile."""
        ...

    def lost(self, partitions: frozenset[int]) -> None:
        """Note that these may be another's already; ``revoked`` follows."""
        ...


class Membership:
    """One member of the group. ``run`` joins and stays; ``leave`` ends it after a clean drain."""

    def __init__(
        self,
        *,
        connection: Connection,
        group: str,
        topic: str,
        instance_id: str | None,
        host: Host,
        count_partitions: Callable[[], Awaitable[int]],
        fresh: Callable[[], bool],
        observer: Observer,
    ) -> None:
        """Take ``fresh``: whether the group confirmed us so lately that it had no reason to expel us."""
        self._connection = connection
        self._group = group
        self._topic = topic
        self._instance_id = instance_id
        self._host = host
        self._count_partitions = count_partitions
        self._fresh = fresh
        self._observer = observer
        self._consumer: AIOKafkaConsumer | None = None
        self._expulsions: deque[float] = deque(maxlen=_EXPULSIONS)
        self._taken: str | None = None
        self._joined = False
        self._alone_since: float | None = None
        self._partitions: frozenset[int] = frozenset()
        self.trouble: str | None = "has not joined its group yet"
        """Why there is no working membership, ``None`` while there is."""

    async def run(self) -> None:
        """Join the group and stay a member until cancelled; troubles are told and tried again.

        Raises InstanceIdTaken.
        """
        while True:
            try:
                await self._join()
                while True:
                    await self._beat()
            except FencedInstanceId as error:
                raise InstanceIdTaken(self._contested()) from error
            except (kafka.KafkaError, kafka.ConsumerStoppedError, OSError) as error:
                self._say(str(read_fault_of(error, doing=f"membership in group {self._group}")))
                await self._start_over()
            except LogError as error:
                self._say(str(error))
            await asyncio.sleep(_RETRY_S)

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Commit requests positions by partition. Raises Expelled or NotRenewed."""
        consumer = self._consumer
        if consumer is None:
            raise NotRenewed("not a member of the group yet")
        offsets = {TopicPartition(self._topic, partition): at for partition, at in positions.items()}
        try:
            await consumer.commit(offsets)
        except (kafka.CommitFailedError, kafka.IllegalStateError) as error:
            if isinstance(error.__cause__, kafka.UnknownMemberIdError | kafka.IllegalGenerationError):
                raise Expelled(f"group {self._group} does not know this member any more") from error
            raise NotRenewed(f"group {self._group} is sharing out its partitions anew") from error
        except FencedInstanceId as error:
            self._taken = self._contested()
            raise Expelled(self._taken) from error
        except (kafka.KafkaError, OSError) as error:
            raise NotRenewed(str(read_fault_of(error, doing=f"commit of group {self._group}"))) from error

    async def leave(self) -> None:
        """End the membership: at once without an instance id, else when the session runs out."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if self._taken is not None:
            await _stop_joining(consumer)
        try:
            async with asyncio.timeout(_STOP_S):
                await consumer.stop()
        except (TimeoutError, kafka.KafkaError) as error:
            self._observer.log("group.missed", cause=f"left without a word: {error!r}")

    async def _join(self) -> None:
        # Asked each time: a consumer that has once found the topic missing looks again after minutes only.
        while await self._count_partitions() == 0:
            self._say(f"topic {self._topic} is missing; run `unbinding topics check`")
            await asyncio.sleep(_RETRY_S)
        consumer = AIOKafkaConsumer(
            **client_arguments(self._connection, role="member"),
            group_id=self._group,
            group_instance_id=self._instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # never used: every partition is given an offset before it could be
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=self._connection.session_timeout_ms,
            heartbeat_interval_ms=self._connection.heartbeat_interval_ms,
            rebalance_timeout_ms=self._connection.rebalance_timeout_ms,
            max_poll_interval_ms=_POLL_LIMIT_MS,
            max_partition_fetch_bytes=1,
            consumer_timeout_ms=_BEAT_MS * 10,  # its fetcher, which has nothing to do, looks around so often
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer
        consumer.subscribe([self._topic], listener=_Listener(self, consumer))

    async def _beat(self) -> None:
        """Show that the event loop turns, hear of errors of the group; there are no records."""
        consumer = self._consumer
        if consumer is None:
            raise kafka.ConsumerStoppedError
        await consumer.getmany(timeout_ms=_BEAT_MS)
        if self._taken is not None:
            raise InstanceIdTaken(self._taken)
        if self._is_alone(consumer):
            self._say(f"the coordinator of group {self._group} cannot be reached")
        elif not consumer.partitions_for_topic(self._topic):
            self._say(f"topic {self._topic} is missing; run `unbinding topics check`")
        elif self._joined:
            self._say(None)

    def _is_alone(self, consumer: AIOKafkaConsumer) -> bool:
        """Tell whether no coordinator has been found for some beats.

        Raises KafkaConnectionError after a session: a new consumer starts from the configured addresses; this
        one asks for ever those that the brokers had once.
        """
        coordinator = consumer._coordinator  # noqa: SLF001 - there is no public way
        if coordinator is None or coordinator.coordinator_id is not None:
            self._alone_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._alone_since is None:
            self._alone_since = now
        alone_ms = (now - self._alone_since) * 1000
        if alone_ms >= self._connection.session_timeout_ms:
            self._alone_since = None
            raise kafka.KafkaConnectionError("its coordinator was not found for a whole session")
        return alone_ms >= _ALONE_MS

    async def _start_over(self) -> None:
        """Give back what we have and join anew: a consumer that raised once may never coordinate again."""
        partitions, self._partitions = self._partitions, frozenset()
        if partitions:
            self._host.lost(partitions)
            await self._host.revoked(partitions)
        await self.leave()

    async def revoked(self, partitions: frozenset[int], *, expelled: bool) -> None:
        """Pass on that partitions go away."""
        self._joined, self._partitions = False, frozenset()
        if not partitions:
            return
        if expelled:
            self._expelled()
            self._host.lost(partitions)
        await self._host.revoked(partitions)
        if self._taken is not None:
            # Joining again would throw out the twin, which would then end as well: stay here until cancelled.
            await asyncio.get_running_loop().create_future()

    def assigned(self, partitions: frozenset[int]) -> None:
        """Pass on what is ours now; nothing at all, if there are more workers than partitions."""
        self._joined, self._partitions = True, partitions
        self._host.assigned(partitions)

    def _expelled(self) -> None:
        """Count that the group has thrown us out; more than once without a reason means a twin."""
        if self._instance_id is None or not self._fresh():
            return
        now = asyncio.get_running_loop().time()
        self._expulsions.append(now)
        if len(self._expulsions) == _EXPULSIONS and now - self._expulsions[0] < _EXPULSIONS_WITHIN_S:
            self._taken = self._contested()

    def _contested(self) -> str:
        text = self._taken_text()
        self._observer.log("instance.contested", instance_id=self._instance_id, cause=text)
        return text

    def _taken_text(self) -> str:
        return (
            f"instance_id {self._instance_id!r} of group {self._group} is used by another process, too: "
            "give every worker its own (the pod's name), then start again"
        )

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            self._observer.log("group.missed", cause=trouble)
        self.trouble = trouble


async def _stop_joining(consumer: AIOKafkaConsumer) -> None:
    """Cancel what joins the group for a consumer: to stop it in good order would be to join once more."""
    coordinator = consumer._coordinator  # noqa: SLF001 - there is no public way
    joining = None if coordinator is None else coordinator._coordination_task  # noqa: SLF001 - as above
    if joining is not None:
        joining.cancel()
        await asyncio.wait([joining])


class _Listener(ConsumerRebalanceListener):
    """Passes on what the group says, and pauses what it assigns."""

    def __init__(self, membership: Membership, consumer: AIOKafkaConsumer) -> None:
        self._membership = membership
        self._consumer = consumer

    @override
    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        # Without a generation the coordinator has thrown us out; there is no public way to tell.
        coordinator = self._consumer._coordinator  # noqa: SLF001 - see above
        expelled = coordinator is not None and coordinator.generation < 0
        await self._membership.revoked(frozenset(tp.partition for tp in revoked), expelled=expelled)

    @override
    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        for tp in assigned:
            self._consumer.seek(tp, 0)  # an offset, so that it asks nobody for one
        self._consumer.pause(*assigned)
        self._membership.assigned(frozenset(tp.partition for tp in assigned))
