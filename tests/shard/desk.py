"""One real shard on the simulated cluster, with a hub, a lease and holds that a test steers by hand."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
from typing_extensions import override

from contracts.cloudevents import event_headers
from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from contracts.dead_letters import LetterHeaders
from contracts.notices import TOKEN_CANCELED
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Outcome, Step
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import rfc3339
from tests.simulation.cluster import SimCluster
from tests.simulation.log import SimFeed, SimLog
from tests.simulation.loop import SimLoop, run
from tests.simulation.network import Network
from worker.ports import Input, JournalRecord, LogInterrupted, WriteRefused
from worker.saga.patience import Rules
from worker.saga.plan import PROFILE_STEPS, Profile, ProfileName
from worker.saga.results import Links, Result, ResultClass
from worker.sealing.fingerprints import Fingerprints
from worker.sealing.key_ring import KeyRing
from worker.sealing.seal import Sealer
from worker.shard import claim
from worker.shard.driver import Surroundings
from worker.shard.shard import Shard, ShardOptions
from worker.shard.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from contracts.requests import RebindingRequested, UnbindingRequested
    from worker.ports import Headers, Write
    from worker.saga.results import Call
    from worker.shard.memory import Memory

EPOCH_MS = 1_767_225_600_000
"""Where the wall clock of a test starts: 2026-01-01."""
PARTITIONS = 2
DONE = Result(
    result_class=ResultClass.DONE,
    outcome=Outcome.SUCCESS,
    code="SUCCESS",
    verified=True,
    acquirer_id="acquirer-1",
    psp_id="psp-1",
)
OFFERED = Result(
    result_class=ResultClass.DONE,
    outcome=Outcome.SUCCESS,
    verified=True,
    links=Links(normal_url="https://wallet.example/bind"),
)
FAILED = Result(result_class=ResultClass.FINAL, outcome=Outcome.FAILURE, code="PROCESS_FAIL", verified=True)
REFUSED = Result(
    result_class=ResultClass.REFUSED, outcome=Outcome.SUCCESS, refuse_reason="open bill", verified=True
)
SILENCE = Result(result_class=ResultClass.SOON, outcome=Outcome.UNKNOWN, code="NO_ANSWER", undecided=True)
LINE_STOP = Result(
    result_class=ResultClass.LINE_STOP, outcome=Outcome.FAILURE, code="INVALID_SIGNATURE", verified=True
)
SEALING = KeyRing({"sealing-1": bytes(range(32))}, active="sealing-1")
PRINTS = KeyRing({"prints-1": bytes(range(32, 64))}, active="prints-1")


def success(step: Step) -> Result:
    """Return a good answer of a step."""
    return OFFERED if step is Step.OFFER else DONE


def home(name: str, partition: int = 0) -> str:
    """Return a binding id that begins with ``name`` and belongs to the partition."""
    return next(found for n in range(1000) if partition_of(found := f"{name}-{n}", PARTITIONS) == partition)


def vault_of(sealing: KeyRing = SEALING, prints: KeyRing = PRINTS) -> Vault:
    """Return a vault of these rings."""
    return Vault(
        sealing=sealing, fingerprinting=prints, sealer=Sealer(sealing), fingerprints=Fingerprints(prints)
    )


class HandLog(SimLog):
    """A simulated log that fails where a test says so, and counts."""

    refuses: Callable[[Sequence[Write]], bool] = staticmethod(lambda _: False)
    of_input: bool = False
    """What it refuses it refuses because of what the record is, not because of the topic."""
    interrupts: int = 0
    restores: int = 0
    unreadable: bool = False
    gate: asyncio.Event | None = None
    """While it is not set, commits stand."""
    commits: list[Sequence[Write]]

    @override
    async def commit(self, writes: Sequence[Write]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses(writes):
            raise WriteRefused("a test refuses this write", of_input=self.of_input)
        if self.interrupts:
            self.interrupts -= 1
            raise LogInterrupted("a test interrupts this commit")
        await super().commit(writes)
        self.commits.append(writes)

    @override
    async def fence(self) -> None:
        self.restores += 1
        await super().fence()

    @override
    async def fetch(self, *, topic: str, partition: int, offset: int) -> Any:
        if self.unreadable:
            raise LogInterrupted("a test makes reads fail")
        return await super().fetch(topic=topic, partition=partition, offset=offset)


@dataclass(slots=True)
class HandHub:
    """A hub whose answers a test gives; without any it succeeds."""

    answers: dict[Step, list[Result | Exception]] = field(default_factory=lambda: defaultdict(list))
    slow: asyncio.Event | None = None
    """While it is not set, calls stand after their gate was passed."""
    queue: asyncio.Event | None = None
    """While it is not set, calls stand before their gate."""
    calls: list[Call] = field(default_factory=list)
    """Attempts that began."""
    asked: list[Call] = field(default_factory=list)
    """Orders to call, begun or not."""
    tokens: list[str | None] = field(default_factory=list)
    lines: dict[Step, str] = field(default_factory=dict)

    def line(self, step: Step) -> str:
        """Name the line of a step."""
        return self.lines.get(step, step.value)

    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Answer as the test says."""
        self.asked.append(call)
        if self.queue is not None:
            await self.queue.wait()
        gate()
        self.calls.append(call)
        self.tokens.append(getattr(request, "access_token", None))
        if self.slow is not None:
            await self.slow.wait()
        answers = self.answers[call.step]
        answer = answers.pop(0) if answers else success(call.step)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def steps(self) -> list[Step]:
        """Return the steps of the attempts that began."""
        return [call.step for call in self.calls]


