"""A stage on which one worker dies after the other: each successor is the next to be sentenced."""

from __future__ import annotations

import itertools
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import AIOKafkaProducer

from contracts.cloudevents import event_headers, read_event
from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from contracts.dead_letters import LetterHeaders
from contracts.notices import TOKEN_CANCELED
from contracts.requests import UNBINDING_REQUESTED
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import rfc3339
from tests.crash.doom import Sentence, pronounce
from tests.faults.load import Load
from tests.faults.payment_side import SLOTS
from tests.faults.rounds import Course, Outcome, at_rest, conclude
from tests.faults.stage import PARTITIONS, now_ms, open_stage, until
from worker.sandbox.payment import fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.faults.payment_side import LedgerCall
    from tests.faults.stage import Process, Stage

_WITHIN_S: Final = 30.0
_REST_S: Final = 60.0
_CALL_MS: Final = 8_000


@dataclass(slots=True)
class Theatre:
    """A stage, what was asked on it, and the worker that is alive."""

    stage: Stage
    load: Load
    worker: Process | None = None
    listening: bool = False
    """Whether the worker dies also at moments on the wire."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _hired: int = 0

    # --- workers ------------------------------------------------------------------

    def hire(
        self, sentence: Sentence | None = None, *, listen: bool = False, settings: Sequence[str] = ()
    ) -> Process:
        """Start the next worker, sentenced already, or sound until it is sentenced."""
        self._hired += 1
        self.listening = listen
        slot = SLOTS[self._hired % len(SLOTS)]
        file = self._file(self._hired)
        if sentence is not None:
            pronounce(sentence, file)
        program = ["tests.crash.doomed_worker", "--sentence", str(file)]
        program += [*(["--listen"] if listen else []), *(f"--set={setting}" for setting in settings)]
        self.worker = self.stage.hire(slot, instance_id="mortal", program=program)
        return self.worker

    def sentence(self, sentence: Sentence) -> None:
        """Sentence the worker that is alive: from now on it counts."""
        self.stage.note(f"{self.alive.name} shall die at {sentence.point}")
        pronounce(sentence, self._file(self._hired))

    async def death(self, point: str) -> None:
        """Wait until the worker has died, and see that it died at this point."""
        worker, self.worker = self.alive, None
        code = await worker.child.ended(within_s=_WITHIN_S)
        self.stage.ends[worker.name] = now_ms()
        self.stage.note(f"{worker.name} has died")
        said = worker.child.output.read_text(encoding="utf-8")
        if code != -signal.SIGKILL or f"killed at {point}\n" not in said:
            raise AssertionError(f"{worker.name} did not die at {point}: {code}\n{worker.child.told()}")

    def kill(self) -> None:
        """Kill the worker from outside, wherever it is."""
        worker, self.worker = self.alive, None
        self.stage.kill(worker)

    @property
    def alive(self) -> Process:
        """The worker that is alive. Raises AssertionError without one."""
        if self.worker is None:
            raise AssertionError("no worker is alive")
        return self.worker

    def _file(self, number: int) -> Path:
        return self.stage.directory / f"sentence-{number}.json"

    # --- what is asked ------------------------------------------------------------

    async def send(self, topic: LogicalTopic, *records: Record) -> None:
        """Publish records, and wait until the broker has them."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.stage.connection.bootstrap_servers, enable_idempotence=True
        )
        await producer.start()
        try:
            for record in records:
                await producer.send_and_wait(
                    topic_name(topic, prefix=self.stage.prefix),
                    value=orjson.dumps(record.data),
                    key=record.key,
                    partition=record.partition,
                    headers=event_headers(
                        event_id=f"{record.type}-{next(self._numbers)}",
                        source="/upstream",
                        event_type=record.type,
                        at=now_ms(),
                    ),
                )
        finally:
            await producer.stop()

    def case(self, words: str) -> Case:
        """Make up a binding with a token that behaves so."""
        number = next(self._numbers)
        token = f"demo.{words}.c{number}"
        self.load.tokens.append(token)
        return Case(self, binding=f"binding-{number}", token=token)

    # --- what is seen --------------------------------------------------------------

    async def judge(self) -> None:
        """Wait for rest, and see that every promise was kept."""
        await at_rest(self.stage, within_s=_REST_S)
        outcome = Outcome(
            course=Course(seed=0, kinds=frozenset()), directory=self.stage.directory, violations=[], sent=0
        )
        await conclude(self.stage, self.load, outcome)
        if not outcome.good:
            raise AssertionError(outcome.told())


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record to send."""

    type: str
    data: dict[str, Any]
    partition: int
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One binding on the stage: what is asked about it, and what came of it."""

    theatre: Theatre
    binding: str
    token: str

    @property
    def partition(self) -> int:
        """The partition that it belongs to."""
        return partition_of(self.binding, PARTITIONS)

    @property
    def elsewhere(self) -> int:
        """Another partition."""
        return (self.partition + 1) % PARTITIONS

    async def request(self, *, partition: int | None = None) -> None:
        """Ask for its end."""
        data = {
            "bindingId": self.binding,
            "initiator": "wallet",
            "requestedAt": rfc3339(now_ms()),
            "authClientId": "client-1",
            "referenceMerchantId": "merchant-1",
            "accessToken": self.token,
        }
        await self.theatre.send(
            LogicalTopic.REQUESTS,
            Record(
                type=UNBINDING_REQUESTED,
                data=data,
                partition=self.partition if partition is None else partition,
                key=self.binding.encode(),
            ),
        )

    async def notice(self, *, binding: bool = True) -> None:
        """Tell that its token is dead; without the binding in some partition."""
        data = {"noticeId": f"notice of {self.binding}", "at": rfc3339(now_ms()), "accessToken": self.token}
        if binding:
            data["bindingId"] = self.binding
        partition = self.partition if binding else self.elsewhere
        record = Record(type=TOKEN_CANCELED, data=data, partition=partition)
        await self.theatre.send(LogicalTopic.NOTICES, record)

    async def order(self, *, discard: bool = False, behind: int = 0) -> None:
        """Order a replay or a discard of its letter, or of the letter that it had so many events before."""
        letter = await self.letter()
        if letter is None:
            raise AssertionError(f"{self.binding} has no letter")
        data = {
            "letter": letter.key,
            "expectedSequence": letter.sequence - behind,
            "planId": "plan-1",
            "by": "kim",
            "why": "a test",
        }
        kind = DISCARD_REQUESTED if discard else REPLAY_REQUESTED
        record = Record(type=kind, data=data, partition=self.partition, key=letter.key.encode())
        await self.theatre.send(LogicalTopic.COMMANDS, record)

    async def reach(self, state: str, *, within_s: float = _WITHIN_S) -> None:
        """Wait until this is the last that is told of it."""

        async def there() -> bool:
            return (await self.told())[-1:] == [state]

        await until(there, within_s=within_s, what=f"{self.binding} is {state}", look_s=0.03)

    async def called(self, *steps: str, within_s: float = _WITHIN_S) -> None:
        """Wait until exactly these calls have come in."""

        async def there() -> bool:
            return await self.calls() == list(steps)

        await until(there, within_s=within_s, what=f"calls {steps} for {self.binding}", look_s=0.03)

    async def told(self) -> list[str]:
        """Return the states that were published."""
        return [event["state"] for event in await self.events()]

    async def events(self) -> list[dict[str, Any]]:
        """Return the events that were published."""
        archive = self.theatre.stage.archive
        await archive.catch_up()
        records = archive.archive(topic_name(LogicalTopic.STATES), self.partition)
        events = [dict(read_event(record.value, record.headers).data) for record in records]
        return [event for event in events if event["bindingId"] == self.binding]

    async def letter(self) -> LetterHeaders | None:
        """Return its open letter."""
        archive = self.theatre.stage.archive
        await archive.catch_up()
        found: dict[bytes | None, LetterHeaders] = {}
        for record in archive.archive(topic_name(LogicalTopic.DEAD_LETTERS), self.partition):
            if record.value is None:
                found.pop(record.key, None)
                continue
            headers = LetterHeaders.from_headers(record.headers)
            if headers.binding_id == self.binding:
                found[record.key] = headers
        return next(iter(found.values()), None)

    async def evidence(self) -> set[bytes]:
        """Return the keys under which its partition's journal keeps what notices have said."""
        archive = self.theatre.stage.archive
        await archive.catch_up()
        records = archive.archive(topic_name(LogicalTopic.JOURNAL), self.partition)
        return {
            record.key for record in records if record.key is not None and record.key.startswith(b"dead:")
        }

    async def calls(self) -> list[str]:
        """Return the steps of the calls that the payment side has got for its token, in order."""
        return [call.step for call in await self.ledger()]

    async def ledger(self) -> list[LedgerCall]:
        """Return the calls that the payment side has got for its token, in order."""
        wanted = fingerprint(self.token)
        return [call for call in await self.theatre.stage.ledger() if call.fingerprint == wanted]


@asynccontextmanager
async def open_theatre(
    directory: Path, *, bootstrap_servers: str, prefix: str, seed: int = 0
) -> AsyncIterator[Theatre]:
    """Open a stage without a worker; the seed is that of a load that somebody may plan."""
    async with open_stage(
        directory, bootstrap_servers=bootstrap_servers, prefix=prefix, call_ms=_CALL_MS
    ) as stage:
        load = Load(random=Random(seed), partitions=PARTITIONS, begins_at=now_ms())  # noqa: S311 - a seed, no secret
        yield Theatre(stage, load)
