"""Owns a model of the repository as a plan is built from it: its graph, its Triton configuration and its tiles."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from brainmets.imaging.errors import ModelContractError

VERSION = "1"
# Seed of the random tiles that graphs are compared on.
TILE_SEED = 0
Shape = tuple[int, ...]


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
        folder: Its folder.
        content: Its ONNX file.
        config: Its Triton configuration.
    """

    folder: Path
    content: bytes
    config: model_config_pb2.ModelConfig

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

    def make_tiles(self) -> tuple[NDArray[np.float32], ...]:
        """Return random tiles of small sizes, always the same: noise, and noise as smooth as a head."""
        rng = np.random.default_rng(TILE_SEED)
        _, channels, slices, _, _ = self.shapes.usual
        stride = int(self._parameter("tile_stride"))
        noise = rng.standard_normal((1, channels, slices, 2 * stride, 4 * stride), dtype=np.float32)
        coarse = rng.standard_normal((1, channels, slices, stride, stride // 2), dtype=np.float32)
        smooth = 3.0 * np.repeat(np.repeat(coarse, 4, axis=3), 8, axis=4)
        return noise, smooth.astype(np.float32)

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
        ModelContractError: There is none, or one's file is not the one its configuration names.
    """
    models = []
    for path in sorted(repository.glob(f"*/{VERSION}/model.onnx")):
        folder = path.parents[1]
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        model = ServedModel(folder, path.read_bytes(), config)
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
            expected=f"NAME/{VERSION}/model.onnx below the repository",
            got="none",
            remedy="name the folder model_repository",
        )
    return tuple(models)
