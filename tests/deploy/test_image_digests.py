"""Digests beside tags are those that a registry has now, and nothing is written when one cannot be asked."""

import hashlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import yaml

from debian_tool import find_debian_tool
from free_addresses import free_addresses
from integration.running_stack import wait_until
from local.errors import StackError
from local.image_digests import DOCKER_HUB, Reference, ask_digest, find_files, find_images, lock_images
from local.layout import ROOT

TOKEN, REPOSITORY, TAG = "a-token", "some/image", "1.2.3"
BLOB = b"{}"
TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class TokenGiver(BaseHTTPRequestHandler):
    """Gives everybody a token who says what for."""

    def do_GET(self) -> None:
        """Answer once with a token."""
        self.send_response(200 if f"repository%3A{REPOSITORY.replace('/', '%2F')}%3Apull" in self.path else 403)
        self.end_headers()
        self.wfile.write(json.dumps({"token": TOKEN}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Docker's own registry with one image, which lets nobody in without a token; yields its address."""
    program = find_debian_tool("docker-registry", package="docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    (address,) = free_addresses()
    giver = ThreadingHTTPServer(("127.0.0.1", 0), TokenGiver)
    threading.Thread(target=giver.serve_forever, daemon=True).start()
    configuration = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
        # Asks for a token, and takes any.
        "auth": {"silly": {"realm": f"http://127.0.0.1:{giver.server_port}/token", "service": "registry"}},
    }
    (folder / "registry.yaml").write_text(yaml.safe_dump(configuration))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([program, "serve", folder / "registry.yaml"], stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: answers(address), timeout_s=30)
            push(address)
            yield address
        finally:
            process.kill()
            giver.shutdown()
            giver.server_close()


def answers(address: str) -> bool:
    """Return whether a registry does."""
    try:
        return requests.get(f"http://{address}/v2/", timeout=1).status_code == requests.codes.unauthorized
    except requests.RequestException:
        return False


def push(address: str) -> None:
    """Bring the image in, as Docker does: what it refers to, then its manifest under a tag."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        place = session.post(f"http://{address}/v2/{REPOSITORY}/blobs/uploads/", timeout=10).headers["Location"]
        digest = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
        session.put(place, params={"digest": digest}, data=BLOB, timeout=10).raise_for_status()
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(BLOB), "digest": digest}
        manifest = {"schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": []}
        url = f"http://{address}/v2/{REPOSITORY}/manifests/{TAG}"
        answer = session.put(url, data=json.dumps(manifest), headers={"Content-Type": TYPE}, timeout=10)
        answer.raise_for_status()
        assert answer.headers["Docker-Content-Digest"] == digest_of(manifest)


def digest_of(manifest: object) -> str:
    """Return a manifest's digest."""
    return f"sha256:{hashlib.sha256(json.dumps(manifest).encode()).hexdigest()}"


def test_files_get_the_digests_that_the_registry_has(registry: str, tmp_path: Path) -> None:
    """Once more later, they are renewed; what is ours has none."""
    image = f"{registry}/{REPOSITORY}:{TAG}"
    old = "0" * 64
    (tmp_path / "Dockerfile").write_text(f"FROM {image} AS packages\nFROM {image}@sha256:{old}\n")
    (tmp_path / "pod.yaml").write_text(f"      - image: brainmets/gateway:0.1.0\n        image: {image}\n")
    files = tuple(tmp_path.iterdir())
    (digest,) = lock_images(files, ask_digest).values()
    url = f"http://{registry}/v2/{REPOSITORY}/manifests/{TAG}"
    told = requests.head(url, headers={"Authorization": TOKEN, "Accept": TYPE}, timeout=10)
    assert digest == told.headers["Docker-Content-Digest"]
    locked = f"{image}@{digest}"
    assert (tmp_path / "Dockerfile").read_text() == f"FROM {locked} AS packages\nFROM {locked}\n"
    assert (tmp_path / "pod.yaml").read_text() == (f"      - image: brainmets/gateway:0.1.0\n        image: {locked}\n")
    assert lock_images(files, ask_digest) == {image: digest}


@pytest.mark.parametrize("image", [f"{REPOSITORY}:9.9.9", "another/image:1.2.3"])
def test_nothing_is_written_when_an_image_is_unknown(registry: str, tmp_path: Path, image: str) -> None:
    """Not of those either that are known; the sentence names the image."""
    text = f"FROM {registry}/{REPOSITORY}:{TAG}\nFROM {registry}/{image}\n"
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(StackError, match=f"{image}.*got HTTP 40[34]"):
        lock_images([tmp_path / "Dockerfile"], ask_digest)
    assert (tmp_path / "Dockerfile").read_text() == text


def test_a_registry_that_does_not_answer_is_told() -> None:
    """With what was expected, and what to do."""
    (address,) = free_addresses()
    with pytest.raises(StackError, match=f"a:1's manifest from {address}, got no answer.*reachable"):
        ask_digest(f"{address}/a:1")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("redis:7.2.8-alpine", Reference(DOCKER_HUB, "library/redis", "7.2.8-alpine")),
        ("prom/prometheus:v3.5.0", Reference(DOCKER_HUB, "prom/prometheus", "v3.5.0")),
        ("nvcr.io/nvidia/tritonserver:26.07-py3", Reference("nvcr.io", "nvidia/tritonserver", "26.07-py3")),
        ("localhost/a:1", Reference("localhost", "a", "1")),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, reference: Reference) -> None:
    """Docker's own registry has what names none."""
    assert Reference.parse(text) == reference


def test_every_image_of_others_is_found() -> None:
    """In whichever file of the deployment it stands."""
    written = set()
    for path in (ROOT / "deploy").rglob("*"):
        if path.suffix in {".yaml", ".Dockerfile"}:
            text = path.read_text(encoding="utf-8")
            written |= set(re.findall(r"(?:FROM|\bimage:) ([^\s@]+:[^\s@]+)", text))
    ours = {image for image in written if image.startswith("brainmets/")}
    assert written - ours == frozenset().union(*(find_images(path.read_text()) for path in find_files()))
    assert {"redis:7.2.8-alpine", "nvcr.io/nvidia/tritonserver:26.07-py3"} < written
