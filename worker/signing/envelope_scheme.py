"""The envelope scheme: the raw text of ``request`` or ``response``, signed into ``signature`` beside it.

Source: AlipayHK auto-debit "Sign" and "Verify the signature"; Antom "Digital signature" of the same envelope.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from worker.signing.errors import SignatureMalformed, SignatureMismatch, shown
from worker.signing.keys import Hash

if TYPE_CHECKING:
    from worker.signing.envelope_text import Envelope, Member
    from worker.signing.keys import PublicKeys, Signer, Verifier


def sign_envelope(
    signer: Signer, inner: bytes, *, member: Member, using: Hash, base64_twice: bool = False
) -> bytes:
    """Make the whole message around ``inner``, the text of a JSON object, which goes into it byte for byte.

    ``base64_twice`` does as AlipayHK's printed sample: the Base64 of the Base64. Raises SignatureMalformed if
    ``inner`` is not an object's text.
    """
    if not (inner.startswith(b"{") and inner.endswith(b"}")):
        raise SignatureMalformed(
            f"the {member.value} to be signed must be the text of a JSON object, brace to brace"
        )
    signature = binascii.b2a_base64(signer.sign(inner, using=using), newline=False)
    if base64_twice:
        signature = binascii.b2a_base64(signature, newline=False)
    # Joined, never serialised from a tree: the signed bytes are the sent bytes.
    return b'{"%s":%s,"signature":"%s"}' % (member.value.encode("ascii"), inner, signature)


def verify_envelope(
    envelope: Envelope, *, client_id: str, keys: PublicKeys, using: Hash, either: bool = False
) -> Hash:
    """Verify an envelope under the newest key of the client; return the hash that fitted, for the log.

    For a request, ``client_id`` is what its head says: it only chooses the key, and is proven by the result.
    Exactly the configured hash is allowed, unless ``either`` is set. Raises a SignatureError.
    """
    version, key = keys.find(client_id)
    signature = _signature_bytes(envelope.signature, key)
    allowed = (using, *(other for other in Hash if other is not using)) if either else (using,)
    for hashed in allowed:
        if key.fits(signature, envelope.inner, using=hashed):
            return hashed
    raise SignatureMismatch(
        f"the {envelope.member.value}'s signature does not fit: client {shown(client_id)}, key version "
        f"{shown(version)} (public key {key.fingerprint}), {' or '.join(allowed)}. Check that this is the "
        "sender's present public key, that the hash is the agreed one, and that nothing changes the message"
    )


def _signature_bytes(text: str, key: Verifier) -> bytes:
    """Undo Base64 once or, where that gives the right number of Base64 characters, twice."""
    size = key.signature_bytes
    raw = _base64_bytes(text.encode("ascii", "replace"))
    if len(raw) == -(-size // 3) * 4:
        raw = _base64_bytes(raw)
    if len(raw) != size:
        raise SignatureMalformed(f"the envelope's signature has {len(raw)} bytes, one of this key has {size}")
    return raw


def _base64_bytes(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise SignatureMalformed("the envelope's signature is not Base64") from None
