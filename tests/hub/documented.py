"""The result codes of each API, written down from the documents once more, so that a slip in a table shows.

A line: code, status, class. What no document gives for an API, or gives for a sister API only, is assumed.
"""

from __future__ import annotations

from typing import Final

GENERAL: Final = """
SUCCESS S done
INVALID_CLIENT F line_stop
INVALID_SIGNATURE F line_stop
KEY_NOT_FOUND F line_stop
MEDIA_TYPE_NOT_ACCEPTABLE F final
METHOD_NOT_SUPPORTED F final
NO_INTERFACE_DEF F line_stop
PARAM_ILLEGAL F final
PROCESS_FAIL F final
REQUEST_TRAFFIC_EXCEED_LIMIT U slowly
UNKNOWN_EXCEPTION U soon
"""
"""Alipay+ consultUnbinding and cancelToken; all but INVALID_CLIENT also Antom Authorization Consult."""

SISTERS: Final = """
CLIENT_INVALID F line_stop
UNKNOWN_CLIENT F line_stop
INVALID_CLIENT_STATUS F line_stop
SIGNATURE_INVALID F line_stop
CLIENT_FORBIDDEN_ACCESS_API F line_stop
INVALID_API F line_stop
API_INVALID F line_stop
"""
"""Antom Authorization Consult, both editions: spellings that a sister API may use, too."""

CONSULT: Final = "ACCESS_DENIED F line_stop"
CANCEL: Final = """
ACCESS_DENIED F final
INVALID_TOKEN F final
INVALID_ACCESS_TOKEN F final
"""
REVOKE: Final = """
ACCESS_DENIED F final
INVALID_ACCESS_TOKEN F final
INVALID_TOKEN F final
OAUTH_FAILED F final
SYSTEM_ERROR F final
"""
OFFER: Final = """
ACCESS_DENIED F line_stop
INVALID_ACCESS_TOKEN F final
MERCHANT_NOT_REGISTERED F final
NO_PAY_OPTIONS F final
OAUTH_FAILED F final
PAYMENT_NOT_QUALIFIED F final
RISK_REJECT F final
SYSTEM_ERROR F final
"""

CODES: Final = {
    name: [(words[0], words[1], words[2]) for line in text.splitlines() if (words := line.split())]
    for name, text in {
        "consultUnbinding (Alipay+, wallet edition)": f"{GENERAL}{CONSULT}{SISTERS}",
        "cancelToken (Alipay+, wallet edition)": f"{GENERAL}{CANCEL}{SISTERS}",
        "cancelToken (Alipay+, acquirer edition)": f"{GENERAL}{CANCEL}{SISTERS}",
        "revoke (Antom)": f"{GENERAL}{REVOKE}{SISTERS}",
        "authNotify (Alipay+, wallet edition)": f"{GENERAL}{CONSULT}{SISTERS}",
        "Authorization Consult (Antom)": f"{GENERAL}{OFFER}{SISTERS}",
    }.items()
}
CASES: Final = [(name, *line) for name, lines in CODES.items() for line in lines]
FACTS: Final = {
    "allowUnbinding": "true",
    "acquirerId": "acq-310",
    "pspId": "psp-807",
    "authUrl": "https://wallet.example/authorize?id=q81",
}
"""What goes with a SUCCESS of any of them."""
