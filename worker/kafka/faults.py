"""Foreign errors become ours here, and nowhere else: what a Kafka error means for a shard.

aiokafka                                               ports.LogError
ProducerFenced, InvalidProducerEpoch               →   Fenced
too large, not permitted, topic missing or refused →   WriteRefused
everything else, time-outs and lost answers too    →   LogInterrupted
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import errors as kafka

from worker.kafka.reachability import ClusterUnreachable
from worker.ports import Fenced, LogError, LogInterrupted, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class InvalidRecord(kafka.BrokerResponseError):
    """The broker looked at a record and refuses it: no key on a compacted topic, for example."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The broker refuses the record."


class OffsetNotAvailable(kafka.BrokerResponseError):
    """A new leader does not know yet how far its partition is committed: asking again helps."""

    errno = 78
    message = "OFFSET_NOT_AVAILABLE"
    description = "The new leader does not know the high watermark yet."
    retriable = True
    invalid_metadata = True


class ProducerFencedByBroker(kafka.BrokerResponseError):
    """A newer producer has this transactional id."""

    errno = 90
    message = "PRODUCER_FENCED"
    description = "A newer producer has this transactional id."


class FencedInstanceId(kafka.BrokerResponseError):
    """Another process has joined the group under this group.instance.id."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another process has joined the group under this group.instance.id."


# aiokafka 0.14 does not know these codes and would answer "unknown error", which hides what they mean.
for _error in (InvalidRecord, OffsetNotAvailable, ProducerFencedByBroker, FencedInstanceId):
    kafka.kafka_errors.setdefault(_error.errno, _error)

_FENCED: Final = (kafka.ProducerFenced, kafka.InvalidProducerEpoch, ProducerFencedByBroker)

_TO_DO: Final[dict[type[BaseException], str]] = {
    kafka.MessageSizeTooLargeError: (
        "larger than the topic's max.message.bytes; lower limits.record_bytes or raise that"
    ),
    kafka.RecordListTooLargeError: (
        "larger than the topic's segment.bytes; lower limits.record_bytes or raise that"
    ),
    kafka.TopicAuthorizationFailedError: "no permission; grant Write on the topic",
    kafka.TransactionalIdAuthorizationFailed: (
        "no permission; grant Write and Describe on the transactional ids with this application's prefix"
    ),
    kafka.ClusterAuthorizationFailedError: "no permission; grant IdempotentWrite on the cluster",
    kafka.UnknownTopicOrPartitionError: "topic or partition is missing; run `unbinding topics check`",
    kafka.InvalidTopicError: "not a topic one may write to; check topics.prefix",
    kafka.PolicyViolationError: "a policy of the cluster forbids it; ask who runs the cluster",
    kafka.InvalidTimestampError: "record time out of the topic's bounds; check this machine's clock",
    kafka.InvalidTransactionTimeout: "transaction.max.timeout.ms of the cluster is too short; raise it",
    InvalidRecord: "the broker refuses the record's form; check the topic's cleanup.policy",
}
REFUSED: Final = tuple(_TO_DO)
_OF_INPUT: Final = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.InvalidTimestampError,
    InvalidRecord,
)
"""Refused because of what the record is: the topic takes others."""
_TO_DO_TO_READ: Final[dict[type[BaseException], str]] = {
    **_TO_DO,
    kafka.TopicAuthorizationFailedError: "no permission; grant Read on the topic",
    kafka.GroupAuthorizationFailedError: "no permission; grant Read on the group",
    kafka.OffsetOutOfRangeError: (
        "what comes next is not in the log any more: records were deleted before they were read, or the "
        "topic was made anew. Find out what was lost; after a restart the shard says how it is opened"
    ),
}
HOPELESS: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.SaslAuthenticationFailed,
)
"""To ask again at once changes nothing."""
CLIENT_ERRORS: Final = (kafka.KafkaError, kafka.IllegalOperation, OSError, AssertionError)
"""All that a call of aiokafka may raise, time-outs (an OSError) too: it asserts its own state in places."""


def fault_of(error: BaseException, *, doing: str) -> LogError:
    """Return what this error means, with a text that says what was done, where, and what to do.

    aiokafka wraps the error that stopped a producer: the chain of causes is searched.
    """
    chain = tuple(_causes(error))
    for cause in chain:
        if isinstance(cause, _FENCED):
            return Fenced(f"{doing}: fenced, another owner has the partition")
        if isinstance(cause, REFUSED):
            return WriteRefused(
                f"{doing}: {type(cause).__name__}{_named(cause)}: {_to_do(cause, _TO_DO)}",
                of_input=isinstance(cause, _OF_INPUT),
            )
    last = chain[-1]
    what = "no answer in time" if isinstance(last, TimeoutError) else _words(last)
    return LogInterrupted(f"{doing}: {what}; restore and try again")


def read_fault_of(error: BaseException, *, doing: str) -> LogInterrupted:
    """Return what an error means where nothing was to be written: it may pass, whatever it is."""
    return LogInterrupted(f"{doing}: {read_reason(error)}")


def read_reason(error: BaseException) -> str:
    """Return the words for an error of reading: what it is and, where that helps, what to do."""
    last = tuple(_causes(error))[-1]
    if isinstance(last, tuple(_TO_DO_TO_READ)):
        what = f"{type(last).__name__}: {_to_do(last, _TO_DO_TO_READ)}"
    elif isinstance(last, TimeoutError):
        what = "no answer in time; is the broker reachable?"
    else:
        what = _words(last)
    return what


def _words(error: BaseException) -> str:
    if isinstance(error, ClusterUnreachable):
        return str(error.args[0])
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _to_do(error: BaseException, texts: Mapping[type[BaseException], str]) -> str:
    return next(text for kind, text in texts.items() if isinstance(error, kind))


def _named(error: BaseException) -> str:
    """Name the topics that a coordinator has refused: of a transaction's topics it may be one."""
    named = error.args[0] if error.args else None
    return f" ({', '.join(sorted(named))})" if isinstance(named, set | frozenset) else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # Behind a time-out stands only the cancellation that it was made of.
        cause = None if isinstance(cause, TimeoutError) else cause.__cause__
