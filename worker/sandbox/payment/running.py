"""A running sandbox: started and stopped around a block of code, or until a signal comes."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import uvloop
from aiohttp import web

from worker.sandbox.payment import admin
from worker.sandbox.payment.config import SandboxConfig, settings_toml
from worker.sandbox.payment.door import Door, wall_clock
from worker.sandbox.payment.errors import KeysError, SandboxError
from worker.sandbox.payment.keys import KeyFiles, load_hub_keys, make_keys
from worker.sandbox.payment.ledger import Ledger
from worker.sandbox.payment.rules import Rules
from worker.sandbox.payment.tls import TlsFiles, make_tls, server_context

_STOP_WITHIN_S: Final = 1.0
_BACKLOG: Final = 1024
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound by default


class Sandbox:
    """The payment side's stand-in, running."""

    def __init__(self, config: SandboxConfig, *, door: Door, keys: KeyFiles, tls: TlsFiles | None) -> None:
        self.config = config
        self.keys = keys
        """Key files; the worker needs ``client_key`` and ``hub_public``."""
        self.tls = tls
        """Certificate files; ``None`` without HTTPS."""
        self.base_url = ""
        """Of HTTP, without a slash at its end."""
        self.tls_base_url: str | None = None
        """Of HTTPS; ``None`` without it."""
        self._door = door

    @property
    def ledger(self) -> Ledger:
        """All calls so far, and what they say of each token."""
        return self._door.ledger

    @property
    def rules(self) -> Rules:
        """What decides the next calls; set it to tell the sandbox something else."""
        return self._door.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._door.rules = rules

    def settings_toml(self) -> str:
        """Write the worker settings that fit this sandbox (HTTPS where there is any), as TOML text."""
        return settings_toml(
            self.config,
            base_url=self.tls_base_url or self.base_url,
            keys=self.keys,
            ca=None if self.tls is None else self.tls.ca,
        )

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, to an API or to an endpoint of the sandbox's own."""
        if request.raw_path.startswith(admin.PREFIX):
            return await admin.administer(request, self._door)
        return await self._door.serve(request)


@asynccontextmanager
async def sandbox(config: SandboxConfig) -> AsyncIterator[Sandbox]:
    """Run a sandbox until the block ends. Raises a SandboxError if it cannot start."""
    keys = make_keys(config.directory.absolute())
    tls, context = _tls(config)
    ledger = Ledger() if config.ledger_file is None else Ledger.at(config.ledger_file, now_at=wall_clock())
    door = Door(config, keys=load_hub_keys(keys), ledger=ledger)
    box = Sandbox(config, door=door, keys=keys, tls=tls)
    server = web.Server(
        box.serve,
        handler_cancellation=True,
        auto_decompress=False,  # the signature covers the body as it came
        access_log=None,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_STOP_WITHIN_S)
    await runner.setup()
    try:
        await _listen(box, runner, context)
        yield box
    finally:
        door.closing.set()
        await runner.cleanup()
        ledger.close()


def run_sandbox(config: SandboxConfig, *, announce: Callable[[Sandbox], None]) -> None:
    """Run a sandbox until SIGINT or SIGTERM; ``announce`` hears when it listens. Raises a SandboxError."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with sandbox(config) as box:
            announce(box)
            await stop.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def _listen(box: Sandbox, runner: web.ServerRunner, context: ssl.SSLContext | None) -> None:
    config = box.config
    name = "127.0.0.1" if config.host in _ANY_ADDRESS else config.host
    box.base_url = f"http://{_bracketed(name)}:{await _bind(runner, config.host, config.port)}"
    if context is not None:
        port = await _bind(runner, config.host, config.tls_port or 0, context)
        box.tls_base_url = f"https://{_bracketed(name)}:{port}"


async def _bind(runner: web.ServerRunner, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
    site = web.TCPSite(runner, host, port, ssl_context=context, backlog=_BACKLOG)
    try:
        await site.start()
    except OSError as error:
        raise SandboxError(
            f"the sandbox cannot listen on {host}:{port} ({error}): choose another port"
        ) from None
    bound: int = runner.addresses[-1][1]
    return bound


def _tls(config: SandboxConfig) -> tuple[TlsFiles | None, ssl.SSLContext | None]:
    if config.tls_port is None:
        return None, None
    if (config.tls_certificate is None) != (config.tls_key is None):
        raise KeysError(
            "only one of TLS certificate and TLS key is given: give both, or none for self-made ones"
        )
    if config.tls_certificate is not None and config.tls_key is not None:
        files = TlsFiles(certificate=config.tls_certificate, key=config.tls_key, ca=None)
    else:
        files = make_tls(config.directory.absolute(), hosts=config.tls_hosts)
    return files, server_context(files)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
