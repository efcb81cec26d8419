"""An authority of a test's own, and the server certificates that it gives: valid ones and expired ones."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

_HOUR: Final = dt.timedelta(hours=1)


class Authority:
    """Signs certificates for this machine."""

    def __init__(self, directory: Path, *, name: str) -> None:
        """Make a key, and a certificate that clients can trust."""
        self.file = directory / f"{name}.pem"
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        made = (
            self._builder(self._name, self._key.public_key(), since=now - 3 * _HOUR, until=now + _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self._issued = 0

    def server(self, *, expired: bool = False) -> ssl.SSLContext:
        """Return the settings of a server with a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            self._builder(
                name,
                key.public_key(),
                since=now - 2 * _HOUR,
                until=now - dt.timedelta(minutes=1) if expired else now + _HOUR,
            )
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._issued += 1
        file = self._directory / f"{self.file.stem}-{self._issued}.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, since: dt.datetime, until: dt.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
        )
