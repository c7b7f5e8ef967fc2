"""Owns the export: a checkpoint becomes a folder of the model repository, if its graph passes the gate."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.training.checkpoint import Checkpoint, load_network
from brainmets.training.heads import CHANNELS
from brainmets.training.onnx_graph import build_onnx, check_parity
from brainmets.training.patches import HALO
from brainmets.training.served_contract import TARGET, ServedContract, render_cpu_config, render_gpu_config
from brainmets.training.served_network import ServedNetwork

VERSION = "1"
CARD_NAME = "model_card.json"
# Batch, slices, rows and columns of the random tiles that the gate tries: each axis at two sizes.
RANDOM_TILES = ((1, 1, 16, 16), (2, 3, 64, 48), (1, 16, 96, 128))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a network's probability becomes a lesion; chosen on validation data only."""

    threshold: float
    min_lesion_volume_mm3: float


def export_checkpoint(
    checkpoint: Checkpoint,
    repository: Path,
    *,
    point: OperatingPoint,
    real_tiles: tuple[NDArray[np.float32], ...],
    statement: str,
    card: Mapping[str, object],
) -> Path:
    """Write a network's folder into a model repository and return it.

    Args:
        checkpoint: What was trained; its average is exported.
        repository: The model repository.
        point: Its operating point.
        real_tiles: Tiles (B, C, D + 2h, H, W) of a head, for the parity gate; random ones are tried as well.
        statement: What it was trained on, in one sentence.
        card: What the model card says beside what the export itself knows.

    Raises:
        ModelContractError: The graph does not compute what torch does; nothing is written.
    """
    content = build_onnx(ServedNetwork(load_network(checkpoint)))
    return publish_graph(
        content, checkpoint, repository, point=point, real_tiles=real_tiles, statement=statement, card=card
    )


def publish_graph(
    content: bytes,
    checkpoint: Checkpoint,
    repository: Path,
    *,
    point: OperatingPoint,
    real_tiles: tuple[NDArray[np.float32], ...],
    statement: str,
    card: Mapping[str, object],
) -> Path:
    """Write an ONNX graph into a model repository if it computes what its checkpoint does, and return its folder.

    Raises:
        ModelContractError: It does not; nothing is written.
    """
    network = ServedNetwork(load_network(checkpoint))
    difference = check_parity(network, content, tiles=(*make_random_tiles(), *real_tiles))
    name = checkpoint.plan.network
    digest = hashlib.sha256(content).hexdigest()
    contract = ServedContract(name, digest, point.threshold, point.min_lesion_volume_mm3, training=statement)
    folder = repository / name
    for place, text in {
        "config.pbtxt": render_cpu_config(contract),
        "configs/gpu.pbtxt": render_gpu_config(contract),
        CARD_NAME: _render_card(contract, checkpoint, difference=difference, card=card),
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    (folder / VERSION).mkdir(exist_ok=True)
    (folder / VERSION / "model.onnx").write_bytes(content)
    return folder


def make_random_tiles() -> tuple[NDArray[np.float32], ...]:
    """Return the random tiles that the gate tries, always the same."""
    rng = np.random.default_rng(0)
    return tuple(
        rng.standard_normal((batch, CHANNELS, depth + 2 * HALO, height, width), dtype=np.float32)
        for batch, depth, height, width in RANDOM_TILES
    )


def _render_card(
    contract: ServedContract, checkpoint: Checkpoint, *, difference: float, card: Mapping[str, object]
) -> str:
    plan = checkpoint.plan
    content = {
        "model_name": contract.model_name,
        "research_use_only": True,
        "target": TARGET,
        "training": contract.training,
        "onnx_sha256": contract.onnx_sha256,
        "threshold": contract.threshold,
        "min_lesion_volume_mm3": contract.min_lesion_volume_mm3,
        "seed": plan.seed,
        "updates": checkpoint.update,
        "training_minutes": round(checkpoint.elapsed_s / 60.0, 1),
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "largest_difference_torch_onnx": float(f"{difference:.2g}"),
        **card,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
