"""Owns the plan: a TensorRT engine of one model for one kind of GPU, cached by all that decides it."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from brainmets.engine.precision import Infer, Parity, Precision, check_parity, write_graph
from brainmets.engine.served_model import VERSION, ServedModel

# Memory that TensorRT may try kernels with, bytes.
WORKSPACE_BYTES = 1 << 30
# Tiles of several studies wait so long for each other, microseconds.
QUEUE_DELAY_US = 2000
PLAN_NAME = "model.plan"
CONFIG_NAME = "configs/tensorrt.pbtxt"


@dataclass(frozen=True, slots=True)
class BuildPlace:
    """Where a plan is built, which is where it can be served.

    Attributes:
        tensorrt_version: For example 10.13.3.9.
        compute_capability: The GPU's, for example 9.0.
    """

    tensorrt_version: str
    compute_capability: str


def find_missing() -> tuple[str, ...]:
    """Return what a plan needs and this machine lacks, in words."""
    missing = []
    if find_spec("tensorrt") is None:
        missing.append("TensorRT (Python package tensorrt)")
    if shutil.which("nvidia-smi") is None:
        missing.append("an NVIDIA GPU (nvidia-smi)")
    return tuple(missing)


def find_build_place() -> BuildPlace:
    """Return this machine's TensorRT and GPU; only where nothing is missing."""
    import tensorrt  # noqa: PLC0415 -- only in the image it is built in

    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", "--id=0"]
    capability = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 -- fixed words
    return BuildPlace(tensorrt.__version__, capability.stdout.strip())


def find_key(model: ServedModel, precision: Precision, place: BuildPlace) -> str:
    """Return the SHA-256 (lower-case hexadecimal) of all that decides a plan."""
    parts = (model.onnx_sha256, place.tensorrt_version, place.compute_capability, precision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def publish_plan(model: ServedModel, precision: Precision, *, cache: Path, place: BuildPlace) -> Parity:
    """Build a model's plan or take it from the cache, and put it beside the ONNX file if it passes the gate.

    Raises:
        ModelContractError: It computes something else; nothing is published, and the cache forgets it.
    """
    cached = cache / f"{find_key(model, precision, place)}.plan"
    if not cached.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = cached.with_suffix(".part")
        unfinished.write_bytes(build_plan(model, precision))
        unfinished.replace(cached)
    try:
        with _open_plan(cached.read_bytes(), model) as infer:
            parity = check_parity(model, infer)
    except Exception:
        cached.unlink()
        raise
    shutil.copyfile(cached, model.folder / VERSION / PLAN_NAME)
    (model.folder / CONFIG_NAME).write_text(render_plan_config(model))
    return parity


def build_plan(model: ServedModel, precision: Precision) -> bytes:
    """Return a model's TensorRT plan for this machine's GPU.

    References:
        NVIDIA TensorRT Developer Guide: strongly typed networks, optimisation profiles; Polygraphy's backend.trt.
    """
    from polygraphy.backend.trt import (  # noqa: PLC0415 -- it looks for TensorRT
        CreateConfig,
        EngineBytesFromNetwork,
        NetworkFromOnnxBytes,
        Profile,
    )

    shapes = model.shapes
    profile = Profile().add(model.config.input[0].name, shapes.smallest, shapes.usual, shapes.largest)
    network = NetworkFromOnnxBytes(write_graph(model, precision), strongly_typed=True)
    config = CreateConfig(profiles=[profile], memory_pool_limits=_workspace())
    return bytes(EngineBytesFromNetwork(network, config=config)())


def _workspace() -> dict[object, int]:
    import tensorrt  # noqa: PLC0415 -- only in the image it is built in

    return {tensorrt.MemoryPoolType.WORKSPACE: WORKSPACE_BYTES}


@contextmanager
def _open_plan(plan: bytes, model: ServedModel) -> Iterator[Infer]:
    """Give inference of a plan on the GPU."""
    from polygraphy.backend.trt import EngineFromBytes, TrtRunner  # noqa: PLC0415 -- it looks for TensorRT

    given, answered = model.config.input[0].name, model.config.output[0].name
    with TrtRunner(EngineFromBytes(plan)) as runner:
        yield lambda tile: runner.infer({given: tile})[answered]


def render_plan_config(model: ServedModel) -> str:
    """Return `configs/tensorrt.pbtxt`: the model's own configuration, served from its plan in batches."""
    config = type(model.config)()
    config.CopyFrom(model.config)
    config.backend = "tensorrt"
    config.default_model_filename = PLAN_NAME
    del config.instance_group[:]
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_GPU"))
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    return text_format.MessageToString(config)
