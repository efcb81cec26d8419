from __future__ import annotations

import pytest

from contracts.states import Outcome
from tests.hub.payside import TOKEN, rebinding
from worker.hub.answers import Answer
from worker.hub.apis.authorization_consult import AUTHORIZATION_CONSULT
from worker.hub.reading import read
from worker.saga.results import Links, Result, ResultClass

WEB = "https://wallet.example/authorize?id=q81"
LONGEST = "https://wallet.example/" + "x" * (2048 - 23)


def consulted(
    fields: dict[str, object], *, status: str = "S", code: str = "SUCCESS", message: str = "ok"
) -> Result:
    """Read an answer of Authorization Consult."""
    result = {"resultStatus": status, "resultCode": code, "resultMessage": message}
    answer = Answer(body={"result": result} | fields, verified=True, http_status=200)
    return read(AUTHORIZATION_CONSULT, answer, request=rebinding(), undecided_before=False)


@pytest.mark.parametrize(
    ("fields", "links"),
    [
        ({"authUrl": WEB}, Links(auth_url=WEB)),
        ({"authUrl": "HTTP://wallet.example"}, Links(auth_url="HTTP://wallet.example")),
        (
            {"normalUrl": WEB, "schemeUrl": "wallet://a?b", "applinkUrl": f"{WEB}&app=1"},
            Links(normal_url=WEB, scheme_url="wallet://a?b", applink_url=f"{WEB}&app=1"),
        ),
        ({"schemeUrl": "x-wallet+1.0:go", "appIdentifier": "a.b"}, Links(scheme_url="x-wallet+1.0:go")),
        ({"normalUrl": LONGEST}, Links(normal_url=LONGEST)),
        ({"normalUrl": "wallet://a", "applinkUrl": WEB}, Links(applink_url=WEB)),
        ({"authUrl": None, "normalUrl": WEB, "schemeUrl": ""}, Links(normal_url=WEB)),
    ],
)
def test_the_links_of_both_editions_are_handed_out(fields: dict[str, object], links: Links) -> None:
    """Each well-formed link is kept as it came, and one that is not is left out."""
    result = consulted(fields)
    assert (result.result_class, result.outcome) == (ResultClass.DONE, Outcome.SUCCESS)
    assert result.links == links


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "file:///etc/x", "vbscript:x", "blob:x"],
)
def test_a_link_that_a_browser_would_run_is_none(link: str) -> None:
    """An app's link may have any scheme but those that run or read something where the user clicks."""
    assert consulted({"normalUrl": WEB, "schemeUrl": link}).links == Links(normal_url=WEB)


@pytest.mark.parametrize("name", ["authUrl", "normalUrl", "schemeUrl", "applinkUrl"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        7,
        [WEB],
        "/authorize",
        "wallet",
        ":x",
        "https://wallet.example/a b",
        "https://wallet.example/\n",
        "https://wallet.example/\u202e",
        f"{LONGEST}x",
    ],
)
def test_a_success_without_a_well_formed_link_offers_nothing(name: str, value: object) -> None:
    """What nobody could follow is no link, and without a link the answer is incomplete."""
    result = consulted({name: value})
    assert (result.result_class, result.code, result.links) == (ResultClass.SOON, "INCOMPLETE_ANSWER", None)
    assert result.verified


@pytest.mark.parametrize("name", ["authUrl", "normalUrl", "applinkUrl"])
@pytest.mark.parametrize("value", ["wallet://a", "javascript:alert(1)", "https:///a", "ftp://h/a"])
def test_a_web_link_is_http_or_https(name: str, value: str) -> None:
    """Only schemeUrl may open something else than a web page."""
    assert consulted({name: value}).code == "INCOMPLETE_ANSWER"


@pytest.mark.promise("P10")
@pytest.mark.parametrize("code", ["PROCESS_FAIL", f"ODD_{TOKEN}"])
def test_no_text_shows_the_auth_state(code: str) -> None:
    """What the merchant made to know its user by is in no message and no code, whoever quotes it."""
    result = consulted({}, status="F", code=code, message=f"the state {TOKEN} is refused")
    assert result.message == "the state [token] is refused"
    assert TOKEN not in repr(result)


@pytest.mark.promise("P10")
def test_links_show_in_no_repr() -> None:
    """A link may carry the authState: a result that is printed does not show it."""
    assert "wallet.example" not in repr(consulted({"authUrl": WEB, "normalUrl": WEB, "applinkUrl": WEB}))
    assert "wallet:" not in repr(consulted({"schemeUrl": "wallet:go"}))
