"""The least access that the architecture names is enough for everything a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition

from contracts.topics import LogicalTopic
from tests.faults.inputs.acls import needed, open_acls
from tests.faults.inputs.bad_commands import draft_command
from tests.faults.inputs.bad_holds import GOOD_HOLD, HELD_CLIENT, hold
from tests.faults.inputs.bad_notices import draft_notice
from tests.faults.inputs.batches import RawRecord, encode
from tests.faults.stage import now_ms

if TYPE_CHECKING:
    from tests.faults.inputs.house import House

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P6", "P7")]


async def put(house: House, topic: LogicalTopic, record: RawRecord, *, partition: int = 0) -> None:
    """Write a record, as somebody who may everything."""
    await house.producer.send(TopicPartition(house.name(topic), partition), encode([record]))


@pytest.mark.fault("no access but the least, and none to the cluster")
async def test_the_least_access_is_enough(house: House) -> None:
    """With exactly the access that it needs a worker serves, forwards, parks, obeys and restores."""
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
    async with house.worker(logged_in=True) as hired:
        await hired.settled()
        served, noticed, parked = (
            await house.ask(0),
            await house.ask(0, word="cancel-fail"),
            await house.ask(0, word="cancel-fail"),
        )
        astray = house.drafting.draft(1)
        await house.send(astray, partition=0)
        junk = house.drafting.draft(0)
        junk.value(None)
        await house.send(junk)
        await put(house, LogicalTopic.HOLDS, RawRecord(key=GOOD_HOLD.encode(), value=hold(), at=now_ms()))
        await house.ended(served, "unbound")
        await house.ended(astray, "unbound")
        await house.ended(noticed, "parked")
        await house.ended(parked, "parked")
        notice = draft_notice(1, token=noticed.token, binding_id=None, at=now_ms())
        await put(house, LogicalTopic.NOTICES, notice.record(), partition=1)
        await house.ended(noticed, "unbound")
    async with house.worker(logged_in=True) as hired:
        await hired.settled()
        held = house.drafting.draft(0)
        held.data["authClientId"] = HELD_CLIENT
        await house.send(held)
        await house.ended(held, "held")
        await put(house, LogicalTopic.HOLDS, RawRecord(key=GOOD_HOLD.encode(), value=None, at=now_ms()))
        await house.ended(held, "unbound")
        (saga_id,) = await house.sagas(parked)
        command = draft_command(1, letter=saga_id, sequence=3, at=now_ms())
        await put(house, LogicalTopic.COMMANDS, command.record())
        await house.ended(parked, "discarded")
        await house.rest()
        assert hired.troubles() == ""
