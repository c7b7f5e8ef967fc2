"""Every process of every installation is set up with settings that exist, and that it takes."""

import json
import re

import pytest
from obstore.store import S3Store

from brainmets.gateway.study_upload import MAX_STREAMS
from brainmets.runtime.grpc_server import PUBLIC_LIMITS
from brainmets.runtime.settings import PREFIX, PreprocessingSettings, ProcessSettings, load_settings, variable_name
from installations import NEEDS_KUBECTL, SETTINGS, find_unknown_variables, is_tracing
from local.triton_server import tracing_words
from manifests import EVERYTHING, KUBERNETES, Installation, combine, render

pytestmark = NEEDS_KUBECTL

# What an API holds for a call that sends files, for one that is refused, and without a call, with its store's buffers
# (DECISIONS 81).
UPLOAD_BYTES, REFUSED_BYTES, IDLE_BYTES = 5 * 1024**2, 1_700_000, 127 * 1024**2
# What no manifest sets: an installation's own wish, and its default is right until there is one (docs/operations.md).
LEFT_AT_DEFAULT = {
    "decoding_memory_bytes",
    "decoding_time_s",
    "input_lifetime_s",
    "lease_s",
    "log_format",
    "max_attempts",
    "max_open_uploads",
    "max_queued_jobs",
    "models",
    "result_lifetime_s",
    "studies_in_flight",
    "tiles_in_flight",
    "upload_lifetime_s",
    # Triton is in another pod.
    "triton_shares_memory",
}


@pytest.mark.parametrize(("component", "kind"), SETTINGS.items())
def test_settings_are_sound(installation: Installation, component: str, kind: type[ProcessSettings]) -> None:
    """The process itself reads them; each port that it listens on is one of its container's or hidden behind TLS."""
    pod = installation.pods[component]
    settings = load_settings(kind, installation.environment_of(pod.main))
    ports = {port["containerPort"] for port in pod.main["ports"]}
    listens = {name: address for name, address in settings if name in {"health_address", "metrics_address"}}
    assert {int(address.rpartition(":")[2]) for address in listens.values()} <= ports


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


def test_the_api_has_the_memory_that_its_calls_may_hold(installation: Installation) -> None:
    """As many as may send files do so, all others are being refused, and a third is spare."""
    refused = PUBLIC_LIMITS.max_concurrent_rpcs - MAX_STREAMS
    most = 1.5 * (IDLE_BYTES + MAX_STREAMS * UPLOAD_BYTES + refused * REFUSED_BYTES)
    limit = re.fullmatch(r"(\d+)Gi", installation.pods["api"].main["resources"]["limits"]["memory"])
    assert limit is not None
    assert int(limit[1]) * 1024**3 > most


def test_every_variable_is_a_setting(installation: Installation) -> None:
    """Of that process when it stands at the process, of any, or of a client, when it is shared."""
    assert list(find_unknown_variables(installation)) == []


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


def test_redis_forgets_nothing(installation: Installation) -> None:
    """The gateway refuses one that would."""
    mounted = {volume["configMap"]["name"] for volume in installation.pods["redis"].spec["volumes"]}
    (text,) = (installation.find("ConfigMap", name)["data"]["redis.conf"] for name in mounted)
    assert {"appendonly yes", "maxmemory-policy noeviction"} <= set(text.splitlines())


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
