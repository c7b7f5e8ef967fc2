"""Every pod of every installation is confined, bounded, probed and ended in order."""

import re

import pytest

from brainmets import __version__
from brainmets.gateway import api, crew
from brainmets.gateway.worker import SHUTDOWN_GRACE_S as WORKER_GRACE_S
from brainmets.preprocessing.app import SHUTDOWN_GRACE_S as PREPROCESSING_GRACE_S
from brainmets.preprocessing.servicer import SERVICE_NAME as PREPROCESSING
from brainmets.runtime.artifact_store import PUT_TIMEOUT_S
from installations import NEEDS_KUBECTL, PROCESSES, SETTINGS, selects
from manifests import KUBERNETES, Installation, render

pytestmark = NEEDS_KUBECTL

READINESS = {
    "api": api.API_PARTS[0],
    "worker": crew.WORKER_PART,
    "preprocessing": PREPROCESSING,
}
GRACE_S = {
    # An upload waits for the store, whatever becomes of its call.
    "api": api.SHUTDOWN_GRACE_S + PUT_TIMEOUT_S,
    "worker": WORKER_GRACE_S,
    "preprocessing": PREPROCESSING_GRACE_S,
}
# Pod Security Standards, restricted.
VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def test_all_processes_are_there(installation: Installation) -> None:
    """Whatever is chosen beside them."""
    assert PROCESSES.issubset(installation.pods)


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


def test_volumes_change_their_group_once(installation: Installation) -> None:
    """Not at each start, file by file: a full volume would keep its pod waiting for long."""
    for pod in installation.pods.values():
        context = pod.spec["securityContext"]
        assert ("fsGroup" in context) == ("fsGroupChangePolicy" in context)
        assert context.get("fsGroupChangePolicy", "OnRootMismatch") == "OnRootMismatch"


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
