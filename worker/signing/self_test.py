"""The start-up check: known signatures must be judged rightly on this machine before anything is signed.

Hardened systems refuse SHA-1 signatures by policy; that must show here and not at the first call. The key
behind the constants was thrown away after three signatures; only its public half exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm

from worker.signing.envelope_scheme import verify_envelope
from worker.signing.envelope_text import Member, read_envelope
from worker.signing.errors import SelfTestFailed, SignatureError, SignatureMismatch
from worker.signing.header_scheme import verify_request
from worker.signing.key_files import load_verifier
from worker.signing.keys import Hash, PublicKeys

if TYPE_CHECKING:
    from worker.signing.keys import Verifier

_PUBLIC_KEY: Final = (
    b"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1QUGSNSh5qpGRw+Dfc7FCFGiT44wxDrn6gklo/iFU4xEYgQBY+Ai"
    b"00qRQw1H75vLfTK1WQOIp+Ua/4tfL+U/Ue9kj6qpJ1aj0cm6VTUfIaqQPwx7d/5RwgS024ilSm5IzpmTh02/Vs2UwvCWmSMZ"
    b"RSWZdvwW5ycwUJSEcp0BHGSFClErpqyuc+/9Q9LbJirHxe0q7fXjvMIjqKOsF8yc4c9vxkGPdFsHTKe10VHTFBsJenyVEXjW"
    b"9AmVdiRxIuLLVEp15UNwziXC0pZae1W+zNi/vcuwLlknCV0D2k8dgQd4M2eMqPSX/rjs9gtl/RR14cLhvDm3+W+BqVs9SuM4"
    b"rQIDAQAB"
)

_HEADER_CLIENT: Final = "WALLETCLIENT000001"
_HEADER_PATH: Final = "/aps/api/v1/authorizations/consultUnbinding"
_HEADER_TIME: Final = b"2025-03-01T09:15:27+08:00"
_HEADER_BODY: Final = (
    b'{"authClientId":"ac-7781","referenceMerchantId":"rm-0042","accessToken":"tok_9f3c2b7e55aa4d10"}'
)
_HEADER_SIGNATURE: Final = (
    b"algorithm=RSA256, keyVersion=1, signature=HlfsCTco1Sr9qgVPxlyzasYC4WvwUzM5WSLwDjAEnInG1ypE9PnTNs"
    b"E6uuUqP%2FwMmE4xIzRZE1UVtkZ35m19oUqcNCgU1v2fMVmj%2FjtQwJ6hevDesmBrP%2FW0EA6jgvztDKYociSW3496rHEM"
    b"5xrGjA8aPzCzdtr0CAF4m5hRlkprD5ZUrPuOSdB4sGU%2F8bzYjyDBPWwLp1YyU6Ffn7tfunjFeck8ShldUruRQOqWnD0EmX"
    b"XgfTyRdhxJhW9De%2B40bc7zQnCY34HlVYodgGFW96O936gGhJ5RYI12z3NQilXi9w0%2BirH0etzr7hBbUSXI5ifPP4PQuf"
    b"w6f4eT5C5mBQ%3D%3D"
)

_ENVELOPE_CLIENT: Final = "HKCLIENT00000001"
_ENVELOPE_REQUEST: Final = (
    b'{"head":{"version":"2.0.0","function":"alipay.intl.oauth.auth.cancelByAuthInfo","clientId":"HKCL'
    b'IENT00000001","reqTime":"2025-03-01T09:16:02+08:00","reqMsgId":"6d1f0c52-93a4-4c0b-8b8e-2f6a51d7'
    b'c901","reserve":"{}"},"body":{"authMerchantId":"2160999900001111","merchantAgreementId":"0d2b6c1'
    b'f4e8a47d59b03c7e1a2f4b6ab"}}'
)
_ENVELOPE_SIGNATURES: Final = {
    Hash.SHA1: (
        b"Ao77s57i124lT+/vCKEIDXocDIMf06kMBZIEl5D7Mt3lMkphhA+ZWyMJerpDfq6Kmirr9q3HbGLahEVRoUMKWyZd"
        b"gHoWgVoeg/fshqAEjLwglSpNf1a6bzl23in1TMzh/awHTUgsXD8969kqhVTkrahiwOnv04h6y5BcYWOzdum2vQpD"
        b"fv1fmm4T+z7+6k/L2pfe4mOqhWlxc6GfQJ6BtwAOgPcisCDYSaO9GYiUOU/ggyUnuj2APnvB6hmwR3mXUhBEPCcL"
        b"AO+83CpJwhLzNLWnRJkXkikgWnkId5u8ToyUWWSlnKeT3aMM3CxBpmOxvNrO+NmP0d9R6wIuILwlAg=="
    ),
    Hash.SHA256: (
        b"EPhvHwjTnlDual461+u1NU+ouZXx5qqRj1zgDeCgkQoGwkwYuFNDANvGBubfDF/Em+bOczpglXUeO9679cC8fN2S"
        b"+SlONTQQW17tQCm6JQ1ku94NGvzZH3W3it66sbO5XoNk2tRXzuLM798yge6pheYRVwf5o9gZV5op51H2AI8udqDB"
        b"r4tTrBfRRNYSuy4bSJqkaAdqJfw4/nXkEhM+4oMXK5XC43ZC4/DsCrZ/XS4Kr0++Sx/1DLPNgI3PqhPYvNacemk7"
        b"ieEZprz16t5kNRqt4iFzYa7oWp+gThc/JPTvWZ/ERh1gRTT9kTap76OQ+g76iecnVlYwuHsaPFLkvw=="
    ),
}


def known_key() -> Verifier:
    """Load the public key of the known signatures."""
    return load_verifier(_PUBLIC_KEY, source="the built-in test key")


def self_test(key: Verifier | None = None) -> None:
    """Judge a known good and a known bad signature of both schemes and both hashes.

    ``key`` is the known key unless the check itself is to be tried with another. Takes about a millisecond.
    Raises SelfTestFailed with what does not work and what to do.
    """
    key = known_key() if key is None else key
    keys = PublicKeys({_HEADER_CLIENT: {"1": key}, _ENVELOPE_CLIENT: {"1": key}})
    _check_header(keys, body=_HEADER_BODY, genuine=True)
    _check_header(keys, body=_HEADER_BODY + b"\n", genuine=False)
    for hashed in Hash:
        _check_envelope(keys, inner=_ENVELOPE_REQUEST, using=hashed, genuine=True)
        _check_envelope(keys, inner=_ENVELOPE_REQUEST.replace(b"{}", b"[]"), using=hashed, genuine=False)


def _check_header(keys: PublicKeys, *, body: bytes, genuine: bool) -> None:
    headers = (
        (b"Client-Id", _HEADER_CLIENT.encode("ascii")),
        (b"Request-Time", _HEADER_TIME),
        (b"Signature", _HEADER_SIGNATURE),
    )
    try:
        verify_request(headers=headers, method="POST", path=_HEADER_PATH, body=body, keys=keys)
        accepted = True
    except SignatureMismatch:
        accepted = False
    except (SignatureError, UnsupportedAlgorithm) as error:
        raise _failed("header", Hash.SHA256) from error
    if accepted is not genuine:
        raise _failed("header", Hash.SHA256)


def _check_envelope(keys: PublicKeys, *, inner: bytes, using: Hash, genuine: bool) -> None:
    message = b'{"request":%s,"signature":"%s"}' % (inner, _ENVELOPE_SIGNATURES[using])
    try:
        envelope = read_envelope(message, member=Member.REQUEST)
        verify_envelope(envelope, client_id=_ENVELOPE_CLIENT, keys=keys, using=using)
        accepted = True
    except SignatureMismatch:
        accepted = False
    except (SignatureError, UnsupportedAlgorithm) as error:
        raise _failed("envelope", using) from error
    if accepted is not genuine:
        raise _failed("envelope", using)


def _failed(scheme: str, using: Hash) -> SelfTestFailed:
    return SelfTestFailed(
        f"a known {using.value} signature of the {scheme} scheme is judged wrongly on this machine: "
        "the system's cryptography policy probably refuses that hash; allow it, or run on a system that does"
    )
