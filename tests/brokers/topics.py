"""Creates topics for broker tests."""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def create_topics(
    bootstrap_servers: str,
    names: Mapping[str, int],
    *,
    replication: int = 1,
    configs: Mapping[str, str] | None = None,
) -> None:
    """Create topics (name to number of partitions), all with the same configuration; raise if one fails."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        answer: Any = await admin.create_topics(
            [
                NewTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=replication,
                    topic_configs=dict(configs or {}),
                )
                for name, partitions in names.items()
            ]
        )
        refused = [(name, code, text) for name, code, text in answer.topic_errors if code]
        if refused:
            raise AssertionError(f"topics refused: {refused}")
    finally:
        await admin.close()
