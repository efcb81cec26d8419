"""The envelope scheme, held against known signatures and every change that must or must not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.signing import (
    Hash,
    Member,
    PublicKeys,
    SignatureError,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    Signer,
    UnknownClient,
    read_envelope,
    sign_envelope,
    verify_envelope,
)

pytestmark = pytest.mark.promise("P9")

Vectors = dict[str, dict[str, Any]]

CLIENT = "HKCLIENT00000001"


def check(
    message: bytes, keys: PublicKeys, *, member: Member = Member.REQUEST, using: Hash = Hash.SHA1
) -> bytes:
    """Read and verify a message; return the signed text."""
    envelope = read_envelope(message, member=member)
    verify_envelope(envelope, client_id=CLIENT, keys=keys, using=using)
    return envelope.inner


@pytest.mark.parametrize("name", ["B1", "B2", "B3"])
def test_known_envelopes_are_accepted(vectors: Vectors, vector_keys: PublicKeys, name: str) -> None:
    """Each vector verifies under its own hash, over exactly the bytes that were signed."""
    vector = vectors[name]
    inner = check(
        vector["envelope"].encode(),
        vector_keys,
        member=Member(vector["member"]),
        using=Hash(vector["algorithm"]),
    )

    assert inner == vector["message"].encode()
    assert len(inner) == vector["messageBytes"]


@pytest.mark.parametrize(("name", "wrong"), [("B1", Hash.SHA256), ("B2", Hash.SHA1), ("B3", Hash.SHA256)])
def test_other_hash_than_the_agreed_one_is_refused(
    vectors: Vectors, vector_keys: PublicKeys, name: str, wrong: Hash
) -> None:
    """A genuine signature under the other hash is refused as long as "either" is not switched on."""
    envelope = read_envelope(vectors[name]["envelope"].encode(), member=Member(vectors[name]["member"]))

    with pytest.raises(SignatureMismatch, match=wrong.value):
        verify_envelope(envelope, client_id=CLIENT, keys=vector_keys, using=wrong)
    assert (
        verify_envelope(envelope, client_id=CLIENT, keys=vector_keys, using=wrong, either=True)
        == vectors[name]["algorithm"]
    )


def _swapped(envelope: str) -> str:
    inner = json.loads(envelope)["request"]
    other = json.dumps({"body": inner["body"], "head": inner["head"]}, separators=(",", ":"))
    return envelope.replace(envelope[11 : envelope.index(',"signature"')], other)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_swapped, id="head and body swapped"),
        pytest.param(lambda text: text.replace('"head":', '"head": '), id="a blank more"),
        pytest.param(lambda text: text.replace("2025", "2026"), id="another time"),
        pytest.param(lambda text: text.replace('"reserve"', r'"re\u0073erve"'), id="same content, escaped"),
    ],
)
def test_changed_inner_text_is_refused(vectors: Vectors, vector_keys: PublicKeys, change: Any) -> None:
    """B1 with its inner text written in another way, the same content included, is refused."""
    text = change(vectors["B1"]["envelope"])

    assert text != vectors["B1"]["envelope"]
    with pytest.raises(SignatureMismatch):
        check(text.encode(), vector_keys)


def test_outer_braces_are_not_signed(vectors: Vectors, signer: Signer) -> None:
    """A signature made over the whole outer object is not accepted for the inner one."""
    inner = vectors["B1"]["message"].encode()
    keys = PublicKeys({CLIENT: {"1": signer.verifier}})
    around = sign_envelope(signer, b'{"request":' + inner + b"}", member=Member.REQUEST, using=Hash.SHA1)
    signature = read_envelope(around, member=Member.REQUEST).signature

    with pytest.raises(SignatureMismatch):
        check(b'{"request":%s,"signature":"%s"}' % (inner, signature.encode()), keys)


def test_envelope_cut_at_a_brace_inside_a_string_is_refused(
    vectors: Vectors, vector_keys: PublicKeys
) -> None:
    """B3 cut at its first closing brace before a comma, as a careless pattern would, is refused."""
    text = vectors["B3"]["envelope"]
    cut = text[: text.index("},") + 1]

    with pytest.raises(SignatureError):
        check(cut.encode() + b"}", vector_keys, member=Member.RESPONSE)
    with pytest.raises(SignatureError):
        check(cut.encode() + b"}}", vector_keys, member=Member.RESPONSE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda vector: vector["envelope"].replace("/", r"\/"), id="slashes escaped"),
        pytest.param(
            lambda vector: vector["envelope"].replace(vector["signatureBase64"], vector["doubleBase64"]),
            id="Base64 twice",
        ),
        pytest.param(
            lambda vector: vector["envelope"].replace('"signature"', r'"si\u0067nature"'), id="escaped name"
        ),
        pytest.param(
            lambda vector: "".join(
                [
                    '\r\n{\t"signature" : "',
                    vector["signatureBase64"],
                    '" ,\n "request"\t:',
                    vector["message"],
                    " }\n",
                ]
            ),
            id="other order, blanks",
        ),
        pytest.param(
            lambda vector: '{"x":[1,{"a":"]}\\""},null],' + vector["envelope"][1:], id="another array before"
        ),
        pytest.param(
            lambda vector: vector["envelope"][:-1] + ',"y":-1.5e+3,"z":true,"":""}', id="other members after"
        ),
        pytest.param(
            lambda vector: vector["envelope"][:-1] + ',"response":{"signature":"no"}}',
            id="the other member too",
        ),
    ],
)
def test_envelope_may_be_written_in_other_ways(
    vectors: Vectors, vector_keys: PublicKeys, change: Any
) -> None:
    """B1's signed text in an outer object of another form is accepted."""
    text = change(vectors["B1"])

    assert text != vectors["B1"]["envelope"]
    assert check(text.encode(), vector_keys) == vectors["B1"]["message"].encode()


