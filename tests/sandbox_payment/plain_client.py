"""A client of the payment side that shares no code with ours: raw sockets, and OpenSSL for each signature."""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from worker.sandbox.payment import HUB_CLIENT, Sandbox

CONSULT = "/aps/api/v1/authorizations/consultUnbinding"
CANCEL = "/aps/api/v1/authorizations/cancelToken"
BOUND_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came back over one connection until it ended, or until the answer was whole."""

    raw: bytes
    ended: str
    """``whole``, ``closed``, ``reset``, or ``silence``."""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> dict[str, Any]:
        """Return the body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def result(self) -> tuple[str, str]:
        """Return status and code of the result."""
        result = self.json["result"]
        return result["resultStatus"], result["resultCode"]


def consult_body(token: str) -> bytes:
    """Make the body of a consultUnbinding request."""
    return json.dumps({"authClientId": "ac-1", "referenceMerchantId": "rm-1", "accessToken": token}).encode()


def cancel_body(token: str) -> bytes:
    """Make the body of a cancelToken request."""
    return json.dumps({"pspId": "psp-807", "acquirerId": "acq-310", "accessToken": token}).encode()


def openssl_sign(key: Path, text: bytes) -> bytes:
    """Sign with the ``openssl`` command line."""
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    done = subprocess.run(command, input=text, capture_output=True, check=True)  # noqa: S603 - own words and path
    return done.stdout


def openssl_fits(public: Path, signature: bytes, text: bytes) -> bool:
    """Verify with the ``openssl`` command line."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "signature"
        file.write_bytes(signature)
        command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(file)]
        done = subprocess.run(command, input=text, capture_output=True, check=False)  # noqa: S603 - as above
        return done.returncode == 0


def signed_headers(
    box: Sandbox,
    *,
    target: str,
    body: bytes,
    method: str = "POST",
    client: str = HUB_CLIENT,
    time: str | None = None,
    key_version: str = "1",
) -> dict[str, str]:
    """Make the headers of a request, signed by OpenSSL."""
    time = time or datetime.now(UTC).isoformat(timespec="seconds")
    text = f"{method} {target}\n{client}.{time}.".encode() + body
    value = quote(base64.b64encode(openssl_sign(box.keys.client_key, text)).decode(), safe="")
    return {
        "Content-Type": "application/json; charset=UTF-8",
        "Client-Id": client,
        "Request-Time": time,
        "Signature": f"algorithm=RSA256, keyVersion={key_version}, signature={value}",
    }


def answer_fits(
    heard: Heard, public: Path, *, target: str, method: str = "POST", client: str | None = None
) -> bool:
    """Let OpenSSL judge an answer's signature, over the raw bytes that came."""
    value = heard.headers["signature"].partition("signature=")[2]
    named = client or heard.headers["client-id"]
    text = f"{method} {target}\n{named}.{heard.headers['response-time']}.".encode() + heard.body
    return openssl_fits(public, base64.b64decode(unquote(value), validate=True), text)


async def exchange(
    box: Sandbox,
    *,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    method: str = "POST",
    within_s: float = BOUND_S,
    tls: bool = False,
) -> Heard:
    """Send one request over a connection of its own and listen to the answer, for so many seconds at most."""
    async with connected(box, tls=tls) as (reader, writer):
        writer.write(request_bytes(target=target, body=body, headers=headers, method=method))
        raw = bytearray()
        ended = "whole"
        try:
            async with asyncio.timeout(within_s):
                while not _is_whole(raw):
                    piece = await reader.read(65536)
                    if not piece:
                        ended = "closed"
                        break
                    raw += piece
        except TimeoutError:
            ended = "silence"
        except ConnectionResetError:
            ended = "reset"
    return _heard(bytes(raw), ended)


@contextlib.asynccontextmanager
async def connected(box: Sandbox, *, tls: bool = False) -> Any:
    """Open a connection; over TLS the certificate is verified against the sandbox's own authority."""
    context = None
    address = urlsplit(box.base_url)
    if tls:
        assert box.tls_base_url is not None
        assert box.tls is not None
        assert box.tls.ca is not None
        address = urlsplit(box.tls_base_url)
        context = ssl.create_default_context(cafile=str(box.tls.ca))
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request_bytes(*, target: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bytes:
    """Write a request as it goes over the wire."""
    lines = [f"{method} {target} HTTP/1.1", "Host: sandbox", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def consult(box: Sandbox, token: str, *, within_s: float = BOUND_S, tls: bool = False) -> Heard:
    """Call consultUnbinding."""
    body = consult_body(token)
    headers = signed_headers(box, target=CONSULT, body=body)
    return await exchange(box, target=CONSULT, body=body, headers=headers, within_s=within_s, tls=tls)


async def cancel(box: Sandbox, token: str, *, within_s: float = BOUND_S, tls: bool = False) -> Heard:
    """Call cancelToken."""
    body = cancel_body(token)
    headers = signed_headers(box, target=CANCEL, body=body)
    return await exchange(box, target=CANCEL, body=body, headers=headers, within_s=within_s, tls=tls)


async def until(condition: Any) -> None:
    """Wait for a condition, ten seconds at most."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - the ledger is plain data, nobody announces its changes
            await asyncio.sleep(0.005)


def _is_whole(raw: bytearray) -> bool:
    head, parted, body = bytes(raw).partition(b"\r\n\r\n")
    return bool(parted) and head.startswith(b"HTTP/") and len(body) >= int(_headers(head)["content-length"])


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _heard(raw: bytes, ended: str) -> Heard:
    head, parted, body = raw.partition(b"\r\n\r\n")
    if not parted or not head.startswith(b"HTTP/"):
        return Heard(raw=raw, ended=ended)
    return Heard(raw=raw, ended=ended, status=int(head.split(b" ")[1]), headers=_headers(head), body=body)
