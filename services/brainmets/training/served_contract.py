"""Owns what an exported network promises, and the Triton configurations that are written from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.text_encoding import CEscape

from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import INPUT_NAME, NORMALIZATION, OUTPUT_NAME, TileContract
from brainmets.training.context import HALO
from brainmets.training.networks.blocks import STRIDE

TARGET = "tumour core of a brain metastasis: the enhancing part with enclosed necrosis or cyst, without oedema"
TILES = TileContract(
    sequences=tuple(Sequence),
    spacing_mm=1.0,
    # A batch of 24 slices fills the engine's threads and still makes progress visible; with fewer, half of what is sent
    # would be context.
    depth=24,
    halo=HALO,
    stride=STRIDE,
    # A whole head fits: fitted tiles with little overlap are 2-5 times faster than a fixed grid of small ones.
    max_size=256,
    overlap=0.125,
)
# Embedded, each is a process that has half of the cores: two tiles beside each other take less of them than one that
# all cores share, and one is computed while the other travels.
EMBEDDED_INSTANCES = 2
# On a GPU tiles of several studies wait this long for each other.
GPU_QUEUE_DELAY_US = 2000
GPU_MAX_BATCH = 8
# What a model is warmed up with: slices of the size of a stripped brain. A GPU's engine is built for a whole tile; the
# embedded engines take as few slices at a time.
WARM_UP_PLANE = (192, 160)
EMBEDDED_WARM_UP_DEPTH = 6


@dataclass(frozen=True, slots=True)
class ServedContract:
    """What Triton says about an exported network.

    Attributes:
        model_name: Its name in the model repository.
        digests: SHA-256 of its ONNX file, `onnx_sha256`, and of what was rounded from it, `int8_sha256`, if there is
            one; lower-case hexadecimal.
        points: Where it decides.
        training: What it was trained on, in one sentence.
        model_card: What is known of it, JSON.
    """

    model_name: str
    digests: Mapping[str, str]
    points: Mapping[OperatingPointName, OperatingPoint]
    training: str
    model_card: Mapping[str, object]

    @property
    def parameters(self) -> dict[str, str]:
        """The contract as Triton's model parameters, which the gateway reads at its start."""
        return {
            "sequences": ",".join(TILES.sequences),
            "spacing_mm": str(TILES.spacing_mm),
            "tile_depth": str(TILES.depth),
            "tile_halo": str(TILES.halo),
            "tile_stride": str(TILES.stride),
            "tile_max_size": str(TILES.max_size),
            "tile_overlap": str(TILES.overlap),
            "normalization": NORMALIZATION,
            **self._point_parameters,
            **self.digests,
            "target": TARGET,
            "training": self.training,
            "research_use_only": "true",
            "model_card": json.dumps(self.model_card, separators=(",", ":")),
        }

    @property
    def _point_parameters(self) -> dict[str, str]:
        parameters = {}
        for name, point in self.points.items():
            # The balanced one has the plain names, from before there were others.
            ending = "" if name is OperatingPointName.BALANCED else f"_{name}"
            parameters[f"threshold{ending}"] = str(point.threshold)
            parameters[f"min_lesion_volume_mm3{ending}"] = str(point.min_lesion_volume_mm3)
            parameters[f"min_peak_probability{ending}"] = str(point.min_peak_probability)
        return parameters


def render_cpu_config(contract: ServedContract) -> str:
    """Return `config.pbtxt`: served anywhere by ONNX Runtime's backend, which takes all cores itself."""
    return _render(contract, "instance_group [{ count: 1 kind: KIND_CPU }]\n")


def render_embedded_config(contract: ServedContract) -> str:
    """Return `configs/embedded.pbtxt`: the same model by a Python-based backend of that name, in several processes."""
    engine = f"instance_group [{{ count: {EMBEDDED_INSTANCES} kind: KIND_CPU }}]\n"
    return _render(contract, engine, warm_up_depth=EMBEDDED_WARM_UP_DEPTH)


def render_gpu_config(contract: ServedContract) -> str:
    """Return `configs/gpu.pbtxt`: the same model through TensorRT, with tiles of several studies in one batch."""
    return _render(
        contract,
        f"""instance_group [{{ count: 1 kind: KIND_GPU }}]
dynamic_batching {{ max_queue_delay_microseconds: {GPU_QUEUE_DELAY_US} }}
optimization {{
  execution_accelerators {{
    gpu_execution_accelerator [
      {{
        name: "tensorrt"
        parameters {{ key: "precision_mode" value: "FP16" }}
        parameters {{ key: "max_workspace_size_bytes" value: "1073741824" }}
      }}
    ]
  }}
}}
""",
    )


def _render(contract: ServedContract, engine: str, *, warm_up_depth: int = TILES.depth) -> str:
    channels = len(TILES.sequences)
    height, width = WARM_UP_PLANE
    parameters = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{CEscape(value.encode(), as_utf8=False)}" }} }}\n'
        for key, value in contract.parameters.items()
    )
    return f"""# Written by `python -m brainmets.training export` from the model's contract: change that, not this.
name: "{contract.model_name}"
backend: "onnxruntime"
max_batch_size: {GPU_MAX_BATCH}
input [{{ name: "{INPUT_NAME}" data_type: TYPE_FP32 dims: [{channels}, -1, -1, -1] }}]
output [{{ name: "{OUTPUT_NAME}" data_type: TYPE_FP32 dims: [1, -1, -1, -1] }}]
version_policy {{ latest {{ num_versions: 1 }} }}
{engine}model_warmup [
  {{
    name: "one tile"
    batch_size: 1
    inputs {{
      key: "{INPUT_NAME}"
      value: {{
        data_type: TYPE_FP32 dims: [{channels}, {warm_up_depth + 2 * TILES.halo}, {height}, {width}] zero_data: true
      }}
    }}
  }}
]
{parameters}"""
