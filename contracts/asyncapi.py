"""Builds the AsyncAPI 3.0 document from the topics, the events and their samples."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts import dead_letters as letters
from contracts.events import EVENTS
from contracts.states import Outcome, Reason, Step
from contracts.topics import (
    DEFAULT_REPLICATION,
    TOPICS,
    LogicalTopic,
    Writer,
    topic_configs,
    topic_partitions,
)

VERSION: Final = "1.0.0"
"""Version of the contract; goes up with every addition."""

_BINDING_VERSION: Final = "0.5.0"
_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_TOMBSTONES: Final = {
    LogicalTopic.HOLDS: "A tombstone (null value) under the hold's key releases it.",
    LogicalTopic.DEAD_LETTERS: "A tombstone (null value) under the letter's key says that it is resolved.",
}
_DEAD_LETTER: Final = "deadLetter"
_READ_BY_WORKER: Final = (
    LogicalTopic.REQUESTS,
    LogicalTopic.NOTICES,
    LogicalTopic.COMMANDS,
    LogicalTopic.HOLDS,
)


def document(samples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document; `samples` are `key`, `headers` and `data` by event type.

    The journal is left out: it is internal. Topics stand with the default prefix.
    """
    public = [topic for topic in LogicalTopic if topic is not LogicalTopic.JOURNAL]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Unbinding worker",
            "version": VERSION,
            "description": (
                "Ends the tie between a merchant account and a wallet. Events are CloudEvents 1.0 in Kafka "
                "binary mode; structured mode is read, too. Read the topics that the worker writes with "
                "isolation.level=read_committed. Fields are added, never changed: ignore unknown ones."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_camel(topic): _channel(topic) for topic in public},
        "operations": _operations(public),
        "components": {
            "messages": {
                **{
                    _camel_type(event_type): _message(event_type, sample=samples[event_type])
                    for event_type in EVENTS
                },
                _DEAD_LETTER: _dead_letter(),
            },
            "messageTraits": {"cloudEvent": _cloud_event()},
        },
    }


