from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.hub.payside import (
    Gate,
    Script,
    answer,
    call,
    hub_at,
    read_request,
    result_body,
    serving,
    unbinding,
    until,
)
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.wire, pytest.mark.promise("P9")]

GOOD = answer(result_body())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for localhost that signs itself, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    """Make the server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_calls_go_over_tls_to_a_trusted_server(server_tls: ssl.SSLContext, certificate: Path) -> None:
    """With the configured ca_file the call is made."""
    async with (
        serving(Script([GOOD]), tls=server_tls) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
    ):
        result = await hub.perform(call(), unbinding(), Gate())
    assert result.result_class is ResultClass.DONE


async def test_an_untrusted_server_gets_nothing(server_tls: ssl.SSLContext) -> None:
    """A certificate that the system does not trust ends the attempt before the gate, and nothing was sent."""
    script, gate = Script([GOOD]), Gate()
    async with (
        serving(script, tls=server_tls) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}") as hub,
    ):
        result = await hub.perform(call(), unbinding(), gate)
    assert (result.code, result.undecided, gate.passed) == ("NOT_SENT", False, 0)
    assert not script.received


async def test_a_server_that_is_not_tls_is_not_sent(certificate: Path) -> None:
    """A failed handshake is a failed connection."""
    gate = Gate()

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await writer.drain()

    async with (
        serving(plain) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
    ):
        result = await hub.perform(call(), unbinding(), gate)
    assert (result.code, result.undecided, gate.passed) == ("NOT_SENT", False, 0)


async def test_a_server_that_resets_the_handshake_is_not_sent(certificate: Path) -> None:
    """A connection closed in the middle of the handshake is a failed connection."""
    gate = Gate()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async with (
        serving(closing) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
    ):
        result = await hub.perform(call(), unbinding(), gate)
    assert (result.code, result.undecided, gate.passed) == ("NOT_SENT", False, 0)


async def test_the_gate_is_passed_after_a_slow_handshake(
    server_tls: ssl.SSLContext, certificate: Path
) -> None:
    """While the server hesitates over the handshake the gate stays unasked; it is asked once, at its end."""
    accepted, go_on = asyncio.Event(), asyncio.Event()
    gate = Gate()
    async with serving(Script([GOOD]), tls=server_tls) as real:

        async def hesitating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await go_on.wait()
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", real)
            try:
                await asyncio.gather(_pipe(reader, onward_writer), _pipe(onward_reader, writer))
            finally:
                onward_writer.close()

        async with (
            serving(hesitating) as port,
            hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
        ):
            performing = asyncio.create_task(hub.perform(call(), unbinding(), gate))
            await accepted.wait()
            await asyncio.sleep(0)
            passed_before = gate.passed
            go_on.set()
            result = await performing
    assert result.result_class is ResultClass.DONE
    assert (passed_before, gate.passed) == (0, 1)


async def test_a_handshake_that_never_ends_is_not_sent(certificate: Path) -> None:
    """The time limit covers connecting; when it ends there, nothing has left and the gate was not asked."""
    gate = Gate()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async with (
        serving(silent) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate, timeout_ms=150) as hub,
    ):
        result = await hub.perform(call(), unbinding(), gate)
    assert (result.code, result.undecided, gate.passed) == ("NOT_SENT", False, 0)


async def test_cancelled_in_the_handshake_nothing_has_left(certificate: Path) -> None:
    """Cancellation before the gate comes out, and the gate was never passed."""
    accepted = asyncio.Event()
    gate = Gate()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        accepted.set()
        while await reader.read(1000):
            pass

    async with (
        serving(silent) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
    ):
        performing = asyncio.create_task(hub.perform(call(), unbinding(), gate))
        await accepted.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
    assert gate.passed == 0


async def test_a_second_connection_resumes_the_session(server_tls: ssl.SSLContext, certificate: Path) -> None:
    """A server that closes after each answer gets a short handshake the next time."""
    resumed: list[bool] = []
    spoken: set[str | None] = set()
    server_tls.set_alpn_protocols(["h2", "http/1.1"])

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        resumed.append(connection.session_reused)
        spoken.add(connection.selected_alpn_protocol())
        if await read_request(reader) is not None:
            writer.write(answer(result_body(), keep=False))
            await writer.drain()

    async with (
        serving(once, tls=server_tls) as port,
        hub_at(port, base_url=f"https://127.0.0.1:{port}", ca_file=certificate) as hub,
    ):
        for _ in range(2):
            result = await hub.perform(call(), unbinding(), Gate())
            assert result.result_class is ResultClass.DONE
    assert resumed == [False, True]
    assert spoken == {"http/1.1"}


async def test_our_certificate_is_shown_where_one_is_wanted(
    server_tls: ssl.SSLContext, certificate: Path
) -> None:
    """A server that wants a client certificate gets the configured one; without it the call is not done."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(certificate)
    script = Script([GOOD])
    async with serving(script, tls=server_tls) as port:
        address = f"https://127.0.0.1:{port}"
        async with hub_at(port, base_url=address, ca_file=certificate, client_cert_file=certificate) as hub:
            shown = await hub.perform(call(), unbinding(), Gate())
        async with hub_at(port, base_url=address, ca_file=certificate) as hub:
            missing = await hub.perform(call(), unbinding(), Gate())
    assert shown.result_class is ResultClass.DONE
    assert missing.result_class is ResultClass.SOON
    await until(lambda: len(script.received) == 1)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(4096):
        writer.write(piece)
        await writer.drain()
    writer.close()
