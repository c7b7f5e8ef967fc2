"""Owns a model of the repository as a plan is built from it: its graph, its Triton configuration and its tiles."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.network_version import GRAPH_NAME, find_graphs

# Tiles that graphs are compared on: their seed, rows and columns, and the side of the blocks of their background.
TILE_SEED = 0
TILE_PLANE = 96, 96
BLOCK = 8
# Radii of the lesions in them (voxels), and their brightness over a background of one unit.
LESION_RADII = 3, 6, 10
LESION_BRIGHTNESS = 4.0
BACKGROUND = 0.3
Shape = tuple[int, ...]
Tile = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TileShapes:
    """Shapes (B, C, D + 2 halo, H, W) that a plan must take.

    Attributes:
        smallest: One slice of one stride.
        usual: A full slab of a brain, one study at a time.
        largest: A full batch of the largest tiles.
    """

    smallest: Shape
    usual: Shape
    largest: Shape


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A network of the model repository.

    Attributes:
        graph: Where its ONNX file lies.
        content: What is in that.
        config: Its Triton configuration.
    """

    graph: Path
    content: bytes
    config: model_config_pb2.ModelConfig

    @property
    def folder(self) -> Path:
        """Its folder of the repository."""
        return self.graph.parents[1]

    @property
    def onnx_sha256(self) -> str:
        """SHA-256 of the ONNX file, lower-case hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def threshold(self) -> float:
        """Probability from which a voxel is lesion, at the balanced operating point."""
        return float(self._parameter("threshold"))

    @property
    def shapes(self) -> TileShapes:
        """What a plan must take: the contract's tiles."""
        channels = self.config.input[0].dims[0]
        halo, stride = int(self._parameter("tile_halo")), int(self._parameter("tile_stride"))
        slices = int(self._parameter("tile_depth")) + 2 * halo
        largest = int(self._parameter("tile_max_size"))
        (warm_up,) = self.config.model_warmup
        usual = tuple(warm_up.inputs[self.config.input[0].name].dims)
        return TileShapes(
            smallest=(1, channels, 1 + 2 * halo, stride, stride),
            usual=(1, *usual),
            largest=(self.config.max_batch_size, channels, slices, largest, largest),
        )

    def make_tiles(self) -> tuple[Tile, ...]:
        """Return small tiles, always the same: two of the smallest in a batch, of noise, and one with lesions."""
        noise = np.random.default_rng(TILE_SEED).standard_normal((2, *self.shapes.smallest[1:]), dtype=np.float32)
        return noise, self.draw_lesions((*self.shapes.usual[:3], *TILE_PLANE))

    def draw_lesions(self, shape: Shape) -> Tile:
        """Return a tile (B, C, D + 2 halo, H, W) of blocks, with three bright balls side by side in its T1c."""
        size = shape[2:]
        blocks = [-(-length // BLOCK) for length in size]
        tile = np.random.default_rng(TILE_SEED).standard_normal((*shape[:2], *blocks), dtype=np.float32)
        for axis, length in enumerate(size, start=2):
            tile = tile.repeat(BLOCK, axis).take(range(length), axis)
        tile *= np.float32(BACKGROUND)
        t1c = tile[:, self._parameter("sequences").split(",").index(Sequence.T1C)]
        at = np.indices(size)
        for place, radius in enumerate(LESION_RADII, start=1):
            centre = (size[0] / 2, size[1] / 2, size[2] * place / (len(LESION_RADII) + 1))
            ball = sum((along - middle) ** 2 for along, middle in zip(at, centre, strict=True)) <= radius**2
            t1c[:, ball] += LESION_BRIGHTNESS
        return tile

    def _parameter(self, name: str) -> str:
        if name not in self.config.parameters:
            raise ModelContractError(
                f"Model {self.folder.name} does not keep the model contract",
                expected=f"parameter {name}",
                got="none",
                remedy="export it again",
            )
        value: str = self.config.parameters[name].string_value
        return value


def load_served_models(repository: Path) -> tuple[ServedModel, ...]:
    """Return the models of a repository that have an ONNX file, by name.

    Raises:
        ModelContractError: There is none, or one has several, or its file is not the one its configuration names.
    """
    models = []
    for graph in find_graphs(repository):
        folder = graph.parents[1]
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        model = ServedModel(graph, graph.read_bytes(), config)
        if config.parameters["onnx_sha256"].string_value != model.onnx_sha256:
            raise ModelContractError(
                f"Model {folder.name} is not the one that its configuration names",
                expected=f"SHA-256 {config.parameters['onnx_sha256'].string_value}",
                got=model.onnx_sha256,
                remedy="export it again",
            )
        models.append(model)
    if not models:
        raise ModelContractError(
            "There is no model to build a plan from",
            expected=f"NAME/VERSION/{GRAPH_NAME} below the repository",
            got="none",
            remedy="name the folder model_repository",
        )
    return tuple(models)
