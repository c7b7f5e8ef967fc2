"""Every installation that can be rendered is confined, probed, bounded, and set up with settings that exist."""

import functools
import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer
import yaml
from obstore.store import S3Store

from brainmets import __version__
from brainmets.client.commands import app
from brainmets.gateway import api, crew
from brainmets.gateway.worker import SHUTDOWN_GRACE_S as WORKER_GRACE_S
from brainmets.preprocessing.app import SHUTDOWN_GRACE_S as PREPROCESSING_GRACE_S
from brainmets.preprocessing.servicer import SERVICE_NAME as PREPROCESSING
from brainmets.runtime.metric_contract import METRICS
from brainmets.runtime.settings import (
    PREFIX,
    ApiSettings,
    GatewaySettings,
    PreprocessingSettings,
    ProcessSettings,
    WorkerSettings,
    load_settings,
    variable_name,
)
from local.triton_server import tracing_words
from manifests import (
    EVERYTHING,
    KUBERNETES,
    OPTIONS,
    OVERLAYS,
    REPOSITORY,
    STORES,
    Installation,
    Manifest,
    Pod,
    combine,
    find_missing_tool,
    render,
)
from network_policies import Edge, Endpoint, Port, find_edges

MISSING_TOOL = find_missing_tool()
pytestmark = pytest.mark.skipif(bool(MISSING_TOOL), reason=MISSING_TOOL)

MONITORING = REPOSITORY / "deploy" / "monitoring" / "prometheus"
SCHEMAS = REPOSITORY.parent / "shared" / "schemas"
# The oldest release that the manifests are for: preStop.sleep is on by default, and has been for three of them.
KUBERNETES_VERSION = "1.33"
OWN_KINDS = {
    "ScaledObject": "keda.sh_scaledobjects",
    "PodMonitor": "monitoring.coreos.com_podmonitors",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules",
}
SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "preprocessing": PreprocessingSettings,
}
READINESS = {
    "api": api.API_PARTS[0],
    "worker": crew.WORKER_PART,
    "preprocessing": PREPROCESSING,
}
GRACE_S = {
    "api": api.SHUTDOWN_GRACE_S,
    "worker": WORKER_GRACE_S,
    "preprocessing": PREPROCESSING_GRACE_S,
}
# What no manifest sets: an installation's own wish, and its default is right until there is one (docs/operations.md).
LEFT_AT_DEFAULT = {
    "decoding_memory_bytes",
    "decoding_time_s",
    "input_lifetime_s",
    "lease_s",
    "log_format",
    "max_attempts",
    "max_queued_jobs",
    "models",
    "result_lifetime_s",
    "studies_in_flight",
    "tiles_in_flight",
    "upload_lifetime_s",
    # Triton is in another pod.
    "triton_shares_memory",
}
SCALED_BY = {
    "worker": "brainmets_gateway_jobs_outstanding",
    "preprocessing": "brainmets_preprocessing_studies_active",
    "triton": "nv_inference_pending_request_count",
}
# gRPC's resolver that takes all addresses of a name.
EVERY_ADDRESS = "dns:///"
# Pod Security Standards, restricted.
VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def choose_components() -> Iterator[tuple[str, ...]]:
    """Yield each store alone, with one option and with all; and all options but one, and all in another order."""
    bucket = STORES[-1]
    for store in STORES:
        yield (store,)
        yield from ((store, option) for option in OPTIONS)
        yield (store, *OPTIONS)
    yield from ((bucket, *(other for other in OPTIONS if other != option)) for option in OPTIONS)
    yield (*reversed(OPTIONS[:-1]), bucket, OPTIONS[-1])


def choose_options() -> tuple[tuple[str, ...], ...]:
    """Return every set of options, the empty one too."""
    return tuple(chosen for count in range(len(OPTIONS) + 1) for chosen in itertools.combinations(OPTIONS, count))


# The client's command of that name.
CANARY = typer.main.get_command(app).commands["canary"]
CHOICES = (*OVERLAYS, *choose_components())


Choice = str | tuple[str, ...]


def name_choice(choice: Choice) -> str:
    """Return how a test's name calls an installation."""
    return choice if isinstance(choice, str) else " ".join(choice)


