"""How the client makes sure whom it talks to, and proves who it is where the service asks."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from brainmets.client.errors import TlsFileError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the service, and the PEM files that it takes.

    Attributes:
        ca_file: Certificates of the authorities one of which has signed the service's; unset: those gRPC brings along.
        cert_file: The client's own certificate, for a service that asks for one.
        key_file: Its private key.

    Raises:
        TlsFileError: A file cannot be read, holds something else, or a certificate comes without its key.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse files that gRPC would take without a word and then connect to nobody with."""
        if (self.cert_file is None) != (self.key_file is None):
            raise TlsFileError("expected a certificate and its key, got one of them; give both or neither")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise _unusable(self.ca_file, "certificates of authorities", error) from error
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password="")
            except OSError as error:
                raise _unusable(f"{self.cert_file} and {self.key_file}", "a certificate and its key", error) from error

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel is secured with."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca_file.read_bytes() if self.ca_file else None,
            private_key=self.key_file.read_bytes() if self.key_file else None,
            certificate_chain=self.cert_file.read_bytes() if self.cert_file else None,
        )


def _unusable(files: object, expected: str, error: OSError) -> TlsFileError:
    reason = error.strerror or error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return TlsFileError(f"expected {expected} as PEM without a password in {files}, got: {reason or 'something else'}")
