"""Owns the embedded Triton's engines: what runs an ONNX network on this machine's cores, and how well it agrees.

The default was chosen by measurement (DECISIONS.md): OpenVINO in int8 where the processor multiplies bytes and the
network was rounded to them, else OpenVINO in bfloat16 where the processor has it, else ONNX Runtime. BRAINMETS_ENGINE
overrides it.
"""

import hashlib
import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino

from brainmets.imaging.tile_contract import INPUT_NAME
from local.engine_kind import EngineKind, read_kind

# Instructions that multiply bytes and add them up in one step; without them int8 is slower and may saturate.
INT8_INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "amx_int8"}
PROCESSORS = Path("/proc/cpuinfo")
# Slices that a network decides at a time. Of a whole tile it needs several times the memory, for the same answer in the
# same time: what is inside a network is as large as what it decides at once.
PIECE_DEPTH = 6
# Between an engine and ONNX Runtime in float32. bfloat16 moves a probability by about 0.01; what a broken exchange
# of tensors answers correlates with nothing.
MAX_PROBABILITY_DIFFERENCE = 0.1
MIN_LOGIT_CORRELATION = 0.99
# Probabilities nearer to 0 or 1 are not told from it.
SURE = 1e-6

Array = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one network."""

    def infer(self, tiles: Array) -> Array:
        """Return the probability (B, 1, D, H, W) of tiles (B, C, D + 2 halo, H, W)."""
        ...


class OnnxRuntimeEngine:
    """ONNX Runtime in float32: the reference of every other engine."""

    def __init__(self, model: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Sessions that spin while they wait slow each other and every other process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def infer(self, tiles: Array) -> Array:
        """Return the probability of tiles."""
        probability: Array = self._session.run(None, {INPUT_NAME: tiles})[0]
        return probability


class OpenVinoEngine:
    """OpenVINO, compiled once for tiles of any shape: each slab of each head has another."""

    def __init__(self, model: Path, *, threads: int, precision: str) -> None:
        self._model = model
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Two networks pinned to the same core would wait for each other.
            "ENABLE_CPU_PINNING": False,
        }
        self._request = self._compile()

    def infer(self, tiles: Array) -> Array:
        """Return the probability of tiles.

        Raises:
            RuntimeError: They cannot be inferred; the next ones can.
        """
        try:
            # Not `infer`: with one thread, in OpenVINO 2026.4, that swallows a failure and returns the tile before.
            self._request.start_async([tiles], share_inputs=True)
            self._request.wait()
        except RuntimeError:
            # A failure leaves the graph between two shapes, and every later tile of the second one fails.
            self._request = self._compile()
            raise
        # Copied, because the next inference writes into the same memory.
        probability: Array = np.array(self._request.get_output_tensor().data)
        return probability

    def _compile(self) -> openvino.InferRequest:
        return openvino.Core().compile_model(self._model, "CPU", self._settings).create_infer_request()


def choose_kind(environment: Mapping[str, str], model: Path) -> EngineKind:
    """Return the engine that BRAINMETS_ENGINE names, else the fastest on this processor for a network's ONNX file.

    Raises:
        StackError: The variable names none.
    """
    return read_kind(environment) or _choose_fastest(model)


def _choose_fastest(model: Path) -> EngineKind:
    if engine_file(EngineKind.OPENVINO_INT8, model).is_file() and INT8_INSTRUCTIONS & set(_instructions()):
        return EngineKind.OPENVINO_INT8
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return EngineKind.OPENVINO_BF16 if has_bf16 else EngineKind.ONNXRUNTIME


def _instructions() -> list[str]:
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.is_file() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def engine_file(kind: EngineKind, model: Path) -> Path:
    """Return what an engine runs for a network's ONNX file: itself, or the graph rounded to int8 beside it."""
    return model.with_suffix(".int8.onnx") if kind is EngineKind.OPENVINO_INT8 else model