def install(choice: Choice) -> Installation:
    """Render an overlay, or the base with components."""
    return render(KUBERNETES / "overlays" / choice) if isinstance(choice, str) else combine(choice)


@pytest.fixture(scope="module", params=CHOICES, ids=name_choice)
def installation(request: pytest.FixtureRequest) -> Installation:
    """One of all that are rendered."""
    return install(request.param)


@pytest.fixture(
    scope="module", params=[name for name in CHOICES if "network-policies" in name] + ["production"], ids=name_choice
)
def guarded(request: pytest.FixtureRequest) -> Installation:
    """One of those with network policies."""
    return install(request.param)


def test_all_processes_are_there(installation: Installation) -> None:
    """Whatever is chosen beside them."""
    assert {"api", "worker", "preprocessing", "triton", "redis"} <= set(installation.pods)


def test_core_objects_have_no_unknown_field(installation: Installation) -> None:
    """Kubernetes would drop it with a warning, and what was meant would not be."""
    for item in installation.objects:
        if item["kind"] not in OWN_KINDS:
            validate(json.dumps(item))


@functools.cache
def validate(text: str) -> None:
    """Have an object validated, once for all installations that it is in."""
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    validator.validate(json.loads(text), KUBERNETES_VERSION, strict=True)


def test_custom_objects_keep_their_schemas(installation: Installation) -> None:
    """Those of KEDA and of the Prometheus operator, and no field that they do not know."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    for item in installation.objects:
        if item["kind"] in OWN_KINDS:
            jsonschema.Draft202012Validator(read_schema(item)).validate(item)


def test_rules_are_those_of_the_operator() -> None:
    """As rules.sh writes them from what Prometheus itself reads."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    answer = subprocess.run([KUBERNETES / "rules.sh"], capture_output=True, check=True)
    rules = list(yaml.load_all(answer.stdout, yaml.CSafeLoader))
    assert rules
    for item in rules:
        jsonschema.Draft202012Validator(read_schema(item)).validate(item)


def read_schema(item: Manifest) -> Any:  # Any: JSON
    """Return the schema that a custom object's definition carries for its version, closed."""
    path = SCHEMAS / f"{OWN_KINDS[item['kind']]}.yaml"
    if not path.exists():
        pytest.skip(f"needs the custom resource definition {path.name} in ../shared/schemas")
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    version = next(version for version in versions if version["name"] == item["apiVersion"].rpartition("/")[2])
    schema = close(version["schema"]["openAPIV3Schema"])
    # A definition says of metadata only that it is an object.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def close(schema: Any) -> Any:  # Any: JSON
    """Return a schema that refuses fields which Kubernetes would drop."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def test_pods_keep_restricted_pod_security(installation: Installation) -> None:
    """As the Pod Security Standards say, and with a root file system that nobody writes to."""
    for pod in installation.pods.values():
        context = pod.spec["securityContext"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert {kind for volume in pod.spec.get("volumes", ()) for kind in volume if kind != "name"} <= VOLUME_TYPES
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] >= 10_000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod.all_containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", ()))


def test_the_namespace_enforces_it(installation: Installation) -> None:
    """So that a change by hand is refused."""
    (namespace,) = installation.of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    scoped = [item for item in installation.objects if item["kind"] not in {"Namespace", "PriorityClass"}]
    assert {item["metadata"]["namespace"] for item in scoped} == {namespace["metadata"]["name"]}


def test_no_pod_has_a_key_to_the_cluster(installation: Installation) -> None:
    """None of them asks Kubernetes anything; and no Service's address gets among the settings."""
    for pod in installation.pods.values():
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False


def test_every_container_is_bounded(installation: Installation) -> None:
    """It asks for what it needs, and gets no more than its limit."""
    for pod in installation.pods.values():
        for container in pod.all_containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"])
            assert {"cpu", "memory"} <= set(resources["limits"])


def test_preprocessing_has_the_memory_that_its_settings_allow(installation: Installation) -> None:
    """All studies at once, each as large as it may be and with volumes at their limit, and all decoders at theirs."""
    pod = installation.pods["preprocessing"]
    settings = load_settings(PreprocessingSettings, installation.environment_of(pod.main))
    assert isinstance(settings, PreprocessingSettings)
    study_bytes = settings.max_study_bytes + settings.decoding_memory_bytes
    most = settings.max_studies * study_bytes + settings.decoders * settings.decoding_memory_bytes
    limit = re.fullmatch(r"(\d+)Gi", pod.main["resources"]["limits"]["memory"])
    assert limit is not None
    assert int(limit[1]) * 1024**3 > most


