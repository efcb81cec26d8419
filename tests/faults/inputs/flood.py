"""All bad records in one load, each between two good ones in its batch, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typing_extensions import override

from contracts.cloudevents import read_event
from contracts.commands import VerdictRecorded, read_verdict
from contracts.dead_letters import LetterHeaders
from contracts.topics import LogicalTopic, topic_configs, topic_name
from tests.faults.archive import Archive
from tests.faults.inputs.bad_commands import BAD_COMMANDS, draft_command
from tests.faults.inputs.bad_holds import BAD_HOLDS, GOOD_HOLD, HELD_CLIENT, hold
from tests.faults.inputs.bad_notices import BAD_NOTICES, draft_notice
from tests.faults.inputs.bad_requests import BAD_REQUESTS, LARGEST
from tests.faults.inputs.batches import CODECS, RawProducer, RawRecord, encode
from tests.faults.inputs.drafts import Drafting
from tests.faults.judgement import Remains, judge, open_requests
from tests.faults.rounds import at_rest
from tests.faults.stage import PARTITIONS, now_ms, open_stage, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.faults.diary import Line
    from tests.faults.inputs.drafts import Draft
    from tests.faults.stage import Stage
    from tests.simulation.cluster import Stored
    from worker.kafka.batches import LogRecord
    from worker.verify.checker import Violation
    from worker.verify.history import History

_LARGE: Final = {
    "retention_ms": "-1",
    "max_message_bytes": str(LARGEST),
    "message_timestamp_after_max_ms": str(2**63 - 1),
}
"""Configs with which a broker takes whatever there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A record that was sent: where it lies, and the bindings of its good neighbours."""

    origin: str
    binding_id: str = ""
    neighbours: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """What a stage has left behind, as plain data."""

    history: History
    violations: Sequence[Violation]
    letters: Mapping[str, tuple[LetterHeaders, Stored]]
    """The letters that stand, by key."""
    verdicts: Sequence[VerdictRecorded]
    lines: Sequence[Line]
    code: int | None
    requests: Mapping[str, Sent]
    """By the names of the bad requests; of the bad notices and commands below."""
    notices: Mapping[str, Sent]
    commands: Mapping[str, Sent]
    recompressed: Mapping[str, str]
    """By codec: the binding of a request that the broker itself has compressed."""
    held: str
    """The binding whose call was held."""
    values: Mapping[str, bytes | None]
    """The values of the requests' records, by origin."""

    def ends(self, binding_id: str) -> list[str]:
        """Return the last state of each saga of a binding."""
        return [states[-1] for states in self.courses(binding_id)]

    def courses(self, binding_id: str) -> list[list[str]]:
        """Return the states of each saga of a binding, in order."""
        found: dict[str, list[str]] = {}
        for event in self.history.states:
            if event.binding_id == binding_id:
                found.setdefault(event.saga_id, []).append(event.state)
        return list(found.values())


class HonestArchive(Archive):
    """An archive that knows which records bear a forged origin: upstream wrote those outside transactions."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.connection, prefix=stage.prefix, partitions=PARTITIONS)
        self.forged: set[tuple[str, int, int]] = set()

    @override
    def _stored(self, record: LogRecord, tp: TopicPartition) -> Stored:
        stored = super()._stored(record, tp)
        if (tp.topic, tp.partition, record.offset) in self.forged:
            return replace(stored, transaction=None)
        return stored


async def configure(stage: Stage, topic: LogicalTopic, **configs: str) -> None:
    """Give a topic these configs, on top of those that it should have."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.connection.bootstrap_servers)
    await admin.start()
    try:
        every = topic_configs(topic, replication=1) | {
            name.replace("_", "."): value for name, value in configs.items()
        }
        name = topic_name(topic, prefix=stage.prefix)
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=every)])
    finally:
        await admin.close()


async def flood(directory: Path, *, bootstrap_servers: str, prefix: str) -> Aftermath:
    """Play it all."""
    async with open_stage(directory, bootstrap_servers=bootstrap_servers, prefix=prefix) as stage:
        archive = HonestArchive(stage)
        await stage.archive.close()
        stage.archive = archive
        try:
            async with RawProducer(bootstrap_servers) as producer:
                return await _Flood(stage, archive, producer).play()
        finally:
            await archive.close()


