"""Settings come from the environment, are checked together, and keep secrets."""

import pytest
from pydantic import ValidationError

from brainmets.runtime.settings import (
    ApiSettings,
    LogFormat,
    PreprocessingSettings,
    ProcessSettings,
    SettingsError,
    WorkerSettings,
    load_settings,
)

NEEDED = {"BRAINMETS_ARTIFACT_URL": "file:///artifacts"}


@pytest.mark.parametrize("kind", [ApiSettings, WorkerSettings, PreprocessingSettings])
def test_the_artefact_store_is_all_that_must_be_said(kind: type[ProcessSettings]) -> None:
    """Every other variable has a default that suits one machine."""
    assert load_settings(kind, NEEDED).log_format is LogFormat.JSON


def test_processes_of_one_machine_do_not_collide() -> None:
    """No two default addresses to listen on are the same."""
    kinds = (ApiSettings, WorkerSettings, PreprocessingSettings)
    taken = [
        address
        for kind in kinds
        for name, address in load_settings(kind, NEEDED)
        if name in {"listen_address", "health_address", "metrics_address"}
    ]
    assert len(taken) == len(set(taken)) == 8


def test_variables_are_read() -> None:
    """A variable wins over its default, and lists are separated by commas."""
    stated = {"BRAINMETS_MODELS": "nested_unet, attention_unet", "BRAINMETS_TILES_IN_FLIGHT": "2"}
    settings = load_settings(WorkerSettings, NEEDED | stated)
    assert settings.models == ("nested_unet", "attention_unet")
    assert settings.tiles_in_flight == 2


@pytest.mark.parametrize("url", ["file://data/artifacts", "file://./artifacts", "file://", "file:///srv/a#b"])
def test_a_folder_s_url_names_that_folder(url: str) -> None:
    """In these, a part of the path is a machine or a fragment, and studies would lie somewhere else."""
    with pytest.raises(SettingsError, match="file:///folder"):
        load_settings(ApiSettings, {"BRAINMETS_ARTIFACT_URL": url})


def test_every_fault_is_named_at_once() -> None:
    """Nobody has to start a process three times to learn of three faults."""
    environment = {"BRAINMETS_LISTEN_ADDRESS": "8500", "BRAINMETS_MAX_STUDY_BYTES": "0"}
    with pytest.raises(SettingsError) as caught:
        load_settings(ApiSettings, environment)
    for name in ("LISTEN_ADDRESS: expected host:port", "MAX_STUDY_BYTES", "ARTIFACT_URL"):
        assert f"BRAINMETS_{name}" in str(caught.value)


def test_a_wrong_value_is_not_quoted() -> None:
    """A message about settings goes to a log, so it names the variable and not what it holds."""
    with pytest.raises(SettingsError) as caught:
        load_settings(ApiSettings, {"BRAINMETS_ARTIFACT_URL": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_password_is_masked() -> None:
    """Settings can be printed."""
    environment = NEEDED | {"BRAINMETS_REDIS_URL": "redis://:hunter2@redis:6379/0"}
    settings = load_settings(ApiSettings, environment)
    assert "hunter2" not in repr(settings)
    assert "hunter2" in settings.redis_url.get_secret_value()


@pytest.mark.parametrize("url", ["redis", "http://redis:6379", "redis://redis:port/0"])
def test_what_is_no_redis_is_refused(url: str) -> None:
    """Before a process meets it as an error of a library."""
    with pytest.raises(SettingsError, match="BRAINMETS_REDIS_URL: expected a URL as redis://host:port/0"):
        load_settings(ApiSettings, NEEDED | {"BRAINMETS_REDIS_URL": url})


@pytest.mark.parametrize("address", ["localhost", "localhost:70000", "a b:1", ":1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """An address is a host and a port that exists."""
    with pytest.raises(SettingsError):
        load_settings(PreprocessingSettings, NEEDED | {"BRAINMETS_LISTEN_ADDRESS": address})


@pytest.mark.parametrize(
    "target",
    [
        "triton:8001",
        "dns:///triton:8001",
        "dns:triton:8001",
        "dns://10.0.0.10:53/triton:8001",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:8001",
        "unix:/run/triton.sock",
    ],
)
def test_what_is_called_is_named_as_grpc_does(target: str) -> None:
    """One server or several."""
    settings = load_settings(WorkerSettings, NEEDED | {"BRAINMETS_TRITON_ADDRESS": target})
    assert settings.triton_address == target


@pytest.mark.parametrize(
    "target", ["triton", "dns:///triton", "dns:///triton:70000", "http://triton:8001", "ipv4:127.0.0.1:1,x", "unix:"]
)
def test_what_grpc_cannot_call_is_refused(target: str) -> None:
    """At start, and not when the first study comes."""
    with pytest.raises(SettingsError, match="TRITON_ADDRESS: expected host:port, dns:///host:port"):
        load_settings(WorkerSettings, NEEDED | {"BRAINMETS_TRITON_ADDRESS": target})


def test_nobody_listens_on_several_addresses() -> None:
    """What is called may be several servers; a process is one."""
    with pytest.raises(SettingsError):
        load_settings(ApiSettings, NEEDED | {"BRAINMETS_LISTEN_ADDRESS": "dns:///localhost:8500"})


def test_settings_do_not_change() -> None:
    """What a process was started with stays."""
    settings = load_settings(PreprocessingSettings, NEEDED)
    with pytest.raises(ValidationError):
        settings.max_studies = 9  # type: ignore[misc]  # that is the test