def test_images_have_a_tag_that_stays(installation: Installation) -> None:
    """Ours is the version of this package."""
    images = {container["image"] for pod in installation.pods.values() for container in pod.all_containers}
    for image in images:
        name, _, tag = image.partition("@")[0].rpartition(":")
        assert name
        assert re.search(r"\d+\.\d+\.\d+", tag)
        assert "brainmets/" not in image or tag == __version__


def test_every_lasting_container_is_probed(installation: Installation) -> None:
    """Through its start, for life and for readiness."""
    for pod in installation.pods.values():
        for container in pod.containers if pod.is_lasting else ():
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


@pytest.mark.parametrize("component", SETTINGS)
def test_probes_ask_what_the_process_tells(installation: Installation, component: str) -> None:
    """The process itself for life, and the part that takes work for readiness, on the plaintext port."""
    container = installation.pods[component].main
    port = int(installation.environment_of(container)["BRAINMETS_HEALTH_ADDRESS"].rpartition(":")[2])
    assert container["startupProbe"]["grpc"] == container["livenessProbe"]["grpc"] == {"port": port}
    assert container["readinessProbe"]["grpc"] == {"port": port, "service": READINESS[component]}


@pytest.mark.parametrize(("component", "kind"), SETTINGS.items())
def test_settings_are_sound(installation: Installation, component: str, kind: type[ProcessSettings]) -> None:
    """The process itself reads them; each port that it listens on is one of its container's or hidden behind TLS."""
    pod = installation.pods[component]
    settings = load_settings(kind, installation.environment_of(pod.main))
    ports = {port["containerPort"] for port in pod.main["ports"]}
    listens = {name: address for name, address in settings if name in {"health_address", "metrics_address"}}
    assert {int(address.rpartition(":")[2]) for address in listens.values()} <= ports


def test_every_variable_is_a_setting(installation: Installation) -> None:
    """Of that process when it stands at the process, of any, or of a client, when it is shared."""
    known = {variable_name(field) for kind in SETTINGS.values() for field in kind.model_fields}
    known |= {str(option.envvar) for option in CANARY.params if option.envvar}
    for item in installation.of_kind("ConfigMap"):
        assert {name for name in item["data"] if name.startswith(PREFIX)} <= known
    for component, pod in installation.pods.items():
        for container in pod.all_containers:
            own = {item["name"] for item in container.get("env", ()) if item["name"].startswith(PREFIX)}
            fields = SETTINGS[component].model_fields if container["name"] in SETTINGS else ()
            assert own <= {variable_name(field) for field in fields}


def test_every_other_variable_is_the_store_s_or_helps_another(installation: Installation) -> None:
    """The artefact store's client knows its names, and refuses others; the rest stands in the value of another one."""
    for component in SETTINGS:
        container = installation.pods[component].main
        helpers = set(re.findall(r"\$\((\w+)\)", json.dumps(container["env"])))
        environment = installation.environment_of(container)
        others = {name for name in environment if not name.startswith(PREFIX)} - helpers
        S3Store("bucket", config={name.lower(): environment[name] for name in others})


def test_every_setting_is_a_variable_or_left_on_purpose() -> None:
    """A new one asks for a decision, and is told to operators if it is theirs to set."""
    installation = combine(EVERYTHING)
    variables = {
        name for component in SETTINGS for name in installation.environment_of(installation.pods[component].main)
    }
    fields = {field for kind in SETTINGS.values() for field in kind.model_fields}
    assert {field for field in fields if variable_name(field) not in variables} == LEFT_AT_DEFAULT


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
    shared = [load_settings(GatewaySettings, ready(installation, item)) for item in (api, worker)]
    assert shared[0] == shared[1]


def ready(installation: Installation, container: Manifest) -> dict[str, str]:
    """Return a gateway process's environment, with addresses that differ between its processes taken out."""
    environment = installation.environment_of(container)
    return environment | {"BRAINMETS_HEALTH_ADDRESS": "any:1", "BRAINMETS_METRICS_ADDRESS": "any:2"}


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


