"""The component `tls`: its nginx.conf in a real nginx, before a gateway's own servicer."""

import asyncio
import getpass
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from cryptography import x509

from brainmets.client import AsyncClient, ServiceError, Tls
from brainmets.gateway.model_servicer import ModelServicer
from brainmets.runtime.grpc_server import stop_server
from brainmets.v1 import model_service_pb2_grpc
from debian_tool import find_debian_tool
from fakes import MODEL_NAMES, FakeCatalogue
from free_addresses import free_addresses

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "components" / "tls" / "nginx.conf"
HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Secret:
    """The folder of the mounted Secret, and who signs what lies there."""

    folder: Path
    authority: trustme.CA

    def renew(self) -> int:
        """Put a new certificate of the service's there, and return its serial number."""
        issued = self.authority.issue_cert(HOST)
        for name, pem in (("tls.crt", issued.cert_chain_pems[0]), ("tls.key", issued.private_key_pem)):
            # In one step, as a mounted Secret changes.
            pem.write_to_path(self.folder / "next")
            (self.folder / "next").replace(self.folder / name)
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    def client(self) -> Tls:
        """Return the files of a client that the service knows."""
        issued = self.authority.issue_cert("client.example")
        certificate, key = self.folder.parent / "client.crt", self.folder.parent / "client.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return Tls(self.folder / "ca.crt", certificate, key)


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    """A Secret with a first certificate."""
    folder = tmp_path / "tls"
    folder.mkdir()
    secret = Secret(folder, trustme.CA())
    secret.authority.cert_pem.write_to_path(folder / "ca.crt")
    secret.renew()
    return secret


@pytest.fixture
async def api() -> AsyncIterator[str]:
    """Where the API listens, in plaintext."""
    server = grpc.aio.server()
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(FakeCatalogue(), MODEL_NAMES), server)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    yield f"{HOST}:{port}"
    await stop_server(server)


@contextmanager
def running_nginx(secret: Secret, api: str) -> Iterator[str]:
    """Run nginx with the committed configuration; yields where it listens."""
    (address,) = free_addresses()
    folder = secret.folder.parent
    configuration = CONFIGURATION.read_text()
    # The container's places are here others, and Debian's nginx is older than the image's.
    here = {
        "listen 8443 ssl;": f"listen {address} ssl http2;",
        "http2 on;": "",
        "127.0.0.1:8500": api,
        "/tls": str(secret.folder),
        "/tmp/": f"{folder}/",
    }
    assert all(theirs in configuration for theirs in here)
    # All at once: what is put in may look like what is replaced.
    anything = "|".join(map(re.escape, here))
    configuration = re.sub(rf"(?<!\w)({anything})", lambda found: here[found.group()], configuration)
    (folder / "nginx.conf").write_text(configuration)
    program = find_debian_tool("nginx", package="nginx", folder="sbin")
    # As in the container, one user does all: started by root, nginx would read the key as nobody.
    directives = f"daemon off; user {getpass.getuser()};"
    words = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", directives]
    with subprocess.Popen(words) as nginx:
        try:
            yield address
        finally:
            nginx.terminate()


async def seen_serial_number(address: str, tls: Tls) -> int:
    """Return the serial number of the certificate that a new connection sees."""
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    context.load_cert_chain(str(tls.cert_file), str(tls.key_file))
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            except ConnectionRefusedError:
                # nginx still starts.
                await asyncio.sleep(0.05)
                continue
            encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return x509.load_der_x509_certificate(encoded).serial_number


async def test_only_clients_of_the_authority_get_in(secret: Secret, api: str) -> None:
    """Others hear UNAUTHENTICATED, which no client repeats."""
    tls = secret.client()
    with running_nginx(secret, api) as address:
        await seen_serial_number(address, tls)
        async with AsyncClient(address, tls=tls) as client:
            assert len(await client.models()) == len(MODEL_NAMES)
        async with AsyncClient(address, tls=Tls(tls.ca_file)) as client:
            with pytest.raises(ServiceError) as caught:
                await client.models()
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_renewed_certificate_is_served_without_a_restart(secret: Secret, api: str) -> None:
    """Or an API whose certificate was renewed in time would refuse its clients when the old one ends."""
    tls = secret.client()
    with running_nginx(secret, api) as address:
        before = await seen_serial_number(address, tls)
        renewed = secret.renew()
        assert await seen_serial_number(address, tls) == renewed != before


async def test_an_api_that_is_away_is_unavailable(secret: Secret) -> None:
    """Which clients repeat."""
    tls = secret.client()
    with running_nginx(secret, *free_addresses()) as address:
        await seen_serial_number(address, tls)
        async with AsyncClient(address, tls=tls) as client:
            with pytest.raises(ServiceError) as caught:
                await client.models()
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
