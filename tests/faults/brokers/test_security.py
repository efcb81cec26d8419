"""TLS and SASL to Kafka: workers that run over them, and what they say when they are refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.brokers.topics import create_topics
from tests.faults.brokers import admin
from tests.faults.brokers.authority import Authority
from tests.faults.brokers.cable import lay_cable
from tests.faults.brokers.scene import PLAIN, deliver, make_load, prove, readiness, stage_behind
from tests.faults.stage import until
from worker.kafka.connection import Connection
from worker.kafka.reader import Reader
from worker.ports import LogInterrupted
from worker.sandbox.kafka_config import Listener
from worker.sandbox.local_kafka import LocalKafka, free_ports, local_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.promise("P8", "P11")]

_PASSWORD: Final = "not-for-any-log-7d31"
_WRONG: Final = "not-for-any-log-either-55"
_USER: Final = "unbinding"
_PLAIN_LOGIN: Final = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{_USER}="{_PASSWORD}";'
)
_SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True, slots=True)
class Secured:
    """A broker with listeners of all kinds, by name; `cable_port` is where `SCRAM` is advertised."""

    kafka: LocalKafka
    ports: Mapping[str, int]
    cable_port: int
    ca_file: str
    foreign_ca_file: str

    def at(self, listener: str, **given: Any) -> Connection:
        """Return how to reach a listener."""
        return Connection(
            bootstrap_servers=f"127.0.0.1:{self.ports[listener]}",
            request_timeout_ms=3_000,
            **{"ssl_ca_file": self.ca_file, **given},
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Give the tests of this file one broker."""
    folder = tmp_path_factory.mktemp("secured")
    authority, foreign = Authority(), Authority("another authority")
    (folder / "ca.pem").write_text(authority.certificate, encoding="ascii")
    (folder / "foreign.pem").write_text(foreign.certificate, encoding="ascii")
    ports = [port for found in free_ports(nodes=3) for port in (found.clients, found.controller)]
    names = ("TLS", "EXPIRED", "MISNAMED", "LOGIN", "SCRAM")
    by_name = dict(zip(names, ports, strict=False))
    good = authority.keystore()

    def listener(name: str, protocol: str, properties: Mapping[str, str], **given: Any) -> Listener:
        return Listener(name=name, protocol=protocol, ports=(by_name[name],), properties=properties, **given)

    listeners = (
        listener("TLS", "SSL", good),
        listener("EXPIRED", "SSL", authority.keystore(expired=True)),
        listener("MISNAMED", "SSL", authority.keystore(other_name=True)),
        listener(
            "LOGIN", "SASL_SSL", {**good, "plain.sasl.jaas.config": _PLAIN_LOGIN}, mechanisms=("PLAIN",)
        ),
        listener(
            "SCRAM",
            "SASL_SSL",
            {**good, "scram-sha-512.sasl.jaas.config": _SCRAM_LOGIN},
            mechanisms=("SCRAM-SHA-512",),
            advertised=(ports[5],),
        ),
    )
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = AsyncExitStack()
        kafka = runner.run(
            running.enter_async_context(local_kafka(directory=folder / "kafka", listeners=listeners))
        )
        runner.run(admin.set_password(kafka.bootstrap_servers, user=_USER, password=_PASSWORD))
        by_name["PLAINTEXT"] = kafka.plan.ports[0].clients
        yield Secured(kafka, by_name, ports[5], str(folder / "ca.pem"), str(folder / "foreign.pem"))
        runner.run(running.aclose())


_LOGIN: Final = {"security_protocol": "SASL_SSL", "sasl_username": _USER}


@pytest.mark.parametrize(
    ("listener", "given"),
    [
        pytest.param("TLS", {"security_protocol": "SSL"}, id="tls"),
        pytest.param("LOGIN", {**_LOGIN, "sasl_mechanism": "PLAIN", "sasl_password": _PASSWORD}, id="plain"),
    ],
)
async def test_let_in(secured: Secured, prefix: str, listener: str, given: dict[str, Any]) -> None:
    """Over TLS, with a password or without one, a reader finds its topics."""
    await create_topics(secured.kafka.bootstrap_servers, {f"{prefix}t": 3})
    reader = Reader(secured.at(listener, **given), role="x")
    assert await reader.partition_count(f"{prefix}t") == 3
    await reader.close()


