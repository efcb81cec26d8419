"""Records of any kind at a real shard: requests, notices and commands, among good ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import strategies as st

from contracts.cloudevents import event_headers
from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from contracts.dead_letters import BROADCAST_FROM_HEADER, FORWARDED_FROM_HEADER
from contracts.notices import TOKEN_CANCELED
from contracts.requests import REBINDING_REQUESTED, UNBINDING_REQUESTED
from contracts.topics import LogicalTopic
from tests.contracts.samples import SAMPLES
from tests.fuzz.doors import door
from tests.fuzz.grammar import changed, encoded, headers_of, torn, value_of
from tests.fuzz.reception import SECRET, Bad, Reception
from tests.shard.desk import EPOCH_MS, home
from worker.ports import Input

if TYPE_CHECKING:
    from tests.fuzz.grammar import Draw, Headers

pytestmark = [
    pytest.mark.promise("P1", "P8", "P10"),
    pytest.mark.fault("records of any bytes, headers, keys and times among good ones"),
]

_FORGED: Final = (
    FORWARDED_FROM_HEADER,
    BROADCAST_FROM_HEADER,
    "unbinding-saga-id",
    "unbinding-letter-version",
    "content-type",
    "traceparent",
    "tracestate",
)
_ORIGINS: Final = (
    b"unbinding.requests/1/7",
    b"unbinding.requests/0/0",
    b"unbinding.notices/1/7",
    b"a/1/1",
    b"//",
)
_BINDING: Final = home("fuzzed")


def _sample(event_type: str, **changes: Any) -> dict[str, Any]:
    return {**SAMPLES[event_type]["data"], "bindingId": _BINDING, **changes}


UNBINDING: Final = _sample(
    UNBINDING_REQUESTED,
    requestedAt="2026-01-01T00:00:00Z",
    expiresAt="2027-01-01T00:00:00+08:00",
    accessToken=f"{SECRET}-token",
    passThroughInfo=f'{{"channel":"{SECRET}-pass"}}',
    agreement={
        "authMerchantId": f"{SECRET}-am",
        "merchantAgreementId": f"{SECRET}-ma",
        "activatedVia": "bills_and_utilities",
    },
    merchantAccount={
        **SAMPLES[UNBINDING_REQUESTED]["data"]["merchantAccount"],
        "accountId": f"{SECRET}-account",
        "openId": f"{SECRET}-open",
        "extendInfo": f"{SECRET}-extend",
    },
)
REBINDING: Final = _sample(REBINDING_REQUESTED, expiresAt="2027-01-01T00:00:00Z", authState=f"{SECRET}-state")
NOTICE: Final = _sample(TOKEN_CANCELED, at="2026-01-01T00:00:00Z", accessToken=f"{SECRET}-token")
BROADCAST: Final = {
    "noticeId": "n-1",
    "at": "2026-01-01T00:00:00Z",
    "authMerchantId": "am-1",
    "merchantAgreementId": "ma-1",
    "accessToken": f"{SECRET}-token",
}
_OF: Final = {
    Input.REQUESTS: ((UNBINDING_REQUESTED, UNBINDING), (REBINDING_REQUESTED, REBINDING)),
    Input.NOTICES: ((TOKEN_CANCELED, NOTICE), (TOKEN_CANCELED, BROADCAST)),
}


@st.composite
def _headers(draw: Draw, event_type: str, event_id: str) -> Headers:
    right = event_headers(event_id=event_id, source="/wallet/app", event_type=event_type, at=EPOCH_MS)
    if draw(st.booleans()):
        return tuple(right)
    found = draw(headers_of(right, more=_FORGED))
    if draw(st.integers(0, 3)) == 0:
        forged = draw(st.sampled_from((FORWARDED_FROM_HEADER, BROADCAST_FROM_HEADER)))
        found = (*found, (forged, draw(st.sampled_from(_ORIGINS))))
    if draw(st.integers(0, 3)) == 0:
        found = (*found, (f"x-{SECRET}", SECRET.encode()))
    return found


@st.composite
def _structured(draw: Draw, event_type: str, sample: Any, event_id: str) -> tuple[bytes, Headers]:
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/wallet/app",
        "type": event_type,
        "data": sample,
    }
    value = draw(encoded(draw(changed(envelope))))
    return draw(torn(value, most=1)), (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def _moments() -> st.SearchStrategy[int]:
    return st.just(EPOCH_MS) | st.sampled_from([-1, 0, 2**63 - 1, -(2**63), 253_402_300_800_000])


@st.composite
def _bad(draw: Draw) -> Bad:
    """Return a record that began as a right one of its topic, or as a right one of another."""
    source = draw(st.sampled_from((Input.REQUESTS, Input.REQUESTS, Input.NOTICES)))
    of = source if draw(st.integers(0, 9)) else draw(st.sampled_from((Input.REQUESTS, Input.NOTICES)))
    event_type, sample = draw(st.sampled_from(_OF[of]))
    event_id = draw(st.sampled_from(("e-1", "e-2", "e-3", "e-4", "e-5")))
    if draw(st.integers(0, 5)) == 0:
        value, headers = draw(_structured(event_type, sample, event_id))
    else:
        value = draw(value_of(sample, most=2))
        headers = draw(_headers(event_type, event_id))
    empty = draw(st.integers(0, 29)) == 0
    return Bad(
        source=source,
        key=draw(
            st.none() | st.just(_BINDING.encode()) | st.just(f"{SECRET}-key".encode()) | st.binary(max_size=4)
        ),
        value=None if empty else value,
        headers=headers,
        timestamp_at=draw(_moments()),
    )


@door("records", examples=120, visitors=st.lists(_bad(), min_size=1, max_size=6), pace=st.integers(0, 9))
def test_no_record_harms_shard_or_neighbours(visitors: list[Bad], pace: int) -> None:
    """Neighbours end well, each record goes one way, no secret leaks, and a restart changes nothing."""
    reception = Reception(pace=pace)

    async def story() -> None:
        await reception.desk.open()
        reception.send_good()
        for visitor in visitors:
            reception.send(visitor)
        reception.send_good()
        await reception.settle()
        reception.send_good()
        await reception.settle()
        reception.check()
        await reception.check_restart()
        reception.check()

    reception.desk.play(story())


REPLAY: Final = {
    "letter": "L",
    "expectedSequence": 0,
    "planId": "plan-1",
    "by": "ops",
    "why": "a test",
    "from": "failed_step",
    "force": False,
}


@st.composite
def _command(draw: Draw, *, letters: int) -> tuple[int, bytes, Headers]:
    """Return a command for one of so many letters (its key is put in later), perhaps mutated."""
    event_type = draw(st.sampled_from((REPLAY_REQUESTED, DISCARD_REQUESTED)))
    target = draw(st.integers(0, letters))
    sample = {
        **REPLAY,
        "letter": f"LETTER-{target}",
        "expectedSequence": draw(st.sampled_from((0, 0, 1, 1, 2, 3))),
        "force": draw(st.booleans()),
        "from": draw(st.sampled_from(("failed_step", "start"))),
        "extra": f"{SECRET}-extra",
    }
    value = draw(value_of(sample, most=2)) if draw(st.booleans()) else draw(encoded(sample))
    return target, value, draw(_headers(event_type, f"command-{draw(st.integers(0, 3))}"))


@door(
    "records",
    examples=70,
    visitors=st.lists(_bad(), min_size=1, max_size=3),
    commands=st.lists(_command(letters=3), min_size=1, max_size=6),
    pace=st.integers(0, 9),
)
def test_no_command_harms_shard_or_neighbours(
    visitors: list[Bad], commands: list[tuple[int, bytes, Headers]], pace: int
) -> None:
    """Each command ends in exactly one verdict that can be read; neighbours end well, and nothing leaks."""
    reception = Reception(pace=pace)

    async def story() -> None:
        desk = reception.desk
        await desk.open()
        for visitor in visitors:
            reception.send(visitor)
        # Two letters at least: one of a record that cannot be read, one of a request that is wrong.
        desk.send(LogicalTopic.REQUESTS, b"{")
        desk.request(_BINDING, f"{SECRET}-wrong", authClientId=None)
        reception.send_good()
        await reception.settle()
        letters = sorted(desk.letters())
        for target, value, headers in commands:
            key = letters[target % len(letters)]
            reception.send(
                Bad(
                    Input.COMMANDS,
                    None,
                    value.replace(f"LETTER-{target}".encode(), key.encode()),
                    headers,
                    EPOCH_MS,
                )
            )
        reception.send_good()
        await reception.settle()
        reception.check(ways=False)
        await reception.check_restart()
        reception.check(ways=False)

    reception.desk.play(story())
