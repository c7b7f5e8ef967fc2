"""Owns the digests of images that others publish: `make lock-images` puts each beside its tag, as its registry has it.

A digest is computed from the manifest that a registry sends, never remembered. What is renewed: `FROM` of the
Dockerfiles, `image` of Compose and Kubernetes. Our own images have the digests of the registry that they are pushed to.
"""

import hashlib
import json
import re
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

from local.errors import StackError
from local.layout import ROOT

DOCKER_HUB = "registry-1.docker.io"
TIMEOUT_S = 30.0
# An index of several platforms where there is one, else the only manifest.
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE = re.compile(
    r"^(?P<key>FROM|[ -]*image:) (?P<tagged>(?!brainmets/)[\w./:-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?", re.MULTILINE
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Reference:
    """An image by its tag: where its registry answers, its repository there, and the tag."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a reference as Docker does: a first part without a dot or a port is no registry."""
        name, _, tag = text.rpartition(":")
        host, _, rest = name.partition("/")
        if rest and (re.search("[.:]", host) or host == "localhost"):
            return cls(host, rest, tag)
        return cls(DOCKER_HUB, name if rest else f"library/{name}", tag)

    @property
    def manifest_url(self) -> str:
        """Where its manifest is; on this machine without TLS, as Docker has it."""
        scheme = "http" if self.registry.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def find_files() -> tuple[Path, ...]:
    """Return the files that name images."""
    deploy = ROOT / "deploy"
    patterns = ("images/*.Dockerfile", "compose/*.yaml", "kubernetes/**/*.yaml")
    return tuple(sorted(path for pattern in patterns for path in deploy.glob(pattern)))


def find_images(text: str) -> frozenset[str]:
    """Return the images of others that a file names, by tag."""
    return frozenset(match["tagged"] for match in _IMAGE.finditer(text))


def lock_images(files: Iterable[Path], ask: Callable[[str], str]) -> dict[str, str]:
    """Write each image's digest beside its tag; returns the digests. Nothing is written unless all are known.

    Raises:
        StackError: A registry cannot be asked.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    digests = {image: ask(image) for image in sorted(frozenset[str]().union(*map(find_images, texts.values())))}
    for path, text in texts.items():
        locked = _IMAGE.sub(lambda match: f"{match['key']} {match['tagged']}@{digests[match['tagged']]}", text)
        if locked != text:
            path.write_text(locked, encoding="utf-8")
    return digests


def ask_digest(image: str) -> str:
    """Return the digest of the manifest that an image's registry sends for its tag now.

    Raises:
        StackError: The registry cannot be asked, or has no such tag.
    """
    url = Reference.parse(image).manifest_url
    headers = {"Accept": ", ".join(MANIFEST_TYPES)}
    try:
        try:
            manifest = _fetch(url, headers)
        except HTTPError as error:
            said = dict(_CHALLENGE.findall(error.headers.get("WWW-Authenticate", "")))
            if "realm" not in said:
                raise
            manifest = _fetch(url, headers | {"Authorization": f"Bearer {_fetch_token(said)}"})
    except (URLError, OSError) as error:
        got = f"HTTP {error.code}" if isinstance(error, HTTPError) else "no answer"
        message = (
            f"Expected {image}'s manifest from {Reference.parse(image).registry}, got {got}. No file was changed. "
            "Run it where the registry is reachable, and look whether it has the tag."
        )
        raise StackError(message) from error
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _fetch_token(challenge: Mapping[str, str]) -> str:
    """Return what a reader without a name is given by whom a registry's challenge names."""
    words = urllib.parse.urlencode({name: challenge[name] for name in ("service", "scope") if name in challenge})
    answer = json.loads(_fetch(f"{challenge['realm']}?{words}", {}))
    return str(answer.get("token") or answer.get("access_token"))


def _fetch(url: str, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- a registry's, or whom it names
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 -- as above
        content: bytes = answer.read()
        return content


def main() -> str:
    """Lock all images; returns what keeps it from being done, or nothing."""
    try:
        digests = lock_images(find_files(), ask_digest)
    except StackError as error:
        return str(error)
    for image, digest in digests.items():
        print(f"{image} {digest}")
    return ""


if __name__ == "__main__":
    sys.exit(main() or 0)
