"""Owns how the embedded Triton is started: loopback, gRPC and metrics only, models by name."""

import os
from collections.abc import Mapping
from pathlib import Path

from local.layout import PYTHON_LIBRARY, TRITON_BACKENDS, TRITON_LIBRARIES, TRITON_SERVER, VENV
from local.ports import HOST, Ports

# Requests under way at SIGTERM may take this long; without a bound a killed backend process holds it up for 30 s.
EXIT_TIMEOUT_S = 3
# A model's configuration here, in its folder `configs`; one that has none is served by its `config.pbtxt`.
CONFIG_NAME = "embedded"


def triton_words(ports: Ports, model_repository: Path, *, otlp_url: str = "") -> tuple[str, ...]:
    """Return Triton's command line; it sends its spans to a collector when one is named, by OTLP over HTTP alone."""
    return (
        str(TRITON_SERVER / "bin" / "tritonserver"),
        f"--model-repository={model_repository}",
        f"--backend-directory={TRITON_BACKENDS}",
        f"--model-config-name={CONFIG_NAME}",
        # Only so can a model whose backend process died be unloaded and loaded again.
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports.triton}",
        "--allow-http=false",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports.triton_metrics}",
        "--allow-gpu-metrics=false",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        *(tracing_words(otlp_url) if otlp_url else ()),
    )


def tracing_words(otlp_url: str) -> tuple[str, ...]:
    """Return the options that make Triton join traces."""
    return (
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={otlp_url}",
        "--trace-config=level=TIMESTAMPS",
        # Only what belongs to a trace already: not the probes of workers.
        "--trace-config=rate=0",
    )


def triton_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment Triton and its backend processes run in."""
    return {
        **environment,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, (PYTHON_LIBRARY, TRITON_LIBRARIES))),
        # The backend process is the Python that comes first here, with its packages.
        "PATH": os.pathsep.join((str(VENV / "bin"), environment.get("PATH", os.defpath))),
    }