@pytest.mark.parametrize(
    ("listener", "given", "says"),
    [
        pytest.param(
            "LOGIN",
            {**_LOGIN, "sasl_mechanism": "PLAIN", "sasl_password": _WRONG},
            ("refuses the user 'unbinding'", "kafka.sasl_password_file"),
            id="wrong password",
            marks=pytest.mark.fault("a wrong password"),
        ),
        pytest.param(
            "LOGIN",
            {**_LOGIN, "sasl_mechanism": "SCRAM-SHA-256", "sasl_password": _PASSWORD},
            ("does not take SCRAM-SHA-256", "kafka.sasl_mechanism"),
            id="wrong mechanism",
            # Of the refused connection's TLS something may be left when the test's loop ends.
            marks=[pytest.mark.long, pytest.mark.fault("a SASL mechanism that the broker does not take")],
        ),
        pytest.param(
            "TLS",
            {"security_protocol": "SSL", "ssl_ca_file": "foreign"},
            ("certificate is not accepted", "kafka.ssl_ca_file"),
            id="unknown authority",
            marks=pytest.mark.fault("a broker certificate by an unknown authority"),
        ),
        pytest.param(
            "EXPIRED",
            {"security_protocol": "SSL"},
            ("certificate has expired", "clock"),
            id="expired",
            marks=pytest.mark.fault("an expired broker certificate"),
        ),
        pytest.param(
            "MISNAMED",
            {"security_protocol": "SSL"},
            ("mismatch", "advertised.listeners"),
            id="another name",
            marks=pytest.mark.fault("a broker certificate for another name"),
        ),
        pytest.param(
            "TLS",
            {"security_protocol": "PLAINTEXT"},
            ("kafka.security_protocol is PLAINTEXT", "protocol of this listener"),
            id="plaintext to TLS",
            marks=pytest.mark.fault("plaintext to a TLS port"),
        ),
        pytest.param(
            "PLAINTEXT",
            {"security_protocol": "SSL"},
            ("kafka.security_protocol is SSL", "protocol of this listener"),
            id="TLS to plaintext",
            marks=pytest.mark.fault("TLS to a plaintext port"),
        ),
    ],
)
async def test_refused(secured: Secured, listener: str, given: dict[str, Any], says: tuple[str, str]) -> None:
    """Who is not let in is told what is wrong, at which address, and what to look at; no secret is told."""
    if "ssl_ca_file" in given:
        given = {**given, "ssl_ca_file": secured.foreign_ca_file}
    reader = Reader(secured.at(listener, **given), role="x", limit_ms=2_500)
    with pytest.raises(LogInterrupted) as refused:
        await reader.partition_count("anything")
    await reader.close()
    told = str(refused.value)
    assert f"127.0.0.1:{secured.ports[listener]}" in told
    for words in says:
        assert words in told
    assert _PASSWORD not in told
    assert _WRONG not in told


@pytest.mark.long
@pytest.mark.fault("the password is changed under a running worker, and changed back")
async def test_credentials_lost_and_found(
    secured: Secured, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose password is not taken any more says so and ends nothing; when it is, all goes on."""
    plain = secured.kafka.bootstrap_servers
    (tmp_path / "password").write_text(_PASSWORD + "\n", encoding="ascii")
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "SCRAM-SHA-512",
        "SASL_USERNAME": _USER,
        "SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "SSL_CA_FILE": secured.ca_file,
    }.items():
        monkeypatch.setenv(f"UNBINDING_KAFKA__{name}", value)
    async with (
        lay_cable(target=secured.ports["SCRAM"], port=secured.cable_port, framed=False) as cable,
        stage_behind(tmp_path, plain=plain, seen_by_workers=cable.address, prefix=prefix) as stage,
    ):
        worker = stage.hire("a")
        await stage.settled()
        load = make_load(words=PLAIN)
        load.plan(100, over_ms=6_000)
        sending = deliver(stage, load, servers=plain)
        await admin.set_password(plain, user=_USER, password=_WRONG)
        cable.reset()

        async def says_so() -> bool:
            status, troubles = await readiness(stage, worker)
            return status == 503 and any("refuses the user" in trouble for trouble in troubles)

        await until(says_so, within_s=40, what="it says that its password is not taken", look_s=0.3)
        await admin.set_password(plain, user=_USER, password=_PASSWORD)
        await prove(stage, load, sending)
        assert worker.child.running
        printed = worker.child.output.read_text() + worker.child.errors.read_text()
        assert _PASSWORD not in printed
