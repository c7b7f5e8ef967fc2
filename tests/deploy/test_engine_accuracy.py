"""bfloat16 and int8 decide as float32 does, with the networks of this repository, on the demonstration study."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.tiling import crop_tile, plan_tiles, spread_tile
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.runtime.network_version import find_graph
from brainmets.training.served_contract import TILES
from local.demonstration import Demonstration
from local.engine import open_engine
from local.engine_kind import EngineKind
from local.layout import MODEL_REPOSITORY

MODELS = ("nested_unet", "attention_unet")
# Of the fast engine's mask with the exact one's.
MIN_DICE = {EngineKind.OPENVINO_BF16: 0.998, EngineKind.OPENVINO_INT8: 0.99}
# Every third tile of the study: enough lesions, and some seconds of float32.
TILE_STEP = 3


@pytest.fixture(scope="module")
def tiles(demonstration: Demonstration) -> list[NDArray[np.float32]]:
    """Tiles (1, C, D + 2 halo, H, W) of the demonstration study, as the networks get them."""
    volume = read_nifti(demonstration.study.read_bytes(), file_index=0)
    aligned = align_study(Study({Sequence.T1C: volume}), spacing_mm=TILES.spacing_mm)
    normalized = normalize_study(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))
    grid = plan_tiles(normalized.geometry.shape, TILES, occupied=normalized.brain)
    present, wanted = normalized.sequences, TILES.sequences
    cut = (crop_tile(normalized, grid, index=index) for index in range(1, len(grid.boxes), TILE_STEP))
    return [spread_tile(tile, grid, present=present, wanted=wanted)[np.newaxis] for tile in cut]


@pytest.mark.parametrize("model_name", MODELS)
def test_fast_engines_find_the_same_voxels(tiles: list[NDArray[np.float32]], model_name: str) -> None:
    """Dice with the exact engine's mask at the network's own threshold."""
    folder = MODEL_REPOSITORY / model_name
    if not list(folder.glob("*/model.onnx")):
        pytest.skip("needs the networks in model_repository (make train export makes them)")
    threshold = read_threshold(folder / "config.pbtxt")
    masks = {}
    for kind in (EngineKind.ONNXRUNTIME, *MIN_DICE):
        engine = open_engine(kind, find_graph(folder))
        masks[kind] = np.concatenate([engine.infer(tile).ravel() >= threshold for tile in tiles])
    exact = masks[EngineKind.ONNXRUNTIME]
    assert exact.sum() > 1000
    agreed = {kind: 2 * (exact & masks[kind]).sum() / (exact.sum() + masks[kind].sum()) for kind in MIN_DICE}
    assert all(agreed[kind] >= least for kind, least in MIN_DICE.items()), agreed


def read_threshold(config: Path) -> float:
    """Return a model's threshold from its configuration."""
    match = re.search(r'key: "threshold" value: \{ string_value: "([0-9.]+)" \}', config.read_text())
    assert match is not None
    return float(match.group(1))
