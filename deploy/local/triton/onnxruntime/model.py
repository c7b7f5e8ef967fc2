"""Owns the embedded Triton's backend "onnxruntime": models of that backend run on PyPI's engines.

Triton takes a folder of this name for the backend of every model whose config says `backend: "onnxruntime"`. So the
production server, which has the native backend, and this one load the same model repository.

Tensors go in and out by DLPack only. With NumPy 2 `as_numpy()` and `Tensor(name, array)` are silently corrupt here:
right shapes, wrong values, no error.
"""

import ctypes
import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME
from local.engine import (
    Array,
    Engine,
    choose_kind,
    engine_file,
    find_disagreement,
    find_wrong_file,
    infer_in_pieces,
    open_engine,
    sample_tile,
)
from local.engine_kind import EngineKind
from local.replacement import end_once_replaced

DEFAULT_FILE_NAME = "model.onnx"
# Kept for good: a capsule holds no copy of its name.
TAKEN_OVER = b"used_dltensor"
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.argtypes = ctypes.py_object, ctypes.c_char_p


class TritonPythonModel:
    """One instance of one model, in a process of its own; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the network, and compare its values with those of ONNX Runtime on the same graph.

        Raises:
            TritonModelException: The file is not the one the config promises, or the engine's values are wrong.
        """
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        model = folder / (config.get("default_model_filename") or DEFAULT_FILE_NAME)
        kind = choose_kind(os.environ, model)
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        wrong = find_wrong_file(kind, model, parameters)
        if wrong:
            raise pb.TritonModelException(wrong)
        self._engine = open_engine(kind, model, threads=_threads(config))
        self._halo = int(parameters["tile_halo"])
        _check_values(self._engine, engine_file(kind, model), parameters)
        Thread(target=end_once_replaced, args=(args["model_instance_name"],), daemon=True).start()
        pb.Logger.log_info(f"{args['model_instance_name']} runs on {kind}, {_threads(config)} threads")

    def execute(self, requests: list[Any]) -> list[Any]:  # Any: Triton's own types are not published
        """Return a response to each request; one that was given up meanwhile costs nothing."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        if request.is_cancelled():
            return pb.InferenceResponse(error=pb.TritonError("given up by its client", pb.TritonError.CANCELLED))
        tiles = np.from_dlpack(pb.get_input_tensor_by_name(request, INPUT_NAME))
        try:
            probability = infer_in_pieces(self._engine, np.ascontiguousarray(tiles), halo=self._halo)
        except RuntimeError as error:
            # The engines' own errors, about shapes: the next request is another's.
            return pb.InferenceResponse(error=pb.TritonError(f"the network refuses {tiles.shape}: {error}"))
        return pb.InferenceResponse(output_tensors=[_hand_over(probability)])


class _Array:
    """An array that keeps the capsule by which it is taken over."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __dlpack__(self, stream: object = None) -> object:
        self.capsule = self._array.__dlpack__(stream=stream)
        return self.capsule


def _hand_over(probability: Array) -> Any:
    """Return Triton's tensor of an array.

    Triton 2.51 calls the capsule that it took over "used_dlpack"; NumPy knows "used_dltensor" (DLPack, Python
    specification), and would print an error to Triton's log for every inference.
    """
    array = _Array(probability)
    tensor = pb.Tensor.from_dlpack(OUTPUT_NAME, array)
    _rename(array.capsule, TAKEN_OVER)
    return tensor


def _threads(config: dict[str, Any]) -> int:
    """Return the threads of one instance; together a model's instances use every core once."""
    instances: int = sum(group["count"] for group in config["instance_group"])
    return max(1, len(os.sched_getaffinity(0)) // max(1, instances))


def _check_values(engine: Engine, graph: Path, parameters: dict[str, str]) -> None:
    tiles = sample_tile(
        channels=len(parameters["sequences"].split(",")),
        depth=2 + 2 * int(parameters["tile_halo"]),
        size=2 * int(parameters["tile_stride"]),
    )
    reference = open_engine(EngineKind.ONNXRUNTIME, graph).infer(tiles)
    disagreement = find_disagreement(engine.infer(tiles), reference)
    if disagreement:
        raise pb.TritonModelException(f"the engine disagrees with ONNX Runtime on the same graph: {disagreement}")
