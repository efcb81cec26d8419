from typing import Any

import pytest

from contracts.notices import TOKEN_CANCELED, TokenCanceled, read_notice
from contracts.wire import InvalidEvent
from tests.contracts.samples import data_of, event_of

AGREEMENT = {"authMerchantId": "2160000000004711", "merchantAgreementId": "agr-0b77d1"}
FINGERPRINT = "k1:" + "A" * 43


def notice(**changes: Any) -> TokenCanceled:
    """Read the sample with these changes."""
    return read_notice(event_of(TOKEN_CANCELED, data_of(TOKEN_CANCELED, **changes)))


@pytest.mark.parametrize(
    "target", [{}, {"accessToken": ..., "tokenFingerprint": FINGERPRINT}, {"accessToken": ..., **AGREEMENT}]
)
def test_each_kind_of_target_is_enough(target: dict[str, Any]) -> None:
    """A token, its fingerprint, or both ids of an agreement."""
    assert notice(**target, bindingId=...).notice_id == "ntc-4410"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accessToken": ...}, "one of accessToken, tokenFingerprint, authMerchantId"),
        ({"authMerchantId": "m"}, "authMerchantId and merchantAgreementId only go together"),
        ({"merchantAgreementId": "a"}, "authMerchantId and merchantAgreementId only go together"),
        ({"tokenFingerprint": "tok_plain"}, "tokenFingerprint must be a fingerprint"),
        ({"noticeId": ...}, "noticeId is required"),
        ({"at": "yesterday"}, "at must be a moment"),
    ],
)
def test_a_notice_without_a_sure_target_is_refused(changes: dict[str, Any], message: str) -> None:
    """Evidence never matches by half an agreement, nor by nothing."""
    with pytest.raises(InvalidEvent, match=message):
        notice(**changes)


def test_the_moment_is_in_milliseconds() -> None:
    """The offset is taken into account."""
    assert notice().at_ms == 1_740_791_731_000


def test_the_repr_hides_token_and_agreement() -> None:
    """A notice can be logged."""
    shown = repr(notice(**AGREEMENT))
    assert "tok_" not in shown
    assert "agr-" not in shown


def test_other_types_are_no_notices() -> None:
    """The error names the type that belongs there."""
    with pytest.raises(InvalidEvent, match=TOKEN_CANCELED):
        read_notice(event_of("other.v1", {}))
