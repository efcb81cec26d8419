"""Bad commands of every kind, each with the verdict that it must get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.cloudevents import event_headers
from contracts.commands import DISCARD_REQUESTED, REPLAY_REQUESTED
from tests.faults.inputs.batches import RawRecord
from tests.faults.inputs.drafts import SOURCE, each

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING_LETTER: Final = "0" * 32


@dataclass(slots=True, kw_only=True)
class CommandDraft:
    """A good command to discard a letter, about to be spoiled."""

    number: int
    at: int
    data: dict[str, Any]
    headers: list[tuple[bytes, bytes | None]]
    change: Callable[[bytes], bytes | None] = bytes

    def header(self, name: str, content: bytes) -> None:
        """Set a header, or add one."""
        self.headers = [pair for pair in self.headers if pair[0] != name.encode()]
        self.headers.append((name.encode(), content))

    def value(self, content: bytes | None) -> None:
        """Have these bytes as the value."""
        self.change = lambda _value: content

    def record(self) -> RawRecord:
        """Return the record."""
        return RawRecord(
            value=self.change(orjson.dumps(self.data)),
            key=self.data["letter"].encode() if isinstance(self.data["letter"], str) else None,
            headers=tuple(self.headers),
            at=self.at,
        )


def draft_command(number: int, *, letter: str, sequence: int, at: int) -> CommandDraft:
    """Return a good command to discard this letter."""
    headers = event_headers(event_id=f"command-{number}", source=SOURCE, event_type=DISCARD_REQUESTED, at=at)
    return CommandDraft(
        number=number,
        at=at,
        data={
            "letter": letter,
            "expectedSequence": sequence,
            "planId": "plan-1",
            "by": "somebody",
            "why": "the test says so",
        },
        headers=[(name.encode(), content) for name, content in headers],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCommand:
    """One bad command; its verdict is a refusal that says this."""

    name: str
    spoil: Callable[[CommandDraft], object]
    says: str
    readable: bool = False
    """Whether the verdict can name the letter that the command names, and not its own origin only."""


def _set(**members: Any) -> Callable[[CommandDraft], object]:
    return lambda draft: draft.data.update(members)


BAD_COMMANDS: Final = (
    BadCommand(name="null value", spoil=lambda d: d.value(None), says="the value is null"),
    BadCommand(
        name="empty record",
        spoil=each(lambda d: d.headers.clear(), lambda d: d.value(b"")),
        says="ce_specversion must be 1.0",
    ),
    BadCommand(name="not JSON", spoil=lambda d: d.value(b"hello"), says="the value is not JSON"),
    BadCommand(name="not UTF-8", spoil=lambda d: d.value(b'{"\xff":1}'), says="the value is not UTF-8"),
    BadCommand(
        name="100,000 arrays in each other",
        spoil=lambda d: d.value(b"[" * 100_000 + b"]" * 100_000),
        says="the value is not JSON",
    ),
    BadCommand(
        name="attribute that is not UTF-8",
        spoil=lambda d: d.header("ce_id", b"\xff"),
        says="header ce_id is not UTF-8",
    ),
    BadCommand(
        name="attribute of 64 kB",
        spoil=lambda d: d.header("ce_source", b"s" * 65_536),
        says="ce_source must have at most 512 characters",
    ),
    BadCommand(
        name="event of another type",
        spoil=lambda d: d.header("ce_type", b"unbinding.requested.v1"),
        says="ce_type must be replay.requested.v1 or discard.requested.v1",
    ),
    BadCommand(
        name="text for a number",
        spoil=_set(expectedSequence="1"),
        says="expectedSequence must be a whole number",
    ),
    BadCommand(
        name="number below all", spoil=_set(expectedSequence=-1), says="expectedSequence must be at least 0"
    ),
    BadCommand(name="number for text", spoil=_set(letter=7), says="letter must be text"),
    BadCommand(
        name="key that leads elsewhere",
        spoil=_set(letter="../\u202ex"),
        says="letter must be the key of a dead letter",
    ),
    BadCommand(name="nobody's order", spoil=lambda d: d.data.pop("by"), says="by is required"),
    BadCommand(
        name="replay that wants to begin elsewhere",
        spoil=each(lambda d: d.header("ce_type", REPLAY_REQUESTED.encode()), _set(**{"from": "anywhere"})),
        says="from must be one of",
    ),
    BadCommand(
        name="number beyond all",
        spoil=_set(expectedSequence=2**64 - 1),
        says="the letter moved on",
        readable=True,
    ),
    BadCommand(
        name="letter that there is not",
        spoil=_set(letter=MISSING_LETTER),
        says="no open dead letter has this key in this partition",
        readable=True,
    ),
    BadCommand(
        name="1 MB for a letter that there is not",
        spoil=_set(letter=MISSING_LETTER, note="x" * 1_000_000),
        says="no open dead letter has this key in this partition",
        readable=True,
    ),
)
