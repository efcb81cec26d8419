"""Requests, letters, states and verdicts that the tests of the command line start from; all synthetic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from contracts.cloudevents import event_headers
from contracts.commands import CommandKind, Ruling, VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import (
    BINDING_STATE_CHANGED,
    Outcome,
    Reason,
    State,
    Step,
    encode_state_changed,
    state_event_id,
)
from contracts.topics import LogicalTopic
from tests.oncall.worlds import NOW_AT, moment

if TYPE_CHECKING:
    from tests.oncall.worlds import World
    from worker.ports import Headers

TOKEN = "tok_synthetic_3b1f0c"
SEALED = b"\x01sealed-bytes-that-nobody-may-see"
SAGA = "5e9a1c7702b84f0f9d3c6a51e7d0b284"
OTHER_SAGA = "5e9b0000000000000000000000000000"


def request(binding: str = "bnd-1", **changes: Any) -> dict[str, Any]:
    """Return the data of a request to unbind; `...` removes a field."""
    data = {
        "bindingId": binding,
        "initiator": "wallet",
        "requestedAt": moment(0),
        "authClientId": "ac-5120",
        "referenceMerchantId": "rm-0191",
        "accessToken": TOKEN,
        **changes,
    }
    return {name: content for name, content in data.items() if content is not ...}


def notice(**changes: Any) -> dict[str, Any]:
    """Return the data of a notice without a binding."""
    return {"noticeId": "ntc-1", "at": moment(0), "accessToken": TOKEN, **changes}


def lines(*documents: Any) -> str:
    """Return documents as JSON Lines."""
    return "".join(json.dumps(document) + "\n" for document in documents)


def letter_headers(saga: str | None = SAGA, **changes: Any) -> LetterHeaders:
    """Return the headers of a letter; without a saga it is one of a record that could not be read."""
    facts: dict[str, Any] = {
        "reason": Reason.OUTCOME_UNKNOWN,
        "sequence": 9,
        "origin": Origin("unbinding.requests", 2, 41),
        "origin_timestamp": NOW_AT - 90_000_000,
        "first_parked_at": NOW_AT - 7_200_000,
        "parked_at": NOW_AT - 3_600_000,
        "message": "please try again",
        "attempts": 12,
        "saga_id": saga,
        "binding_id": "bnd-1",
        "request_id": "req-1",
        "step": Step.CANCEL_TOKEN,
        "outcome": Outcome.UNKNOWN,
        "result_code": "UNKNOWN_EXCEPTION",
        "sealed_with": "2025-03",
        "original": (("ce_id", b"req-1"), ("ce_source", b"/wallet/app")),
    }
    if saga is None:
        facts |= {"reason": Reason.UNREADABLE, "sequence": 0, "attempts": 0}
        facts |= dict.fromkeys(("binding_id", "request_id", "step", "outcome", "result_code"))
    return LetterHeaders(**{**facts, **changes})


def put_letter(world: World, headers: LetterHeaders, *, partition: int = 1) -> None:
    """Write a letter as a worker does."""
    world.append(
        LogicalTopic.DEAD_LETTERS,
        partition,
        key=headers.key.encode(),
        value=SEALED,
        headers=tuple(headers.to_headers()),
    )


def state_record(
    state: State, *, sequence: int, saga: str = SAGA, binding: str = "bnd-1", **more: Any
) -> tuple[bytes, Headers]:
    """Return the value and headers of a state event."""
    at = NOW_AT + sequence
    value = encode_state_changed(
        binding_id=binding,
        saga_id=saga,
        request_ids=["req-1"],
        sequence=sequence,
        state=state,
        at=at,
        **more,
    )
    headers = event_headers(
        event_id=state_event_id(saga, sequence),
        source="/unbinding",
        event_type=BINDING_STATE_CHANGED,
        at=at,
        subject=binding,
    )
    return value, tuple(headers)


def put_state(world: World, state: State, *, sequence: int, partition: int = 1, **more: Any) -> None:
    """Write a state as a worker does."""
    value, headers = state_record(state, sequence=sequence, **more)
    world.append(LogicalTopic.STATES, partition, key=b"bnd-1", value=value, headers=headers)


def verdict_record(
    command_id: str, *, letter: str = SAGA, because: str | None = None, kind: CommandKind = CommandKind.REPLAY
) -> tuple[bytes, Headers]:
    """Return the value and headers of a verdict: refused if there is a `because`, else applied."""
    verdict = VerdictRecorded.model_validate(
        {
            "letter": letter,
            "ruling": Ruling.APPLIED if because is None else Ruling.REFUSED,
            "because": because,
            "instead": None if because is None else f"unbinding letters discard {letter}",
            "command": kind,
            "commandId": command_id,
            "at": moment(0),
        }
    )
    headers = event_headers(
        event_id=f"verdict-{command_id}", source="/unbinding", event_type=VerdictRecorded.type, at=NOW_AT
    )
    return verdict.to_json(), tuple(headers)
