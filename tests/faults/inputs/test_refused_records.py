"""The broker refuses records for their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.dead_letters import LetterHeaders
from contracts.states import Reason
from contracts.topics import LogicalTopic, topic_name

if TYPE_CHECKING:
    from tests.faults.inputs.drafts import Draft
    from tests.faults.inputs.house import House

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P10")]


def large(house: House, size: int) -> Draft:
    """Return a request of partition 0 of about this size."""
    draft = house.drafting.draft(0)
    draft.data["note"] = "x" * size
    return draft


def letters(house: House) -> list[LetterHeaders]:
    """Return the letters of partition 0."""
    records = house.archive.archive(topic_name(LogicalTopic.DEAD_LETTERS), 0)
    return [LetterHeaders.from_headers(record.headers) for record in records if record.value is not None]


@pytest.mark.fault("max.message.bytes lowered on the journal while a worker runs")
async def test_a_record_that_the_journal_does_not_take(house: House) -> None:
    """A request too large for the journal is parked without its value, its neighbours are served."""
    async with house.worker() as hired:
        await hired.settled()
        await house.configure(LogicalTopic.JOURNAL, max_message_bytes="20000")
        before = await house.ask(0)
        offset = await house.send(large(house, 30_000))
        after = await house.ask(0)
        await house.ended(before, "unbound")
        await house.ended(after, "unbound")
        await house.rest()
        (letter,) = letters(house)
        assert letter.origin.offset == offset
        assert letter.reason is Reason.UNWRITABLE
        assert "larger than the topic's max.message.bytes; lower limits.record_bytes" in letter.message
        assert letter.origin_sha256 is not None


@pytest.mark.fault("limits.record_bytes above max.message.bytes")
async def test_limits_above_what_the_broker_takes(house: House) -> None:
    """A worker told to copy more than the broker takes parks what does not fit, and serves the rest."""
    async with house.worker(UNBINDING_LIMITS__RECORD_BYTES="1MiB") as hired:
        await hired.settled()
        offset = await house.send(large(house, 1_048_000))
        fits = large(house, 900_000)
        await house.send(fits)
        await house.ended(fits, "unbound")
        await house.rest()
        (letter,) = letters(house)
        assert (letter.origin.offset, letter.reason) == (offset, Reason.UNWRITABLE)
