"""Owns the export: a checkpoint becomes a folder of the model repository, if its graph passes the gate."""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.runtime.network_version import GRAPH_NAME, list_versions, name_version
from brainmets.training.checkpoint import Checkpoint, load_network
from brainmets.training.context import HALO
from brainmets.training.decisions import Decision
from brainmets.training.heads import CHANNELS
from brainmets.training.model_card import Card, write_card
from brainmets.training.onnx_graph import build_onnx, check_parity
from brainmets.training.served_contract import TARGET
from brainmets.training.served_network import ServedNetwork

# What was made of a graph outside its version's folder: the configuration of its plan.
PLAN_CONFIG = "configs/tensorrt.pbtxt"
# Batch, slices, rows and columns of the random tiles that the gate tries: each axis at two sizes.
RANDOM_TILES = ((1, 1, 16, 16), (2, 3, 64, 48), (1, 16, 96, 128))


def export_checkpoint(
    checkpoint: Checkpoint,
    repository: Path,
    *,
    decision: Decision,
    real_tiles: tuple[NDArray[np.float32], ...],
    facts: Card,
) -> Path:
    """Write a network's folder into a model repository and return it.

    Args:
        checkpoint: What was trained; its average is exported.
        repository: The model repository.
        decision: Where it decides.
        real_tiles: Tiles (B, C, D + 2h, H, W) of a head, for the parity gate; random ones are tried as well.
        facts: What the model card says beside what the export itself knows: a statement, data, limits.

    Raises:
        ModelContractError: The graph does not compute what torch does; nothing is written.
    """
    content = build_onnx(_serve(checkpoint, decision))
    return publish_graph(content, checkpoint, repository, decision=decision, real_tiles=real_tiles, facts=facts)


def publish_graph(
    content: bytes,
    checkpoint: Checkpoint,
    repository: Path,
    *,
    decision: Decision,
    real_tiles: tuple[NDArray[np.float32], ...],
    facts: Card,
) -> Path:
    """Write an ONNX graph into a model repository if it computes what its checkpoint does, and return its folder.

    Raises:
        ModelContractError: It does not; nothing is written.
    """
    network = _serve(checkpoint, decision)
    difference = check_parity(network, content, tiles=(*make_random_tiles(), *real_tiles))
    folder = repository / checkpoint.plan.network
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    known = _describe_export(checkpoint, decision, digest=digest, difference=difference)
    write_card(folder, {**known, "training": facts["statement"], **facts})
    replace_version(folder, content)
    return folder


def replace_version(folder: Path, content: bytes) -> None:
    """Put a graph into a network's folder under its own version, in place of any other and of what was made of that."""
    for older in list_versions(folder):
        shutil.rmtree(older)
    (folder / PLAN_CONFIG).unlink(missing_ok=True)
    version = folder / name_version(hashlib.sha256(content).hexdigest())
    version.mkdir()
    (version / GRAPH_NAME).write_bytes(content)


def _serve(checkpoint: Checkpoint, decision: Decision) -> ServedNetwork:
    return ServedNetwork(load_network(checkpoint), context=checkpoint.plan.context, temperature=decision.temperature)


def make_random_tiles() -> tuple[NDArray[np.float32], ...]:
    """Return the random tiles that the gate tries, always the same."""
    rng = np.random.default_rng(0)
    return tuple(
        rng.standard_normal((batch, CHANNELS, depth + 2 * HALO, height, width), dtype=np.float32)
        for batch, depth, height, width in RANDOM_TILES
    )


def _describe_export(
    checkpoint: Checkpoint, decision: Decision, *, digest: str, difference: float
) -> dict[str, object]:
    """Return what the export itself knows of a model."""
    plan = checkpoint.plan
    return {
        "model_name": plan.network,
        "research_use_only": True,
        "target": TARGET,
        "onnx_sha256": digest,
        "temperature": decision.temperature,
        "operating_points": {str(name): asdict(point) for name, point in decision.points.items()},
        "seed": plan.seed,
        **({"started_from_onnx_sha256": plan.started_from} if plan.started_from else {}),
        "updates": checkpoint.update,
        "training_minutes": round(checkpoint.elapsed_s / 60.0, 1),
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "largest_difference_torch_onnx": float(f"{difference:.2g}"),
    }
