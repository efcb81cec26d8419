"""The closed list of log events, `noun.past`; nothing else is ever logged."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Level(IntEnum):
    """How much an event matters; numbers as in Python's `logging`."""

    DEBUG = 10
    """For developers."""
    INFO = 20
    """The normal course."""
    WARNING = 30
    """Handled, but somebody may want to know."""
    ERROR = 40
    """Somebody must look."""


class LogEvent(StrEnum):
    """Everything that can be in the member `event` of a log line."""

    WORKER_STARTED = "worker.started"
    """The process is up and has joined its group."""
    WORKER_STOPPED = "worker.stopped"
    """The process has drained its shards and ends."""
    WORKER_FAILED = "worker.failed"
    """The process ends because of an error."""
    SETTINGS_LOADED = "settings.loaded"
    """The settings are complete and consistent."""
    SETTINGS_DOUBTED = "settings.doubted"
    """A check found something that the worker can live with."""

    SHARD_CLAIMED = "shard.claimed"
    """The partition's transactional id was fenced: no earlier owner can write any more."""
    SHARD_RESTORED = "shard.restored"
    """The journal was read to its high watermark; sagas and timers are in memory."""
    SHARD_KEPT = "shard.kept"
    """The partition came back with nobody in between: memory was kept."""
    SHARD_OPENED = "shard.opened"
    """The shard takes requests and makes calls."""
    SHARD_REFUSED = "shard.refused"
    """The shard cannot open; it stays closed, says why, and tries again."""
    SHARD_DRAINED = "shard.drained"
    """Calls in flight have ended or were journalled; the partition is let go."""
    SHARD_CLOSED = "shard.closed"
    """The shard no longer owns its partition."""
    SHARD_CRASHED = "shard.crashed"
    """A local crash: memory dropped, the shard restores."""
    SHARD_FENCED = "shard.fenced"
    """Another owner has the partition; this one lets go."""
    SHARD_PAUSED = "shard.paused"
    """Too many live sagas, or bytes of them: no more requests are taken for now."""
    SHARD_RESUMED = "shard.resumed"
    """Requests are taken again."""

    TRANSACTION_FAILED = "transaction.failed"
    """A transaction was not committed, or its fate is not known."""
    TRANSACTION_SPLIT = "transaction.split"
    """A deterministic failure: its inputs are committed one by one to find the culprit."""
    POSITION_LOST = "position.lost"
    """The journal's position lies outside the log: an alarm, never a jump."""
    JOURNAL_LOST = "journal.lost"
    """The group has commits and the journal has no position: a person must open the shard."""
    KEY_MISSED = "key.missed"
    """The journal names a sealing or fingerprint key that the ring lacks."""

    SAGA_ADMITTED = "saga.admitted"
    """A request was taken into the journal."""
    SAGA_JOINED = "saga.joined"
    """A request joined a living saga."""
    SAGA_FINISHED = "saga.finished"
    """A saga came to its end: the one canonical line that tells its whole course."""
    SAGA_PARKED = "saga.parked"
    """A saga waits for a person; its dead letter stands."""
    SAGA_RESUMED = "saga.resumed"
    """A parked saga goes on."""
    SAGA_CRASHED = "saga.crashed"
    """Handling a saga raised inside the worker; it is parked, the shard goes on."""

    CALL_FAILED = "call.failed"
    """A call ended without reaching its goal; says step, class and code."""
    CALL_ENDED = "call.ended"
    """A call reached its goal."""
    CALL_DROPPED = "call.dropped"
    """A result came for a saga that no longer waits for it."""
    ANSWER_REJECTED = "answer.rejected"
    """An answer could not be verified: it counts as no answer."""
    ANSWER_DOUBTED = "answer.doubted"
    """A verified answer contradicts its own documents; read as `U`."""
    COUNTERPART_SLOWED = "counterpart.slowed"
    """A counterpart asked for fewer calls; its rate went down."""
    COUNTERPART_RECOVERED = "counterpart.recovered"
    """A counterpart's rate is what the settings say again."""
    LINE_STOPPED = "line.stopped"
    """A counterpart refuses our keys, signature or client: its line stops."""
    LINE_PROBED = "line.probed"
    """One call tried whether a stopped line works again."""
    LINE_OPENED = "line.opened"
    """A stopped line works again."""

    RECORD_FORWARDED = "record.forwarded"
    """A record in the wrong partition was sent on to its own."""
    RECORD_IGNORED = "record.ignored"
    """A record was taken without effect: a repetition, or of no meaning here."""
    RECORD_REFUSED = "record.refused"
    """A record could not be read or breaks its contract; it is parked."""
    HEADER_IGNORED = "header.ignored"
    """A header of an incoming record is malformed or forged."""
    NOTICE_MATCHED = "notice.matched"
    """A notice made a target of a saga dead."""
    NOTICE_KEPT = "notice.kept"
    """A notice had no saga; its dead target is remembered."""

    LETTER_WRITTEN = "letter.written"
    """A dead letter stands."""
    LETTER_RESOLVED = "letter.resolved"
    """A dead letter was removed."""
    COMMAND_APPLIED = "command.applied"
    """A replay or discard took effect."""
    COMMAND_REFUSED = "command.refused"
    """A replay or discard was refused; its verdict says why."""
    HOLD_BEGAN = "hold.began"
    """A standing order not to call holds from now on."""
    HOLD_ENDED = "hold.ended"
    """A hold was released or has expired."""
    HOLD_IGNORED = "hold.ignored"
    """A record of the holds topic is no hold."""
    HOLDS_MISSED = "holds.missed"
    """The holds topic cannot be read whole: no call is made."""
    HOLDS_FOLLOWED = "holds.followed"
    """All holds are known; calls may be made."""
    BRAKE_PULLED = "brake.pulled"
    """Too much would be parked: no saga is started."""
    BRAKE_RELEASED = "brake.released"
    """Sagas are started again."""

    LEASE_GAINED = "lease.gained"
    """Membership is proven: calls may begin."""
    LEASE_LOST = "lease.lost"
    """Membership is not proven any more: no call begins."""
    INSTANCE_CONTESTED = "instance.contested"
    """Another process uses the same `instance_id`: they would throw each other out for ever."""
    PARTITIONS_ASSIGNED = "partitions.assigned"
    """The group gave partitions to this worker."""
    GROUP_MISSED = "group.missed"
    """The group cannot be joined or does not answer."""
    INPUT_MISSED = "input.missed"
    """An input cannot be read: its partition stands still."""
    DRAIN_FAILED = "drain.failed"
    """A shard could not let go in time; its calls in flight are left."""
    PARTITIONS_REVOKED = "partitions.revoked"
    """The group took partitions from this worker."""

    SECRET_EXPOSED = "secret.exposed"  # noqa: S105 - the name of an event
    """A file with keys can be read or changed by other accounts."""
    EVENT_MISNAMED = "event.misnamed"
    """The code logged an event that is not in this list: a mistake in the code."""
    LIBRARY_LOGGED = "library.logged"
    """A library said something: its template without the values."""