def test_many_are_called_by_all_their_addresses(installation: Installation) -> None:
    """A gRPC connection lasts: behind one virtual address it would stay with one pod."""
    environment = installation.environment_of(installation.pods["worker"].main)
    for name in ("triton", "preprocessing"):
        assert installation.find("Service", name)["spec"]["clusterIP"] == "None"
        assert environment[f"BRAINMETS_{name.upper()}_ADDRESS"].startswith(f"{EVERY_ADDRESS}{name}:")


def test_the_collector_is_named_once(installation: Installation) -> None:
    """With the component all processes send spans to its host, Triton as the embedded one does; without, none does."""
    pods = installation.pods
    endpoints = {
        load_settings(kind, installation.environment_of(pods[name].main)).otlp_endpoint
        for name, kind in SETTINGS.items()
    }
    triton = pods["triton"].main
    words = [word for word in triton["args"] if "trace" in word]
    hosts = {item["data"]["COLLECTOR_HOST"] for item in installation.of_kind("ConfigMap") if is_tracing(item)}
    if not hosts:
        assert (endpoints, words) == ({None}, [])
        return
    (host,) = hosts
    assert endpoints == {f"http://{host}:4317"}
    environment = installation.environment_of(triton)
    filled = [re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], word) for word in words]
    assert tuple(filled) == tracing_words(f"http://{host}:4318/v1/traces")


def is_tracing(item: Manifest) -> bool:
    """Return whether a ConfigMap names the collector."""
    return "COLLECTOR_HOST" in item["data"]


def test_volumes_and_secrets_are_named_alike(installation: Installation) -> None:
    """What is mounted is a volume, and what is claimed is there."""
    claims = {item["metadata"]["name"] for item in installation.of_kind("PersistentVolumeClaim")}
    for pod in installation.pods.values():
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
        templates = {item["metadata"]["name"] for item in pod.workload["spec"].get("volumeClaimTemplates", ())}
        mounted = {mount["name"] for container in pod.all_containers for mount in container.get("volumeMounts", ())}
        assert mounted == set(volumes) | templates
        claimed = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if len(volume) > 1 and "persistentVolumeClaim" in volume
        }
        assert claimed <= claims


def test_models_are_unpacked_before_plans_are_made_of_them(installation: Installation) -> None:
    """Containers before the others run one after the other."""
    names = [container["name"] for container in installation.pods["triton"].spec["initContainers"]]
    assert names in (["models"], ["models", "plans"])


@pytest.mark.parametrize("component", GRACE_S)
def test_nobody_is_killed_in_the_middle(installation: Installation, component: str) -> None:
    """A process has its own grace time, after what it waits before; a worker has the longest study's."""
    pod = installation.pods[component]
    wait_s = pod.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace_s = pod.spec["terminationGracePeriodSeconds"]
    assert grace_s > wait_s + GRACE_S[component]
    if component == "worker":
        assert grace_s > float(installation.environment_of(pod.main)["BRAINMETS_JOB_DEADLINE_S"])


def test_disruptions_take_one_pod_at_a_time(installation: Installation) -> None:
    """Every lasting pod has one budget, spreads over the nodes, and has a priority that exists."""
    classes = {item["metadata"]["name"] for item in installation.of_kind("PriorityClass")}
    for pod in installation.pods.values():
        assert pod.spec["priorityClassName"] in classes
        if pod.is_lasting:
            budgets = installation.of_kind("PodDisruptionBudget")
            mine = [item for item in budgets if selects(item["spec"]["selector"]["matchLabels"], pod)]
            assert [item["spec"]["maxUnavailable"] for item in mine] == [1]
        if pod.workload["kind"] == "Deployment":
            keys = [item["topologyKey"] for item in pod.spec["topologySpreadConstraints"]]
            assert keys[0] == "kubernetes.io/hostname"


def test_redis_forgets_nothing(installation: Installation) -> None:
    """The gateway refuses one that would."""
    mounted = {volume["configMap"]["name"] for volume in installation.pods["redis"].spec["volumes"]}
    (text,) = (installation.find("ConfigMap", name)["data"]["redis.conf"] for name in mounted)
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(text.splitlines())


