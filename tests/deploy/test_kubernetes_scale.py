"""Scalers and monitors ask for what there is, and high availability survives a zone."""

import re

import pytest

from brainmets.runtime.metric_contract import METRICS
from installations import NEEDS_KUBECTL, selects
from manifests import EVERYTHING, KUBERNETES, Installation, combine, render

pytestmark = NEEDS_KUBECTL

SCALED_BY = {
    "worker": "brainmets_gateway_jobs_outstanding",
    "preprocessing": "brainmets_preprocessing_studies_active",
    "triton": "nv_inference_pending_request_count",
}


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


def test_an_outage_of_prometheus_takes_no_pod_away(installation: Installation) -> None:
    """What was enough a minute ago stays, though nobody can say whether it still is."""
    for scaler in installation.of_kind("ScaledObject"):
        fallback = scaler["spec"]["fallback"]
        assert fallback["replicas"] == scaler["spec"]["minReplicaCount"]
        assert fallback.get("behavior") == "currentReplicasIfHigher"


def test_all_metrics_are_scraped(installation: Installation) -> None:
    """One monitor selects every pod, by the port that all of them name alike."""
    for monitor in installation.of_kind("PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for pod in installation.pods.values():
            names = {port["name"] for container in pod.containers for port in container.get("ports", ())}
            assert selects(monitor["spec"]["selector"]["matchLabels"], pod)
            assert (endpoint["port"] in names) == (pod.component not in {"object-storage", "plans", "canary"})


def test_there_is_something_that_scales_and_scrapes() -> None:
    """The tests above go over what they find; with everything installed that is a scaler each and a monitor."""
    everything = combine(EVERYTHING)
    scalers = {item["metadata"]["name"] for item in everything.of_kind("ScaledObject")}
    assert scalers == set(SCALED_BY)
    assert len(list(everything.of_kind("PodMonitor"))) == 1
    assert "exporter" in {container["name"] for container in everything.pods["redis"].containers}


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
    # Else a zone that is lost, tainted and without a pod, forbids pods to all others.
    assert [item.get("nodeTaintsPolicy") for item in zones] == ["Honor"]
