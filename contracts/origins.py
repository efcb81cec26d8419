"""Where a record came from: topic, partition and offset, as a value and as text."""

import re
from dataclasses import dataclass
from typing import Final, Self

OFFSET_MAX: Final = 2**63 - 1
PARTITION_MAX: Final = 2**31 - 1

# Canonical numbers only (no leading zeros), so that one origin has one text: it serves as a key.
_ORIGIN = re.compile(r"([A-Za-z0-9._-]{1,249})/(0|[1-9]\d{0,9})/(0|[1-9]\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Topic, partition and offset of a record."""

    topic: str
    partition: int
    offset: int

    @property
    def text(self) -> str:
        """The origin as `topic/partition/offset`; it serves as a key, too."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the origin that `text` names; raises `ValueError`, which says the rule and not the text."""
        found = _ORIGIN.fullmatch(text)
        if found is not None:
            partition, offset = int(found[2]), int(found[3])
            if partition <= PARTITION_MAX and offset <= OFFSET_MAX:
                return cls(found[1], partition, offset)
        raise ValueError("an origin is topic/partition/offset")
