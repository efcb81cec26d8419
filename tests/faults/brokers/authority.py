"""A certificate authority of a test, and its certificates for brokers: good, expired, or misnamed."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = timedelta(days=1)


class Authority:
    """Signs brokers' certificates; `certificate` is what clients must trust."""

    def __init__(self, name: str = "test authority") -> None:
        """Make a key and a certificate that signs itself."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> str:
        """The authority's certificate, as PEM."""
        return _pem(self._certificate)

    def keystore(self, *, expired: bool = False, other_name: bool = False) -> Mapping[str, str]:
        """Return a listener's properties: a key, and a certificate for 127.0.0.1 or what is wrong with it."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        if other_name:
            name = x509.DNSName("another.example")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named("broker"))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * _DAY)
            .not_valid_after(now - _DAY if expired else now + _DAY)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.key": text,
            "ssl.keystore.certificate.chain": _pem(certificate) + self.certificate,
        }


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
