"""Owns which installations of deploy/kubernetes the tests render, and what tests of several subjects ask of them."""

from collections.abc import Iterator, Mapping

import pytest
import typer

from brainmets.client.commands import app
from brainmets.runtime.settings import (
    PREFIX,
    ApiSettings,
    PreprocessingSettings,
    ProcessSettings,
    WorkerSettings,
    variable_name,
)
from manifests import (
    KUBERNETES,
    OPTIONS,
    OVERLAYS,
    STORES,
    Installation,
    Manifest,
    Pod,
    combine,
    find_missing_tool,
    render,
)

MISSING_TOOL = find_missing_tool()
NEEDS_KUBECTL = pytest.mark.skipif(bool(MISSING_TOOL), reason=MISSING_TOOL)
# Whatever is chosen beside them.
PROCESSES = frozenset({"api", "worker", "preprocessing", "triton", "redis"})
SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "preprocessing": PreprocessingSettings,
}
# The client's command of that name.
CANARY = typer.main.get_command(app).commands["canary"]

Choice = str | tuple[str, ...]


def choose_components() -> Iterator[tuple[str, ...]]:
    """Yield each store alone, with one option and with all; and all options but one, and all in another order."""
    bucket = STORES[-1]
    for store in STORES:
        yield (store,)
        yield from ((store, option) for option in OPTIONS)
        yield (store, *OPTIONS)
    yield from ((bucket, *(other for other in OPTIONS if other != option)) for option in OPTIONS)
    yield (*reversed(OPTIONS[:-1]), bucket, OPTIONS[-1])


CHOICES = (*OVERLAYS, *choose_components())


def name_choice(choice: Choice) -> str:
    """Return how a test's name calls an installation."""
    return choice if isinstance(choice, str) else " ".join(choice)


def install(choice: Choice) -> Installation:
    """Render an overlay, or the base with components."""
    return render(KUBERNETES / "overlays" / choice) if isinstance(choice, str) else combine(choice)


def find_service_ports(installation: Installation, name: str) -> list[int]:
    """Return the ports of a Service, having seen that its pods have them."""
    service = installation.find("Service", name)["spec"]
    (pod,) = (pod for pod in installation.pods.values() if selects(service["selector"], pod))
    assert pod.component == name
    names = {port["name"] for container in pod.containers for port in container.get("ports", ())}
    assert {port["targetPort"] for port in service["ports"]} <= names
    return [port["port"] for port in service["ports"]]


def selects(labels: Mapping[str, str], pod: Pod) -> bool:
    """Return whether labels are a pod's."""
    return bool(labels.items() <= pod.template["metadata"]["labels"].items())


def is_tracing(item: Manifest) -> bool:
    """Return whether a ConfigMap names the collector."""
    return "COLLECTOR_HOST" in item["data"]


def find_unknown_variables(installation: Installation) -> Iterator[str]:
    """Yield variables that no setting has: of that process at a process, of any or of the canary in what is shared."""
    known = {variable_name(field) for kind in SETTINGS.values() for field in kind.model_fields}
    known |= {str(option.envvar) for option in CANARY.params if option.envvar}
    for item in installation.of_kind("ConfigMap"):
        yield from (name for name in item["data"] if name.startswith(PREFIX) and name not in known)
    for component, pod in installation.pods.items():
        for container in pod.all_containers:
            fields = SETTINGS[component].model_fields if container["name"] in SETTINGS else ()
            own = {variable_name(field) for field in fields}
            names = (item["name"] for item in container.get("env", ()))
            yield from (name for name in names if name.startswith(PREFIX) and name not in own)
