"""The same request again and again, and second requests for one token, at every moment of the first one."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from contracts.wire import rfc3339
from tests.faults.payment_side import read_ledger
from tests.faults.stage import now_ms, until
from worker.sandbox.payment import fingerprint

if TYPE_CHECKING:
    from tests.faults.inputs.drafts import Draft
    from tests.faults.inputs.house import House

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P3", "P5")]


async def calls(house: House, draft: Draft) -> list[str]:
    """Return the steps that were called for a request's token."""
    ledger = await read_ledger(house.box.base_url)
    return [call.step for call in ledger if call.fingerprint == fingerprint(draft.token)]


async def waits(house: House, draft: Draft) -> None:
    """Wait until a request's saga waits: it does so again and again, for some seconds."""

    async def there() -> bool:
        return await house.ends(draft) == ["waiting"]

    await until(there, within_s=60, what="its saga waits")


async def taken(house: House, partition: int) -> None:
    """Wait until everything sent to a partition so far has been taken: a request behind it is served."""
    await house.ended(await house.ask(partition), "unbound")


def again(draft: Draft, *, number: int) -> Draft:
    """Return a second request for the same token, with an id and a moment of its own."""
    second = deepcopy(draft)
    second.header("ce_id", f"{draft.event_id}-again-{number}".encode())
    second.data["requestedAt"] = rfc3339(now_ms())
    return second


@pytest.mark.fault("one request ten times, in two partitions, before, during and after its saga")
async def test_one_request_many_times(house: House) -> None:
    """One request ten times, in both partitions, before, during and after its saga and a restart, is one."""
    draft = house.drafting.draft(0, word="cancel-unknown5")
    for _ in range(3):
        await house.send(draft)
    await house.send(draft, partition=1)
    async with house.worker():
        # Whoever waits for the worker to be ready first may find that the saga has waited already.
        await waits(house, draft)
        await house.send(draft)
        await house.send(draft, partition=1)
        await house.ended(draft, "unbound")
        await house.send(draft)
        await house.send(draft, partition=1)
        await taken(house, 1)
        await taken(house, 0)
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await house.send(draft, partition=1)
        await taken(house, 1)
        await taken(house, 0)
        await house.rest()
    (course,) = await house.courses(draft)
    assert [state for state in course if state != "waiting"] == ["requested", "allowed", "revoked", "unbound"]
    assert (await calls(house, draft)).count("consult") == 1


@pytest.mark.promise("P6")
@pytest.mark.fault("one request ten times, while its letter stands")
async def test_one_request_many_times_while_parked(house: House) -> None:
    """A parked request that comes again, also in another partition and after a restart, stays one letter."""
    draft = house.drafting.draft(0, word="cancel-fail")
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await house.ended(draft, "parked")
        for partition in (0, 1) * 5:
            await house.send(draft, partition=partition)
        await taken(house, 1)
        await taken(house, 0)
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await taken(house, 0)
        await house.rest()
    assert await house.courses(draft) == [["requested", "allowed", "parked"]]
    assert await calls(house, draft) == ["consult", "cancel_token"]


@pytest.mark.fault("a second request for one token while the first waits")
async def test_second_request_while_the_first_waits(house: House) -> None:
    """A second request for a token whose saga waits joins it: one saga answers both."""
    draft = house.drafting.draft(0, word="cancel-unknown5")
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await waits(house, draft)
        await house.send(again(draft, number=1))
        await house.ended(draft, "unbound")
        await house.rest()
    (course,) = await house.courses(draft)
    assert course.count("joined") == 1
    assert (await calls(house, draft)).count("consult") == 1


@pytest.mark.promise("P6")
@pytest.mark.fault("a second request for one token while the first is parked")
async def test_second_request_while_the_first_is_parked(house: House) -> None:
    """A second request for a parked one's token is a saga of its own; its success closes the parked one."""
    draft = house.drafting.draft(0, word="cancel-fail1")
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await house.ended(draft, "parked")
        await house.send(again(draft, number=1))
        await house.ended(draft, "unbound", "unbound")
        await house.rest()
    first, second = await house.courses(draft)
    assert first == ["requested", "allowed", "parked", "unbound"]
    assert second[0] == "requested"
    assert second[-1] == "unbound"


@pytest.mark.fault("a second request for one token when the first has ended")
async def test_second_request_when_the_first_has_ended(house: House) -> None:
    """A second request for a token that is dead is unbound without a call, after a restart too."""
    draft = house.drafting.draft(0)
    async with house.worker() as hired:
        await hired.settled()
        await house.send(draft)
        await house.ended(draft, "unbound")
        await house.send(again(draft, number=1))
        await house.ended(draft, "unbound", "unbound")
    async with house.worker() as hired:
        await hired.settled()
        await house.send(again(draft, number=2))
        await house.ended(draft, "unbound", "unbound", "unbound")
        await house.rest()
    assert await calls(house, draft) == ["consult", "cancel_token"]
