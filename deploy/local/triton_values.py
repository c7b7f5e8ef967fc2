"""Owns the check that what Triton answers is what the network answers: right shapes can carry wrong values."""

import os
from pathlib import Path
from typing import Any

from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME
from brainmets.runtime.network_version import find_graphs
from local.engine import (
    Array,
    choose_kind,
    engine_file,
    find_disagreement,
    open_engine,
    sample_tile,
)
from local.engine_kind import EngineKind
from local.errors import StackError

INFERENCE_TIMEOUT_S = 30.0


def check_values(triton_address: str, model_repository: Path) -> None:
    """Return when each model's answer through Triton agrees with ONNX Runtime in this process.

    Raises:
        StackError: One does not, or has several versions.
    """
    client = InferenceServerClient(triton_address)
    try:
        for graph in find_graphs(model_repository):
            _check_model(client, graph)
    except ModelContractError as error:
        raise StackError(str(error)) from error
    finally:
        client.close()


def _check_model(client: InferenceServerClient, model: Path) -> None:
    name = model.parents[1].name
    tiles = sample_model_tile(client, name)
    probability = infer(client, name, tiles)
    # Of the graph that Triton's backend chose in the same environment: what was rounded is compared when it is made.
    graph = engine_file(choose_kind(os.environ, model), model)
    disagreement = find_disagreement(probability, open_engine(EngineKind.ONNXRUNTIME, graph).infer(tiles))
    if disagreement:
        raise StackError(
            f"Triton's answers for {name} are not those of {graph.name}: {disagreement}. "
            "Try BRAINMETS_ENGINE=onnxruntime."
        )


def sample_model_tile(client: InferenceServerClient, model_name: str) -> Array:
    """Return a small tile of the shape that a model takes, always the same."""
    parameters = client.get_model_config(model_name).config.parameters
    return sample_tile(
        channels=len(_text(parameters, "sequences").split(",")),
        depth=2 + 2 * int(_text(parameters, "tile_halo")),
        size=2 * int(_text(parameters, "tile_stride")),
    )


def infer(client: InferenceServerClient, model_name: str, tiles: Array) -> Array:
    """Return what Triton answers for tiles (B, C, D + 2 halo, H, W)."""
    tensor = InferInput(INPUT_NAME, tiles.shape, "FP32")
    tensor.set_data_from_numpy(tiles)
    outputs = [InferRequestedOutput(OUTPUT_NAME)]
    answer = client.infer(model_name, [tensor], outputs=outputs, client_timeout=INFERENCE_TIMEOUT_S)
    probability: Array = answer.as_numpy(OUTPUT_NAME)
    return probability


def _text(parameters: Any, name: str) -> str:  # Any: tritonclient is published without types
    text: str = parameters[name].string_value
    return text
