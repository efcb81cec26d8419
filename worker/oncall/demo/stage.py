"""What the demo plays on: a Kafka, the sandbox, and a worker as a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.oncall.demo.expectations import PARTITIONS
from worker.oncall.errors import CommandError
from worker.sandbox.leash import Leash
from worker.sandbox.local_kafka import free_ports
from worker.sandbox.obtain_kafka import obtain_kafka
from worker.sandbox.payment import Sandbox, SandboxConfig, sandbox
from worker.sealing import Purpose, new_key_file, write_key_file
from worker.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from worker.sandbox.kafka_download import Progress
    from worker.sandbox.obtain_kafka import ObtainedKafka
    from worker.settings import Settings

_OURS: Final = "UNBINDING_"
"""Settings of the person's own must not reach the demo's worker."""
_STOPPED_WITHIN_S: Final = 20.0
_TAIL_LINES: Final = 20
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """All that runs, except for what is published and read."""

    directory: Path
    kafka: ObtainedKafka
    box: Sandbox
    settings: Settings
    config: Path
    """The settings file; on-call commands take it, too."""
    worker: WorkerProcess


class WorkerProcess:
    """The worker: started, killed and started again as `python -m worker run`."""

    def __init__(self, *, config: Path, log: Path, environ: Mapping[str, str]) -> None:
        self.log = log
        """What it writes, over all its lives."""
        self._command = (sys.executable, "-m", "worker", "run", "--config", str(config))
        self._environ = {name: text for name, text in environ.items() if not name.startswith(_OURS)}
        self._process: asyncio.subprocess.Process | None = None
        self._leash = ExitStack()

    @property
    def exit_code(self) -> int | None:
        """How it ended; `None` while it runs, and before its start."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start it, tied to this process: it dies with us."""
        leash = self._leash.enter_context(Leash())
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
            )
        leash.hold(self._process.pid)

    async def kill(self) -> None:
        """Kill it (SIGKILL): it gets no chance to finish anything."""
        self._signal(signal.SIGKILL)
        await self._ended()

    async def stop(self) -> int | None:
        """Ask it to end (SIGTERM), kill it if that takes too long, and return its exit code."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOPPED_WITHIN_S):
                await self._ended()
        except TimeoutError:
            await self.kill()
        return self.exit_code

    def log_tail(self) -> str:
        """Return the last lines that it wrote."""
        lines = self.written().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(nothing)"

    def written(self) -> bytes:
        """Return all that it wrote."""
        return self.log.read_bytes() if self.log.exists() else b""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _ended(self) -> None:
        if self._process is not None:
            await self._process.wait()
        self._leash.close()


@asynccontextmanager
async def open_stage(
    directory: Path, *, environ: Mapping[str, str], progress: Progress | None
) -> AsyncIterator[Stage]:
    """Build the stage in an empty directory, and clear it at the end; the worker is not started yet.

    Raises SandboxKafkaError or SandboxError, whose texts say what is missing.
    """
    async with AsyncExitStack() as opened:
        kafka = await opened.enter_async_context(
            obtain_kafka(directory=directory / "kafka", progress=progress)
        )
        box = await opened.enter_async_context(
            sandbox(SandboxConfig(directory=directory / "sandbox", tls_port=0))
        )
        config = directory / "unbinding.toml"
        _write_private(config, _settings_text(directory, servers=kafka.bootstrap_servers, box=box))
        worker = WorkerProcess(config=config, log=directory / "worker.log", environ=environ)
        opened.push_async_callback(worker.stop)
        yield Stage(
            directory=directory,
            kafka=kafka,
            box=box,
            settings=load(environ={}, config=config).settings,
            config=config,
            worker=worker,
        )


def make_directory(path: Path) -> Path:
    """Make the demo's directory, or take an empty one. Raises CommandError."""
    path = path.absolute()
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise CommandError(f"{path} is not empty: give --directory an empty or a new one")
    return path


def _settings_text(directory: Path, *, servers: str, box: Sandbox) -> str:
    """Write the worker's settings: patience of seconds, so that nobody waits long for an end."""
    name = f"demo-{secrets.token_hex(4)}"
    for purpose in Purpose:
        _write_private(
            directory / f"{purpose.value}.toml",
            write_key_file(new_key_file(purpose=purpose, key_id="demo")),
        )
    patience = "\n".join(
        f'[patience.{step}]\nquick = 1\nwaits = ["1s", "2s"]\ngive_up_after = "{most}"\n'
        for step, most in (("consult", "5s"), ("cancel_token", "6s"))
    )
    return f"""\
# Made by `unbinding demo`: patience is short, and one broker keeps everything.
application = "{name}"
instance_id = "{name}-0"
log_format = "console"

[kafka]
bootstrap_servers = "{servers}"
session_timeout = "6s"
transaction_timeout = "5s"

[topics]
prefix = "{name}."
partitions = {PARTITIONS}
replication = 1

[sealing]
keys_file = "{directory / Purpose.SEALING.value}.toml"
fingerprint_keys_file = "{directory / Purpose.FINGERPRINTS.value}.toml"

[http]
address = "127.0.0.1:{free_ports(nodes=1)[0].clients}"

{patience}
{box.settings_toml()}"""


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
