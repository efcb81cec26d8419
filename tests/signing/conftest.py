"""Keys and vectors for the tests of both signature schemes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from worker.signing import PublicKeys, Signer, Verifier, load_verifier


@pytest.fixture(scope="session")
def vectors() -> dict[str, dict[str, Any]]:
    """Load all vectors by id; each has the public key that belongs to it."""
    content = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
    own = {
        vector["id"]: vector | {"publicKeySpkiBase64": content["publicKeySpkiBase64"]}
        for vector in content["vectors"]
    }
    return own | {vector["id"]: vector for vector in content["publicVectors"]}


@pytest.fixture(scope="session")
def vector_key(vectors: dict[str, dict[str, Any]]) -> Verifier:
    """Load the public key of our own vectors."""
    return load_verifier(vectors["A1"]["publicKeySpkiBase64"].encode(), source="vectors.json")


@pytest.fixture(scope="session")
def vector_keys(vector_key: Verifier) -> PublicKeys:
    """Put our own vectors' public key under both of their client ids."""
    return PublicKeys({"WALLETCLIENT000001": {"1": vector_key}, "HKCLIENT00000001": {"1": vector_key}})


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    """Make a throw-away key for this test run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def signer(private_key: rsa.RSAPrivateKey) -> Signer:
    """Prepare the throw-away key."""
    return Signer(private_key)


@pytest.fixture(scope="session")
def openssl() -> str:
    """Find the ``openssl`` command, the second implementation that ours is checked against."""
    path = shutil.which("openssl")
    if path is None:
        pytest.fail(
            "the command 'openssl' is needed by these tests: install OpenSSL 3 and put it on the PATH"
        )
    return path
