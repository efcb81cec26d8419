"""Keeps secrets out of the journal: seals requests, and knows targets by keyed digests only.

VaultError    a value cannot be opened; the text names the key id and what to do, never the value
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contracts.requests import ACCESS_TOKEN_MAX, SEALED_TOKEN_PREFIX, UnbindingRequested
from contracts.wire import has_control_characters
from worker.saga.model import TargetKind
from worker.sealing.errors import SealBroken, UnknownSealingKey
from worker.sealing.seal import OVERHEAD_BYTES, Sealed

if TYPE_CHECKING:
    from contracts.requests import RebindingRequested
    from worker.sealing.fingerprints import Fingerprints
    from worker.sealing.key_ring import KeyRing
    from worker.sealing.seal import Sealer

DIGEST_BYTES = 16
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
TOKEN_AAD = b"unbinding accessToken"
"""What a token that upstream sealed is bound to."""


_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class VaultError(Exception):
    """A sealed value cannot be opened with the keys of this worker."""


@dataclass(frozen=True, slots=True)
class Named:
    """A target as a request names it: its digest under every live key, the active key's first."""

    kind: TargetKind
    digests: tuple[bytes, ...]


class Vault:
    """Seals, unseals and digests with the key rings that it is given."""

    __slots__ = ("_fingerprints", "_sealer", "fingerprint_key", "fingerprint_keys", "sealing_keys")

    def __init__(
        self,
        *,
        sealing: KeyRing,
        fingerprinting: KeyRing,
        sealer: Sealer,
        fingerprints: Fingerprints,
    ) -> None:
        """Use a sealer and fingerprints, each made of its ring."""
        self.sealing_keys = frozenset(sealing.ids)
        """Ids of the keys that open what is sealed."""
        self.fingerprint_keys = frozenset(fingerprinting.ids)
        """Ids of the keys that targets are matched under."""
        self.fingerprint_key = fingerprinting.active
        """Id of the key that new digests are made with."""
        self._sealer = sealer
        self._fingerprints = fingerprints

    def seal(self, value: bytes, *, key: str) -> Sealed:
        """Seal a record's value; it opens only under the same ``key`` (a saga's or a letter's)."""
        return self._sealer.seal(value, aad=key.encode())

    def unseal(self, sealed: Sealed, *, key: str) -> bytes:
        """Open a sealed value. Raises VaultError."""
        return self._open(sealed, aad=key.encode())

    def clear_token(self, request: UnbindingRequested) -> UnbindingRequested:
        """Return the request with its token readable, where upstream sealed it. Raises VaultError."""
        if request.access_token is None or not request.token_is_sealed:
            return request
        return request.model_copy(update={"access_token": self.open_token(request.access_token)})

    def open_token(self, text: str) -> str:
        """Return the token that upstream sealed for us: ``sealed:{key id}:{Base64}``. Raises VaultError."""
        key_id, _, coded = text.removeprefix(SEALED_TOKEN_PREFIX).partition(":")
        try:
            value = base64.b64decode(coded, validate=True)
        except ValueError:  # Base64's own error is one, and so is text that is not ASCII
            value = b""
        if len(value) < OVERHEAD_BYTES or _KEY_ID.fullmatch(key_id) is None:
            # What stands in the key id's place may be a token: only what has the whole form is ever quoted.
            raise VaultError(
                "accessToken: a sealed token is 'sealed:', key id, ':' and Base64; this one is not"
            )
        opened = self._open(Sealed(key_id=key_id, value=value), aad=TOKEN_AAD)
        try:
            token = opened.decode()
        except UnicodeDecodeError:
            token = ""
        sealed_twice = token.startswith(SEALED_TOKEN_PREFIX)
        if not 0 < len(token) <= ACCESS_TOKEN_MAX or has_control_characters(token) or sealed_twice:
            raise VaultError(
                f"accessToken: the sealed token must be 1 to {ACCESS_TOKEN_MAX} characters of UTF-8, "
                "none of them a control character"
            )
        return token

    def fingerprint(self, token: str) -> str:
        """Return the token's fingerprint under the active key."""
        return self._fingerprints.fingerprint(token)

    def targets(self, request: UnbindingRequested) -> dict[TargetKind, Named]:
        """Return what the request wants dead, by kind; its token must be readable."""
        named: dict[TargetKind, Named] = {}
        if request.access_token is not None:
            named[TargetKind.TOKEN] = Named(TargetKind.TOKEN, self.token_digests(request.access_token))
        if request.agreement is not None:
            named[TargetKind.AGREEMENT] = Named(
                TargetKind.AGREEMENT,
                self.agreement_digests(
                    request.agreement.auth_merchant_id, request.agreement.merchant_agreement_id
                ),
            )
        if request.merchant_account is not None:
            account = request.merchant_account
            named[TargetKind.ACCOUNT] = Named(
                TargetKind.ACCOUNT,
                self._fingerprints.digests_all_keys(
                    "account",
                    account.merchant_tag,
                    account.merchant_account_id,
                    account.sub_merchant_id,
                    account.account_id,
                    account.open_id,
                    account.auth_site_user_id,
                ),
            )
        return named

    def token_digests(self, token: str) -> tuple[bytes, ...]:
        """Return a token's digests: the head of its fingerprint, so that a notice may bring only that."""
        return tuple(
            fingerprint_digest(fingerprint) for fingerprint in self._fingerprints.fingerprints_all_keys(token)
        )

    def agreement_digests(self, auth_merchant_id: str, merchant_agreement_id: str) -> tuple[bytes, ...]:
        """Return an agreement's digests."""
        return self._fingerprints.digests_all_keys("agreement", auth_merchant_id, merchant_agreement_id)

    def identity(
        self, *, source: str, event_id: str, request: UnbindingRequested | RebindingRequested | bytes
    ) -> tuple[bytes, ...]:
        """Return the digests of a request's identity: source, id, and what it wants dead.

        A request that could not be validated is known by its bytes.
        """
        return self._fingerprints.digests_all_keys("request", source, event_id, *_wanted(request))

    def _open(self, sealed: Sealed, *, aad: bytes) -> bytes:
        try:
            return self._sealer.unseal(sealed, aad=aad)
        except UnknownSealingKey as error:
            raise VaultError(
                f"sealing key {error.key_id} is not in the key ring: put it back, or give it up "
                "with --give-up-key"
            ) from error
        except SealBroken as error:
            raise VaultError(f"a value sealed with {sealed.key_id} does not open: it was changed") from error


def fingerprint_digest(fingerprint: str) -> bytes:
    """Return the digest that stands for a token's fingerprint (``{key id}:{hex}``). Raises VaultError."""
    digits = fingerprint.rpartition(":")[2]
    if _HEX.fullmatch(digits) is None:
        raise VaultError("tokenFingerprint: not one of this worker's: key id, ':' and 64 hex digits")
    return bytes.fromhex(digits[: 2 * DIGEST_BYTES])


def _wanted(request: UnbindingRequested | RebindingRequested | bytes) -> tuple[str | bytes, ...]:
    if isinstance(request, bytes):
        return ("unread", request)
    if not isinstance(request, UnbindingRequested):
        return ("rebinding", request.binding_id)
    agreement, account = request.agreement, request.merchant_account
    return (
        "unbinding",
        request.binding_id,
        request.access_token or "",
        *(() if agreement is None else (agreement.auth_merchant_id, agreement.merchant_agreement_id)),
        "|",
        *(
            ()
            if account is None
            else (
                account.merchant_tag,
                account.merchant_account_id,
                account.sub_merchant_id,
                account.account_id,
                account.open_id,
                account.auth_site_user_id,
            )
        ),
    )
