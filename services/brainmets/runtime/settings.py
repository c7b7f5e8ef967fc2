"""Owns each process's settings: one frozen object, read once, every fault in one message."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.functional_validators import BeforeValidator

from brainmets.runtime.cores import count_cores

PREFIX = "BRAINMETS_"
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_MAX_PORT = 65535
# What of gRPC's names of servers is of use here (grpc.github.io/grpc/core/md_doc_naming.html).
_DNS = re.compile(r"dns:(?://[A-Za-z0-9.:-]*/)?(?P<addresses>[^/,]+)")
_ADDRESS_LIST = re.compile(r"ipv[46]:(?P<addresses>[^/]+)")
_SOCKET = re.compile(r"unix:(?://)?/\S+")
_REDIS_SCHEMES = {"redis", "rediss", "unix"}
_GIB = 1024**3
# A worker hears of a lost lease within 1.4 leases and a second, and an erasure is repeated for the last time after 60 s
# (ERASURE_GRACE_MS of the gateway's scripts): nobody may write to what is erased any more by then.
LONGEST_LEASE_S = 30.0


class SettingsError(ValueError):
    """The environment does not describe a process that can run; the message lists every fault."""


class LogFormat(StrEnum):
    """How log events are written."""

    JSON = "json"
    CONSOLE = "console"


def _checked_address(text: str) -> str:
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or int(match.group(2)) > _MAX_PORT:
        message = "expected host:port"
        raise ValueError(message)
    return text


def _checked_target(text: str) -> str:
    if _SOCKET.fullmatch(text):
        return text
    match = _DNS.fullmatch(text) or _ADDRESS_LIST.fullmatch(text)
    addresses = match["addresses"].split(",") if match else [text]
    try:
        for address in addresses:
            _checked_address(address)
    except ValueError:
        message = "expected host:port, dns:///host:port, ipv4:address:port,address:port or unix:/path"
        raise ValueError(message) from None
    return text


def _checked_redis_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        # Read to be checked: it raises where it is no number.
        known = parts.scheme in _REDIS_SCHEMES and parts.port != 0
    except ValueError:
        known = False
    if not known:
        message = "expected a URL as redis://host:port/0"
        raise ValueError(message)
    return url


def _checked_artifact_url(value: str) -> str:
    """Refuse a folder's URL that would name another one: in file://data/artifacts, data is a machine."""
    url = urlsplit(value)
    if url.scheme == "file" and (
        url.netloc not in {"", "localhost"} or url.path[:1] != "/" or url.query or url.fragment
    ):
        message = "expected file:///folder with the folder's absolute path"
        raise ValueError(message)
    return value


def _split_names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_checked_address)]
"""host:port to listen on; port 0 takes any free one."""

Target = Annotated[str, AfterValidator(_checked_target)]
"""Servers to call, as gRPC names them: host:port, dns:///host:port, ipv4:address:port,address:port, unix:/path."""

RedisUrl = Annotated[SecretStr, AfterValidator(_checked_redis_url)]
"""redis://, rediss:// or unix://, as redis-py takes it."""

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
ModelNames = Annotated[tuple[ModelName, ...], BeforeValidator(_split_names), Field(min_length=1)]
Url = Annotated[str, Field(pattern=r"^[a-z0-9]+://")]
ArtifactUrl = Annotated[Url, AfterValidator(_checked_artifact_url)]
"""file:///folder, s3://bucket/folder, gs:// or az:// likewise."""

Duration = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Lease = Annotated[Duration, Field(le=LONGEST_LEASE_S)]
Count = Annotated[int, Field(ge=1)]


