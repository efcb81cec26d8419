"""The list of all events of the contract: type, model, topic, and who writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from contracts.commands import DiscardRequested, Hold, ReplayRequested, VerdictRecorded
from contracts.notices import TokenCanceled
from contracts.requests import RebindingRequested, UnbindingRequested
from contracts.states import BindingRebindOffered, BindingStateChanged
from contracts.topics import LogicalTopic
from contracts.wire import WireModel


@dataclass(frozen=True, slots=True)
class EventKind:
    """One type of event: the model of its data and the topic that carries it."""

    model: type[WireModel]
    topic: LogicalTopic


EVENTS: Final[Mapping[str, EventKind]] = MappingProxyType(
    {
        UnbindingRequested.type: EventKind(UnbindingRequested, LogicalTopic.REQUESTS),
        RebindingRequested.type: EventKind(RebindingRequested, LogicalTopic.REQUESTS),
        TokenCanceled.type: EventKind(TokenCanceled, LogicalTopic.NOTICES),
        ReplayRequested.type: EventKind(ReplayRequested, LogicalTopic.COMMANDS),
        DiscardRequested.type: EventKind(DiscardRequested, LogicalTopic.COMMANDS),
        Hold.type: EventKind(Hold, LogicalTopic.HOLDS),
        BindingStateChanged.type: EventKind(BindingStateChanged, LogicalTopic.STATES),
        BindingRebindOffered.type: EventKind(BindingRebindOffered, LogicalTopic.STATES),
        VerdictRecorded.type: EventKind(VerdictRecorded, LogicalTopic.VERDICTS),
    }
)
"""Every event by its `ce_type`. Dead letters are no events: their value is the sealed original."""
