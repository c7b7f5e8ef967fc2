"""Azure's own emulator of its blob storage (Azurite) on loopback for tests, with containers in its own memory."""

import base64
import hashlib
import hmac
import itertools
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from free_addresses import free_addresses
from install_lock import installing
from local.layout import BUILD
from local.ports import HOST

# Moves with a reason, as every version: this one answers the API that obstore 0.12 speaks.
AZURITE = "azurite@3.35.0"
# Every Azurite's, and no secret (Microsoft's documentation of the emulator).
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
INSTALL_TIMEOUT_S = 250.0
START_TIMEOUT_S = 60.0
_FOLDER = BUILD / "azurite"
_VERSION = "2021-08-06"
_NUMBERS = itertools.count()


def find_azurite() -> Path:
    """Return the emulator's program, installed into build/; the test is skipped where it cannot be had."""
    program = _FOLDER / "node_modules" / ".bin" / "azurite-blob"
    with installing("azurite"):
        if program.exists():
            return program
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"needs {AZURITE}, which npm installs, and npm is not there")
        words = (npm, "install", "--no-audit", "--no-fund", "--prefix", str(_FOLDER), AZURITE)
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)
    if done.returncode != 0:
        pytest.skip(f"needs {AZURITE}, which npm does not install: {done.stderr.strip().splitlines()[-1:]}")
    return program


@pytest.fixture(scope="session")
def azure_endpoint() -> Iterator[str]:
    """Serve blobs and yield the account's address."""
    (address,) = free_addresses()
    port = int(address.rpartition(":")[2])
    words = (find_azurite(), "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck")
    server = subprocess.Popen([*words, "--blobHost", HOST, "--blobPort", str(port)], stdout=subprocess.DEVNULL)
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while not _listens(port):
        if server.poll() is not None or time.monotonic() > give_up_s:
            server.kill()
            pytest.fail("Azurite does not start")
        time.sleep(0.1)
    yield f"http://{HOST}:{port}/{ACCOUNT}"
    server.terminate()
    server.wait()


@pytest.fixture
def azure_container(azure_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a container, set what a service finds it by in its environment, and return its URL."""
    environment = {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": azure_endpoint,
        "AZURE_ALLOW_HTTP": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"studies-{next(_NUMBERS)}"
    _make_container(azure_endpoint, name)
    return f"az://{name}/brainmets"


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def _make_container(endpoint: str, name: str) -> None:
    """Make a container, signed by the account's key as Azure's "Authorize with Shared Key" asks for."""
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    text = "PUT" + "\n" * 12 + headers + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    request = urllib.request.Request(  # noqa: S310 -- loopback
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
            "Content-Length": "0",
        },
    )
    with urllib.request.urlopen(request):  # noqa: S310 -- as above
        return