def _channel(topic: LogicalTopic) -> dict[str, Any]:
    about = TOPICS[topic]
    configs: dict[str, Any] = dict(topic_configs(topic))
    configs["cleanup.policy"] = [configs["cleanup.policy"]]
    if "retention.ms" in configs:
        configs["retention.ms"] = int(configs["retention.ms"])
    where = "co-partitioned with the requests" if about.co_partitioned else "one partition"
    writers = ", ".join(writer.value.replace("_", "-") for writer in about.writers)
    description = f"{about.purpose} Key: {about.key}. Written by: {writers}. Partitions: {where}."
    if topic in _TOMBSTONES:
        description += f" {_TOMBSTONES[topic]}"
    return {
        "address": about.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic)},
        "bindings": {
            "kafka": {
                "topic": about.name,
                "partitions": topic_partitions(topic),
                "replicas": DEFAULT_REPLICATION,
                "topicConfiguration": configs,
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operations(public: Sequence[LogicalTopic]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for topic in public:
        name = _camel(topic)
        channel = {"$ref": f"#/channels/{name}"}
        if topic in _READ_BY_WORKER:
            operations[f"receive{name[0].upper()}{name[1:]}"] = {
                "action": "receive",
                "channel": channel,
                "summary": f"The worker reads {TOPICS[topic].name}.",
            }
        if Writer.WORKER in TOPICS[topic].writers:
            what = "passes on, within" if topic in _READ_BY_WORKER else "writes, in its transactions,"
            operations[f"send{name[0].upper()}{name[1:]}"] = {
                "action": "send",
                "channel": channel,
                "summary": f"The worker {what} {TOPICS[topic].name}.",
            }
    return operations


def _message(event_type: str, *, sample: Mapping[str, Any]) -> dict[str, Any]:
    kind = EVENTS[event_type]
    return {
        "name": event_type,
        "title": kind.model.__name__,
        "summary": (kind.model.__doc__ or "").split("\n", 1)[0],
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$ref": f"./schemas/{event_type}.json"},
        },
        "correlationId": {
            "description": "The saga, where there is one yet.",
            "location": "$message.header#/ce_correlationid",
        },
        "bindings": {"kafka": _kafka_key(kind.topic, example=sample["key"])},
        "examples": [{"name": "sample", "headers": sample["headers"], "payload": sample["data"]}],
    }


def _dead_letter() -> dict[str, Any]:
    properties = {
        name: {"type": "string", "description": text, **more} for name, (text, more) in _LETTER.items()
    }
    binary = {"type": "string", "format": "binary", "description": "Big-endian, as Spring writes it."}
    properties |= {
        letters.DLT_TOPIC_HEADER: {"type": "string", "description": "As unbinding-origin-topic."},
        letters.DLT_PARTITION_HEADER: binary,
        letters.DLT_OFFSET_HEADER: binary,
        letters.DLT_TIMESTAMP_HEADER: binary,
        letters.DLT_EXCEPTION_HEADER: {"type": "string", "description": "As unbinding-reason."},
        letters.DLT_MESSAGE_HEADER: {"type": "string", "description": "As unbinding-message."},
    }
    return {
        "name": "dead-letter",
        "title": "Dead letter",
        "summary": "A parked request: why, where, and the sealed original; its own ce_* headers are kept.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "required": list(_LETTER_NEEDS), "properties": properties},
        "payload": {"type": "string", "format": "binary", "description": "The original value, sealed."},
        "bindings": {
            "kafka": _kafka_key(LogicalTopic.DEAD_LETTERS, example="5e9a1c7702b84f0f9d3c6a51e7d0b284")
        },
    }


def _kafka_key(topic: LogicalTopic, *, example: str) -> dict[str, Any]:
    return {
        "key": {"type": "string", "description": f"Key: {TOPICS[topic].key}.", "examples": [example]},
        "bindingVersion": _BINDING_VERSION,
    }


def _cloud_event() -> dict[str, Any]:
    described = {
        "ce_specversion": "Always 1.0.",
        "ce_id": "With ce_source the identity of the event.",
        "ce_source": "Who wrote it.",
        "ce_type": "The type of the event, with its version.",
        "ce_time": "RFC 3339.",
        "ce_subject": "The binding id.",
        "ce_correlationid": "The saga id.",
        "ce_causationid": "Id of the event or command that caused this one.",
        "content-type": "Of the data.",
        "traceparent": "W3C Trace Context.",
        "tracestate": "W3C Trace Context.",
    }
    return {
        "headers": {
            "type": "object",
            "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
            "properties": {name: {"type": "string", "description": text} for name, text in described.items()},
        }
    }


def _message_names(topic: LogicalTopic) -> list[str]:
    if topic is LogicalTopic.DEAD_LETTERS:
        return [_DEAD_LETTER]
    return [_camel_type(event_type) for event_type, kind in EVENTS.items() if kind.topic is topic]


def _camel_type(event_type: str) -> str:
    first, *rest = event_type.rsplit(".", 1)[0].split(".")
    return first + "".join(word.capitalize() for word in rest)


def _camel(topic: LogicalTopic) -> str:
    first, *rest = topic.value.split("_")
    return first + "".join(word.capitalize() for word in rest)


_LETTER: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    letters.VERSION_HEADER: ("Version of these headers.", {"const": str(letters.LETTER_VERSION)}),
    letters.SAGA_ID_HEADER: ("The parked saga, where there is one.", {}),
    letters.BINDING_ID_HEADER: ("The binding, if it could be read.", {}),
    letters.REQUEST_ID_HEADER: ("ce_id of the request, if it could be read.", {}),
    letters.JOINED_REQUEST_IDS_HEADER: ("JSON array: ce_id of the requests that joined, at most 8.", {}),
    letters.SEQUENCE_HEADER: ("Sequence of the parked event: what a command must expect.", {}),
    letters.REASON_HEADER: ("Why it was parked.", {"enum": [reason.value for reason in Reason]}),
    letters.STEP_HEADER: ("Step at which it was parked.", {"enum": [step.value for step in Step]}),
    letters.OUTCOME_HEADER: ("Last outcome there.", {"enum": [outcome.value for outcome in Outcome]}),
    letters.RESULT_CODE_HEADER: ("Last result code there.", {}),
    letters.MESSAGE_HEADER: ("What a person should know; cleaned, at most 256 bytes.", {}),
    letters.ATTEMPTS_HEADER: ("Attempts made at that step.", {}),
    letters.REPLAYS_HEADER: ("How often it was replayed.", {}),
    letters.FIRST_PARKED_AT_HEADER: ("When it was parked first, RFC 3339.", {}),
    letters.PARKED_AT_HEADER: ("When it was parked, RFC 3339.", {}),
    letters.ORIGIN_TOPIC_HEADER: ("Topic that the record came from.", {}),
    letters.ORIGIN_PARTITION_HEADER: ("Its partition.", {}),
    letters.ORIGIN_OFFSET_HEADER: ("Its offset.", {}),
    letters.ORIGIN_TIMESTAMP_HEADER: ("Its timestamp in milliseconds since the Unix epoch.", {}),
    letters.ORIGIN_SHA256_HEADER: ("SHA-256 (hex) of a value that was too large to copy.", {}),
    letters.SEALED_WITH_HEADER: ("Id of the key that the value is sealed with.", {}),
}
_LETTER_NEEDS: Final = (
    letters.VERSION_HEADER,
    letters.SEQUENCE_HEADER,
    letters.REASON_HEADER,
    letters.ATTEMPTS_HEADER,
    letters.REPLAYS_HEADER,
    letters.FIRST_PARKED_AT_HEADER,
    letters.PARKED_AT_HEADER,
    letters.ORIGIN_TOPIC_HEADER,
    letters.ORIGIN_PARTITION_HEADER,
    letters.ORIGIN_OFFSET_HEADER,
)
