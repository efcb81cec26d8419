"""Which headers of a record are kept beside its sealed value: enough to read it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contracts.dead_letters import original_headers

if TYPE_CHECKING:
    from contracts.cloudevents import IncomingEvent
    from worker.ports import Headers

_CONTENT_TYPE: Final = "content-type"
_CONTENT_TYPE_BYTES_MOST: Final = 256
_NEEDED: Final = ("ce_specversion", "ce_id", "ce_source", "ce_type")
_TRACES: Final = ("traceparent", "tracestate")


def kept_headers(headers: Headers, event: IncomingEvent | None = None) -> Headers:
    """Return the headers that are kept: enough to read the value again, whatever else was sent along.

    Of several with one name the last one counts, as when it was read. A trace context that the event does
    not have was malformed, and goes.
    """
    last = dict(headers)
    content_type = last.get(_CONTENT_TYPE)
    ordered: list[tuple[str, bytes]] = [(name, last.pop(name)) for name in _NEEDED if name in last]
    if event is not None:
        traces = dict(zip(_TRACES, (event.traceparent, event.tracestate), strict=True))
        for name, text in traces.items():
            last.pop(name, None)
            if text is not None:
                ordered.append((name, text.encode()))
    kept = original_headers((*ordered, *last.items()))
    if not content_type:
        return kept
    return (*kept, (_CONTENT_TYPE, content_type[:_CONTENT_TYPE_BYTES_MOST]))
