"""Whom we trust over TLS, and who we say we are there."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from typing_extensions import override

from worker.hub.errors import CounterpartUnusable

if TYPE_CHECKING:
    from worker.hub.counterparts import Counterpart


class ResumingContext(ssl.SSLContext):
    """A TLS context for one host that offers the last session again, for a shorter handshake.

    asyncio has no parameter for a session, so it is handed over where asyncio wraps the connection.
    """

    last_session: ssl.SSLSession | None = None

    @override
    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        offered = session if session is not None else self.last_session
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, offered)


def tls_context(counterpart: Counterpart) -> ResumingContext:
    """Make the context for one counterpart: certificates are always verified, host names always checked.

    Trust is the system's store, or ``ca_file`` alone. Raises CounterpartUnusable for an unusable file.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if counterpart.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        try:
            context.load_verify_locations(cafile=counterpart.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CounterpartUnusable(
                f"counterpart {counterpart.name}: ca_file {counterpart.ca_file} cannot be used ({error}); "
                "expected readable PEM certificates"
            ) from None
    if counterpart.client_cert_file is not None:
        try:
            # An empty password: an encrypted key is refused here instead of asked for at a terminal.
            context.load_cert_chain(counterpart.client_cert_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise CounterpartUnusable(
                f"counterpart {counterpart.name}: client_cert_file {counterpart.client_cert_file} cannot be "
                f"used ({error}); expected PEM with the certificate and its unencrypted key"
            ) from None
    return context
