"""Images run as nobody, hold what is locked, and start on one machine with settings that exist."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmets import __version__
from brainmets.gateway.triton_connection import KEEPALIVE_INTERVAL_MS
from brainmets.runtime.grpc_server import CONNECTION_AGE_MS
from brainmets.runtime.settings import (
    PREFIX,
    ApiSettings,
    PreprocessingSettings,
    ProcessSettings,
    WorkerSettings,
    load_settings,
    variable_name,
)
from local.layout import MODEL_REPOSITORY, TRITON_SERVER

DEPLOY = Path(__file__).parents[2] / "deploy"
IMAGES = DEPLOY / "images"
DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))
LOCKS = sorted(IMAGES.glob("*.lock"))
CONSTRAINTS = DEPLOY.parent / "constraints.txt"
TRAINING_ONLY = {"torch", "monai", "onnxscript"}
SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "preprocessing": PreprocessingSettings,
}


def read_yaml(path: Path) -> Any:  # Any: YAML
    """Return a YAML file's content."""
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def services() -> Any:  # Any: YAML
    """The services of the compose file, with the variables of its environment file filled in."""
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    variables = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "compose" / ".env").read_text(), re.MULTILINE))
    return yaml.safe_load(re.sub(r"\$\{(\w+)\}", lambda name: variables[name[1]], text))["services"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_runs_as_nobody(path: Path) -> None:
    """A number, so that Kubernetes can tell; and the last word on it."""
    assert re.findall(r"^USER (.*)$", path.read_text(), re.MULTILINE)[-1] == "10001:10001"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_begins_with_a_tag_that_stays(path: Path) -> None:
    """And says what it is, and of which release."""
    text = path.read_text()
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', text))
    assert labels["title"] == f"brainmets {path.stem}"
    assert labels["version"] == __version__
    assert "Research use only" in labels["description"]
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.search(r":\d+\.\d+", image)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_an_image_copies_is_there_and_not_ignored(path: Path) -> None:
    """The build sees nothing but what .dockerignore lets through."""
    let_through = re.findall(r"^!(.*)$", (DEPLOY.parent / ".dockerignore").read_text(), re.MULTILINE)
    for sources in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*) \S+$", path.read_text(), re.MULTILINE):
        for source in sources.split():
            assert (DEPLOY.parent / source).exists()
            assert any(source == name or source.startswith(f"{name}/") for name in let_through)


def test_locks_are_made_for_the_images_python() -> None:
    """To the patch release."""
    locked = dict(re.findall(r"^lock (\w+) (\S+)$", (IMAGES / "lock.sh").read_text(), re.MULTILINE))
    for name in ("gateway", "preprocessing"):
        images = re.findall(r"^FROM python:([\d.]+)-", (IMAGES / f"{name}.Dockerfile").read_text(), re.MULTILINE)
        assert set(images) == {locked[name]}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_the_constraints_versions(path: Path) -> None:
    """Each with its hashes, and nothing that only training needs (deploy/images/lock.sh writes them anew)."""
    locked = read_versions(path.read_text())
    constrained = read_versions(CONSTRAINTS.read_text())
    assert {name: version for name, version in locked.items() if constrained.get(name, version) != version} == {}
    assert not TRAINING_ONLY & set(locked)
    assert path.read_text().count("--hash=sha256:") >= len(locked)


def read_versions(text: str) -> dict[str, str]:
    """Return the version of each package that is pinned."""
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def test_models_are_unpacked_as_they_are(tmp_path: Path) -> None:
    """The networks of this repository are those of their configurations."""
    answer = unpack(MODEL_REPOSITORY, tmp_path)
    assert answer.returncode == 0
    assert list(tmp_path.glob("*/*/model.onnx"))
    for source in MODEL_REPOSITORY.rglob("*.*"):
        assert (tmp_path / source.relative_to(MODEL_REPOSITORY)).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("version", ["1", "2880154539"])
@pytest.mark.parametrize("content", [b"another network", b""])
def test_another_network_is_refused(tmp_path: Path, content: bytes, version: str) -> None:
    """So that Triton never serves what its configuration does not name."""
    digest = "0" * 64 if content else ""
    answer = unpack(make_repository(tmp_path, content, digest=digest, versions=(version,)), tmp_path / "target")
    assert answer.returncode == 1
    assert "SHA-256" in answer.stderr


@pytest.mark.parametrize(("versions", "taken"), [(("2880154539",), True), (("1", "2880154539"), False), ((), False)])
def test_a_network_has_one_version(tmp_path: Path, versions: tuple[str, ...], taken: bool) -> None:  # noqa: FBT001 -- a parameter
    """Whatever its name is; of two Triton would serve the higher number."""
    digest = hashlib.sha256(b"a network").hexdigest()
    answer = unpack(make_repository(tmp_path, b"a network", digest=digest, versions=versions), tmp_path / "target")
    assert (answer.returncode == 0) == taken
    assert taken or "one version" in answer.stderr


def make_repository(folder: Path, content: bytes, *, digest: str, versions: tuple[str, ...]) -> Path:
    """Return a model repository of one network, and make the folder that it is unpacked to."""
    (folder / "target").mkdir()
    for version in versions:
        (folder / "source" / "network" / version).mkdir(parents=True)
        (folder / "source" / "network" / version / "model.onnx").write_bytes(content)
    (folder / "source" / "network" / "configs").mkdir(parents=True)
    (folder / "source" / "network" / "config.pbtxt").write_text(
        f'parameters {{ key: "onnx_sha256" value: {{ string_value: "{digest}" }} }}\n'
    )
    return folder / "source"