class _Flood:
    """One play, phase by phase."""

    def __init__(self, stage: Stage, archive: HonestArchive, producer: RawProducer) -> None:
        self._stage = stage
        self._archive = archive
        self._producer = producer
        self._drafting = Drafting(topic=stage.requests, partitions=PARTITIONS, at=now_ms())

    async def play(self) -> Aftermath:
        stage = self._stage
        for topic in (LogicalTopic.REQUESTS, LogicalTopic.COMMANDS, LogicalTopic.NOTICES):
            await configure(stage, topic, **_LARGE)
        await self._send_holds()
        worker = stage.hire("a", instance_id="worker-a")
        await stage.settled()
        requests = await self._send_requests()
        recompressed = await self._have_recompressed()
        held = await self._send_held()
        parked = [await self._send_parked() for _ in range(2 * len(BAD_NOTICES) + len(BAD_COMMANDS))]
        await self._rest(but={held})
        await self._send(LogicalTopic.HOLDS, 0, [RawRecord(key=GOOD_HOLD.encode(), value=None, at=now_ms())])
        await at_rest(stage)
        noticed, discarded = parked[: 2 * len(BAD_NOTICES)], parked[2 * len(BAD_NOTICES) :]
        notices = await self._send_notices(noticed)
        await until(
            lambda: self._all_end({draft.binding_id for draft in noticed}),
            within_s=60,
            what="every good notice has taken effect",
            look_s=0.5,
        )
        commands = await self._send_commands(discarded)
        await at_rest(stage)
        ledger = await stage.ledger()
        code = await stage.terminate(worker)
        await self._archive.catch_up()
        history, violations = judge(
            Remains(
                archive=self._archive,
                ledger=ledger,
                lines=stage.lines(),
                freezes=[],
                ends=stage.ends,
                call_ms=stage.call_ms,
                tokens=self._drafting.tokens,
                outputs={file.name: file.read_bytes() for file in (worker.child.output, worker.child.errors)},
            )
        )
        return Aftermath(
            history=history,
            violations=violations,
            letters=self._letters(),
            verdicts=self._verdicts(),
            lines=stage.lines(),
            code=code,
            requests=requests,
            notices=notices,
            commands=commands,
            recompressed=recompressed,
            held=held,
            values={
                self._origin(LogicalTopic.REQUESTS, stored.partition, stored.offset): stored.value
                for partition in range(PARTITIONS)
                for stored in self._archive.archive(topic_name(LogicalTopic.REQUESTS), partition)
            },
        )

    # --- sending --------------------------------------------------------------------

    async def _send(
        self, topic: LogicalTopic, partition: int, records: Sequence[RawRecord], *, compression: str = "none"
    ) -> int:
        tp = TopicPartition(topic_name(topic, prefix=self._stage.prefix), partition)
        return await self._producer.send(tp, encode(records, compression=compression))

    def _origin(self, topic: LogicalTopic, partition: int, offset: int) -> str:
        return f"{topic_name(topic, prefix=self._stage.prefix)}/{partition}/{offset}"

    async def _send_holds(self) -> None:
        good = RawRecord(key=GOOD_HOLD.encode(), value=hold(), at=now_ms())
        bad = [
            RawRecord(key=case.id_bytes, value=case.value, headers=case.headers, at=now_ms())
            for case in BAD_HOLDS
        ]
        await self._send(LogicalTopic.HOLDS, 0, [good])
        for record in bad:
            await self._send(LogicalTopic.HOLDS, 0, [record])

    async def _send_requests(self) -> dict[str, Sent]:
        sent = {}
        for number, case in enumerate(BAD_REQUESTS):
            draft = self._drafting.draft(number % PARTITIONS)
            case.spoil(draft)
            partition = (draft.partition + case.astray) % PARTITIONS
            around = (self._drafting.draft(partition), self._drafting.draft(partition))
            records = [around[0].record(), draft.record(), around[1].record()]
            base = await self._send(LogicalTopic.REQUESTS, partition, records, compression=case.compression)
            self._archive.forged.add((self._stage.requests, partition, base + 1))
            sent[case.name] = Sent(
                origin=self._origin(LogicalTopic.REQUESTS, partition, base + 1),
                binding_id=draft.binding_id,
                neighbours=tuple(good.binding_id for good in around),
            )
        return sent

    async def _have_recompressed(self) -> dict[str, str]:
        """Have the broker compress, so that what the worker reads was written by Java."""
        found = {}
        for codec in CODECS:
            await configure(self._stage, LogicalTopic.REQUESTS, compression_type=codec, **_LARGE)
            draft = self._drafting.draft(0)
            draft.data["note"] = "x" * 100_000
            await self._send(LogicalTopic.REQUESTS, 0, [draft.record()])
            found[codec] = draft.binding_id
        await configure(self._stage, LogicalTopic.REQUESTS, **_LARGE)
        return found

    async def _send_held(self) -> str:
        draft = self._drafting.draft(1)
        draft.data["authClientId"] = HELD_CLIENT
        await self._send(LogicalTopic.REQUESTS, 1, [draft.record()])
        return draft.binding_id

    async def _send_parked(self) -> Draft:
        draft = self._drafting.draft(0, word="cancel-fail")
        await self._send(LogicalTopic.REQUESTS, 0, [draft.record()])
        return draft

    async def _send_notices(self, noticed: Sequence[Draft]) -> dict[str, Sent]:
        """Send each bad notice between two good ones, one with its binding and one without."""
        sent = {}
        for number, case in enumerate(BAD_NOTICES):
            first, second = noticed[2 * number : 2 * number + 2]
            partition = number % PARTITIONS
            bad = draft_notice(3 * number, token="demo.nobody", binding_id=None, at=now_ms())
            case.spoil(bad)
            good = (
                draft_notice(3 * number + 1, token=first.token, binding_id=first.binding_id, at=now_ms()),
                draft_notice(3 * number + 2, token=second.token, binding_id=None, at=now_ms()),
            )
            base = await self._send(
                LogicalTopic.NOTICES, partition, [good[0].record(), bad.record(), good[1].record()]
            )
            sent[case.name] = Sent(
                origin=self._origin(LogicalTopic.NOTICES, partition, base + 1),
                neighbours=(first.binding_id, second.binding_id),
            )
        return sent

    async def _send_commands(self, discarded: Sequence[Draft]) -> dict[str, Sent]:
        """Send each bad command before a good one in its batch."""
        letters = {headers.binding_id: headers for headers, _ in self._letters().values()}
        sent = {}
        for number, (case, parked) in enumerate(zip(BAD_COMMANDS, discarded, strict=True)):
            letter = letters[parked.binding_id]
            bad = draft_command(2 * number, letter=letter.key, sequence=letter.sequence, at=now_ms())
            case.spoil(bad)
            good = draft_command(2 * number + 1, letter=letter.key, sequence=letter.sequence, at=now_ms())
            base = await self._send(LogicalTopic.COMMANDS, 0, [bad.record(), good.record()])
            sent[case.name] = Sent(
                origin=self._origin(LogicalTopic.COMMANDS, 0, base),
                binding_id=str(bad.data.get("letter")),
                neighbours=(parked.binding_id,),
            )
        return sent

    # --- waiting and reading ------------------------------------------------------------

    async def _rest(self, *, but: set[str]) -> None:
        """Wait until every request has come to its end, but those of these bindings."""

        async def ended() -> bool:
            await self._archive.catch_up()
            return {_binding_of(violation) for violation in open_requests(self._archive)} == but

        await until(ended, within_s=120, what=f"all but {sorted(but)} have come to their ends", look_s=0.5)

    async def _all_end(self, bindings: set[str]) -> bool:
        await self._archive.catch_up()
        return not bindings & {headers.binding_id for headers, _ in self._letters().values()}

    def _letters(self) -> dict[str, tuple[LetterHeaders, Stored]]:
        standing: dict[str, Stored] = {}
        for partition in range(PARTITIONS):
            for stored in self._archive.archive(topic_name(LogicalTopic.DEAD_LETTERS), partition):
                key = (stored.key or b"").decode()
                if stored.value is None:
                    standing.pop(key, None)
                else:
                    standing[key] = stored
        return {key: (LetterHeaders.from_headers(stored.headers), stored) for key, stored in standing.items()}

    def _verdicts(self) -> list[VerdictRecorded]:
        return [
            read_verdict(read_event(stored.value, stored.headers))
            for partition in range(PARTITIONS)
            for stored in self._archive.archive(topic_name(LogicalTopic.VERDICTS), partition)
        ]


def _binding_of(violation: Violation) -> str | None:
    """Return the binding that a violation is about."""
    shown = violation.shown_by[0] if violation.shown_by else None
    return getattr(shown, "binding_id", None)