class HandLease:
    """A lease that a test gives and takes."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._event.set()

    def live(self) -> bool:
        """Tell whether it is live."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when it is live."""
        await self._event.wait()

    def lose(self) -> None:
        """Let it run out."""
        self._event.clear()

    def gain(self) -> None:
        """Let it live again."""
        self._event.set()


@dataclass(slots=True)
class HandHolds:
    """Holds that a test places, by step."""

    read: bool = True
    until: dict[Step, int] = field(default_factory=dict)

    def known(self) -> bool:
        """Tell whether the holds are known."""
        return self.read

    def held_until(
        self, *, step: Step, auth_client_id: str | None, merchants: Sequence[str], now_at: int
    ) -> int | None:
        """Return when the step's hold ends."""
        del auth_client_id, merchants
        until = self.until.get(step)
        return until if until is not None and now_at < until else None


@dataclass(slots=True)
class Ear:
    """An observer that keeps what it hears."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    levels: dict[tuple[str, str], float] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def log(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append((event, fields))

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Add to a count."""
        self.counts[metric, ",".join(labels.values())] += n

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Hear a value."""

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Keep a level."""
        self.levels[metric, labels.get("state", "")] = value

    def heard(self, event: str) -> list[dict[str, object]]:
        """Return the fields of each line of this event."""
        return [fields for name, fields in self.lines if name == event]


