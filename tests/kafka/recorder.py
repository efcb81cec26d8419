"""An observer that keeps what it hears."""

from __future__ import annotations


class Recorder:
    """Keeps log lines; metrics are not looked at here."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **fields: object) -> None:
        """Keep a log line."""
        self.lines.append((event, fields))

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Ignore a count."""

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Ignore a value."""

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Ignore a value."""

    def events(self) -> list[str]:
        """Return the events' names in order."""
        return [event for event, _ in self.lines]
