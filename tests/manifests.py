"""Owns what tests know of deploy/kubernetes: installations as kubectl renders them, and their pods."""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]
KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
# Older ones render components otherwise, or not at all.
OLDEST_KUSTOMIZE = (5, 0)
OVERLAYS = ("development", "production")
STORES = ("shared-volume", "object-storage")
# Autoscaling comes after high availability: what it scales has no number of its own.
OPTIONS = (
    "gpu",
    "network-policies",
    "tls",
    "monitoring",
    "tracing",
    "canary",
    "high-availability",
    "autoscaling",
)
EVERYTHING = (STORES[-1], *OPTIONS)

Manifest = Mapping[str, Any]  # Any: a Kubernetes object


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as one workload makes it.

    Attributes:
        component: Which part of the service it is.
        workload: The Deployment, StatefulSet, Job or CronJob.
        template: Its metadata and spec.
    """

    component: str
    workload: Manifest
    template: Manifest

    @property
    def spec(self) -> Manifest:
        """The pod's spec."""
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def containers(self) -> tuple[Manifest, ...]:
        """Containers that run as long as the pod does."""
        return tuple(self.spec["containers"])

    @property
    def all_containers(self) -> tuple[Manifest, ...]:
        """Those, and the ones before them."""
        return (*self.spec.get("initContainers", ()), *self.containers)

    @property
    def main(self) -> Manifest:
        """The container that has the component's name."""
        return next(container for container in self.containers if container["name"] == self.component)

    @property
    def is_lasting(self) -> bool:
        """Whether it serves until it is told to stop."""
        return str(self.workload["kind"]) not in {"Job", "CronJob"}


@dataclass(frozen=True, slots=True)
class Installation:
    """All objects of one rendered kustomization."""

    objects: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> Iterator[Manifest]:
        """Yield the objects of a kind."""
        return (item for item in self.objects if item["kind"] == kind)

    def find(self, kind: str, name: str) -> Manifest:
        """Return one object."""
        return next(item for item in self.of_kind(kind) if item["metadata"]["name"] == name)

    def has(self, kind: str, name: str) -> bool:
        """Return whether there is an object."""
        return any(item["metadata"]["name"] == name for item in self.of_kind(kind))

    @property
    def pods(self) -> dict[str, Pod]:
        """Pods by component."""
        workloads = [item for kind in ("Deployment", "StatefulSet", "Job") for item in self.of_kind(kind)]
        templates = [(item, item["spec"]["template"]) for item in workloads]
        templates += [(item, item["spec"]["jobTemplate"]["spec"]["template"]) for item in self.of_kind("CronJob")]
        components = [template["metadata"]["labels"]["app.kubernetes.io/component"] for _, template in templates]
        return {name: Pod(name, item, template) for name, (item, template) in zip(components, templates, strict=True)}

    def environment_of(self, container: Manifest) -> dict[str, str]:
        """Return a container's environment; a secret's value is its key.

        Raises:
            KeyError: A variable refers to one that does not stand before it, in `env` itself.
        """
        shared: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            reference = source["configMapRef"]
            if not reference.get("optional") or self.has("ConfigMap", reference["name"]):
                shared |= self.find("ConfigMap", reference["name"])["data"]
        own: dict[str, str] = {}
        for variable in container.get("env", ()):
            text = variable.get("value") or self._look_up(variable["valueFrom"])
            own[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: own[name[1]], text)
        return shared | own

    def _look_up(self, source: Manifest) -> str:
        if "secretKeyRef" in source:
            return str(source["secretKeyRef"]["key"])
        reference = source["configMapKeyRef"]
        return str(self.find("ConfigMap", reference["name"])["data"][reference["key"]])


def find_missing_tool() -> str:
    """Return why nothing can be rendered here, or nothing."""
    if shutil.which("kubectl") is None:
        return "needs kubectl"
    answer = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=False)  # noqa: S607 -- whichever is on PATH
    version = json.loads(answer.stdout or "{}").get("kustomizeVersion", "v0.0").lstrip("v")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_KUSTOMIZE:
        return f"needs a kubectl with kustomize 5 or later, this one has {version}"
    return ""


@functools.cache
def render(folder: Path) -> Installation:
    """Render a folder with a kustomization."""
    answer = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, check=False, text=True)  # noqa: S607 -- as above
    assert answer.returncode == 0, answer.stderr
    return Installation(tuple(yaml.load_all(answer.stdout, yaml.CSafeLoader)))


@functools.cache
def combine(components: tuple[str, ...]) -> Installation:
    """Render the base with components."""
    with tempfile.TemporaryDirectory() as folder:
        # Kustomize takes no absolute paths.
        place = os.path.relpath(KUBERNETES, folder)
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "brainmets",
            "resources": [f"{place}/base"],
            "components": [f"{place}/components/{name}" for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(kustomization))
        return render(Path(folder))
