"""From an answer to a result: total, so that whatever comes back has a meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from contracts.states import Evidence, Outcome
from worker.hub.answers import Answer, OwnCode, clean
from worker.hub.apis.api import Incomplete, secret_of
from worker.hub.result_tables import STATUSES, SUCCESS
from worker.saga.results import Result, ResultClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.hub.apis.api import Api, Request
    from worker.hub.result_tables import Row

_LONGEST_CODE: Final = 64
_LONGEST_TEXT: Final = 256
_TOO_MANY_REQUESTS: Final = 429
_UNAVAILABLE: Final = 503

DECIDED: Final = frozenset(
    {ResultClass.DONE, ResultClass.DONE_ALREADY, ResultClass.REFUSED, ResultClass.FINAL}
)
"""The classes that end all doubt about a call; a stopped line says nothing about what an earlier try did."""

_UNKNOWN_CODE: Final = {Outcome.FAILURE: ResultClass.FINAL, Outcome.UNKNOWN: ResultClass.SOON}


def read(api: Api, answer: Answer, *, request: Request, undecided_before: bool) -> Result:
    """Read one attempt's answer: a verified body decides, whatever the HTTP status; else nothing is known.

    ``undecided_before``: an own earlier attempt of this call may have had its effect.
    """
    if answer.body is None:
        return _nothing_read(answer, token=secret_of(request))
    found = answer.body.get("result")
    envelope: Mapping[str, Any] = found if isinstance(found, dict) else {}
    status, code = envelope.get("resultStatus"), envelope.get("resultCode")
    outcome = STATUSES.get(status) if isinstance(status, str) else None
    if outcome is None or not isinstance(code, str) or not code:
        return _contradictory(answer, "resultStatus or resultCode is missing or none of the documented ones")
    row = api.table.get(code)
    if (row is not None and row.outcome is not outcome) or (row is None and outcome is Outcome.SUCCESS):
        shown = clean(code, token=secret_of(request), longest=_LONGEST_CODE)
        return _contradictory(answer, f"resultStatus {status} does not go with resultCode {shown}")
    said = envelope.get("resultMessage")
    if row is not None and row.code == SUCCESS:
        return _success(api, answer, said, request=request)
    return _by_code(
        row, code, outcome, said=said, answer=answer, request=request, undecided_before=undecided_before
    )


def _success(api: Api, answer: Answer, said: object, *, request: Request) -> Result:
    token = secret_of(request)
    found = api.success(_body(answer), request)
    if isinstance(found, Incomplete):
        return _unread(OwnCode.INCOMPLETE_ANSWER, found.missing, verified=True)
    return Result(
        result_class=found.result_class,
        outcome=Outcome.SUCCESS,
        code=SUCCESS,
        message=clean(said, token=token, longest=_LONGEST_TEXT),
        verified=True,
        acquirer_id=found.acquirer_id,
        psp_id=found.psp_id,
        refuse_reason=clean(found.refuse_reason, token=token, longest=_LONGEST_TEXT),
        links=found.links,
    )


def _by_code(
    row: Row | None,
    code: str,
    outcome: Outcome,
    *,
    said: object,
    answer: Answer,
    request: Request,
    undecided_before: bool,
) -> Result:
    token = secret_of(request)
    message = clean(said, token=token, longest=_LONGEST_TEXT)
    if row is None:
        result_class = _UNKNOWN_CODE[outcome]
        shown = clean(code, token=token, longest=_LONGEST_CODE)
        message = message or "This code is in no document that we know: it was read by its status."
    else:
        result_class = row.result_class
        if undecided_before and row.after_undecided is not None:
            result_class = row.after_undecided
        shown = row.code
        message = message or row.meaning
    slowly = result_class is ResultClass.SLOWLY
    return Result(
        result_class=result_class,
        outcome=outcome,
        code=shown,
        message=message,
        # Refused for its number, a call was not worked on.
        undecided=outcome is Outcome.UNKNOWN and not slowly,
        verified=True,
        retry_after_ms=answer.retry_after_ms if slowly else None,
        evidence=Evidence.ALREADY_UNBOUND if result_class is ResultClass.DONE_ALREADY else None,
    )


def _nothing_read(answer: Answer, *, token: str | None) -> Result:
    if answer.http_status in {_TOO_MANY_REQUESTS, _UNAVAILABLE}:
        return Result(
            result_class=ResultClass.SLOWLY,
            outcome=Outcome.UNKNOWN,
            code=OwnCode.SLOW_DOWN.value,
            message=f"HTTP {answer.http_status}: fewer calls are wanted; they go on more slowly.",
            # 503 may come from a machine behind which the call was worked on.
            undecided=answer.http_status == _UNAVAILABLE,
            verified=answer.verified,
            retry_after_ms=answer.retry_after_ms,
        )
    flaw = answer.flaw or OwnCode.NO_ANSWER
    detail = clean(answer.detail, token=token, longest=_LONGEST_TEXT)
    return _unread(flaw, detail, verified=answer.verified)


def _contradictory(answer: Answer, detail: str) -> Result:
    return _unread(OwnCode.CONTRADICTORY_ANSWER, detail, verified=answer.verified)


def _unread(code: OwnCode, detail: str | None, *, verified: bool) -> Result:
    return Result(
        result_class=ResultClass.SOON,
        outcome=Outcome.UNKNOWN,
        code=code.value,
        message=detail,
        undecided=code is not OwnCode.NOT_SENT,
        verified=verified,
    )


def _body(answer: Answer) -> Mapping[str, Any]:
    return answer.body or {}