class ProcessSettings(BaseModel):
    """What every process has.

    Attributes:
        health_address: Where grpc.health.v1 is served in plaintext, for probes.
        metrics_address: Where /metrics is served over HTTP.
        log_format: How log events are written.
        otlp_endpoint: A collector that takes spans by OTLP over gRPC, http://host:4317; nothing is traced without it.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    health_address: Address
    metrics_address: Address
    log_format: LogFormat = LogFormat.JSON
    otlp_endpoint: Url | None = None


class PreprocessingSettings(ProcessSettings):
    """Settings of the preprocessing service.

    Attributes:
        listen_address: Where PrepareStudy is served.
        artifact_url: The artefact store.
        max_study_bytes: Largest study, bytes as stored.
        max_studies: Studies prepared at a time; each holds some 300 MB. One more is told to come back.
        decoders: Processes that read studies, one at a time each; there are never more than `max_studies`.
        decoding_time_s: Most that reading one study may compute, all cores added up; one of 150 MB takes 0.2 s.
        decoding_memory_bytes: Most that reading one study may take beside its own bytes; its volumes may take as much.
    """

    listen_address: Address = "127.0.0.1:8510"
    health_address: Address = "127.0.0.1:8582"
    metrics_address: Address = "127.0.0.1:8592"
    artifact_url: ArtifactUrl
    max_study_bytes: Count = _GIB
    max_studies: Count = 4
    decoders: Count = Field(default_factory=count_cores)
    decoding_time_s: Duration = 4.0
    decoding_memory_bytes: Count = _GIB


class GatewaySettings(ProcessSettings):
    """What the gateway's processes share; the job store's limits must be the same in all of them.

    Attributes:
        redis_url: Redis with jobs, queue and leases; may hold a password, hence masked.
        artifact_url: The artefact store.
        triton_address: Triton's gRPC port; each of several is called in turn.
        models: Names of the networks.
        max_queued_jobs: Jobs that may wait; one more is told to come back.
        job_deadline_s: Time from acceptance to a final state, unless the client sets one.
        upload_lifetime_s: How long an upload lives without being written to.
        input_lifetime_s: How long a study's files live after its job has ended.
        result_lifetime_s: How long a result lives after its job has ended.
        lease_s: How long a worker that went silent keeps its job, at most 30 s.
        max_attempts: How often a job is begun.
    """

    redis_url: RedisUrl = SecretStr("redis://127.0.0.1:8579/0")
    artifact_url: ArtifactUrl
    triton_address: Target = "127.0.0.1:8501"
    models: ModelNames = ("nested_unet", "attention_unet")
    max_queued_jobs: Count = 1000
    job_deadline_s: Duration = 600.0
    upload_lifetime_s: Duration = 3600.0
    input_lifetime_s: Duration = 3600.0
    result_lifetime_s: Duration = 86400.0
    lease_s: Lease = 10.0
    max_attempts: Count = 3


class ApiSettings(GatewaySettings):
    """Settings of the gateway's API.

    Attributes:
        listen_address: Where the published contract is served.
        max_study_bytes: Largest study, bytes as sent.
        max_open_uploads: Uploads that may be open, abandoned ones included; one more is told to come back.
        certificate_file: PEM file with the certificate that clients see, whoever ends TLS; its expiry is told.
    """

    listen_address: Address = "127.0.0.1:8500"
    health_address: Address = "127.0.0.1:8580"
    metrics_address: Address = "127.0.0.1:8590"
    max_study_bytes: Count = _GIB
    # A hospital sends a few at a time; this only bounds what abandoned ones can take.
    max_open_uploads: Count = 1000
    certificate_file: Path | None = None


class WorkerSettings(GatewaySettings):
    """Settings of a gateway worker.

    Attributes:
        preprocessing_address: Where PrepareStudy is served; each of several is called in turn.
        studies_in_flight: Studies held at a time: one is inferred, the next is prepared meanwhile.
        tiles_in_flight: Inferences that run at a time.
        triton_shares_memory: Whether Triton runs on this host and sees its /dev/shm; tiles then go that way.
    """

    health_address: Address = "127.0.0.1:8581"
    metrics_address: Address = "127.0.0.1:8591"
    preprocessing_address: Target = "127.0.0.1:8510"
    studies_in_flight: Count = 2
    tiles_in_flight: Count = 4
    triton_shares_memory: bool = False


Settings = TypeVar("Settings", bound=ProcessSettings)


def load_settings(kind: type[Settings], environment: Mapping[str, str]) -> Settings:
    """Read a process's settings from its environment; variables of other processes are left alone.

    Raises:
        SettingsError: A variable is missing or wrong. The message names each one and never quotes a value.
    """
    variables = {name: variable_name(name) for name in kind.model_fields}
    values = {name: environment[variable] for name, variable in variables.items() if variable in environment}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_fault(details["loc"], details["msg"]) for details in error.errors())
        message = f"The environment is not usable: {faults}."
        raise SettingsError(message) from None


def variable_name(field_name: str) -> str:
    """Return the environment variable that a field is read from."""
    return PREFIX + field_name.upper()


def _fault(location: tuple[int | str, ...], reason: str) -> str:
    return f"{variable_name(str(location[0]))}: {reason.removeprefix('Value error, ')}"
