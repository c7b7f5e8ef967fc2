"""Owns until when a certificate is valid."""

from pathlib import Path

import structlog
from cryptography import x509

# An alert on expiry fires for it, where no value at all would be silent.
UNREADABLE_S = 0.0

_log = structlog.get_logger(__name__)


def read_expiry_s(path: Path) -> float:
    """Return when the first certificate of a PEM file expires, as Unix time; 0 where none can be read."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        _log.error("certificate_unreadable", kind=type(error).__name__)
        return UNREADABLE_S
    return certificate.not_valid_after_utc.timestamp()
