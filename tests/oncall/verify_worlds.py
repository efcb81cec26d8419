"""A cluster in memory with what workers leave behind, for `unbinding verify`; all synthetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.cloudevents import event_headers
from contracts.dead_letters import FORWARDED_FROM_HEADER
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import BINDING_STATE_CHANGED, State, Step, encode_state_changed, state_event_id
from contracts.topics import TOPICS, LogicalTopic, partition_of
from tests.oncall.examples import request
from tests.oncall.worlds import NOW_AT, PARTITIONS, FakeWorld
from worker.ports import Input
from worker.saga.model import Kind, Phase, RequestRef, Saga
from worker.shard.journal import POSITION, PositionRecord, StateRecord, encode_position, encode_state

if TYPE_CHECKING:
    from contracts.origins import Origin
    from worker.ports import Headers

REQUESTS: Final = LogicalTopic.REQUESTS
STATES: Final = LogicalTopic.STATES
JOURNAL: Final = LogicalTopic.JOURNAL
REQUEST_NAME: Final = TOPICS[REQUESTS].name
COURSE: Final = (
    (State.REQUESTED, None, ()),
    (State.ALLOWED, Step.CONSULT, (Step.CONSULT,)),
    (State.REVOKED, Step.CANCEL_TOKEN, (Step.CONSULT, Step.CANCEL_TOKEN)),
    (State.UNBOUND, Step.CANCEL_TOKEN, (Step.CONSULT, Step.CANCEL_TOKEN)),
)


def binding_of(partition: int, number: int = 0) -> str:
    """Return a binding of a partition."""
    found = [
        name for name in map("bnd-{}".format, range(1_000)) if partition_of(name, PARTITIONS) == partition
    ]
    return found[number]


class Scene:
    """Writes into a cluster in memory as upstream and workers do."""

    def __init__(self, *, at: int = NOW_AT - 60_000) -> None:
        self.world = FakeWorld()
        self.at = at
        self._sequences: dict[str, int] = {}

    def ask(
        self, binding: str, *, number: int = 0, partition: int | None = None, headers: Headers = ()
    ) -> Origin:
        """Send a request with a token of its own."""
        data = request(binding, accessToken=token_of(binding, number))
        return self._append(
            REQUESTS,
            partition_of(binding, PARTITIONS) if partition is None else partition,
            key=binding,
            value=orjson.dumps(data),
            headers=(
                *event_headers(
                    event_id=f"{binding}-r{number}", source="/app", event_type=UNBINDING_REQUESTED, at=self.at
                ),
                *headers,
            ),
        )

    def forward(self, binding: str, origin: Origin) -> None:
        """Forward a request to its own partition, as its first reader does."""
        first = f"{REQUEST_NAME}/{origin.partition}/{origin.offset}"
        self.ask(binding, headers=((FORWARDED_FROM_HEADER, first.encode()),))

    def tell(self, binding: str, *, upto: int = len(COURSE), number: int = 0, **changes: Any) -> str:
        """Publish a saga's further events; return its id."""
        saga = f"saga-{binding}-{number}"
        for sequence in range(self._sequences.get(saga, 0) + 1, upto + 1):
            state, step, done = COURSE[sequence - 1]
            fields: dict[str, Any] = {
                "binding_id": binding,
                "saga_id": saga,
                "request_ids": [f"{binding}-r{number}"],
                "sequence": sequence,
                "state": state,
                "step": step,
                "done": done,
                "at": self.at,
                **changes,
            }
            self._append(
                STATES,
                partition_of(binding, PARTITIONS),
                key=binding,
                value=encode_state_changed(**fields),
                headers=tuple(
                    event_headers(
                        event_id=state_event_id(saga, sequence),
                        source="/unbinding",
                        event_type=BINDING_STATE_CHANGED,
                        at=self.at,
                    )
                ),
            )
            self._sequences[saga] = sequence
        return saga

    def keep(self, binding: str, *, sequence: int, number: int = 0) -> None:
        """Journal a saga that goes on, and its sealed request."""
        saga_id = f"saga-{binding}-{number}"
        saga = Saga(
            saga_id=saga_id,
            binding_id=binding,
            kind=Kind.UNBINDING,
            steps=(Step.CONSULT, Step.CANCEL_TOKEN),
            targets=(),
            requests=(RequestRef(f"{binding}-r{number}", bytes(16)),),
            requested_at=self.at,
            phase=Phase.CALLING,
            step=Step.CONSULT,
            sequence=sequence,
        )
        partition = partition_of(binding, PARTITIONS)
        value = encode_state(StateRecord(saga=saga, order=1))
        self._append(JOURNAL, partition, key=f"state:{saga_id}", value=value)
        self._append(JOURNAL, partition, key=f"request:{saga_id}", value=b"\x01sealed")

    def position(self, partition: int, taken: int | None = None) -> None:
        """Journal the position: all that there is, or so many."""
        log = self.world.cluster.logs[REQUESTS]
        offset = sum(record.partition == partition for record in log) if taken is None else taken
        value = encode_position(PositionRecord(offsets={Input.REQUESTS: offset, Input.COMMANDS: 0}))
        self._append(JOURNAL, partition, key=POSITION.decode(), value=value)

    def journal(self, partition: int, *, key: str, value: bytes) -> None:
        """Write any journal record."""
        self._append(JOURNAL, partition, key=key, value=value)

    def positions(self) -> None:
        """Journal all positions."""
        for partition in range(PARTITIONS):
            self.position(partition)

    def _append(
        self, topic: LogicalTopic, partition: int, *, key: str, value: bytes, headers: Headers = ()
    ) -> Origin:
        self.world.cluster.now_at = self.at
        return self.world.cluster.append(
            topic, partition, key=key.encode(), value=value, headers=tuple(headers)
        )


def token_of(binding: str, number: int = 0) -> str:
    """Return the token of a request."""
    return f"tok-synthetic-{binding}-{number}-x7"


def sound_scene() -> Scene:
    """Return a cluster in which a saga of each partition has come to its end."""
    scene = Scene()
    for partition in range(PARTITIONS):
        binding = binding_of(partition)
        scene.ask(binding)
        scene.tell(binding)
    scene.positions()
    return scene
