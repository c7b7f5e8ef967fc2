"""Owns the plan: a TensorRT engine of one model for one kind of GPU, cached by all that decides it."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from polygraphy.exception import PolygraphyException
from tritonclient.grpc import model_config_pb2

from brainmets.engine.precision import Infer, Parity, Precision, check_parity, write_graph
from brainmets.engine.served_model import ServedModel
from brainmets.imaging.errors import ModelContractError

# Memory that TensorRT may try kernels with, bytes.
WORKSPACE_BYTES = 1 << 30
# Tiles of several studies wait so long for each other, microseconds.
QUEUE_DELAY_US = 2000
PLAN_NAME = "model.plan"
CONFIG_NAME = "configs/tensorrt.pbtxt"
FALLBACK_NAME = "configs/gpu.pbtxt"
ASK_CAPABILITY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", "--id=0")


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
    # A package without its libraries is none: the bindings can be installed alone.
    try:
        import tensorrt  # noqa: F401, PLC0415 -- only in the image it is built in
    except ImportError:
        missing.append("TensorRT (Python package tensorrt)")
    if not _ask_capability():
        missing.append("an NVIDIA GPU (nvidia-smi)")
    return tuple(missing)


def _ask_capability() -> str:
    """Return the first GPU's compute capability, or nothing where there is none."""
    if shutil.which(ASK_CAPABILITY[0]) is None:
        return ""
    answer = subprocess.run(ASK_CAPABILITY, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603 -- fixed words
    return answer.stdout.strip() if answer.returncode == 0 else ""


def find_build_place() -> BuildPlace:
    """Return this machine's TensorRT and GPU; only where nothing is missing."""
    import tensorrt  # noqa: PLC0415 -- only in the image it is built in

    return BuildPlace(tensorrt.__version__, _ask_capability())


def find_key(model: ServedModel, precision: Precision, place: BuildPlace) -> str:
    """Return the SHA-256 (lower-case hexadecimal) of all that decides a plan.

    The contract's tiles are among it: they may change while the ONNX file, whose axes are free, stays the same.
    """
    parts = (model.onnx_sha256, place.tensorrt_version, place.compute_capability, precision, repr(model.shapes))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def publish_plan(model: ServedModel, precision: Precision, *, cache: Path, place: BuildPlace) -> Parity:
    """Build a model's plan or take it from the cache, and put it beside the ONNX file if it passes the gate.

    Raises:
        ModelContractError: It cannot be built, or computes something else: the cache forgets it, and what was published
            for an earlier ONNX file or precision is withdrawn.
    """
    cached = cache / f"{find_key(model, precision, place)}.plan"
    try:
        if not cached.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            _write(cached, build_plan(model, precision))
        with _open_plan(cached.read_bytes(), model) as infer:
            tiles = (*model.make_tiles(), model.draw_lesions(model.shapes.usual))
            parity = check_parity(model, infer, precision, tiles=tiles)
    except (ModelContractError, PolygraphyException) as error:
        cached.unlink(missing_ok=True)
        withdraw_plan(model)
        raise _refusal(model, error) from error
    _write(model.graph.with_name(PLAN_NAME), cached.read_bytes())
    _write(model.folder / CONFIG_NAME, render_plan_config(model).encode())
    return parity


def withdraw_plan(model: ServedModel) -> None:
    """Let `--model-config-name=tensorrt` serve a model's ONNX file on the GPU instead of a plan.

    Without a configuration of that name Triton would take `config.pbtxt`, which serves on the CPU.

    References:
        Triton Inference Server, Model Configuration, Custom Model Configuration.
    """
    _write(model.folder / CONFIG_NAME, (model.folder / FALLBACK_NAME).read_bytes())
    model.graph.with_name(PLAN_NAME).unlink(missing_ok=True)


def _refusal(model: ServedModel, error: Exception) -> ModelContractError:
    if isinstance(error, ModelContractError):
        return error
    return ModelContractError(
        f"Model {model.folder.name} has no plan",
        expected="a plan that TensorRT builds and runs",
        got="an error of TensorRT, logged above",
        remedy="serve its ONNX file, which is left in place, or build in the Triton image on the GPU that serves",
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, because Triton may be reading the repository."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def build_plan(model: ServedModel, precision: Precision) -> bytes:
    """Return a model's TensorRT plan for this machine's GPU.

    References:
        NVIDIA TensorRT, Migrating from TensorRT 10.x to 11.x, Strongly Typed Networks Are Now Required; Developer
        Guide, Working with Dynamic Shapes, Optimization Profiles; Polygraphy, backend.trt.
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
