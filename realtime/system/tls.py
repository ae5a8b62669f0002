"""The TLS of the program's own servers."""

from __future__ import annotations

import ssl

from realtime.errors import UsageError


def server_context(certificate: str, key: str | None, section: str) -> ssl.SSLContext:
    """Return the context of a server that shows a certificate; both are PEM files.

    Args:
        certificate: the file of `SECTION.cert_file`.
        key: the file of `SECTION.key_file`.
        section: of the settings, for the error.

    Raises:
        UsageError: certificate or key can't be read, or don't belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # OpenSSL would ask for a key's password at the terminal, where nobody may be.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UsageError(
            f"{section}.cert_file {certificate}, {section}.key_file {key}: {why}; give a certificate and its key as "
            "PEM, the key without a password"
        ) from None
    return context
