"""A stage: topics and a payment side of its own, and workers that come, go and are hurt."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from contracts.topics import LogicalTopic, topic_name
from tests.faults.archive import Archive
from tests.faults.child import Child
from tests.faults.diary import Line, Tail
from tests.faults.payment_process import PaymentSide
from tests.faults.payment_side import LIVES, SLOTS, LedgerCall, counterparts_toml
from worker.kafka.connection import Connection
from worker.kafka.topics import apply, check
from worker.sandbox.local_kafka import free_ports
from worker.sealing import Purpose
from worker.sealing.key_files import new_key_file, write_key_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.simulation.cluster import Stored

PARTITIONS: Final = 6
SESSION_MS: Final = 6_000
CALL_MS: Final = 3_000
"""How long a call may take as a whole."""
CONSULT_MS: Final = 8_000
CANCEL_MS: Final = 12_000
"""How long the steps are tried."""
IN_FLIGHT: Final = 64
"""How many calls of an API a worker may have in flight."""
_LOOK_S: Final = 0.05
_START_S: Final = 60.0

_SETTINGS: Final = """\
application = "{prefix}app"
log_format = "json"
{instance}
[kafka]
bootstrap_servers = ["{servers}"]
session_timeout = "{session_ms}ms"
rebalance_timeout = "20s"
drain_timeout = "8s"
restore_timeout = "30s"
transaction_timeout = "5s"
request_timeout = "5s"

[topics]
prefix = "{prefix}"
partitions = {partitions}
replication = 1

[patience.consult]
quick = 1
waits = ["300ms", "600ms", "1s", "2s"]
give_up_after = "{consult_ms}ms"

[patience.cancel_token]
quick = 1
waits = ["300ms", "600ms", "1s", "2s"]
give_up_after = "{cancel_ms}ms"

[sealing]
keys_file = "{directory}/sealing.toml"
fingerprint_keys_file = "{directory}/prints.toml"

[http]
address = "127.0.0.1:{port}"

"""


def now_ms() -> int:
    """Return the time in ms since the Unix epoch."""
    return time.time_ns() // 1_000_000


async def until(
    condition: Callable[[], bool | Awaitable[bool]], *, within_s: float, what: str, look_s: float = _LOOK_S
) -> None:
    """Wait until the condition holds. Raises TimeoutError, which says what was waited for."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"not within {within_s:.0f} s: {what}")
        await asyncio.sleep(look_s)


@dataclass(slots=True, kw_only=True)
class Freeze:
    """One SIGSTOP. Times are ms since the Unix epoch."""

    worker: str
    stopped_at: int
    went_on_at: int | None = None
    is_nap: bool = False
    """It is shorter than a session: the worker may have had its lease all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is kept of the workers' logs, and who else wants to see all of them."""

    keep: Callable[[str], bool] = lambda _event: True
    watch: Callable[[str, bytes], None] = lambda _name, _text: None


class Process:
    """One process of a worker: `a-3` is the third of worker `a`."""

    def __init__(self, name: str, child: Child, notes: Notes) -> None:
        self.name = name
        self.child = child
        self._tails = [
            Tail(name, path, keep=notes.keep, watch=notes.watch) for path in (child.output, child.errors)
        ]
        self._read_to_end = False

    def lines(self) -> list[Line]:
        """Return what it has logged so far, as far as that is kept."""
        if not self._read_to_end:
            ended = not self.child.running
            for tail in self._tails:
                tail.read()
            self._read_to_end = ended
        return sorted((line for tail in self._tails for line in tail.lines), key=lambda line: line.at)

    def counts(self) -> Counter[str]:
        """Return how often it has logged each event, kept or not."""
        self.lines()
        return sum((tail.counts for tail in self._tails), Counter())

    def count(self, event: str) -> int:
        """Return how often it has logged an event."""
        return self.counts()[event]


