"""Owns the training of the brain network: the network, its loop, and the file that is shipped."""

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from brainmets.imaging.brain_network import STRIDE, BrainNetwork, scale_coarse
from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.brain_weights import CARD_NAME, ONNX_NAME
from brainmets.training.backgrounds import TRAINING_SOURCES
from brainmets.training.brain_examples import BrainExample, draw_example
from brainmets.training.brain_heads import BrainHead
from brainmets.training.heads import HALF
from brainmets.training.onnx_graph import OPSET, write_onnx

# Channels at 4, 8, 16 and 32 mm.
WIDTHS = (8, 16, 20, 20)
BATCH_SIZE = 4
# Examples that are at hand, and batches that are taken from them for each batch that is new.
POOL_EXAMPLES = 240
REUSE = 3
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-4
WARM_UP_UPDATES = 50
MAX_GRADIENT_NORM = 2.0
# Kept apart, to be measured on.
NEVER_TRAINED_ON = ("metastasis_bratsmet_00110", "glioma_brats2021_00006", "head_thick_slices_brain2")
# Largest difference of a share between torch and OpenCV, both in float32.
PARITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class BrainTrainingPlan:
    """How long the network learns, and what draws its examples and its first parameters."""

    updates: int
    minutes: float
    seed: int


class BrainUnet(nn.Module):
    """A three-dimensional U-Net of 69 thousand parameters: (B, 1, d, h, w) to logits of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList(
            [
                nn.Sequential(_step(1, a), _step(a, a)),
                nn.Sequential(_step(a, b, stride=2), _step(b, b)),
                nn.Sequential(_step(b, c, stride=2), _step(c, c)),
                _step(c, d, stride=2),
            ]
        )
        self.grow = nn.ModuleList([nn.ConvTranspose3d(*pair, 2, stride=2) for pair in ((d, c), (c, b), (b, a))])
        self.up = nn.ModuleList([_step(width, width) for width in (c, b, a)])
        self.head = nn.Conv3d(a, 1, 1)

    def forward(self, voxels: Tensor) -> Tensor:
        """Return the logit of each voxel's being brain."""
        kept = []
        for down in self.down:
            voxels = down(voxels)
            kept.append(voxels)
        for grow, up, finer in zip(self.grow, self.up, kept[-2::-1], strict=True):
            voxels = up(grow(voxels) + finer)
        logits: Tensor = self.head(voxels)
        return logits


