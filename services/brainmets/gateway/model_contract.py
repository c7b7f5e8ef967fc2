"""Owns the model contract: what a network wants, what it decides by, and which networks may decide together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from brainmets.imaging.errors import BrainmetsError, InvalidArgumentError, ModelContractError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName, are_ordered, mean_point
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import INPUT_NAME, NORMALIZATION, OUTPUT_NAME, TileContract
from brainmets.runtime.network_version import FIRST_VERSION, name_version

_SHA256_HEX_LENGTH = 64


class ModelChoice(StrEnum):
    """Which networks decide."""

    NESTED_UNET = "nested_unet"
    ATTENTION_UNET = "attention_unet"
    MEAN = "mean"

    @property
    def model_names(self) -> tuple[str, ...]:
        """Triton's names of the networks whose probabilities are averaged."""
        if self is ModelChoice.MEAN:
            return (ModelChoice.NESTED_UNET.value, ModelChoice.ATTENTION_UNET.value)
        return (self.value,)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as Triton's ModelConfig describes it; a size of -1 may vary, the batch axis is left out."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What Triton says about a model: its newest version, `parameters`, inputs and outputs."""

    model_name: str
    model_version: str
    parameters: Mapping[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ready: bool


@dataclass(frozen=True, slots=True)
class ModelContract:
    """A network this gateway can serve.

    Attributes:
        model_name: Triton's name of it.
        model_version: Triton's version, which is the digest's.
        onnx_sha256: Lower-case hexadecimal.
        int8_sha256: Of what was rounded from it, which some engines compute instead; empty when there is none.
        tiles: How it wants its tiles.
        points: Where it decides.
        target: What its one class means.
        training: How it was trained, in a sentence.
        model_card: What is known of it, JSON.
    """

    model_name: str
    model_version: str
    onnx_sha256: str
    int8_sha256: str
    tiles: TileContract
    points: Mapping[OperatingPointName, OperatingPoint]
    target: str
    training: str
    model_card: dict[str, Any]  # Any: what JSON holds


@dataclass(frozen=True, slots=True)
class DecisionOptions:
    """How a client wants a study decided; what is not None wins over the operating point."""

    model: ModelChoice = ModelChoice.MEAN
    operating_point: OperatingPointName = OperatingPointName.BALANCED
    threshold: float | None = None
    min_lesion_volume_mm3: float | None = None
    min_peak_probability: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentationPlan:
    """Networks that agree on their tiles, and where they decide together.

    Attributes:
        models: The networks.
        point: Where they decide.
        operating_point: The offered point that this is; None where the client gave figures of its own.
    """

    models: tuple[ModelContract, ...]
    point: OperatingPoint
    operating_point: OperatingPointName | None

    @property
    def tiles(self) -> TileContract:
        """How all of the networks want their tiles."""
        return self.models[0].tiles

    @property
    def target(self) -> str:
        """What the mask's one class means."""
        return self.models[0].target


def read_contract(description: ModelDescription) -> ModelContract:
    """Return a model's contract.

    Raises:
        ModelContractError: Triton's description lacks a part of it, or disagrees with what this gateway can do.
    """
    parameters = description.parameters
    try:
        contract = ModelContract(
            model_name=description.model_name,
            model_version=description.model_version,
            onnx_sha256=parameters["onnx_sha256"],
            int8_sha256=parameters.get("int8_sha256", ""),
            tiles=_read_tile_contract(parameters),
            points={name: _read_point(parameters, name) for name in OperatingPointName},
            target=parameters["target"],
            training=parameters["training"],
            model_card=json.loads(parameters["model_card"], parse_constant=_refuse_constant),
        )
    except KeyError as error:
        raise _refuse(description.model_name, expected=f"parameter {error.args[0]}", got="none") from error
    except (ValueError, InvalidArgumentError) as error:
        raise _refuse(description.model_name, expected="parameters that can be read", got=str(error)) from error
    _check_promises(contract, parameters)
    _check_tensors(description, channels=len(contract.tiles.sequences))
    return contract


def _refuse_constant(name: str) -> NoReturn:
    # Neither JSON nor the Struct that clients are answered with has NaN or Infinity; Python reads them all the same.
    raise ValueError(f"{name} in model_card")


def _read_point(parameters: Mapping[str, str], name: OperatingPointName) -> OperatingPoint:
    # The balanced one has the plain names, from before there were others.
    ending = "" if name is OperatingPointName.BALANCED else f"_{name}"
    return OperatingPoint(
        float(parameters[f"threshold{ending}"]),
        float(parameters[f"min_lesion_volume_mm3{ending}"]),
        # Models from before there were peaks ask nothing of them.
        float(parameters.get(f"min_peak_probability{ending}", "0")),
    )


def _read_tile_contract(parameters: Mapping[str, str]) -> TileContract:
    return TileContract(
        sequences=tuple(Sequence(name) for name in parameters["sequences"].split(",")),
        spacing_mm=float(parameters["spacing_mm"]),
        depth=int(parameters["tile_depth"]),
        halo=int(parameters["tile_halo"]),
        stride=int(parameters["tile_stride"]),
        max_size=int(parameters["tile_max_size"]),
        overlap=float(parameters["tile_overlap"]),
    )


def _check_promises(contract: ModelContract, parameters: Mapping[str, str]) -> None:
    name = contract.model_name
    if parameters.get("normalization") != NORMALIZATION:
        got = parameters.get("normalization", "none")
        raise _refuse(name, expected=f"normalization {NORMALIZATION}", got=got)
    if parameters.get("research_use_only") != "true":
        raise _refuse(name, expected="research_use_only true", got=parameters.get("research_use_only", "none"))
    if not are_ordered(contract.points):
        got = ", ".join(f"{point.threshold:g}/{point.min_peak_probability:g}" for point in contract.points.values())
        raise _refuse(name, expected="thresholds and peaks that rise from sensitive to specific", got=got)
    if not isinstance(contract.model_card, dict):
        raise _refuse(name, expected="a model card that is a JSON object", got=type(contract.model_card).__name__)
    digest = contract.onnx_sha256
    if len(digest) != _SHA256_HEX_LENGTH or set(digest) - set("0123456789abcdef"):
        raise _refuse(name, expected="onnx_sha256 of 64 lower-case hexadecimal digits", got="something else")
    # Tiles ask for a version, and shall be one network's.
    if contract.model_version not in {FIRST_VERSION, name_version(digest)}:
        expected = f"version {name_version(digest)} as its digest says, or {FIRST_VERSION}"
        raise _refuse(name, expected=expected, got=contract.model_version)


def _check_tensors(description: ModelDescription, *, channels: int) -> None:
    expected_input = TensorSpec(INPUT_NAME, "TYPE_FP32", (channels, -1, -1, -1))
    expected_output = TensorSpec(OUTPUT_NAME, "TYPE_FP32", (1, -1, -1, -1))
    for expected, got in ((expected_input, description.inputs), (expected_output, description.outputs)):
        if got != (expected,):
            raise _refuse(description.model_name, expected=str(expected), got=str(got))


def plan_segmentation(options: DecisionOptions, contracts: tuple[ModelContract, ...]) -> SegmentationPlan:
    """Return how the networks decide together: by the options, else by the mean of their points of that name.

    Raises:
        ModelContractError: The networks want different tiles or mean different things.
    """
    first = contracts[0]
    for other in contracts[1:]:
        if (other.tiles, other.target) != (first.tiles, first.target):
            raise _refuse(
                other.model_name,
                expected=f"the tiles and target of {first.model_name}, to be averaged with it",
                got="others",
            )
    points = [contract.points[options.operating_point] for contract in contracts]
    given = (options.threshold, options.min_lesion_volume_mm3, options.min_peak_probability)
    point = mean_point(points).replaced_by(*given)
    return SegmentationPlan(contracts, point, options.operating_point if given == (None,) * len(given) else None)


def _refuse(model_name: str, *, expected: str, got: str) -> BrainmetsError:
    return ModelContractError(
        f"Model {model_name} does not keep the model contract",
        expected=expected,
        got=got,
        remedy="export the model again with this version's training code, or correct its config.pbtxt",
    )
