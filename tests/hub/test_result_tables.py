from __future__ import annotations

import pytest

from contracts.states import Evidence, Outcome
from tests.hub.documented import CASES, CODES, FACTS
from tests.hub.payside import TOKEN, request_of, unbinding
from worker.hub.answers import Answer, OwnCode
from worker.hub.apis.cancel_token import CANCEL_TOKEN
from worker.hub.apis.consult_unbinding import CONSULT_UNBINDING
from worker.hub.catalogue import EVERY_API
from worker.hub.reading import read
from worker.hub.result_tables import Row, table
from worker.saga.results import Result, ResultClass

pytestmark = pytest.mark.promise("P3")

APIS = {api.name: api for api in EVERY_API}
OUTCOMES = {"S": Outcome.SUCCESS, "F": Outcome.FAILURE, "U": Outcome.UNKNOWN}


def verified(
    status: object = "S", code: object = "SUCCESS", message: object = "ok", **more: object
) -> Answer:
    """Make a verified answer."""
    result = {"resultStatus": status, "resultCode": code, "resultMessage": message}
    return Answer(body={"result": result} | more, verified=True, http_status=200)


def consulted(**fields: object) -> Result:
    """Read a consult's SUCCESS with these fields."""
    return read(CONSULT_UNBINDING, verified(**fields), request=unbinding(), undecided_before=False)


def cancelled(answer: Answer, *, undecided_before: bool = False) -> Result:
    """Read an answer of cancelToken."""
    return read(CANCEL_TOKEN, answer, request=unbinding(), undecided_before=undecided_before)


def test_every_api_is_written_down() -> None:
    """Each API of the catalogue has its list here, and no two share a name."""
    assert [api.name for api in EVERY_API] == list(CODES)


@pytest.mark.parametrize("name", CODES)
def test_each_table_has_exactly_the_documented_codes(name: str) -> None:
    """No code of the documents is missing, and none is there that no document names."""
    assert sorted(APIS[name].table) == sorted(code for code, *_ in CODES[name])


def read_case(name: str, status: str, code: str, *, undecided_before: bool = False) -> Result:
    """Read an answer of this API that has all that may go with a SUCCESS."""
    return read(
        APIS[name],
        verified(status, code, **FACTS),
        request=request_of(APIS[name].step),
        undecided_before=undecided_before,
    )


@pytest.mark.parametrize(("name", "code", "status", "expected"), CASES)
def test_each_documented_code_has_its_class(name: str, code: str, status: str, expected: str) -> None:
    """A code with its own status is read as the documents and our rules say."""
    result = read_case(name, status, code)
    assert result.result_class is ResultClass(expected)
    assert (result.outcome, result.code, result.verified) == (OUTCOMES[status], code, True)
    assert result.undecided is (code == "UNKNOWN_EXCEPTION")


@pytest.mark.parametrize(("name", "code", "status", "expected"), CASES)
def test_doubt_changes_the_class_of_a_dead_token_alone(
    name: str, code: str, status: str, expected: str
) -> None:
    """After an own undecided attempt only a dead token, where one is cancelled, means something else."""
    dead = {"INVALID_TOKEN", "INVALID_ACCESS_TOKEN"} if APIS[name].step == "cancel_token" else set()
    wanted = "done_already" if code in dead else expected
    assert read_case(name, status, code, undecided_before=True).result_class is ResultClass(wanted)


@pytest.mark.parametrize(("name", "code", "status", "expected"), CASES)
def test_a_code_with_another_status_contradicts_itself(
    name: str, code: str, status: str, expected: str
) -> None:
    """Status and code must go together, else nothing is taken from the answer."""
    del expected
    for other in {"S", "F", "U"} - {status}:
        result = read_case(name, other, code, undecided_before=True)
        assert (result.result_class, result.outcome) == (ResultClass.SOON, Outcome.UNKNOWN)
        assert (result.code, result.undecided, result.verified) == ("CONTRADICTORY_ANSWER", True, True)


@pytest.mark.parametrize("name", CODES)
def test_every_meaning_is_a_sentence(name: str) -> None:
    """Each row says in plain words what it means, in a line that a page's table can hold."""
    for row in APIS[name].table.values():
        assert row.meaning.endswith(".")
        assert row.meaning[0].isupper()
        assert row.meaning.isprintable()
        assert "|" not in row.meaning
        assert len(row.meaning) <= 256


def test_a_code_may_stand_in_a_table_once() -> None:
    """Two rows of one code are refused when the table is made."""
    row = Row("X", Outcome.FAILURE, ResultClass.FINAL, "X.")
    with pytest.raises(ValueError, match="twice"):
        table(row, row)


@pytest.mark.parametrize(
    ("status", "expected", "undecided"),
    [("F", ResultClass.FINAL, False), ("U", ResultClass.SOON, True)],
)
def test_an_unknown_code_is_decided_by_its_status(
    status: str, expected: ResultClass, *, undecided: bool
) -> None:
    """F ends, U is tried again; the code is kept."""
    result = cancelled(verified(status, "BRAND_NEW_CODE"))
    assert (result.result_class, result.code, result.undecided) == (expected, "BRAND_NEW_CODE", undecided)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"result": None},
        {"result": []},
        {"result": {}},
        {"result": {"resultStatus": "S"}},
        {"result": {"resultCode": "SUCCESS"}},
        {"result": {"resultStatus": "s", "resultCode": "SUCCESS"}},
        {"result": {"resultStatus": ["S"], "resultCode": "SUCCESS"}},
        {"result": {"resultStatus": "S", "resultCode": ["SUCCESS"]}},
        {"result": {"resultStatus": "S", "resultCode": "OK"}},
        {"result": {"resultStatus": "F", "resultCode": ""}},
        {"result": {"resultStatus": "X", "resultCode": "PROCESS_FAIL"}},
    ],
)
def test_a_result_that_is_none_is_contradictory(body: dict[str, object]) -> None:
    """Without a readable pair of status and code nothing is known."""
    result = cancelled(Answer(body=body, verified=True, http_status=200))
    assert (result.result_class, result.outcome, result.code) == (
        ResultClass.SOON,
        Outcome.UNKNOWN,
        "CONTRADICTORY_ANSWER",
    )