def _step(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


@dataclass(frozen=True, slots=True, eq=False)
class TrainedBrainNetwork:
    """A network that has learned, and the updates and minutes that it took."""

    network: BrainUnet
    updates: int
    minutes: float


class _Examples(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of examples for ever, padded at their far ends as what is served is."""

    def __init__(self, heads: Sequences[BrainHead], *, seed: int) -> None:
        self._heads = heads
        self._seed = seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        torch.set_num_threads(1)
        rng = np.random.default_rng(self._seed)
        pool: deque[BrainExample] = deque(maxlen=POOL_EXAMPLES)
        while True:
            pool.extend(draw_example(self._heads, rng) for _ in range(BATCH_SIZE))
            for _ in range(REUSE):
                yield _join([pool[rng.integers(len(pool))] for _ in range(BATCH_SIZE)])


def _join(examples: list[BrainExample]) -> tuple[Tensor, Tensor, Tensor]:
    """Return voxels, brain and what is no padding, each (B, 1, d, h, w)."""
    largest = np.max([example.voxels.shape for example in examples], axis=0)
    joined = np.zeros((3, len(examples), 1, *(-(-largest // STRIDE) * STRIDE)), dtype=np.float32)
    for index, example in enumerate(examples):
        d, h, w = example.voxels.shape
        inside = np.ones_like(example.voxels)
        joined[:, index, 0, :d, :h, :w] = np.stack([example.voxels, example.brain, inside])
    voxels, brain, there = torch.from_numpy(joined)
    return voxels, brain, there


def train_brain_network(heads: Sequences[BrainHead], plan: BrainTrainingPlan) -> TrainedBrainNetwork:
    """Return a network that has learned for the plan's updates or minutes, whichever end first."""
    torch.manual_seed(plan.seed)
    # The CPU's convolutions are faster with the channels last, and bfloat16 is faster still where it exists.
    network = BrainUnet().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload] # torch documents it
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = iter(DataLoader(_Examples(heads, seed=plan.seed), batch_size=None, num_workers=1, prefetch_factor=8))
    start_s = time.monotonic()
    with tqdm(total=plan.updates, unit="update", mininterval=10.0) as bar:
        for update in range(plan.updates):
            progress = max(update / plan.updates, (time.monotonic() - start_s) / (60.0 * plan.minutes))
            if progress >= 1.0:
                break
            rise = min(1.0, (update + 1) / WARM_UP_UPDATES)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rise * HALF * (1.0 + math.cos(math.pi * progress))
            loss = _learn(network, optimizer, *next(batches))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
    return TrainedBrainNetwork(network.eval(), bar.n, (time.monotonic() - start_s) / 60.0)


def _learn(
    network: BrainUnet, optimizer: torch.optim.Optimizer, voxels: Tensor, brain: Tensor, inside: Tensor
) -> float:
    """Take one step down cross-entropy plus soft Dice."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(voxels.to(memory_format=torch.channels_last_3d)).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, brain, weight=inside, reduction="sum") / inside.sum()
    shares = torch.sigmoid(logits) * inside
    axes = (1, 2, 3, 4)
    overlap = (2.0 * (shares * brain).sum(axes) + 1.0) / ((shares + brain).sum(axes) + 1.0)
    loss = entropy + 1.0 - overlap.mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call] # torch declares no types here
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def write_brain_network(
    trained: TrainedBrainNetwork,
    plan: BrainTrainingPlan,
    folder: Path,
    *,
    examples: Sequences[BrainExample],
    without: Sequences[str],
) -> None:
    """Write the network's ONNX file and its card into a folder.

    Args:
        trained: The network.
        plan: How it was trained.
        folder: Where the two files go.
        examples: What OpenCV and torch must agree on.
        without: Backgrounds that were kept out of training.

    Raises:
        ModelContractError: OpenCV and torch differ by more than `PARITY_TOLERANCE`; nothing is written.
    """
    content = build_brain_onnx(trained.network)
    difference = max(_difference(trained.network, content, example) for example in examples)
    # Written so that a NaN fails too.
    if not difference <= PARITY_TOLERANCE:
        raise ModelContractError(
            "The exported graph is another network than the trained one",
            expected=f"shares that differ by {PARITY_TOLERANCE} at most",
            got=f"a difference of {difference:.2g}",
            remedy="do not ship it; look for an operator that OpenCV runs differently",
        )
    sources = [source.folder for source in TRAINING_SOURCES if source.folder not in without]
    card = {
        "research_use_only": True,
        "purpose": "tells the brain, with the CSF of its sulci, from the rest of a head on voxels of 4 mm",
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(each.numel() for each in trained.network.parameters()),
        "trained_on": sources,
        "never_trained_on": NEVER_TRAINED_ON,
        "seed": plan.seed,
        "updates": trained.updates,
        "training_minutes": round(trained.minutes, 1),
        "largest_difference_torch_opencv": float(f"{difference:.2g}"),
    }
    (folder / ONNX_NAME).write_bytes(content)
    (folder / CARD_NAME).write_text(json.dumps(card, indent=2) + "\n")


def build_brain_onnx(network: BrainUnet) -> bytes:
    """Return the network, with the sigmoid behind it, as an ONNX file whose slices, rows and columns may vary."""
    slices, rows, columns = (Dim(name, min=1) for name in ("slice_strides", "row_strides", "column_strides"))
    program = torch.onnx.export(
        nn.Sequential(network, nn.Sigmoid()).eval(),
        (torch.zeros(1, 1, 2 * STRIDE, 3 * STRIDE, 4 * STRIDE),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["head"],
        output_names=["brain"],
        dynamic_shapes=({2: STRIDE * slices, 3: STRIDE * rows, 4: STRIDE * columns},),
        verbose=False,
    )
    return write_onnx(program)


def _difference(network: BrainUnet, content: bytes, example: BrainExample) -> float:
    got = BrainNetwork(content).infer(example.voxels)
    d, h, w = example.voxels.shape
    voxels, _, _ = _join([BrainExample(scale_coarse(example.voxels), example.brain)])
    with torch.inference_mode():
        expected = torch.sigmoid(network(voxels))[0, 0, :d, :h, :w].numpy()
    return float(np.abs(expected - got).max())
