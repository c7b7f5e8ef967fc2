"""Pods find one another by Services, and reach what the architecture draws and nothing else."""

from collections.abc import Iterator

import pytest

from brainmets.runtime.settings import GatewaySettings, WorkerSettings, load_settings
from installations import CHOICES, NEEDS_KUBECTL, find_service_ports, install, is_tracing, name_choice
from manifests import Installation, Manifest
from network_policies import Edge, Endpoint, Port, find_edges

pytestmark = NEEDS_KUBECTL

# gRPC's resolver that takes all addresses of a name.
EVERY_ADDRESS = "dns:///"
STRANGERS = (
    Endpoint("client", "hospital", {}, namespace_labels={"brainmets/client": "true"}),
    Endpoint("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    Endpoint(
        "collector", "monitoring", {"app.kubernetes.io/name": "opentelemetry-collector"}, (Port(4317), Port(4318))
    ),
    Endpoint("dns", "kube-system", {"k8s-app": "kube-dns"}, (Port(53, "dns", "UDP"), Port(53, "dns-tcp"))),
    Endpoint("stranger", "default", {}, (Port(443),)),
    Endpoint("impostor", "default", {"app.kubernetes.io/component": "worker"}, (Port(8510), Port(6379))),
    Endpoint("neighbour of prometheus", "monitoring", {"app.kubernetes.io/name": "grafana"}, (Port(3000),)),
)


@pytest.fixture(
    scope="module", params=[name for name in CHOICES if "network-policies" in name] + ["production"], ids=name_choice
)
def guarded(request: pytest.FixtureRequest) -> Installation:
    """One of those with network policies."""
    return install(request.param)


def test_addresses_lead_to_services(installation: Installation) -> None:
    """By name and port; a Service selects the pod that it is named for, and a port that the pod has."""
    api, worker = (installation.pods[name].main for name in ("api", "worker"))
    settings = load_settings(WorkerSettings, installation.environment_of(worker))
    assert isinstance(settings, WorkerSettings)
    redis = settings.redis_url.get_secret_value().rpartition("@")[2].removesuffix("/0")
    for address in (settings.triton_address, settings.preprocessing_address, redis):
        name, _, port = address.removeprefix(EVERY_ADDRESS).partition(":")
        assert find_service_ports(installation, name) == [int(port)]
    assert find_service_ports(installation, "api") == [8500]
    shared = [load_settings(GatewaySettings, shared_environment(installation, item)) for item in (api, worker)]
    assert shared[0] == shared[1]


def shared_environment(installation: Installation, container: Manifest) -> dict[str, str]:
    """Return a gateway process's environment, with addresses that differ between its processes taken out."""
    environment = installation.environment_of(container)
    return environment | {"BRAINMETS_HEALTH_ADDRESS": "any:1", "BRAINMETS_METRICS_ADDRESS": "any:2"}


def test_many_are_called_by_all_their_addresses(installation: Installation) -> None:
    """A gRPC connection lasts: behind one virtual address it would stay with one pod."""
    environment = installation.environment_of(installation.pods["worker"].main)
    for name in ("triton", "preprocessing"):
        assert installation.find("Service", name)["spec"]["clusterIP"] == "None"
        assert environment[f"BRAINMETS_{name.upper()}_ADDRESS"].startswith(f"{EVERY_ADDRESS}{name}:")


def test_the_network_is_the_drawn_one(guarded: Installation) -> None:
    """Each arrow of the architecture is let through, and nothing else."""
    endpoints = (*find_endpoints(guarded), *STRANGERS)
    strangers = {endpoint.name for endpoint in STRANGERS}
    found = find_edges(endpoints, guarded.of_kind("NetworkPolicy"))
    names = {endpoint.name for endpoint in endpoints}
    drawn = {edge for edge in draw_edges(guarded) if {edge[0], edge[1]} <= names}
    # What strangers do among themselves is none of ours.
    assert {edge for edge in found if not {edge[0], edge[1]} <= strangers} == drawn


def find_endpoints(installation: Installation) -> Iterator[Endpoint]:
    """Yield the installation's pods as policies see them."""
    (namespace,) = installation.of_kind("Namespace")
    for pod in installation.pods.values():
        ports = [port for container in pod.containers for port in container.get("ports", ())]
        yield Endpoint(
            pod.component,
            namespace["metadata"]["name"],
            pod.template["metadata"]["labels"],
            tuple(Port(port["containerPort"], port["name"]) for port in ports),
        )


def draw_edges(installation: Installation) -> Iterator[Edge]:
    """Yield the arrows of docs/architecture.md, those of metrics and traces, and those to find names by."""
    uses_tls = any(container["name"] == "tls" for container in installation.pods["api"].containers)
    arrows = {
        "client": {"api": 8443 if uses_tls else 8500},
        "api": {"redis": 6379, "object-storage": 7070, "triton": 8001},
        "worker": {"redis": 6379, "object-storage": 7070, "preprocessing": 8510, "triton": 8001},
        "preprocessing": {"object-storage": 7070},
        "canary": {"api": 8443 if uses_tls else 8500},
        "prometheus": {"api": 8590, "worker": 8591, "preprocessing": 8592, "triton": 8002},
    }
    for source, targets in arrows.items():
        yield from ((source, target, port, "TCP") for target, port in targets.items())
    for source in ("api", "worker", "preprocessing", "canary"):
        yield from ((source, "dns", 53, protocol) for protocol in ("TCP", "UDP"))
    if any(map(is_tracing, installation.of_kind("ConfigMap"))):
        for source in ("api", "worker", "preprocessing", "triton"):
            yield from ((source, "collector", port, "TCP") for port in (4317, 4318))
        yield from (("triton", "dns", 53, protocol) for protocol in ("TCP", "UDP"))
    if any(container["name"] == "exporter" for container in installation.pods["redis"].containers):
        yield ("prometheus", "redis", 9121, "TCP")
