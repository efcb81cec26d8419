"""The topics that contestants share, without the prefix of a run."""

from typing import Final

from contracts.topics import TOPICS, LogicalTopic

REQUESTS: Final = TOPICS[LogicalTopic.REQUESTS].name
STATES: Final = TOPICS[LogicalTopic.STATES].name
JOURNAL: Final = TOPICS[LogicalTopic.JOURNAL].name
