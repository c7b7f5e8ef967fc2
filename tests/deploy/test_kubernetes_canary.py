"""The canary runs in the image, by the command line and under the names that others know."""

import re

import pytest

from installations import CANARY, NEEDS_KUBECTL, find_service_ports
from manifests import EVERYTHING, REPOSITORY, STORES, Installation, combine

pytestmark = NEEDS_KUBECTL

MONITORING = REPOSITORY / "deploy" / "monitoring" / "prometheus"


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
