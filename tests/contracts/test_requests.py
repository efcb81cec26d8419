from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.requests import (
    REBINDING_REQUESTED,
    UNBINDING_REQUESTED,
    ActivatedVia,
    Initiator,
    OsType,
    RebindingRequested,
    Scope,
    TerminalType,
    UnbindingRequested,
    read_request,
)
from contracts.wire import InvalidEvent
from tests.contracts.samples import data_of, event_of

pytestmark = pytest.mark.promise("P10")

Changes = dict[str, Any]


def unbinding(**changes: Any) -> UnbindingRequested:
    """Read the sample with these changes."""
    request = read_request(event_of(UNBINDING_REQUESTED, data_of(UNBINDING_REQUESTED, **changes)))
    assert isinstance(request, UnbindingRequested)
    return request


def rebinding(**changes: Any) -> RebindingRequested:
    """Read the sample with these changes."""
    request = read_request(event_of(REBINDING_REQUESTED, data_of(REBINDING_REQUESTED, **changes)))
    assert isinstance(request, RebindingRequested)
    return request


def test_an_unbinding_request_is_read() -> None:
    """All fields arrive under their own names, moments as milliseconds, too."""
    request = unbinding()
    assert request.binding_id == "bnd-20417"
    assert request.initiator is Initiator.WALLET
    assert request.requested_at_ms == 1_740_791_727_000
    assert request.expires_at_ms == 1_740_792_027_000
    assert request.access_token == "tok_synthetic_3b1f0c"
    assert request.agreement is not None
    assert request.agreement.activated_via is ActivatedVia.BILLS_AND_UTILITIES
    assert request.merchant_account is not None
    assert request.merchant_account.merchant_tag == "harbour-power"


def test_a_rebinding_request_is_read() -> None:
    """Scopes, terminal and operating system arrive as words of the contract."""
    request = rebinding()
    assert request.scopes == (Scope.BASE_USER_INFO, Scope.AGREEMENT_PAY)
    assert (request.terminal_type, request.os_type, request.os_version) == (
        TerminalType.APP,
        OsType.ANDROID,
        "15",
    )
    assert request.expires_at_ms == 1_740_909_900_000


def test_unknown_fields_are_ignored() -> None:
    """A newer upstream may add fields."""
    assert unbinding(addedLater={"a": 1}).binding_id == "bnd-20417"


def test_null_means_absent() -> None:
    """JSON null and a field left out are the same."""
    assert unbinding(expiresAt=None, pspId=None) == unbinding(expiresAt=..., pspId=...)


def test_python_names_are_no_wire_names() -> None:
    """The snake_case name of a field is an unknown field on the wire."""
    with pytest.raises(InvalidEvent, match="bindingId is required"):
        unbinding(bindingId=..., binding_id="bnd-1")


