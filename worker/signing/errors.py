"""Everything that can go wrong with a signature, a signing key or the start-up check.

    SignatureError             a received message is not to be believed (or one of ours cannot be signed)
    ├── SignatureMissing       the signature, or a header it needs, is not there
    ├── SignatureMalformed     the signature, or a part it covers, cannot be read
    ├── UnknownClient          no public key is on file for that client id
    ├── UnknownKey             the client is known, the key version it names is not
    └── SignatureMismatch      everything could be read, and the signature does not fit

    KeyUnusable                a key file cannot be used; a matter of configuration
    ├── KeyUnreadable          not a key in one of the accepted forms
    ├── KeyPasswordWrong       a password is missing, wrong or not needed
    └── KeyTooSmall            fewer bits than the payment side accepts

    SelfTestFailed             this machine's cryptography does not do what both schemes need

No text here ever holds signature bytes, a body, a key or a password.
"""

from __future__ import annotations

_SHOWN = 64


class SignatureError(Exception):
    """A message whose signature cannot be accepted. Such a message is no answer and no request."""


class SignatureMissing(SignatureError):
    """The signature, the client id or the time is not there."""


class SignatureMalformed(SignatureError):
    """The signature or a part that it covers is not in the form that the scheme prescribes."""


class UnknownClient(SignatureError):
    """No key is on file for the client id. Payment side's word: ``INVALID_CLIENT``."""


class UnknownKey(SignatureError):
    """The client has no key of the version that the message names. Payment side's word: ``KEY_NOT_FOUND``."""


class SignatureMismatch(SignatureError):
    """The signature does not fit text and key. Payment side's word: ``INVALID_SIGNATURE``."""


class KeyUnusable(Exception):
    """A configured key cannot be used."""


class KeyUnreadable(KeyUnusable):
    """The text or bytes are no RSA key in an accepted form."""


class KeyPasswordWrong(KeyUnusable):
    """The password is missing, wrong, or given for a key that is not encrypted."""


class KeyTooSmall(KeyUnusable):
    """The key has too few bits."""


class SelfTestFailed(Exception):
    """A known signature was judged wrongly at start-up: nothing may be signed or verified here."""


def shown(untrusted: str) -> str:
    """Quote a short, printable part of text that came from outside, for use in a message."""
    cut = untrusted[:_SHOWN]
    return ascii(cut) + ("…" if len(untrusted) > _SHOWN else "")