@dataclass(slots=True)
class Stage:
    """Everything of one round; made by `open_stage`."""

    directory: Path
    connection: Connection
    prefix: str
    payment: PaymentSide
    archive: Archive
    session_ms: int = SESSION_MS
    call_ms: int = CALL_MS
    consult_ms: int = CONSULT_MS
    cancel_ms: int = CANCEL_MS
    in_flight: int = IN_FLIGHT
    notes: Notes = field(default_factory=Notes)
    processes: list[Process] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    """When each process ended, as far as it has: ms since the Unix epoch."""
    shaken: list[tuple[int, int]] = field(default_factory=list)
    """From when to when the broker was hurt: ms since the Unix epoch."""
    diary: list[str] = field(default_factory=list)
    """What was done, with the second of the day."""
    _lives: Counter[str] = field(default_factory=Counter)

    @property
    def payment_url(self) -> str:
        """Where the payment side listens."""
        return self.payment.url

    @property
    def requests(self) -> str:
        """The name of the requests topic."""
        return topic_name(LogicalTopic.REQUESTS, prefix=self.prefix)

    @property
    def running(self) -> list[Process]:
        """The workers' processes that have not ended."""
        return [process for process in self.processes if process.child.running]

    def note(self, what: str) -> None:
        """Write into the diary."""
        at = now_ms()
        self.diary.append(f"{time.strftime('%H:%M:%S', time.gmtime(at / 1000))}.{at % 1000:03} {what}")
        with (self.directory / "diary.txt").open("a", encoding="utf-8") as file:
            file.write(self.diary[-1] + "\n")

    def hire(
        self, slot: str, *, instance_id: str | None = None, program: Sequence[str] = ("worker", "run")
    ) -> Process:
        """Start a worker, the first time or anew, with a static membership if it has an instance id.

        `program`: a module that composes a worker, and its arguments before `--config`.
        """
        if slot not in SLOTS:
            raise ValueError(f"no worker {slot!r}: there are {', '.join(SLOTS)}")
        self._lives[slot] += 1
        if self._lives[slot] > LIVES:
            raise ValueError(f"worker {slot} was started {LIVES} times: the payment side knows no more")
        name = f"{slot}-{self._lives[slot]}"
        config = self.directory / f"{name}.toml"
        settings = _SETTINGS.format(
            prefix=self.prefix,
            instance="" if instance_id is None else f'instance_id = "{instance_id}"',
            servers='", "'.join(self.connection.bootstrap_servers.split(",")),
            session_ms=self.session_ms,
            consult_ms=self.consult_ms,
            cancel_ms=self.cancel_ms,
            partitions=PARTITIONS,
            directory=self.directory,
            port=free_ports(nodes=1)[0].clients,
        )
        counterparts = counterparts_toml(
            self.directory / "payment",
            base_url=self.payment_url,
            worker=name,
            call_ms=self.call_ms,
            in_flight=self.in_flight,
        )
        config.write_text(settings + counterparts, encoding="utf-8")
        child = Child(
            program[0],
            [*program[1:], "--config", str(config)],
            output=self.directory / f"{name}.log",
            errors=self.directory / f"{name}.err",
        )
        process = Process(name, child, self.notes)
        self.processes.append(process)
        self.note(f"{name} starts")
        return process

    async def settled(self, *, within_s: float = _START_S) -> None:
        """Wait until each partition has been opened by a process that runs and has a lease."""

        def all_open() -> bool:
            for process in self.processes:
                # Of one that was asked to end before it had started the signal itself is the code.
                ours = process.name in self.ends
                if not ours and process.child.code not in (None, 0, -signal.SIGKILL):
                    raise AssertionError(f"{process.name} ended by itself:\n{process.child.told()}")
            return self.open_partitions() == frozenset(range(PARTITIONS))

        try:
            await until(all_open, within_s=within_s, what="all partitions open")
        except TimeoutError as error:
            told = "\n".join(process.child.told() for process in self.running)
            raise TimeoutError(f"{error}; open are {sorted(self.open_partitions())}\n{told}") from error

    def open_partitions(self, *, without: Process | None = None) -> frozenset[int]:
        """Return the partitions that running processes have opened and not given back."""
        found: set[int] = set()
        for process in self.running:
            if process is not without:
                found |= self.opened(process)
        return frozenset(found)

    def opened(self, process: Process) -> frozenset[int]:
        """Return the partitions that a process has opened and not given back."""
        return opened_by(process.lines())

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        self.note(f"{process.name} is killed")
        process.child.kill()
        self.ends[process.name] = now_ms()

    async def terminate(self, process: Process, *, within_s: float = 40) -> int:
        """SIGTERM, and wait for the end in good order; return the exit code. Raises TimeoutError."""
        self.note(f"{process.name} is asked to end")
        process.child.signal(signal.SIGTERM)
        code = await process.child.ended(within_s=within_s)
        self.ends[process.name] = now_ms()
        self.note(f"{process.name} has ended with code {code}")
        return code

    def freeze(self, process: Process, *, is_nap: bool = False) -> Freeze:
        """SIGSTOP."""
        self.note(f"{process.name} is stopped{' for a nap' if is_nap else ''}")
        process.child.signal(signal.SIGSTOP)
        freeze = Freeze(worker=process.name, stopped_at=now_ms(), is_nap=is_nap)
        self.freezes.append(freeze)
        return freeze

    def thaw(self, process: Process, freeze: Freeze) -> None:
        """SIGCONT."""
        freeze.went_on_at = now_ms()
        process.child.signal(signal.SIGCONT)
        self.note(f"{process.name} goes on")

    async def ledger(self, *, after: int = 0) -> list[LedgerCall]:
        """Return the calls that the payment side has got, those with a higher number."""
        return await self.payment.ledger(after=after)

    def lines(self) -> list[Line]:
        """Return what all workers have logged."""
        return [line for process in self.processes for line in process.lines()]


