"""Runs the trials one after the other, each in processes and topics of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

import worker
from worker.bench.contestant import GO, READY
from worker.bench.errand import BenchFailed, Errand, Report
from worker.bench.figures import Measured
from worker.bench.kafka_side import make_requests, open_kafka_side
from worker.bench.payment_side import Address
from worker.bench.trials import LATENCY_MS, Scene
from worker.sealing import Purpose, new_key_file, write_key_file

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable, Sequence

    from worker.bench.kafka_side import KafkaSide
    from worker.bench.trials import Trial

_START_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 300.0
_STOP_WITHIN_S: Final = 20.0
_IDLE_GAP_S: Final = 0.15
_SAID_AT_MOST: Final = 2_000


async def run_course(
    trials: Sequence[Trial],
    *,
    bootstrap_servers: str,
    partitions: int,
    directory: Path,
    told: Callable[[Measured], None],
) -> None:
    """Run all trials and tell each result. Raises BenchFailed.

    Keys, settings and logs go to ``directory``.
    """
    async with AsyncExitStack() as opened:
        name = f"bench-{secrets.token_hex(4)}"
        course = _Course(
            directory=directory,
            bootstrap_servers=bootstrap_servers,
            partitions=partitions,
            payment=(payment := await opened.enter_async_context(_payment_side(directory))),
            kafka=await opened.enter_async_context(open_kafka_side(bootstrap_servers, name=name)),
            session=await opened.enter_async_context(aiohttp.ClientSession(payment.base_url)),
        )
        for number, trial in enumerate(trials):
            told(await course.run(trial, name=f"{name}-{number}"))


class _Course:
    """What all trials share."""

    def __init__(
        self,
        *,
        directory: Path,
        bootstrap_servers: str,
        partitions: int,
        payment: Address,
        kafka: KafkaSide,
        session: aiohttp.ClientSession,
    ) -> None:
        self._directory = directory
        self._bootstrap_servers = bootstrap_servers
        self._partitions = partitions
        self._payment = payment
        self._kafka = kafka
        self._session = session
        for purpose in Purpose:
            path = directory / f"{purpose.value}.toml"
            path.write_text(write_key_file(new_key_file(purpose=purpose, key_id="bench")))

    async def run(self, trial: Trial, *, name: str) -> Measured:
        """Run one trial from its topics to its result."""
        errand = self._errand(trial, name=name)
        await self._tell_payment_side(trial)
        async with self._kafka.topics(errand.prefix, partitions=self._partitions):
            return await self._measure(trial, errand)

    def _errand(self, trial: Trial, *, name: str) -> Errand:
        prefix = f"{name}."
        settings = self._directory / f"{name}.toml"
        settings.write_text(
            f'application = "{name}"\n'
            f'[kafka]\nbootstrap_servers = "{self._bootstrap_servers}"\n'
            f'[topics]\nprefix = "{prefix}"\npartitions = {self._partitions}\nreplication = 1\n'
            "[sealing]\n"
            f'keys_file = "{self._directory / f"{Purpose.SEALING.value}.toml"}"\nactive = "bench"\n'
            f'fingerprint_keys_file = "{self._directory / f"{Purpose.FINGERPRINTS.value}.toml"}"\n'
            'fingerprint_active = "bench"\n' + self._payment.settings_toml
        )
        return Errand(
            contestant=trial.contestant,
            bootstrap_servers=self._bootstrap_servers,
            prefix=prefix,
            partitions=self._partitions,
            warm_up=trial.warm_up,
            sagas=trial.sagas,
            in_flight=trial.in_flight,
            base_url=self._payment.base_url,
            client_key=Path(self._payment.client_key),
            hub_public_key=Path(self._payment.hub_public_key),
            settings_file=settings,
            sampled=trial.sampled,
        )

    async def _tell_payment_side(self, trial: Trial) -> None:
        async with self._session.post("/sandbox/reset", raise_for_status=True):
            pass
        rules = {"latency_ms": LATENCY_MS[trial.scene], "token_words": False}
        async with self._session.put("/sandbox/rules", json=rules, raise_for_status=True):
            pass

    async def _measure(self, trial: Trial, errand: Errand) -> Measured:
        requests = make_requests(errand.prefix, errand.warm_up + errand.sagas)
        warm, measured = requests[: errand.warm_up], requests[errand.warm_up :]
        kafka, parts = self._kafka, self._partitions
        sent: dict[str, int] = {}
        await kafka.release(errand.prefix, warm, partitions=parts)
        async with _process("worker.bench.contestant", errand.to_json(), log=self._log(trial)) as child:
            child.expect(await child.line(within_s=_START_WITHIN_S), READY)
            child.say(GO)
            if trial.scene is Scene.IDLE:
                for request in measured:
                    sent[request.token] = await kafka.trickle(errand.prefix, request, partitions=parts)
                    await asyncio.sleep(_IDLE_GAP_S)
            else:
                await kafka.release(errand.prefix, measured, partitions=parts)
            report = Report.from_json(await child.line(within_s=_END_WITHIN_S))
        outcome = await kafka.outcome(errand.prefix, partitions=parts)
        return Measured(
            trial=trial,
            report=report,
            unbound=outcome.unbound,
            repeated=outcome.repeated,
            transactions=outcome.transactions,
            first_call_ms=tuple([await self._first_call(token) - at for token, at in sent.items()]),
        )

    async def _first_call(self, token: str) -> int:
        """Return when the payment side received the first call with this token (ms since the Unix epoch)."""
        async with self._session.get(
            "/sandbox/ledger", params={"token": token, "limit": "1"}, raise_for_status=True
        ) as answer:
            calls = (await answer.json())["calls"]
        at: int = calls[0]["received_at"]
        return at

    def _log(self, trial: Trial) -> Path:
        return self._directory / f"{trial.contestant.value}.log"


class _Child:
    """A process of ours: lines in, lines out, and a file with what it grumbles."""

    def __init__(self, process: Process, *, name: str, log: Path) -> None:
        self._process = process
        self._name = name
        self._log = log

    async def line(self, *, within_s: float) -> bytes:
        """Return its next line. Raises BenchFailed if none comes."""
        if self._process.stdout is None:
            raise AssertionError("the process was started with pipes")
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchFailed(
                f"{self._name}: nothing came within {within_s:.0f} s{self._grumbled()}"
            ) from None
        if not line:
            raise BenchFailed(f"{self._name}: its process ended early{self._grumbled()}")
        return line

    def expect(self, line: bytes, expected: bytes) -> None:
        """Raise BenchFailed unless it said this."""
        if line != expected:
            raise BenchFailed(f"{self._name}: it said {line!r}, not {expected!r}{self._grumbled()}")

    def say(self, line: bytes) -> None:
        """Give it a line."""
        if self._process.stdin is None:
            raise AssertionError("the process was started with pipes")
        self._process.stdin.write(line)

    def _grumbled(self) -> str:
        text = self._log.read_text(errors="replace")[-_SAID_AT_MOST:].strip()
        return f"; its last words:\n{text}" if text else ", and it said nothing"


@asynccontextmanager
async def _process(module: str, argument: str, *, log: Path) -> AsyncIterator[_Child]:
    """Run a module of ours in a process that ends with the block."""
    home = str(Path(worker.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    with log.open("wb") as grumbles:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            argument,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=grumbles,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        yield _Child(process, name=module, log=log)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _payment_side(directory: Path) -> AsyncIterator[Address]:
    """Run the payment side in a process of its own: its CPU is none of a contestant's."""
    async with _process("worker.bench.payment_side", str(directory), log=directory / "payment.log") as child:
        yield Address.from_json(await child.line(within_s=_START_WITHIN_S))
