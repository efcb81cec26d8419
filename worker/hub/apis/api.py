"""What an API is to the hub: a step, a message, a table, and the reading of its success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contracts.requests import UnbindingRequested
from worker.hub.errors import CallImpossible
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from contracts.requests import RebindingRequested
    from contracts.states import Step
    from worker.hub.result_tables import Table
    from worker.saga.results import Call, Links

    Request: TypeAlias = UnbindingRequested | RebindingRequested
    Fields: TypeAlias = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """What a verified ``SUCCESS`` says: the step is done, or (consult) the binding may not be ended."""

    result_class: ResultClass = ResultClass.DONE
    acquirer_id: str | None = None
    psp_id: str | None = None
    refuse_reason: object = None
    """As it came: to be cleaned."""
    links: Links | None = None


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A ``SUCCESS`` that lacks what goes with it; ``missing`` says what, for people."""

    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API in one edition."""

    name: str
    step: Step
    table: Table
    fields: Callable[[Call, Request], Fields]
    """The message's fields. Scalars are JSON strings, arrays of them arrays; what is absent is ``None``.

    Raises CallImpossible where a required one is missing.
    """
    success: Callable[[Mapping[str, Any], Request], Success | Incomplete]
    """Reads the body of a verified ``SUCCESS``; the second argument is the request that was sent."""


def secret_of(request: Request) -> str | None:
    """Return what no text of ours may show: the access token, or a rebinding's ``authState``."""
    return request.access_token if isinstance(request, UnbindingRequested) else request.auth_state


def done(_: Mapping[str, Any], __: Request) -> Success:
    """Read a ``SUCCESS`` that says no more than that."""
    return Success()


def plain_token(request: Request, *, api: str) -> tuple[UnbindingRequested, str]:
    """Return the request as one to unbind, and its token. Raises CallImpossible without a plain token."""
    if not isinstance(request, UnbindingRequested) or request.access_token is None:
        raise CallImpossible(f"{api} needs a request with an accessToken")
    if request.token_is_sealed:
        raise CallImpossible(f"{api}: the accessToken is still sealed; it must be unsealed before the call")
    return request, request.access_token