def opened_by(lines: list[Line]) -> frozenset[int]:
    """Return the partitions that a worker has open, by its log."""
    found: set[int] = set()
    for line in lines:
        if line.event == "shard.opened":
            found |= line.partitions
        elif line.event in {"partitions.revoked", "shard.fenced", "shard.drained"}:
            found -= line.partitions
    return frozenset(found)


@asynccontextmanager
async def open_stage(
    directory: Path,
    *,
    bootstrap_servers: str,
    prefix: str,
    session_ms: int = SESSION_MS,
    call_ms: int = CALL_MS,
    consult_ms: int = CONSULT_MS,
    cancel_ms: int = CANCEL_MS,
    in_flight: int = IN_FLIGHT,
    notes: Notes | None = None,
    take: Callable[[LogicalTopic, Stored], bool] = lambda _topic, _stored: True,
) -> AsyncIterator[Stage]:
    """Make topics and keys, start the payment side; end everything at the end, however it came.

    `notes` and `take` choose what is kept of logs and records; left out, that is everything.
    """
    connection = Connection(bootstrap_servers=bootstrap_servers)
    names = {topic: topic_name(topic, prefix=prefix) for topic in LogicalTopic}
    findings = await check(connection, names=names, partitions=PARTITIONS, replication=1)
    await apply(connection, findings, partitions=PARTITIONS, replication=1)
    for name, purpose in (("sealing", Purpose.SEALING), ("prints", Purpose.FINGERPRINTS)):
        keys = directory / f"{name}.toml"
        keys.touch(mode=0o600)
        keys.write_text(write_key_file(new_key_file(purpose=purpose, key_id=f"{name}-1")), encoding="utf-8")
    payment = PaymentSide(directory)
    archive = Archive(connection, prefix=prefix, partitions=PARTITIONS, take=take)
    stage = Stage(
        directory=directory,
        connection=connection,
        prefix=prefix,
        payment=payment,
        archive=archive,
        session_ms=session_ms,
        call_ms=call_ms,
        consult_ms=consult_ms,
        cancel_ms=cancel_ms,
        in_flight=in_flight,
        notes=notes or Notes(),
    )
    try:
        payment.start()
        await until(payment.listens, within_s=_START_S, what="the payment side listens")
        yield stage
    finally:
        for process in stage.processes:
            process.child.kill()
        payment.kill()
        await archive.close()
