"""Examples that the tests of the contracts start from."""

from typing import Any

import orjson

from contracts.cloudevents import IncomingEvent, event_headers, read_event
from contracts.generate import read_samples

SAMPLES = read_samples()


def data_of(event_type: str, **changes: Any) -> dict[str, Any]:
    """Return the sample's data with changes; `...` removes a field."""
    merged = {**SAMPLES[event_type]["data"], **changes}
    return {name: content for name, content in merged.items() if content is not ...}


def event_of(event_type: str, data: dict[str, Any]) -> IncomingEvent:
    """Return an event as it would come from Kafka."""
    headers = event_headers(event_id="e-1", source="/test", event_type=event_type, at=1_740_791_758_123)
    return read_event(orjson.dumps(data), headers)


def record_of(event_type: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the sample as a record's value and headers."""
    sample = SAMPLES[event_type]
    headers = [(name, text.encode()) for name, text in sample["headers"].items()]
    return orjson.dumps(sample["data"]), headers
