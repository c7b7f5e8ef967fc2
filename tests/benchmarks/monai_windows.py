"""Owns MONAI's sliding window with torch: how others would run the same weights over the same voxels."""

import itertools
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from onnx import numpy_helper
from stopwatch import seconds_of
from torch.nn import functional

from brainmets.imaging.evaluation import overlap
from brainmets.runtime.network_version import find_graph
from brainmets.training.context import HALO, SERVED
from brainmets.training.model_card import CARD_NAME, load_facts
from brainmets.training.networks import build_network
from brainmets.training.networks.blocks import STRIDE, SegmentationNetwork
from brainmets.training.served_network import fold_normalisation

WINDOWS = (128, 192, None)  # None: the whole slice
BATCHES = (1, 4)
OVERLAP = 0.25
# How often the usual and the best setting, and what is compared with them, run in turns.
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """How MONAI's window is set.

    Attributes:
        window: Rows and columns of it; None is a whole slice.
        channels_last: Whether torch's convolutions find the channels last.
        batch: Windows at a time.
    """

    window: int | None
    channels_last: bool
    batch: int


USUAL = Setting(128, channels_last=False, batch=4)
SETTINGS = tuple(
    Setting(window, channels_last=last, batch=batch)
    for window, last, batch in itertools.product(WINDOWS, (False, True), BATCHES)
)


def compare_windows(
    model: Path,
    voxels: NDArray[np.float32],
    ours: NDArray[np.float32],
    threshold: float,
    *,
    beside: Callable[[], object],
) -> dict:
    """Return MONAI's usual and its best seconds over a volume, ours in turns with them, and how alike both decide.

    Args:
        model: A folder of the model repository.
        voxels: (4, D, H, W), normalised and cropped to the head, as our tiles are.
        ours: (D, H, W), our probability on the same grid.
        threshold: Probability that decides.
        beside: What takes our seconds.
    """
    network = load_served_weights(model)
    slices = _stack_context(voxels)
    temperature = float(load_facts(model / CARD_NAME)["temperature"])
    # Before the first that counts: some things are done once only.
    logits = run(network, slices, USUAL)
    timed = {setting: seconds_of(lambda setting=setting: run(network, slices, setting)) for setting in SETTINGS}
    best = min(timed, key=timed.__getitem__)
    # In turns: a machine's speed wanders.
    works = (beside, lambda: run(network, slices, USUAL), lambda: run(network, slices, best))
    turns = [[seconds_of(work) for work in works] for _ in range(ROUNDS)]
    beside_s, usual_s, best_s = (round(statistics.median(each), 3) for each in zip(*turns, strict=True))
    height, width = ours.shape[1:]
    theirs = torch.sigmoid(logits / temperature)[:, 0, :height, :width].numpy()
    return {
        "beside_s": beside_s,
        "usual_s": usual_s,
        "best_s": best_s,
        "best_setting": asdict(best),
        "agreement_dice": round(overlap(ours >= threshold, theirs >= threshold), 5),
    }


def load_served_weights(model: Path) -> SegmentationNetwork:
    """Return the torch network whose weights an exported graph holds, normalisation folded as there."""
    network = fold_normalisation(build_network(model.name, input_channels=SERVED.input_channels).eval())
    graph = onnx.load(find_graph(model)).graph
    weights = {
        each.name.removeprefix("network."): torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in graph.initializer
        if each.name.startswith("network.")
    }
    absent = network.load_state_dict(weights, strict=False)
    # Heads that train and do not decide are not in the graph.
    if absent.unexpected_keys or not all(name.startswith("heads.") for name in absent.missing_keys):
        raise ValueError(f"expected the weights of {model.name}, got others: {absent}")
    return network


def _stack_context(voxels: NDArray[np.float32]) -> torch.Tensor:
    """Return the slices (D, 4 · S, H, W) with their context, padded to the network's stride."""
    depth, height, width = voxels.shape[1:]
    padded = np.pad(voxels, ((0, 0), (HALO, HALO), (0, 0), (0, 0)))
    seen = [padded[:, HALO + offset : HALO + offset + depth] for offset in SERVED.offsets]
    stacked = np.stack(seen, axis=1).reshape(-1, depth, height, width).transpose(1, 0, 2, 3)
    return functional.pad(torch.from_numpy(np.ascontiguousarray(stacked)), (0, -width % STRIDE, 0, -height % STRIDE))


def run(network: SegmentationNetwork, slices: torch.Tensor, setting: Setting) -> torch.Tensor:
    """Return the logits (D, 1, H, W) of MONAI's sliding window over every slice."""
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    network.to(memory_format=layout)
    size = tuple(slices.shape[2:]) if setting.window is None else (setting.window, setting.window)
    with torch.inference_mode():
        return sliding_window_inference(
            slices,
            roi_size=size,
            sw_batch_size=setting.batch,
            predictor=lambda windows: network(windows.contiguous(memory_format=layout)),
            overlap=OVERLAP,
            mode="gaussian",
        )
