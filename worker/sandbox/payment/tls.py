"""An authority and a server certificate of the sandbox's own, for HTTPS that a client can really verify."""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from worker.sandbox.payment.errors import KeysError
from worker.sandbox.payment.keys import write_private

_VALID: Final = timedelta(days=90)
_RENEW_BEFORE: Final = timedelta(days=7)
_CLOCK_SLACK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the server's certificate lies, and what a client must trust."""

    certificate: Path
    key: Path
    ca: Path | None
    """The authority to trust; none where the certificate was given by somebody else."""


def make_tls(directory: Path, *, hosts: Sequence[str]) -> TlsFiles:
    """Make an authority and a certificate for these names and addresses, or take up what still serves.

    Raises KeysError.
    """
    files = TlsFiles(
        certificate=directory / "server.pem", key=directory / "server.key.pem", ca=directory / "ca.pem"
    )
    try:
        if not _still_serve(files, hosts=hosts):
            _make(files, ca_file=directory / "ca.pem", hosts=hosts)
    except OSError as error:
        raise KeysError(f"{directory}: certificates cannot be written there ({error})") from None
    return files


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Make the server's TLS settings. Raises KeysError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise KeysError(
            f"{files.certificate}: certificate and key cannot be used ({error}): give a PEM pair"
        ) from None
    return context


def _still_serve(files: TlsFiles, *, hosts: Sequence[str]) -> bool:
    if files.ca is None or not (files.ca.exists() and files.certificate.exists() and files.key.exists()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    named = {str(name.value) for name in names}
    return set(hosts) <= named and certificate.not_valid_after_utc > datetime.now(UTC) + _RENEW_BEFORE


def _make(files: TlsFiles, *, ca_file: Path, hosts: Sequence[str]) -> None:
    # The authority's key is never written: nobody can issue anything else under it.
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Unbinding sandbox authority (throw-away)")
    ca = (
        _builder(subject=ca_name, issuer=ca_name, key=ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(subject=_name("Unbinding sandbox"), issuer=ca_name, key=key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_private(
        files.key,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    write_private(ca_file, ca.public_bytes(serialization.Encoding.PEM))


def _builder(
    *, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