LEVELS: Final[Mapping[LogEvent, Level]] = MappingProxyType(
    {
        **dict.fromkeys(LogEvent, Level.INFO),
        **dict.fromkeys(
            (
                LogEvent.SAGA_ADMITTED,
                LogEvent.SAGA_JOINED,
                LogEvent.CALL_ENDED,
                LogEvent.CALL_DROPPED,
                LogEvent.RECORD_FORWARDED,
                LogEvent.RECORD_IGNORED,
                LogEvent.NOTICE_KEPT,
                LogEvent.LINE_PROBED,
            ),
            Level.DEBUG,
        ),
        **dict.fromkeys(
            (
                LogEvent.SETTINGS_DOUBTED,
                LogEvent.SHARD_FENCED,
                LogEvent.SHARD_PAUSED,
                LogEvent.TRANSACTION_FAILED,
                LogEvent.TRANSACTION_SPLIT,
                LogEvent.SAGA_PARKED,
                LogEvent.CALL_FAILED,
                LogEvent.ANSWER_REJECTED,
                LogEvent.ANSWER_DOUBTED,
                LogEvent.COUNTERPART_SLOWED,
                LogEvent.RECORD_REFUSED,
                LogEvent.HEADER_IGNORED,
                LogEvent.COMMAND_REFUSED,
                LogEvent.HOLD_IGNORED,
                LogEvent.LEASE_LOST,
                LogEvent.SECRET_EXPOSED,
                LogEvent.LIBRARY_LOGGED,
            ),
            Level.WARNING,
        ),
        **dict.fromkeys(
            (
                LogEvent.WORKER_FAILED,
                LogEvent.SHARD_REFUSED,
                LogEvent.SHARD_CRASHED,
                LogEvent.POSITION_LOST,
                LogEvent.JOURNAL_LOST,
                LogEvent.KEY_MISSED,
                LogEvent.SAGA_CRASHED,
                LogEvent.LINE_STOPPED,
                LogEvent.HOLDS_MISSED,
                LogEvent.BRAKE_PULLED,
                LogEvent.INSTANCE_CONTESTED,
                LogEvent.GROUP_MISSED,
                LogEvent.INPUT_MISSED,
                LogEvent.DRAIN_FAILED,
                LogEvent.EVENT_MISNAMED,
            ),
            Level.ERROR,
        ),
    }
)
"""The level of each event: it belongs to the event, not to the place that logs it."""
