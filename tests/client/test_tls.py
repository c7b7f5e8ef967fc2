"""The client against a gateway's own servicers behind TLS: who is trusted, and what is said of who is not."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from typer.testing import CliRunner

from brainmets.client import AsyncClient, Client, ServiceError, Tls, TlsFileError
from brainmets.client.commands import app
from brainmets.client.endings import ExitCode
from brainmets.client.errors import TLS_REASON
from brainmets.gateway.model_servicer import ModelServicer
from brainmets.runtime.grpc_server import stop_server
from brainmets.v1 import model_service_pb2_grpc
from fakes import MODEL_NAMES, FakeCatalogue

TODAY = datetime.now(UTC)


class Authority:
    """An authority of certificates, and the files that it hands out."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        folder.mkdir()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *, ends: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
        """Return the files of a certificate and its key."""
        certificate = self._ca.issue_cert(name, not_before=TODAY - timedelta(days=9), not_after=TODAY + ends)
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.cert_chain_pems[0].write_to_path(files[0])
        certificate.private_key_pem.write_to_path(files[1])
        return files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The service's."""
    return Authority(tmp_path / "ours")


@pytest.fixture
def rogue(tmp_path: Path) -> Authority:
    """Another one."""
    return Authority(tmp_path / "theirs")


@asynccontextmanager
async def serving(files: tuple[Path, Path] | None, clients: Authority | None = None) -> AsyncIterator[str]:
    """Serve on a free loopback port: with a certificate or in plaintext, and with one asked of clients or not."""
    server = grpc.aio.server()
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(FakeCatalogue(), MODEL_NAMES), server)
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = (path.read_bytes() for path in files)
        known = clients.file.read_bytes() if clients else None
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=known, require_client_auth=clients is not None
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await stop_server(server)


async def refusal(address: str, tls: Tls | None) -> ServiceError:
    """Return why a service cannot be called."""
    async with AsyncClient(address, tls=tls) as client:
        with pytest.raises(ServiceError) as caught:
            await client.models()
    return caught.value


async def test_a_service_of_a_known_authority_is_called(authority: Authority) -> None:
    """By both clients."""
    tls = Tls(authority.file)
    async with serving(authority.issue("127.0.0.1")) as address:
        async with AsyncClient(address, tls=tls) as client:
            assert len(await client.models()) == len(MODEL_NAMES)

        def call() -> int:
            with Client(address, tls=tls) as client:
                return len(client.models())

        assert await asyncio.to_thread(call) == len(MODEL_NAMES)


async def test_a_client_shows_its_certificate(authority: Authority) -> None:
    """To a service that asks for one."""
    async with serving(authority.issue("127.0.0.1"), clients=authority) as address:
        certificate, key = authority.issue("client.example")
        async with AsyncClient(address, tls=Tls(authority.file, certificate, key)) as client:
            assert await client.models()
        without = await refusal(address, Tls(authority.file))
    assert "--cert" in without.message


async def test_an_unknown_authority_is_not_trusted(authority: Authority, rogue: Authority) -> None:
    """Whoever it says it is."""
    async with serving(rogue.issue("127.0.0.1")) as address:
        error = await refusal(address, Tls(authority.file))
    assert error.reason == TLS_REASON
    assert "none of the known authorities" in error.message
    assert not error.is_transient


async def test_the_world_is_not_trusted_with_an_authority_of_ours(authority: Authority) -> None:
    """Without a file, gRPC's own authorities are asked, and know nothing of it."""
    async with serving(authority.issue("127.0.0.1")) as address:
        assert "--ca-file" in (await refusal(address, Tls())).message


@pytest.mark.parametrize(
    ("name", "ends", "words"),
    [("127.0.0.1", timedelta(days=-1), "expired"), ("elsewhere.example", timedelta(days=1), "another name")],
)
async def test_a_bad_certificate_is_told_apart(authority: Authority, name: str, ends: timedelta, words: str) -> None:
    """One has to be renewed, the other is somebody else's."""
    async with serving(authority.issue(name, ends=ends)) as address:
        error = await refusal(address, Tls(authority.file))
    assert error.reason == TLS_REASON
    assert words in error.message


async def test_tls_to_a_service_without_is_told(authority: Authority) -> None:
    """It would else look as if nobody were there."""
    async with serving(None) as address:
        error = await refusal(address, Tls(authority.file))
    assert error.reason == TLS_REASON
    assert "without TLS" in error.message


async def test_plaintext_to_tls_is_told(authority: Authority) -> None:
    """As far as can be known: the service closes the line without a word."""
    async with serving(authority.issue("127.0.0.1")) as address:
        assert "--tls" in (await refusal(address, None)).message


@pytest.mark.parametrize("linger_s", [None, 0], ids=["ended", "reset"])
async def test_a_connection_that_is_closed_at_once_may_want_tls(linger_s: int | None) -> None:
    """Whether its end or its reset is seen first is chance."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if linger_s is not None:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger_s))
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(ServiceError, match=r"closed at once.*--tls"):
                await client.models()


@pytest.mark.parametrize(
    "words", ["no such file", "not a certificate", "a certificate without its key", "a key of another"]
)
def test_files_that_cannot_be_used_are_told_before_a_call(authority: Authority, tmp_path: Path, words: str) -> None:
    """GRPC would say that nobody answers."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    certificate, key = authority.issue("a.example")
    _, other = authority.issue("b.example")
    make: dict[str, Callable[[], Tls]] = {
        "no such file": lambda: Tls(tmp_path / "nothing.pem"),
        "not a certificate": lambda: Tls(garbage),
        "a certificate without its key": lambda: Tls(None, certificate),
        "a key of another": lambda: Tls(None, certificate, other),
    }
    with pytest.raises(TlsFileError, match=r"expected .*, got"):
        make[words]()
    assert Tls(None, certificate, key).credentials()


async def run(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command in another thread, beside the service."""
    result = await asyncio.to_thread(CliRunner().invoke, app, list(words), env=environment)
    return result.exit_code, " ".join(result.output.split())


async def test_the_command_line_speaks_tls(authority: Authority, rogue: Authority) -> None:
    """By options or by the environment; exit codes and sentences are those of an unreached service."""
    certificate, key = authority.issue("client.example")
    own = ("--cert", str(certificate), "--key", str(key))
    service: AbstractAsyncContextManager[str] = serving(authority.issue("127.0.0.1"), clients=authority)
    async with service as address:
        command = ("models", "--json", "--address", address)
        assert (await run(*command, "--ca-file", str(authority.file), *own))[0] == ExitCode.OK
        environment = {"BRAINMETS_CERT": str(certificate), "BRAINMETS_KEY": str(key)}
        assert (await run(*command, environment={**environment, "BRAINMETS_CA_FILE": str(authority.file)}))[0] == 0
        code, text = await run(*command, "--ca-file", str(rogue.file), *own)
        assert (code, "none of the known authorities" in text) == (ExitCode.UNREACHED, True)
        code, text = await run(*command, "--tls", "--cert", str(certificate))
        assert (code, "give both or neither" in text) == (ExitCode.FAILED, True)