def find_wrong_file(kind: EngineKind, model: Path, digests: Mapping[str, str]) -> str:
    """Return in words which file of a network is not the one that its configuration promises, empty when none.

    Args:
        kind: The engine that shall run it; its int8 graph is asked for by that engine alone.
        model: Its ONNX file.
        digests: SHA-256 in lower-case hexadecimal, under `onnx_sha256` and, where it was rounded, `int8_sha256`.
    """
    promised = {model: digests.get("onnx_sha256", "none")}
    if (graph := engine_file(kind, model)) != model:
        promised[graph] = digests.get("int8_sha256", "none")
    for file, expected in promised.items():
        got = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
        if got != expected:
            return f"{file.name}: expected SHA-256 {expected} as in config.pbtxt, got {got}; export the model again"
    return ""


def open_engine(kind: EngineKind, model: Path, *, threads: int | None = None) -> Engine:
    """Return an engine for a network's ONNX file, on all cores unless told otherwise."""
    threads = threads or len(os.sched_getaffinity(0))
    match kind:
        case EngineKind.ONNXRUNTIME:
            return OnnxRuntimeEngine(model, threads=threads)
        case EngineKind.OPENVINO_F32:
            return OpenVinoEngine(model, threads=threads, precision="f32")
        case EngineKind.OPENVINO_BF16:
            return OpenVinoEngine(model, threads=threads, precision="bf16")
        case EngineKind.OPENVINO_INT8:
            # What is not rounded to int8 stays exact: bfloat16 saves nothing there.
            return OpenVinoEngine(engine_file(kind, model), threads=threads, precision="f32")


def infer_in_pieces(engine: Engine, tiles: Array, *, halo: int) -> Array:
    """Return the probability (B, 1, D, H, W) of tiles (B, C, D + 2 halo, H, W), some slices at a time.

    A slice's probability depends on `halo` slices on either side of it and on nothing beyond.
    """
    batch, _, slices, rows, columns = tiles.shape
    depth = slices - 2 * halo
    if depth <= PIECE_DEPTH:
        return engine.infer(tiles)
    probability = np.empty((batch, 1, depth, rows, columns), np.float32)
    # As even as can be: an engine prepares itself anew for every other shape.
    ends = np.linspace(0, depth, 1 + math.ceil(depth / PIECE_DEPTH)).round().astype(int)
    for start, stop in itertools.pairwise(ends):
        probability[:, :, start:stop] = engine.infer(np.ascontiguousarray(tiles[:, :, start : stop + 2 * halo]))
    return probability


def sample_tile(*, channels: int, depth: int, size: int) -> Array:
    """Return tiles (1, C, D, H, W) that are always the same: noise around a bright ball, as after normalisation."""
    values = np.random.default_rng(0).normal(scale=0.5, size=(1, channels, depth, size, size))
    rows, columns = np.indices((size, size))
    ball = np.hypot(rows - size / 2, columns - size / 2) < size / 5
    tiles: Array = (values + 3.0 * ball).astype(np.float32)
    return tiles


def find_disagreement(probability: Array, reference: Array) -> str:
    """Return how far values are from the reference's in words, empty when they agree."""
    if probability.shape != reference.shape:
        return f"shape {probability.shape} instead of {reference.shape}"
    difference = float(np.abs(probability - reference).max())
    correlation = float(np.corrcoef(_logit(probability).ravel(), _logit(reference).ravel())[0, 1])
    # Written so that a NaN disagrees.
    if difference <= MAX_PROBABILITY_DIFFERENCE and correlation >= MIN_LOGIT_CORRELATION:
        return ""
    return f"probabilities differ by up to {difference:.3f}, logits correlate by {correlation:.4f}"


def _logit(probability: Array) -> npt.NDArray[np.float64]:
    # Beyond this a sigmoid in float32 tells nothing: some engines' is exact near 0, others' steps there as near 1.
    inside = np.clip(probability.astype(np.float64), SURE, 1.0 - SURE)
    logit: npt.NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return logit
