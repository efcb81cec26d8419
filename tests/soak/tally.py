"""What a soak counts on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What is counted on the way, of what is forgotten too."""

    records: Counter[str] = field(default_factory=Counter)
    """Committed records, by topic."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """Commands, by their kind and how they ended."""
    letters: int = 0
    events: Counter[str] = field(default_factory=Counter)
    """Events, by their state."""
    ends: Counter[str] = field(default_factory=Counter)
    """Sagas, by their last state."""
    calls: Counter[str] = field(default_factory=Counter)
    """Calls, by their step and how they ended on the wire."""
    repeated: int = 0
    """Calls that were made again, because a kill or a fault cut off the one before."""
    log_bytes: int = 0
    looks: int = 0
    judged: int = 0
    """Units that came to rest and were judged as a whole."""