INNER = '{"a":1}'


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "null",
        "[]",
        "{",
        "{}",
        '{"signature":"QQ=="}',
        f'{{"response":{INNER},"signature":"QQ=="}}',
        f'{{"request":{INNER},"request":{INNER},"signature":"QQ=="}}',
        f'{{"request":{INNER},"re\\u0071uest":{INNER},"signature":"QQ=="}}',
        f'{{"request":{INNER},"signature":"QQ==","signature":"QQ=="}}',
        f'{{"request":{INNER},"signature":"QQ==","s\\u0069gnature":"QQ=="}}',
        f'{{"request":{INNER},"signature":"QQ=="}}x',
        f'{{"request":{INNER},"signature":"QQ=="}}{{}}',
        f'{{"request":{INNER},"signature":"QQ=="}}\0',
        f'{{"request":{INNER},"signature":"QQ==",}}',
        f'{{"request":{INNER},,"signature":"QQ=="}}',
        f'{{"request":{INNER} "signature":"QQ=="}}',
        f'{{"request" {INNER},"signature":"QQ=="}}',
        f'{{request:{INNER},"signature":"QQ=="}}',
        f'{{"request":{INNER},"signature":"QQ=="',
        f'{{"request":{INNER},"signature":"QQ==',
        f'{{"request":{INNER},"signature":"QQ\n=="}}',
        f'{{"request":{INNER},"signature":"QQ\\x=="}}',
        f'{{"request":{INNER},"signature":["QQ=="]}}',
        f'{{"request":{INNER},"signature":null}}',
        '{"request":[1],"signature":"QQ=="}',
        '{"request":"{}","signature":"QQ=="}',
        '{"request":null,"signature":"QQ=="}',
        '{"request":,"signature":"QQ=="}',
        '{"request":{"a":[1}],"signature":"QQ=="}',
        '{"request":{"a":"},"signature":"QQ=="}',
        '{"request":{"a":{},"signature":"QQ=="}',
        f'{{"n":01,"request":{INNER},"signature":"QQ=="}}',
        f'{{"n":tru,"request":{INNER},"signature":"QQ=="}}',
        f'\ufeff{{"request":{INNER},"signature":"QQ=="}}',
        f"{{'request':{INNER},'signature':'QQ=='}}",
    ],
)
def test_envelopes_that_cannot_be_walked_are_refused(message: str) -> None:
    """Doubled members, other types, broken brackets and anything after the end are refused as malformed."""
    with pytest.raises(SignatureMalformed):
        read_envelope(message.encode(), member=Member.REQUEST)