@pytest.mark.parametrize("code", ["INVALID_TOKEN", "INVALID_ACCESS_TOKEN"])
def test_a_dead_token_is_evidence_only_after_doubt(code: str) -> None:
    """On a first attempt it is final: the token may have been refreshed, and a live one may exist."""
    first = cancelled(verified("F", code))
    later = cancelled(verified("F", code), undecided_before=True)
    assert (first.result_class, first.evidence) == (ResultClass.FINAL, None)
    assert (later.result_class, later.evidence) == (ResultClass.DONE_ALREADY, Evidence.ALREADY_UNBOUND)


@pytest.mark.parametrize("allowed", ["true", True])
def test_consult_gives_the_permission_and_the_ids(allowed: object) -> None:
    """A string or JSON's own true is a permission, with the ids that cancelToken needs."""
    result = consulted(**FACTS | {"allowUnbinding": allowed})
    assert result.result_class is ResultClass.DONE
    assert (result.acquirer_id, result.psp_id) == ("acq-310", "psp-807")


@pytest.mark.parametrize("allowed", ["false", False])
def test_a_refusal_is_a_business_end_with_its_reason(allowed: object) -> None:
    """A no is refused, not failed, and the reason is cleaned; the ids need not be there."""
    result = consulted(
        allowUnbinding=allowed, refuseReason=f"one bill\n\x1b[31m of {TOKEN} is open" + "x" * 300
    )
    assert (result.result_class, result.outcome) == (ResultClass.REFUSED, Outcome.SUCCESS)
    assert result.refuse_reason is not None
    assert result.refuse_reason.startswith("one bill [31m of [token] is open")
    assert len(result.refuse_reason) == 256


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"allowUnbinding": None},
        {"allowUnbinding": "TRUE"},
        {"allowUnbinding": 1},
        {"allowUnbinding": 0},
        {"allowUnbinding": ""},
        {"allowUnbinding": ["true"]},
        {"allowUnbinding": "true", "acquirerId": None},
        {"allowUnbinding": "true", "pspId": ""},
        {"allowUnbinding": "true", "pspId": "x" * 65},
        {"allowUnbinding": "true", "pspId": 7},
        {"allowUnbinding": "true", "pspId": f"p-{TOKEN}"},
    ],
)
def test_an_odd_yes_is_never_a_permission(fields: dict[str, object]) -> None:
    """A SUCCESS without a clear yes and both ids is no answer."""
    facts = {"acquirerId": "acq-310", "pspId": "psp-807"} | fields
    result = consulted(**facts)
    assert (result.result_class, result.code) == (ResultClass.SOON, "INCOMPLETE_ANSWER")
    assert result.verified


def test_a_request_with_its_own_ids_makes_up_for_missing_ones() -> None:
    """Where the request brings pspId and acquirerId, the permission stands without them."""
    result = read(
        CONSULT_UNBINDING,
        verified(allowUnbinding="true"),
        request=unbinding(psp_id="p", acquirer_id="a"),
        undecided_before=False,
    )
    assert (result.result_class, result.psp_id) == (ResultClass.DONE, None)


def test_no_text_carries_a_token_or_control_characters() -> None:
    """Message and code are cleaned, whatever the counterpart writes into them."""
    said = f"token {TOKEN}\r\n\x00\u202e{TOKEN[:8]}\u200b{TOKEN[8:]}" + "y" * 400
    result = cancelled(verified("F", f"ODD_{TOKEN}_\n" + "C" * 80, said))
    assert result.message is not None
    assert result.code is not None
    assert TOKEN not in result.message + result.code
    assert result.message.isprintable()
    assert result.code.isprintable()
    assert len(result.message) == 256
    assert len(result.code) == 64


def test_a_code_without_a_message_says_what_it_means() -> None:
    """On-call reads our sentence where the counterpart gave none."""
    result = cancelled(verified("F", "PROCESS_FAIL", None))
    assert result.message == CANCEL_TOKEN.table["PROCESS_FAIL"].meaning


@pytest.mark.parametrize("flaw", OwnCode)
def test_whatever_is_no_answer_is_tried_soon(flaw: OwnCode) -> None:
    """Each own code is soon and unknown; only what was never sent is not undecided."""
    result = cancelled(Answer(flaw=flaw, detail=f"about {TOKEN}"))
    assert (result.result_class, result.outcome, result.code) == (
        ResultClass.SOON,
        Outcome.UNKNOWN,
        flaw.value,
    )
    assert result.undecided is (flaw is not OwnCode.NOT_SENT)
    assert result.message == "about [token]"


def test_a_traffic_limit_hands_on_retry_after() -> None:
    """The verified code and the header work together."""
    body = verified("U", "REQUEST_TRAFFIC_EXCEED_LIMIT").body
    result = cancelled(Answer(body=body, verified=True, retry_after_ms=90_000))
    assert (result.result_class, result.retry_after_ms, result.undecided) == (
        ResultClass.SLOWLY,
        90_000,
        False,
    )
