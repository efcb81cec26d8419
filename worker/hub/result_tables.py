"""What the codes mean: the rows, and the ones that all header-signed APIs share.

Each API's own table stands in its module under ``apis``; what no table lists is decided by its status alone
(``reading``). A row answers: with which status does the code come, which class is it, what does it
mean, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from contracts.states import Outcome
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Table: TypeAlias = Mapping[str, "Row"]

STATUSES: Final[Mapping[str, Outcome]] = MappingProxyType(
    {"S": Outcome.SUCCESS, "F": Outcome.FAILURE, "U": Outcome.UNKNOWN}
)
"""``resultStatus`` of every API family."""


@dataclass(frozen=True, slots=True)
class Row:
    """One result code."""

    code: str
    outcome: Outcome
    """The status that the code comes with; with another one the answer contradicts itself."""
    result_class: ResultClass
    meaning: str
    """One sentence or two: what it means, and what to do."""
    after_undecided: ResultClass | None = None
    """Its class where an own earlier attempt may have had its effect."""


def table(*rows: Row) -> Table:
    """Index the rows by code. Raises ValueError for a code that stands there twice."""
    by_code = {row.code: row for row in rows}
    if len(by_code) != len(rows):
        raise ValueError("a result code stands twice in one table")
    return MappingProxyType(by_code)


_S, _F, _U = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN
_STOP, _FINAL = ResultClass.LINE_STOP, ResultClass.FINAL

SUCCESS: Final = "SUCCESS"

ANSWERED: Final = (
    Row(SUCCESS, _S, ResultClass.DONE, "Done."),
    Row("PARAM_ILLEGAL", _F, _FINAL, "A field is missing, too long or wrong: correct the request upstream."),
    Row("PROCESS_FAIL", _F, _FINAL, "Refused for good; repeating is forbidden: ask the counterpart."),
    Row(
        "MEDIA_TYPE_NOT_ACCEPTABLE",
        _F,
        _FINAL,
        "Our media type is refused: a fault of this program, report it.",
    ),
    Row("METHOD_NOT_SUPPORTED", _F, _FINAL, "POST is refused: check the path configured for this step."),
    Row("REQUEST_TRAFFIC_EXCEED_LIMIT", _U, ResultClass.SLOWLY, "Too many calls: they go on more slowly."),
    Row("UNKNOWN_EXCEPTION", _U, ResultClass.SOON, "The counterpart cannot tell: it is asked again."),
)
"""Codes that mean the same at each header-signed API (Alipay+ consultUnbinding and cancelToken, Antom)."""

LINE_STOPS: Final = (
    Row("INVALID_CLIENT", _F, _STOP, "Our client id is unknown there: check client_id and environment."),
    Row("INVALID_SIGNATURE", _F, _STOP, "Our signature is refused: check private key, key_version and path."),
    Row("KEY_NOT_FOUND", _F, _STOP, "No key of ours is on file there: register it, check key_version."),
    Row("NO_INTERFACE_DEF", _F, _STOP, "There is no such endpoint: check base_url and path."),
)
"""Documented for each header-signed API: every call of this client would fail alike."""

SISTER_SPELLINGS: Final = (
    Row("CLIENT_INVALID", _F, _STOP, "Our client id is refused: check client_id and environment."),
    Row("UNKNOWN_CLIENT", _F, _STOP, "Our client id is unknown there: check client_id and environment."),
    Row("INVALID_CLIENT_STATUS", _F, _STOP, "Our client is not active there: ask the counterpart."),
    Row("SIGNATURE_INVALID", _F, _STOP, "Our signature is refused: check private key, key_version and path."),
    Row("CLIENT_FORBIDDEN_ACCESS_API", _F, _STOP, "Our client may not call this API: ask the counterpart."),
    Row("INVALID_API", _F, _STOP, "There is no such endpoint: check base_url and path."),
    Row("API_INVALID", _F, _STOP, "There is no such endpoint: check base_url and path."),
)
"""The same faults as sister APIs and older editions spell them (Antom Authorization Consult, revoke).

No document lists them for Alipay+; read as unknown codes they would park saga after saga.
"""
