"""When a certificate expires is told, and a certificate that cannot be read looks expired."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from brainmets.runtime.certificate import read_expiry_s
from brainmets.runtime.metrics import ApiMetrics
from certificates import write_certificate

EXPIRES = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate in a file."""
    return write_certificate(tmp_path / "tls.crt", expires=EXPIRES)


def test_the_expiry_is_the_certificate_s(certificate: Path) -> None:
    """As Unix time."""
    assert read_expiry_s(certificate) == EXPIRES.timestamp()


def test_the_first_certificate_of_a_chain_is_the_server_s(certificate: Path, tmp_path: Path) -> None:
    """Those of its authorities follow."""
    authority = write_certificate(tmp_path / "ca.crt", expires=datetime(2040, 1, 1, tzinfo=UTC))
    certificate.write_bytes(certificate.read_bytes() + authority.read_bytes())
    assert read_expiry_s(certificate) == EXPIRES.timestamp()


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_what_cannot_be_read_looks_expired(tmp_path: Path, content: bytes) -> None:
    """So that the alert fires."""
    path = tmp_path / "tls.crt"
    path.write_bytes(content)
    assert read_expiry_s(path) == 0
    assert read_expiry_s(tmp_path / "absent.crt") == 0


def test_a_renewed_certificate_is_told_without_a_restart(certificate: Path) -> None:
    """It is read for each scrape."""
    registry = CollectorRegistry()
    ApiMetrics(registry).watch_certificate(lambda: read_expiry_s(certificate))
    renewed = datetime(2032, 1, 1, tzinfo=UTC)
    write_certificate(certificate, expires=renewed)
    name = "brainmets_gateway_certificate_expiry_timestamp_seconds"
    assert registry.get_sample_value(name) == renewed.timestamp()