class Desk:
    """A shard of partition 0 of 2, and all that it touches. Simulated time: waiting costs nothing."""

    def __init__(self, **options: Any) -> None:
        self.loop = SimLoop()
        asyncio.set_event_loop(None)
        self.jumped_ms = 0
        self.network = Network(loop=self.loop, random=Random(0))  # noqa: S311 - a seed, no secret
        self.cluster = SimCluster(
            partitions=PARTITIONS,
            now=self.now,
            moment=lambda: self.loop.steps,
            later=self.network.outside,
            record_most=300_000,
        )
        self.hub = HandHub()
        self.lease = HandLease()
        self.holds = HandHolds()
        self.ear = Ear()
        self.vault = vault_of()
        self.profile = Profile(steps=PROFILE_STEPS[ProfileName.PLATFORM])
        self.options = options
        self.events = 0
        self.log: HandLog
        self.feed: SimFeed
        self.shard: Shard
        self.hire()

    # --- the shard ----------------------------------------------------------

    def now(self) -> int:
        """Return the wall clock."""
        return EPOCH_MS + self.jumped_ms + int(self.loop.time() * 1000 + 0.001)

    def hire(self) -> None:
        """Make a new shard on the same cluster, as another worker would."""
        self.log = HandLog(cluster=self.cluster, network=self.network, partition=0)
        self.log.commits = []
        self.feed = SimFeed(cluster=self.cluster, network=self.network, partition=0)
        self.shard = Shard(
            options=ShardOptions(partition=0, partitions=PARTITIONS, source="/desk", **self.options),
            log=self.log,
            feed=self.feed,
            hub=self.hub,
            lease=self.lease,
            vault=self.vault,
            profile=self.profile,
            surroundings=Surroundings(
                vault=self.vault,
                rules=Rules(jitter=0.0),
                holds=self.holds,
                line_of=self.hub.line,
                chance=lambda: 0.5,
            ),
            clock=self.now,
            observer=self.ear,
        )

    async def open(self) -> None:
        """Start the shard, feed it, and wait until it is open."""
        self.begin()
        await self.until(lambda: self.shard.state == "open")

    def begin(self) -> None:
        """Start the shard and feed it."""
        self.shard.start()
        self.loop.create_task(self.feed.pump(self.shard.offer), name="feed")

    async def crash(self) -> None:
        """Let the worker vanish, results and all, and another one open the shard."""
        task = self.shard._task  # noqa: SLF001 - a kill leaves no way to clean up
        self.shard._wanted = False  # noqa: SLF001 - the same
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self.hire()
        await self.open()

    async def until(self, what: Callable[[], object], *, limit: float = 600.0) -> None:
        """Wait for a condition, in simulated seconds."""
        end = self.loop.time() + limit
        while not what():
            if self.loop.time() >= end:
                raise AssertionError(f"it did not come to that within {limit} s; why: {self.shard.why}")
            await asyncio.sleep(0.01)

    async def rest(self, seconds: float = 1.0) -> None:
        """Let simulated time pass."""
        await asyncio.sleep(seconds)

    def play(self, story: Coroutine[Any, Any, None]) -> None:
        """Run a test's story to its end; nothing may have gone wrong unheard."""
        run(self.loop, story)
        assert not self.loop.complaints
        assert not self.log.misuses
        assert not self.feed.misuses

    @property
    def memory(self) -> Memory:
        """What the shard knows."""
        memory = self.shard._memory  # noqa: SLF001 - compared with what the journal says
        assert memory is not None
        return memory

    def restored(self) -> Memory:
        """Return what another worker would know."""
        latest: dict[bytes, JournalRecord] = {}
        for record in self.cluster.committed(topic_name(LogicalTopic.JOURNAL), 0):
            assert record.key is not None
            if record.value is None:
                latest.pop(record.key, None)
            else:
                latest[record.key] = JournalRecord(record.key, record.value, record.headers)
        return claim.build(latest)

    def why(self) -> str:
        """Return why the shard is closed."""
        return self.shard.why or ""

    # --- what others send ----------------------------------------------------

    def send(
        self,
        topic: LogicalTopic,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        partition: int = 0,
    ) -> int:
        """Append a record as others do."""
        return self.cluster.append(
            topic_name(topic), partition, key=None, value=value, headers=tuple(headers)
        )

    def request(
        self,
        binding: str,
        token: str | None = "token-1",  # noqa: S107 - synthetic
        *,
        event_id: str | None = None,
        kind: str = UNBINDING_REQUESTED,
        headers: Headers = (),
        partition: int = 0,
        **data: Any,
    ) -> str:
        """Send a request and return its id; ``data`` as on the wire."""
        self.events += 1
        event_id = event_id or f"event-{self.events}"
        body: dict[str, Any] = {
            "bindingId": binding,
            "initiator": "wallet",
            "requestedAt": rfc3339(self.now()),
            "authClientId": "client-1",
            "referenceMerchantId": "merchant-1",
        }
        if token is not None:
            body["accessToken"] = token
        body |= data
        own = event_headers(event_id=event_id, source="upstream", event_type=kind, at=self.now())
        self.send(LogicalTopic.REQUESTS, orjson.dumps(body), (*headers, *own), partition=partition)
        return event_id

    def notice(self, *, headers: Headers = (), at: int | None = None, **data: Any) -> None:
        """Send a notice."""
        self.events += 1
        body = {"noticeId": f"notice-{self.events}", "at": rfc3339(self.now() if at is None else at), **data}
        own = event_headers(
            event_id=f"notice-{self.events}", source="upstream", event_type=TOKEN_CANCELED, at=self.now()
        )
        self.send(LogicalTopic.NOTICES, orjson.dumps(body), (*headers, *own))

    def command(self, letter: str, sequence: int, *, discard: bool = False, **data: Any) -> str:
        """Send a command and return its id."""
        self.events += 1
        event_id = f"command-{self.events}"
        body = {
            "letter": letter,
            "expectedSequence": sequence,
            "planId": "plan-1",
            "by": "ops",
            "why": "a test",
            **data,
        }
        kind = DISCARD_REQUESTED if discard else REPLAY_REQUESTED
        own = event_headers(event_id=event_id, source="oncall", event_type=kind, at=self.now())
        self.send(LogicalTopic.COMMANDS, orjson.dumps(body), own)
        return event_id

    # --- what others see -----------------------------------------------------

    def states(self, binding: str | None = None) -> list[dict[str, Any]]:
        """Return the committed events, of one binding or all."""
        records = self.cluster.committed(topic_name(LogicalTopic.STATES), 0)
        events: list[dict[str, Any]] = [orjson.loads(record.value or b"") for record in records]
        return [event for event in events if binding in (None, event["bindingId"])]

    def told(self, binding: str | None = None) -> list[str]:
        """Return the states of the committed events."""
        return [event["state"] for event in self.states(binding)]

    def letters(self) -> dict[str, LetterHeaders]:
        """Return the open dead letters."""
        found: dict[str, LetterHeaders] = {}
        for record in self.cluster.committed(topic_name(LogicalTopic.DEAD_LETTERS), 0):
            key = (record.key or b"").decode()
            if record.value is None:
                found.pop(key, None)
            else:
                found[key] = LetterHeaders.from_headers(record.headers)
        return found

    def verdicts(self) -> list[dict[str, Any]]:
        """Return the committed verdicts."""
        records = self.cluster.committed(topic_name(LogicalTopic.VERDICTS), 0)
        return [orjson.loads(record.value or b"") for record in records]

    def journal(self) -> set[str]:
        """Return the keys that the journal holds."""
        found: set[str] = set()
        for record in self.cluster.committed(topic_name(LogicalTopic.JOURNAL), 0):
            key = (record.key or b"").decode()
            (found.discard if record.value is None else found.add)(key)
        return found

    def written(self) -> bytes:
        """Return every byte of every value and header that the worker ever wrote."""
        return b"\n".join(
            b"|".join((record.key or b"", record.value or b"", *(value for _, value in record.headers)))
            for record in self.cluster.written()
            if record.transaction is not None
        )

    def position(self, source: Input) -> int:
        """Return the committed position of an input."""
        position = self.shard.position()
        assert position is not None
        return position[source]
