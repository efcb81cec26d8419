"""A counterpart for the hub's tests: keys, signed answers, and a server that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa

from contracts.requests import RebindingRequested, UnbindingRequested
from contracts.states import Step
from worker.hub.catalogue import apis_of
from worker.hub.client import HttpHub, open_hub
from worker.hub.counterparts import Counterpart
from worker.saga.plan import Edition
from worker.saga.results import Call
from worker.signing import PublicKeys, Signer, sign_response

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from worker.hub.apis.api import Api, Request

CLIENT_ID = "SANDBOX_CLIENT_01"
PATHS = {
    Step.CONSULT: "/aps/api/v1/authorizations/consultUnbinding",
    Step.CANCEL_TOKEN: "/hook/aps/api/v1/authorizations/cancelToken",
    Step.NOTIFY_HUB: "/aps/api/v1/authorizations/authNotify",
    Step.OFFER: "/ams/api/v1/authorizations/consult",
}
NOW_AT = 1_763_866_800_000
RESPONSE_TIME = "2025-11-23T03:00:01+00:00"
TOKEN = "tok_9f3c2b7e55aa4d10"
WALLET_APIS = apis_of(Edition.WALLET)

WORKER = Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048))
PAYSIDE = Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048))
STRANGER = Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048))

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def unbinding(**changes: object) -> UnbindingRequested:
    """Make a request of the wallet's user."""
    fields: dict[str, Any] = {
        "binding_id": "b-1",
        "initiator": "wallet",
        "requested_at": "2025-11-23T03:00:00Z",
        "auth_client_id": "ac-7781",
        "reference_merchant_id": "rm-0042",
        "access_token": TOKEN,
    }
    return UnbindingRequested(**fields | changes)


def rebinding(**changes: object) -> RebindingRequested:
    """Make a request of a user who wants to bind again, at a phone."""
    fields: dict[str, Any] = {
        "binding_id": "b-1",
        "customer_belongs_to": "ALIPAY_HK",
        "auth_client_id": "rm-0042",
        "auth_redirect_url": "https://shop.example/back",
        "scopes": ("BASE_USER_INFO", "AGREEMENT_PAY"),
        "auth_state": TOKEN,
        "terminal_type": "APP",
        "os_type": "ANDROID",
        "os_version": "14",
    }
    return RebindingRequested(**fields | changes)


def request_of(step: Step) -> Request:
    """Make a request that has this step."""
    return rebinding() if step is Step.OFFER else unbinding()


def call(step: Step = Step.CANCEL_TOKEN, **changes: object) -> Call:
    """Make a call; cancelToken has the ids of a consult."""
    fields: dict[str, Any] = {
        "saga_id": "s-1",
        "step": step,
        "attempt": 1,
        "acquirer_id": "acq-310",
        "psp_id": "psp-807",
    }
    return Call(**fields | changes)


def counterpart(base_url: str, **changes: object) -> Counterpart:
    """Make the counterpart at ``base_url``, which takes each step that the hub knows."""
    fields: dict[str, Any] = {
        "name": "hub",
        "base_url": base_url,
        "client_id": CLIENT_ID,
        "key_version": "1",
        "signer": WORKER,
        "public_keys": PublicKeys({CLIENT_ID: {"1": PAYSIDE.verifier}}),
        "paths": PATHS,
    }
    return Counterpart(**fields | changes)


def result_body(
    status: object = "S", code: object = "SUCCESS", message: object = "ok", **more: object
) -> bytes:
    """Write the body of an answer."""
    return orjson.dumps(
        {"result": {"resultStatus": status, "resultCode": code, "resultMessage": message}} | more
    )


def signed(
    body: bytes,
    *,
    step: Step = Step.CANCEL_TOKEN,
    signer: Signer = PAYSIDE,
    client_id: str = CLIENT_ID,
    time: str = RESPONSE_TIME,
    path: str | None = None,
) -> list[tuple[str, str]]:
    """Make the headers of a signed answer."""
    signature = sign_response(
        signer, method="POST", path=path or PATHS[step], client_id=client_id, time=time, body=body
    )
    return [("Client-Id", client_id), ("Response-Time", time), ("Signature", signature)]


def http(body: bytes, headers: list[tuple[str, str]], *, status: int = 200, keep: bool = True) -> bytes:
    """Write an HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(body: bytes, *, status: int = 200, step: Step = Step.CANCEL_TOKEN, keep: bool = True) -> bytes:
    """Write a signed answer, whole."""
    return http(body, signed(body, step=step), status=status, keep=keep)


@dataclass
class Received:
    """One request as it came over the wire."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return the header of this name."""
        return dict(self.headers).get(name)


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """Read one request; ``None`` where the client hung up instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *rest = head[:-4].split(b"\r\n")
    headers = [(name, value) for name, _, value in (field.partition(b": ") for field in rest)]
    length = int(dict(headers)[b"Content-Length"])
    return Received(line=line, headers=headers, body=await reader.readexactly(length))


@asynccontextmanager
async def serving(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a port of this machine; each connection goes to ``handler`` and is closed after it."""
    open_tasks: set[asyncio.Task[None]] = set()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            open_tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_tasks.copy():
            task.cancel()
        await asyncio.gather(*open_tasks)
        await server.wait_closed()


@dataclass
class Script:
    """Answers the n-th request with the n-th bytes (the last repeat), on connections that are kept."""

    answers: list[bytes]
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        while (request := await read_request(reader)) is not None:
            number = len(self.received)
            self.received.append(request)
            writer.write(self.answers[min(number, len(self.answers) - 1)])
            await writer.drain()


class Naps:
    """Stands in for ``asyncio.sleep``: notes the seconds, and takes none."""

    def __init__(self) -> None:
        """Begin without any."""
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Take note."""
        self.seconds.append(seconds)
        await asyncio.sleep(0)


class Gate:
    """Counts how often it was passed; refuses from the n-th time on."""

    def __init__(self, refuses: BaseException | None = None, *, after: int = 0) -> None:
        """Stand open, or refuse with ``refuses`` after so many passages."""
        self.passed = 0
        self._refuses = refuses
        self._after = after

    def __call__(self) -> None:
        """Let pass or refuse."""
        if self._refuses is not None and self.passed >= self._after:
            raise self._refuses
        self.passed += 1


class Heard:
    """An observer that keeps what is logged (ports.Observer)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append((event, fields))

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Ignore a count."""

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Ignore an observation."""

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Ignore a value."""


@asynccontextmanager
async def hub_at(
    port: int,
    *,
    naps: Callable[[float], Awaitable[None]] | None = None,
    base_url: str | None = None,
    heard: Heard | None = None,
    apis: Mapping[Step, Api] = WALLET_APIS,
    **changes: object,
) -> AsyncIterator[HttpHub]:
    """Open a hub whose one counterpart is served at ``port``."""
    async with open_hub(
        [counterpart(base_url or f"http://127.0.0.1:{port}", **changes)],
        apis=apis,
        in_flight=64,
        clock=lambda: NOW_AT,
        chance=lambda: 0.5,
        observer=heard or Heard(),
        sleep=naps or Naps(),
    ) as hub:
        yield hub


async def settled() -> None:
    """Let the loop go round until what was sent on this machine is taken in."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of others, which set no event
            await asyncio.sleep(0.002)
