"""Keys, and settings in which nothing is wrong."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.settings.checking import Pairs, private_pem, public_bytes


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """Make the key pairs of this run: ours and the counterparts'."""
    ours, theirs = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    return Pairs(ours=ours, theirs=theirs)


@pytest.fixture
def environ(tmp_path: Path, pairs: Pairs) -> dict[str, str]:
    """Return variables of a platform in which nothing is wrong."""
    for name, content in (
        ("private.pem", private_pem(pairs.ours)),
        ("public.pem", public_bytes(pairs.theirs.public_key())),
        ("keys", b"sealing k1 k2"),
        ("prints", b"fingerprints f1"),
    ):
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    values = {
        "UNBINDING_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092",
        "UNBINDING_SEALING__KEYS_FILE": str(tmp_path / "keys"),
        "UNBINDING_SEALING__ACTIVE": "k1",
        "UNBINDING_SEALING__FINGERPRINT_KEYS_FILE": str(tmp_path / "prints"),
    }
    for name in ("HUB", "TOKENS", "ALIPAYHK", "MERCHANTS", "ANTOM"):
        section = f"UNBINDING_COUNTERPARTS__{name}__"
        values[f"{section}BASE_URL"] = f"https://{name.lower()}.example"
        values[f"{section}CLIENT_ID"] = "CLIENT000000001"
        values[f"{section}PRIVATE_KEY_FILE"] = str(tmp_path / "private.pem")
        values[f"{section}PUBLIC_KEY_FILES"] = json.dumps({"1": str(tmp_path / "public.pem")})
    values["UNBINDING_COUNTERPARTS__ALIPAYHK__PATHS"] = '{"cancel_agreement": "/c", "query": "/q"}'
    values["UNBINDING_COUNTERPARTS__ALIPAYHK__QUERY_WORDS"] = '{"CLOSED": "ended", "OPEN": "live"}'
    return values
