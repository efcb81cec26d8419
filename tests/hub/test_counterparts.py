from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from contracts.states import Step
from tests.hub.payside import (
    CLIENT_ID,
    NOW_AT,
    PATHS,
    PAYSIDE,
    WALLET_APIS,
    Gate,
    Heard,
    call,
    counterpart,
    result_body,
    signed,
    unbinding,
)
from worker.hub.client import HttpHub, open_hub
from worker.hub.errors import CallImpossible, CounterpartUnusable
from worker.oncall.errors import told
from worker.saga.results import ResultClass
from worker.signing import PublicKeys

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from worker.hub.counterparts import Counterpart

BASE = "https://open.example"


def open_mock(answering: Callable[[httpx.Request], httpx.Response]) -> AbstractAsyncContextManager[HttpHub]:
    """Open a hub over httpx's mock transport."""
    return open_hub(
        [counterpart(BASE)],
        apis=WALLET_APIS,
        in_flight=4,
        clock=lambda: NOW_AT,
        chance=lambda: 0.0,
        observer=Heard(),
        transport=lambda _: httpx.MockTransport(answering),
    )


async def opened(*counterparts: Counterpart) -> None:
    """Open a hub and close it again."""
    async with open_hub(
        counterparts,
        apis=WALLET_APIS,
        in_flight=4,
        clock=lambda: NOW_AT,
        chance=lambda: 0.0,
        observer=Heard(),
    ):
        pass


@pytest.mark.parametrize(
    "base_url",
    [
        "open.example",
        "ftp://open.example",
        "https://",
        "http://open.example",
        "https://u:p@open.example",
        "https://h/?a=b",
        "https://h:x",
    ],
)
def test_an_address_that_cannot_work_is_refused(base_url: str) -> None:
    """No scheme, another scheme, a user, a query, plain http to another machine: said at once."""
    with pytest.raises(CounterpartUnusable, match="base_url"):
        counterpart(base_url)


@pytest.mark.parametrize("path", ["no-slash", "/a b", "/ä", "/a/../b", "/a?", "/a#b", "/a%zz b"])
async def test_a_path_that_would_be_rewritten_is_refused(path: str) -> None:
    """What is signed must be what is sent, so such a path is named, with how it should be written."""
    with pytest.raises(CounterpartUnusable, match="path of step cancel_token"):
        await opened(counterpart(BASE, paths={Step.CANCEL_TOKEN: path}))


@pytest.mark.parametrize("changes", [{"timeout_ms": 0}, {"in_flight": 0}, {"rate": 0.0}])
def test_numbers_must_be_above_zero(changes: dict[str, object]) -> None:
    """A limit of nothing is a mistake."""
    with pytest.raises(CounterpartUnusable, match="above zero"):
        counterpart(BASE, **changes)


async def test_keys_that_cannot_work_are_refused() -> None:
    """A client id without public key, or one that no header can carry, is said at once."""
    with pytest.raises(CounterpartUnusable, match="public key"):
        await opened(counterpart(BASE, public_keys=PublicKeys({"OTHER": {"1": PAYSIDE.verifier}})))
    with pytest.raises(CounterpartUnusable, match="client id"):
        await opened(counterpart(BASE, client_id="a b"))


async def test_a_step_has_one_counterpart() -> None:
    """Two counterparts for one step are refused with both names."""
    with pytest.raises(CounterpartUnusable, match=r"hub:.*tokens:"):
        await opened(counterpart(BASE), counterpart(BASE, name="tokens"))


@pytest.mark.parametrize("step", [Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT])
async def test_a_step_without_an_api_is_refused(step: Step) -> None:
    """A path for a step that this hub cannot speak is said at once, in words that `unbinding run` shows."""
    with pytest.raises(CounterpartUnusable, match=f"no API is known here for step {step.value}") as caught:
        await opened(counterpart(BASE, paths={step: "/x"}))
    text, _ = told(caught.value)
    assert "take its path out" in text


async def test_unusable_files_are_refused(tmp_path: Path) -> None:
    """Certificates that are not there or are none are named."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    for file in (junk, tmp_path / "missing.pem"):
        with pytest.raises(CounterpartUnusable, match="ca_file"):
            await opened(counterpart(BASE, ca_file=file))
        with pytest.raises(CounterpartUnusable, match="client_cert_file"):
            await opened(counterpart(BASE, client_cert_file=file))


def test_no_key_shows_in_a_repr() -> None:
    """A counterpart can be printed."""
    assert "signer" not in repr(counterpart(BASE))


async def test_two_counterparts_share_the_steps() -> None:
    """Each step goes to the counterpart that has its path, under that one's line; others are impossible."""
    asked: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        body = result_body()
        return httpx.Response(200, headers=signed(body), content=body)

    hub_only = counterpart(BASE, paths={Step.CONSULT: PATHS[Step.CONSULT]})
    tokens = counterpart(
        "https://tokens.example/", name="tokens", paths={Step.CANCEL_TOKEN: PATHS[Step.CANCEL_TOKEN]}
    )
    async with open_hub(
        [hub_only, tokens],
        apis=WALLET_APIS,
        in_flight=4,
        clock=lambda: NOW_AT,
        chance=lambda: 0.0,
        observer=Heard(),
        transport=lambda _: httpx.MockTransport(answered),
    ) as hub:
        gate = Gate()
        result = await hub.perform(call(), unbinding(), gate)
        assert hub.line(Step.CANCEL_TOKEN) == f"tokens:{CLIENT_ID}"
        with pytest.raises(CallImpossible, match="offer"):
            hub.line(Step.OFFER)
    assert asked == [f"https://tokens.example{PATHS[Step.CANCEL_TOKEN]}"]
    assert (result.result_class, gate.passed) == (ResultClass.DONE, 1)


@pytest.mark.parametrize(
    ("error", "code", "undecided"),
    [
        (httpx.ConnectError("x"), "NOT_SENT", False),
        (httpx.ConnectTimeout("x"), "NOT_SENT", False),
        (httpx.PoolTimeout("x"), "NOT_SENT", False),
        (httpx.ReadTimeout("x"), "NO_ANSWER", True),
        (httpx.WriteTimeout("x"), "NO_ANSWER", True),
        (httpx.ReadError("x"), "NO_ANSWER", True),
        (httpx.WriteError("x"), "NO_ANSWER", True),
        (httpx.CloseError("x"), "NO_ANSWER", True),
        (httpx.RemoteProtocolError("x"), "NO_ANSWER", True),
        (httpx.ProxyError("x"), "NO_ANSWER", True),
    ],
)
async def test_each_transport_error_has_its_reading(error: Exception, code: str, *, undecided: bool) -> None:
    """Only a connection that was never made is not sent."""

    def failing(_: httpx.Request) -> httpx.Response:
        raise error

    async with open_mock(failing) as hub:
        result = await hub.perform(call(), unbinding(), Gate())
    assert (result.code, result.undecided) == (code, undecided)


@pytest.mark.parametrize(
    "error", [httpx.LocalProtocolError("x"), httpx.UnsupportedProtocol("x"), TimeoutError(), KeyError()]
)
async def test_faults_of_this_program_come_out(error: Exception) -> None:
    """What no counterpart can cause is raised, not read as an answer."""

    def failing(_: httpx.Request) -> httpx.Response:
        raise error

    async with open_mock(failing) as hub:
        with pytest.raises(type(error)):
            await hub.perform(call(quick=2), unbinding(), Gate())