@pytest.mark.parametrize(
    "message",
    [f'{{"request":{INNER}}}', f'{{"request":{INNER},"signature":""}}', '{"request":{"signature":"x"}}'],
)
def test_missing_signature_is_told_apart(message: str) -> None:
    """An envelope without a signature, or with one inside the request alone, counts as unsigned."""
    with pytest.raises(SignatureMissing):
        read_envelope(message.encode(), member=Member.REQUEST)


@pytest.mark.parametrize(
    "signature", ["QQ==", "Q", "QQ", "====", "QQ==\\n", "QUJD=", "QUJD====", "%51", "é", "\\ud800", "A" * 344]
)
def test_signatures_of_another_form_are_refused(vector_keys: PublicKeys, signature: str) -> None:
    """A signature that is not strict Base64 of the key's size, once or twice, is refused as malformed."""
    message = f'{{"request":{INNER},"signature":"{signature}"}}'.encode()

    with pytest.raises(SignatureMalformed):
        check(message, vector_keys)


def test_client_without_a_key_is_refused(vectors: Vectors, vector_keys: PublicKeys) -> None:
    """A client id without a public key on file gives its own error."""
    envelope = read_envelope(vectors["B1"]["envelope"].encode(), member=Member.REQUEST)

    with pytest.raises(UnknownClient):
        verify_envelope(envelope, client_id="HKCLIENT00000002", keys=vector_keys, using=Hash.SHA1)


@pytest.mark.parametrize("member", Member)
@pytest.mark.parametrize("using", Hash)
@pytest.mark.parametrize("twice", [False, True])
def test_what_is_signed_here_verifies_here(
    signer: Signer, member: Member, using: Hash, *, twice: bool
) -> None:
    """Both members, both hashes and both codings come back with the text that went in, byte for byte."""
    inner = '{"head": {"x":"}\\"{\\\\"},\n "body":"退"}'.encode()
    keys = PublicKeys({CLIENT: {"1": signer.verifier}})

    message = sign_envelope(signer, inner, member=member, using=using, base64_twice=twice)

    assert check(message, keys, member=member, using=using) == inner
    assert list(json.loads(message)) == [member.value, "signature"]
    assert len(json.loads(message)["signature"]) == (460 if twice else 344)


@pytest.mark.parametrize("inner", [b"", b"[]", b' {"a":1}', b'{"a":1}\n', b'"{}"'])
def test_only_an_objects_text_is_signed(signer: Signer, inner: bytes) -> None:
    """A text that does not go from brace to brace is not put into an envelope."""
    with pytest.raises(SignatureMalformed):
        sign_envelope(signer, inner, member=Member.REQUEST, using=Hash.SHA1)


def test_deep_and_long_envelopes_are_walked_in_one_go() -> None:
    """100,000 nested brackets, or quotes, end in an answer, not in a recursion error or a stall."""
    deep = b'{"request":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b',"signature":"QQ=="}'
    broken = b'{"request":{' + b'"\\' * 100_000

    assert read_envelope(deep, member=Member.REQUEST).inner.endswith(b"}}}")
    with pytest.raises(SignatureMalformed):
        read_envelope(broken, member=Member.REQUEST)


def test_messages_and_reprs_hold_neither_signature_nor_text(
    vectors: Vectors, vector_keys: PublicKeys
) -> None:
    """Neither an error's text nor an envelope's repr holds signature or content."""
    text = vectors["B1"]["envelope"]
    signature = vectors["B1"]["signatureBase64"]

    assert signature[:12] not in repr(read_envelope(text.encode(), member=Member.REQUEST))
    for broken in (
        text.replace("2025", "2026"),
        text.replace(signature, signature[:40] + "\\x"),
        text.replace(signature, signature[:40]),
        text[:-3],
    ):
        with pytest.raises(SignatureError) as caught:
            check(broken.encode(), vector_keys)
        assert signature[:6] not in str(caught.value)
        assert "2160999900001111" not in str(caught.value)