def test_one_target_is_enough() -> None:
    """A token, an agreement or a merchant account each make a request by themselves."""
    nothing: Changes = {"accessToken": ..., "agreement": ..., "merchantAccount": ...}
    for name in nothing:
        assert unbinding(**{other: ... for other in nothing if other != name}).binding_id == "bnd-20417"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"accessToken": ..., "agreement": None, "merchantAccount": ...},
            "one of accessToken, agreement, merchantAccount is required",
        ),
        ({"authClientId": ...}, "authClientId is required with accessToken"),
        ({"referenceMerchantId": None}, "referenceMerchantId is required with accessToken"),
        ({"bindingId": ...}, "bindingId is required"),
        ({"bindingId": ""}, "bindingId must not be empty; leave it out instead"),
        ({"bindingId": "x" * 129}, "bindingId must have at most 128 characters"),
        ({"bindingId": 20417}, "bindingId must be text"),
        ({"bindingId": "a\nb"}, "bindingId must not have control characters"),
        ({"pspId": ""}, "pspId must not be empty; leave it out instead"),
        ({"initiator": "hub"}, "initiator must be one of 'wallet' or 'merchant'"),
        ({"accessToken": "t" * 129}, "accessToken must have at most 128 characters, or be sealed (sealed:…)"),
        ({"authClientId": "x" * 65}, "authClientId must have at most 64 characters"),
        ({"referenceMerchantId": "x" * 33}, "referenceMerchantId must have at most 32 characters"),
        ({"passThroughInfo": "x" * 20_001}, "passThroughInfo must have at most 20000 characters"),
        ({"agreement": "a"}, "agreement must be an object"),
        (
            {"agreement": {"authMerchantId": "m", "merchantAgreementId": "a", "activatedVia": "sms"}},
            "agreement.activatedVia must be one of 'bills_and_utilities' or 'merchant'",
        ),
        ({"agreement": {"authMerchantId": "m"}}, "agreement.merchantAgreementId is required"),
    ],
)
def test_what_is_wrong_is_named(changes: Changes, message: str) -> None:
    """The error names the field and the rule."""
    with pytest.raises(InvalidEvent) as caught:
        unbinding(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("tag", ["..", "a/b", "", ".", "-a", "a?b", "a%2fb"])
def test_a_merchant_tag_stays_one_path_segment(tag: str) -> None:
    """A tag that could lead to another path of the merchant's host is refused."""
    account = {**data_of(UNBINDING_REQUESTED)["merchantAccount"], "merchantTag": tag}
    with pytest.raises(InvalidEvent, match=r"merchantAccount\.merchantTag must"):
        unbinding(merchantAccount=account)


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-01T09:15:27",
        "2025-03-01",
        "1740791758",
        1740791758,
        1740791758.5,
        "2025-03-01 09:15:27Z",
        "2025-02-30T00:00:00Z",
        "2025-03-01T09:15:60Z",
        "2025-03-01T25:00:00Z",
        "2025-03-01T09:15:27+0800",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-23:59",
        "\uff12\uff10\uff12\uff15-03-01T09:15:27Z",
        "",
        True,
    ],
)
def test_a_moment_needs_rfc_3339_with_an_offset(text: object) -> None:
    """Local times, dates, numbers and impossible moments are refused."""
    with pytest.raises(InvalidEvent, match=r"requestedAt must be a moment as in RFC 3339"):
        unbinding(requestedAt=text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-03-01T01:15:27Z", 1_740_791_727_000),
        ("2025-03-01t01:15:27.5z", 1_740_791_727_500),
        ("2025-03-01T09:15:27.123456789+08:00", 1_740_791_727_123),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_moment_is_kept_to_the_millisecond(text: str, at: int) -> None:
    """Any offset and any fraction is read; finer than a millisecond is cut."""
    assert unbinding(requestedAt=text).requested_at_ms == at


def test_a_sealed_token_may_be_longer() -> None:
    """A token that upstream sealed is marked and may have 1,024 characters."""
    sealed = "sealed:" + "A" * 1017
    assert unbinding(accessToken=sealed).token_is_sealed
    assert not unbinding().token_is_sealed
    with pytest.raises(InvalidEvent, match="accessToken must have at most 1024 characters"):
        unbinding(accessToken=sealed + "A")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"osType": ...}, "osType is required with terminalType APP or WAP"),
        ({"terminalType": "WAP", "osVersion": None}, "osVersion is required with terminalType APP or WAP"),
        ({"osVersion": "1" * 17}, "osVersion must have at most 16 characters"),
        ({"scopes": []}, "scopes must have at least 1 entries"),
        ({"scopes": ["USER_INFO"] * 5}, "scopes must have at most 4 entries"),
        ({"scopes": ["EVERYTHING"]}, "scopes.0 must be one of"),
        ({"scopes": "USER_INFO"}, "scopes must be an array"),
        ({"authState": "x" * 257}, "authState must have at most 256 characters"),
        ({"authRedirectUrl": "ftp://shop.example/"}, "authRedirectUrl must be an http or https URL"),
        ({"authRedirectUrl": "https:///path"}, "authRedirectUrl must be an http or https URL"),
        ({"authRedirectUrl": "https://a b/"}, "authRedirectUrl must be an http or https URL"),
        ({"authRedirectUrl": "https://a/" + "x" * 1015}, "authRedirectUrl must have at most 1024 characters"),
        ({"terminalType": "TV"}, "terminalType must be one of"),
        ({"customerBelongsTo": ...}, "customerBelongsTo is required"),
    ],
)
def test_the_conditions_of_authorization_consult_hold(changes: Changes, message: str) -> None:
    """A rebinding that the API would not take is refused before it is asked."""
    with pytest.raises(InvalidEvent) as caught:
        rebinding(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("terminal", ["WEB", "MINI_APP"])
def test_other_terminals_need_no_operating_system(terminal: str) -> None:
    """Only APP and WAP demand osType and osVersion."""
    assert rebinding(terminalType=terminal, osType=..., osVersion=...).os_type is None


def test_other_types_have_no_place_among_requests() -> None:
    """The error names the types that do, not the one that came."""
    with pytest.raises(InvalidEvent) as caught:
        read_request(event_of("secret.type.v1", {}))
    assert UNBINDING_REQUESTED in str(caught.value)
    assert "secret" not in str(caught.value)


def test_reprs_show_no_token_and_no_account() -> None:
    """Neither repr nor str of a request or its event has a token, account, agreement or pass-through text."""
    hidden = [
        "tok_synthetic",
        "channel",
        "70012345",
        "oid-61c4",
        "2160000000009922",
        "2160000000004711",
        "agr-0b77d1",
        "district",
        "st-c21d90",
        "shop.example",
    ]
    event = event_of(UNBINDING_REQUESTED, data_of(UNBINDING_REQUESTED))
    shown = f"{event!r} {unbinding()!r} {unbinding()} {rebinding()!r} {rebinding()}"
    assert [text for text in hidden if text in shown] == []


def refusal(event_type: str, data: Changes) -> InvalidEvent | None:
    """Return the error that reading ends in, if any."""
    try:
        read_request(event_of(event_type, data))
    except InvalidEvent as error:
        return error
    return None


letters = st.text("aZ0é😀\x00\n \u2028", max_size=12)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | letters,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(letters, children, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({*data_of(UNBINDING_REQUESTED), *data_of(REBINDING_REQUESTED)})


@given(
    event_type=st.sampled_from([UNBINDING_REQUESTED, REBINDING_REQUESTED]),
    changes=st.dictionaries(st.sampled_from(FIELDS), junk, max_size=6),
)
def test_any_data_is_read_or_refused_in_few_words(event_type: str, changes: Changes) -> None:
    """Whatever the fields hold: a request, or one InvalidEvent of at most 256 bytes with no error chained."""
    error = refusal(event_type, {**data_of(event_type), **changes})
    if error is not None:
        assert 0 < len(str(error).encode()) <= 256
        assert error.__context__ is None
        assert error.__cause__ is None


@given(
    event_type=st.sampled_from([UNBINDING_REQUESTED, REBINDING_REQUESTED]),
    field=st.sampled_from(FIELDS),
    prefix=st.sampled_from(["", "2025-13-", "https://", "\x00"]),
    length=st.sampled_from([10, 40, 300, 21_000]),
)
def test_messages_never_quote_values(event_type: str, field: str, prefix: str, length: int) -> None:
    """A marked value in any field does not come back in the message."""
    marked = prefix + "QZX" * (length // 3)
    assert "QZX" not in str(refusal(event_type, {**data_of(event_type), field: marked}))


def test_to_json_is_the_wire_form() -> None:
    """What a model writes can be read again and has no absent fields."""
    request = unbinding(expiresAt=...)
    text = request.to_json()
    assert b"expiresAt" not in text
    assert b'"requestedAt":"2025-03-01T01:15:27.000Z"' in text
    assert UnbindingRequested.model_validate_json(text) == request