def unpack(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run what the image of the models runs."""
    words = (shutil.which("sh") or "sh", str(IMAGES / "unpack-models.sh"), str(source), str(target))
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("python", "served"),
    [
        ("exit 1", ["a", "b"]),
        ("exit 3", ["a", "b"]),
        # $4 is the repository; a plan that was published stays, though another failed.
        ('echo plan > "$4/a/configs/tensorrt.pbtxt"; exit 1', ["plan\n", "b"]),
    ],
)
def test_triton_starts_without_plans(tmp_path: Path, python: str, served: list[str]) -> None:
    """A network that has none is served as on a GPU without one."""
    for name in "ab":
        (tmp_path / "models" / name / "configs").mkdir(parents=True)
        (tmp_path / "models" / name / "configs" / "gpu.pbtxt").write_text(name)
    engine = tmp_path / "bin" / "python"
    engine.parent.mkdir()
    engine.write_text(f"#!/bin/sh\n{python}\n")
    engine.chmod(0o755)
    subprocess.run(
        [shutil.which("sh") or "sh", IMAGES / "publish-plans.sh", tmp_path / "models", tmp_path / "plans"],
        env={"PATH": f"{engine.parent}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    assert [(tmp_path / "models" / name / "configs" / "tensorrt.pbtxt").read_text() for name in "ab"] == served


def test_tritons_connections_end() -> None:
    """After as long as preprocessing's, so that workers find pods that came later; their pings are let through."""
    options = dict(re.findall(r"--grpc-([a-z0-9-]+)=(\d+)", (IMAGES / "triton.Dockerfile").read_text()))
    assert int(options["max-connection-age"]) == CONNECTION_AGE_MS
    assert int(options["max-connection-age-grace"]) > 0
    assert int(options["http2-min-recv-ping-interval-without-data"]) < KEEPALIVE_INTERVAL_MS


def test_triton_knows_its_options() -> None:
    """As far as the embedded server, which is older, tells."""
    server = TRITON_SERVER / "bin" / "tritonserver"
    if not server.exists():
        pytest.skip("needs the embedded Triton in build/ (make test unpacks it)")
    libraries = {"LD_LIBRARY_PATH": str(next(TRITON_SERVER.parents[1].glob("*.libs")))}
    answer = subprocess.run([server, "--help"], env=libraries, capture_output=True, text=True, check=False)
    known = set(re.findall(r"^\s+(--[a-z0-9-]+) <", answer.stdout + answer.stderr, re.MULTILINE))
    used = re.findall(r'"(--[a-z0-9-]+)=', (IMAGES / "triton.Dockerfile").read_text())
    assert used
    assert set(used) | {"--model-config-name"} <= known


def test_the_composed_images_have_tags_that_stay(services: Any) -> None:  # Any: YAML
    """Ours is the version of this package."""
    for service in services.values():
        name, _, tag = service["image"].partition("@")[0].rpartition(":")
        assert re.search(r"\d+\.\d+\.\d+", tag)
        assert not name.startswith("brainmets/") or tag == __version__


@pytest.mark.parametrize(("name", "kind"), SETTINGS.items())
def test_composed_settings_are_sound(services: Any, name: str, kind: type[ProcessSettings]) -> None:  # Any: YAML
    """The process reads them, knows every one, and finds the others where they are."""
    environment = services[name]["environment"]
    known = {variable_name(field) for field in kind.model_fields}
    shared = {"BRAINMETS_PREPROCESSING_ADDRESS"}
    assert {variable for variable in environment if variable.startswith(PREFIX)} <= known | shared
    load_settings(kind, environment)
    hosts = {*services, *(alias for item in services.values() for alias in aliases(item))}
    texts = re.findall(r"(?:^|//|@)([a-z-]+):\d+", "\n".join(environment.values()), re.MULTILINE)
    assert set(texts) <= hosts


def aliases(service: Mapping[str, Any]) -> list[str]:  # Any: YAML
    """Return the names that a service has beside its own."""
    names: list[str] = service.get("networks", {}).get("default", {}).get("aliases", [])
    return names


def test_only_loopback_is_published(services: Any) -> None:  # Any: YAML
    """Nothing of it authenticates anybody."""
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_mounted_is_there(services: Any) -> None:  # Any: YAML
    """Docker would make an empty folder in its place."""
    mounts = [mount for service in services.values() for mount in service.get("volumes", ()) if mount.startswith(".")]
    assert mounts
    for mount in mounts:
        assert (DEPLOY / "compose" / mount.split(":")[0]).exists(), mount


def test_the_composed_redis_forgets_nothing() -> None:
    """The gateway refuses one that would."""
    text = (DEPLOY / "compose" / "redis.conf").read_text().splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(text)


def test_prometheus_finds_what_is_composed(services: Any) -> None:  # Any: YAML
    """Each target is a service, on the port that it has its metrics on."""
    jobs = read_yaml(DEPLOY / "monitoring" / "prometheus" / "prometheus.yaml")["scrape_configs"]
    assert jobs
    for job in jobs:
        found = {name: item["port"] for item in job.get("dns_sd_configs", ()) for name in item["names"]}
        for name, port in found.items():
            assert name in services or name == "triton"
            address = services.get(name, {}).get("environment", {}).get("BRAINMETS_METRICS_ADDRESS", ":8002")
            assert address.endswith(f":{port}")
        for item in job.get("static_configs", ()):
            assert {target.rpartition(":")[0] for target in item["targets"]} <= {*services, "localhost"}
