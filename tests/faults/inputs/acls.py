"""Access lists of a cluster with an authorizer: what a worker needs, and what a test takes away from it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from contracts.topics import LogicalTopic, topic_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

AUTHORIZER: Final = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
"""Broker properties: users may what access lists say, those of the plain listener everything."""
USER: Final = "worker"
PASSWORD: Final = "synthetic-password"
READ: Final = (
    LogicalTopic.REQUESTS,
    LogicalTopic.COMMANDS,
    LogicalTopic.NOTICES,
    LogicalTopic.HOLDS,
    LogicalTopic.JOURNAL,
)
"""The topics that a worker reads."""
WRITTEN: Final = (
    LogicalTopic.REQUESTS,
    LogicalTopic.NOTICES,
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
"""The topics that a worker writes: requests and notices that it passes on, too."""
_EVERY_HOST: Final = "*"


class Kind(IntEnum):
    """What a permission is about; Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5


class Operation(IntEnum):
    """What a permission lets one do; Kafka's numbers."""

    ALL = 2
    READ = 3
    WRITE = 4
    DESCRIBE = 8


class _Pattern(IntEnum):
    LITERAL = 3
    PREFIXED = 4


class _Effect(IntEnum):
    DENY = 2
    ALLOW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One operation on one thing; `prefixed`: on all whose names begin so."""

    kind: Kind
    name: str
    operation: Operation
    prefixed: bool = False


def on_topic(topic: LogicalTopic, operation: Operation, *, prefix: str) -> Permission:
    """Return a permission on a topic of an installation."""
    return Permission(kind=Kind.TOPIC, name=topic_name(topic, prefix=prefix), operation=operation)


def on_group(application: str) -> Permission:
    """Return the permission to be a member of the group."""
    return Permission(kind=Kind.GROUP, name=application, operation=Operation.READ)


def on_transactional_ids(application: str, operation: Operation) -> Permission:
    """Return a permission on the transactional ids of all shards."""
    return Permission(kind=Kind.TRANSACTIONAL_ID, name=f"{application}-", operation=operation, prefixed=True)


def needed(*, application: str, prefix: str) -> list[Permission]:
    """Return what a worker needs, and no more."""
    return [
        *(on_topic(topic, Operation.READ, prefix=prefix) for topic in READ),
        *(on_topic(topic, Operation.WRITE, prefix=prefix) for topic in WRITTEN),
        on_group(application),
        on_transactional_ids(application, Operation.WRITE),
        on_transactional_ids(application, Operation.DESCRIBE),
    ]


class Acls:
    """Changes access lists, as somebody who may everything."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def allow(self, permissions: Iterable[Permission]) -> None:
        """Let the worker's user do all this."""
        for permission in permissions:
            await self._create(permission, _Effect.ALLOW)

    async def deny(self, permission: Permission) -> None:
        """Forbid the worker's user to do this, whatever else is allowed."""
        await self._create(permission, _Effect.DENY)

    async def deny_no_more(self, permission: Permission) -> None:
        """Take a denial back."""
        answer: Any = await self._send(DeleteAclsRequest(*_entry(permission, _Effect.DENY)))
        for code, _message, matching in answer.filter_responses:
            _raise_for(code)
            if not matching:
                raise AssertionError(f"there was no denial of {permission}")

    async def _create(self, permission: Permission, effect: _Effect) -> None:
        answer: Any = await self._send(CreateAclsRequest(*_entry(permission, effect)))
        for code, _message in answer.creation_responses:
            _raise_for(code)

    async def _send(self, request: Any) -> Any:
        return await self._client.send(self._client.get_random_node(), request)


def _entry(permission: Permission, effect: _Effect) -> tuple[int, str, int, str, str, int, int]:
    pattern = _Pattern.PREFIXED if permission.prefixed else _Pattern.LITERAL
    return (
        permission.kind,
        permission.name,
        pattern,
        f"User:{USER}",
        _EVERY_HOST,
        permission.operation,
        effect,
    )


def _raise_for(code: int) -> None:
    if code:
        raise kafka.for_code(code)


@asynccontextmanager
async def open_acls(bootstrap_servers: str) -> AsyncIterator[Acls]:
    """Connect to a cluster's plain listener."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        yield Acls(client)
    finally:
        await client.close()