def test_what_is_scaled_has_no_number_of_its_own(installation: Installation) -> None:
    """Each apply would set it back; and nothing is scaled to none, because nothing wakes it."""
    for scaler in installation.of_kind("ScaledObject"):
        spec = scaler["spec"]
        target = installation.find("Deployment", spec["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        assert len(spec["triggers"]) == 1


def test_scalers_ask_for_metrics_that_there_are(installation: Installation) -> None:
    """Of the scaler's own namespace; workers are scaled by queued and running in one series."""
    own = {metric.name(service) for metric in METRICS for service in metric.services}
    known = own | {SCALED_BY["triton"]}
    for scaler in installation.of_kind("ScaledObject"):
        query = scaler["spec"]["triggers"][0]["metadata"]["query"]
        match = re.fullmatch(r'(?:max|sum)\((\w+)\{namespace="([a-z-]+)"\}\)', query)
        assert match is not None
        assert match[1] in known
        assert match[2] == scaler["metadata"]["namespace"]
        assert match[1] == SCALED_BY[scaler["metadata"]["name"]]


def test_all_metrics_are_scraped(installation: Installation) -> None:
    """One monitor selects every pod, by the port that all of them name alike."""
    for monitor in installation.of_kind("PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for pod in installation.pods.values():
            names = {port["name"] for container in pod.containers for port in container.get("ports", ())}
            assert selects(monitor["spec"]["selector"]["matchLabels"], pod)
            assert (endpoint["port"] in names) == (pod.component not in {"object-storage", "plans", "canary"})


def test_the_network_is_the_drawn_one(guarded: Installation) -> None:
    """Each arrow of the architecture is let through, and nothing else."""
    endpoints = (*find_endpoints(guarded), *STRANGERS)
    strangers = {endpoint.name for endpoint in STRANGERS}
    found = find_edges(endpoints, guarded.of_kind("NetworkPolicy"))
    names = {endpoint.name for endpoint in endpoints}
    drawn = {edge for edge in draw_edges(guarded) if {edge[0], edge[1]} <= names}
    # What strangers do among themselves is none of ours.
    assert {edge for edge in found if not {edge[0], edge[1]} <= strangers} == drawn


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


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [("development", set()), ("production", {"redis", "object-storage", "api-tls", "canary-tls"})],
)
def test_secrets_are_made_by_the_operator(overlay: str, expected: set[str]) -> None:
    """None is in the repository but that of development, which protects nothing."""
    installation = render(KUBERNETES / "overlays" / overlay)
    text = json.dumps(installation.objects)
    named = set(re.findall(r'"secretKeyRef": \{[^}]*"name": "([^"]+)"', text)) | set(
        re.findall(r'"secretName": "([^"]+)"', text)
    )
    assert named - {item["metadata"]["name"] for item in installation.of_kind("Secret")} == expected


@pytest.mark.parametrize("component", ["api", "preprocessing", "triton", "worker"])
def test_high_availability_survives_a_zone(component: str) -> None:
    """There are two, or KEDA keeps two, which may not be in one zone."""
    installation = render(KUBERNETES / "overlays" / "production")
    pod = installation.pods[component]
    scalers = {
        item["metadata"]["name"]: item["spec"]["minReplicaCount"] for item in installation.of_kind("ScaledObject")
    }
    assert pod.workload["spec"].get("replicas", scalers.get(component, 1)) >= 2
    zones = [item for item in pod.spec["topologySpreadConstraints"] if item["topologyKey"].endswith("zone")]
    assert [item["whenUnsatisfiable"] for item in zones] == ["DoNotSchedule"]


@pytest.fixture(scope="module")
def canary() -> Installation:
    """An installation with everything."""
    return combine(EVERYTHING)


def test_the_canary_s_command_line_is_one(canary: Installation) -> None:
    """The client reads it, and the address is that of the API's Service."""
    container = canary.pods["canary"].main
    program, command = container["command"]
    assert command == CANARY.name
    with CANARY.make_context(program, list(container["args"])) as context:
        host, _, port = context.params["address"].partition(":")
        timeout_s = context.params["timeout_s"]
    assert find_service_ports(canary, host) == [int(port)]
    # It says itself that there was no answer, before Kubernetes ends it without a word.
    assert canary.find("CronJob", "canary")["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] > timeout_s + 60


@pytest.mark.parametrize("components", [("tls", "canary"), ("canary", "tls")])
def test_the_canary_proves_who_it_is_where_the_api_asks(
    components: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the files of its Secret, named as cert-manager writes them, whichever component comes first."""
    installation = combine((STORES[0], *components))
    pod = installation.pods["canary"]
    for name, value in installation.environment_of(pod.main).items():
        monkeypatch.setenv(name, value)
    with CANARY.make_context("brainmets", list(pod.main["args"])) as context:
        files = [context.params[name] for name in ("ca_file", "cert", "key")]
    (mount,) = pod.main["volumeMounts"]
    (volume,) = pod.spec["volumes"]
    names = ("ca.crt", "tls.crt", "tls.key")
    assert [str(file) for file in files] == [f"{mount['mountPath']}/{name}" for name in names]
    assert (volume["name"], volume["secret"]["secretName"]) == (mount["name"], "canary-tls")


def test_the_canary_speaks_plaintext_where_the_api_does() -> None:
    """No certificate is named to it."""
    installation = combine((STORES[0], "canary"))
    assert installation.environment_of(installation.pods["canary"].main) == {}


def test_a_failed_canary_is_a_failed_job(canary: Installation) -> None:
    """It is tried once, and one run never meets the next."""
    spec = canary.find("CronJob", "canary")["spec"]
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert spec["concurrencyPolicy"] == "Forbid"


def test_the_canary_is_the_one_that_alerts_ask_for(canary: Installation) -> None:
    """By the names of the CronJob, of its Jobs and of the namespace; a few have to fail before somebody is woken."""
    rules = {name: (MONITORING / f"{name}.yaml").read_text() for name in ("recording", "alerts")}
    job = canary.find("CronJob", "canary")
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    asked = [
        dict(re.findall(r'(\w+)=~?"([^"]*)"', labels))
        for text in rules.values()
        for labels in re.findall(r"kube_(?:cron)?job_\w+\{([^}]*)\}", text)
    ]
    assert len(asked) == 4
    for labels in asked:
        assert re.fullmatch(labels["namespace"], namespace)
        assert labels.get("cronjob", name) == name
        assert re.fullmatch(labels.get("job_name", ".*"), f"{name}-29400000")
    (silent_s,) = re.findall(r"canary_succeeded_timestamp_seconds:max > (\d+)", rules["alerts"])
    (period_min,) = re.findall(r"^\*/(\d+) \* \* \* \*$", job["spec"]["schedule"])
    assert int(silent_s) >= 3 * 60 * int(period_min)


def test_the_canary_runs_in_the_image_that_has_the_client(canary: Installation) -> None:
    """Of the same release as the gateway."""
    assert canary.pods["canary"].main["image"] == canary.pods["api"].main["image"]


def test_plans_are_built_where_triton_runs() -> None:
    """On one kind of GPU, with a GPU each, into the cache that Triton takes them from."""
    pods = render(KUBERNETES / "overlays" / "production").pods
    triton, plans = pods["triton"], pods["plans"]
    assert triton.spec["nodeSelector"] == plans.spec["nodeSelector"]
    assert triton.spec["tolerations"] == plans.spec["tolerations"]
    makers = [triton.spec["initContainers"][1], plans.containers[0]]
    for container in (*makers, triton.main):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert makers[0]["image"] == makers[1]["image"]
    assert plans.containers[0]["command"] == ["python", "-m", "brainmets.engine"]
    assert triton.main["args"] == ["--model-config-name=tensorrt"]


@pytest.mark.integration
@pytest.mark.parametrize("options", choose_options(), ids=" ".join)
@pytest.mark.parametrize("store", STORES)
def test_every_combination_renders_and_keeps_its_schemas(store: str, options: tuple[str, ...]) -> None:
    """Components that nobody thought of together, too."""
    installation = combine((store, *options))
    test_all_processes_are_there(installation)
    test_core_objects_have_no_unknown_field(installation)
    test_custom_objects_keep_their_schemas(installation)
    test_every_variable_is_a_setting(installation)
