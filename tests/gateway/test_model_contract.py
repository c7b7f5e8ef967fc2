"""What the gateway takes from a model's configuration, and what it refuses."""

import dataclasses
from contextlib import nullcontext

import pytest

from brainmets.gateway.model_contract import (
    DecisionOptions,
    ModelChoice,
    TensorSpec,
    plan_segmentation,
    read_contract,
)
from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.imaging.sequence import Sequence
from fakes import describe_model, make_contract


def test_contract_is_read_from_parameters() -> None:
    """Channels, tile sizes and operating point come from Triton's parameters."""
    contract = make_contract(tile_depth="16", threshold="0.4")
    assert contract.tiles.sequences == (Sequence.T1C, Sequence.T1N, Sequence.T2W, Sequence.T2F)
    assert (contract.tiles.depth, contract.tiles.halo) == (16, 1)
    assert [contract.points[name].threshold for name in OperatingPointName] == [0.2, 0.4, 0.8]
    assert contract.model_card["never_seen_in_training"] == ["haemorrhage"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("normalization", "z-score"),
        ("research_use_only", "false"),
        ("threshold", "1.0"),
        ("threshold", "nan"),
        ("threshold_sensitive", "0.6"),
        ("threshold_specific", "0.4"),
        ("min_lesion_volume_mm3_specific", "inf"),
        ("model_card", "{"),
        ("model_card", "[]"),
        ("model_card", '{"dice": NaN}'),
        ("min_lesion_volume_mm3", "-1"),
        ("onnx_sha256", "unknown"),
        ("sequences", "t1c,flair"),
        ("tile_depth", "many"),
    ],
)
def test_parameter_outside_the_contract_is_refused(name: str, text: str) -> None:
    """A model whose parameters disagree with this gateway is never used."""
    with pytest.raises(ModelContractError):
        make_contract(**{name: text})


@pytest.mark.parametrize("missing", ["target", "model_card", "threshold_sensitive", "min_lesion_volume_mm3_specific"])
def test_missing_parameter_is_named(missing: str) -> None:
    """The error says which parameter is not there."""
    description = describe_model()
    parameters = {name: text for name, text in description.parameters.items() if name != missing}
    with pytest.raises(ModelContractError, match=missing):
        read_contract(dataclasses.replace(description, parameters=parameters))


@pytest.mark.parametrize(("version", "kept"), [("1", True), ("2880154539", True), ("2", False), ("2880154540", False)])
def test_a_version_is_the_digests(version: str, kept: bool) -> None:  # noqa: FBT001 -- a parameter
    """Or the first, as shipped: what else Triton calls a network does not tell it from another one."""
    description = dataclasses.replace(describe_model(onnx_sha256="ab" * 32), model_version=version)
    with nullcontext() if kept else pytest.raises(ModelContractError, match="version"):
        assert read_contract(description).model_version == version


def test_other_tensor_is_refused() -> None:
    """The number of channels of the input must be the number of sequences."""
    three = (TensorSpec("tile", "TYPE_FP32", (3, -1, -1, -1)),)
    with pytest.raises(ModelContractError, match="4, -1"):
        read_contract(dataclasses.replace(describe_model(), inputs=three))


def test_mean_of_models_uses_mean_probabilities_and_larger_volume() -> None:
    """Without options, both networks' own operating points count."""
    contracts = (
        make_contract(
            "nested_unet",
            threshold="0.4",
            min_lesion_volume_mm3="10",
            min_peak_probability="0.7",
            min_peak_probability_specific="0.9",
        ),
        make_contract(
            "attention_unet",
            threshold="0.6",
            min_lesion_volume_mm3="20",
            min_peak_probability="0.8",
            min_peak_probability_specific="0.9",
        ),
    )
    plan = plan_segmentation(DecisionOptions(), contracts)
    assert plan.point == OperatingPoint(0.5, 20.0, 0.75)
    assert plan.operating_point is OperatingPointName.BALANCED


@pytest.mark.parametrize(
    ("name", "threshold", "volume_mm3"),
    [(OperatingPointName.SENSITIVE, 0.2, 5.0), (OperatingPointName.SPECIFIC, 0.8, 30.0)],
)
def test_a_request_chooses_its_operating_point(name: OperatingPointName, threshold: float, volume_mm3: float) -> None:
    """The figures are the networks' own of that name, and the plan says which it was."""
    plan = plan_segmentation(DecisionOptions(operating_point=name), (make_contract(),))
    assert (plan.point.threshold, plan.point.min_lesion_volume_mm3, plan.operating_point) == (
        threshold,
        volume_mm3,
        name,
    )


def test_a_figure_of_the_clients_own_is_no_operating_point() -> None:
    """A threshold replaces that of the point, whose volume stays; what decides has no name any more."""
    options = DecisionOptions(operating_point=OperatingPointName.SENSITIVE, threshold=0.33)
    plan = plan_segmentation(options, (make_contract(),))
    assert (plan.point.threshold, plan.point.min_lesion_volume_mm3, plan.operating_point) == (0.33, 5.0, None)


def test_a_volume_of_the_clients_own_is_no_operating_point() -> None:
    """It replaces that of the point, whose threshold stays."""
    options = DecisionOptions(operating_point=OperatingPointName.SPECIFIC, min_lesion_volume_mm3=1.0)
    plan = plan_segmentation(options, (make_contract(),))
    assert (plan.point.threshold, plan.point.min_lesion_volume_mm3, plan.operating_point) == (0.8, 1.0, None)


def test_options_win_over_contract() -> None:
    """A client's threshold and volume are used as they are, also a volume of 0."""
    options = DecisionOptions(ModelChoice.NESTED_UNET, threshold=0.3, min_lesion_volume_mm3=0.0)
    plan = plan_segmentation(options, (make_contract(),))
    assert (plan.point.threshold, plan.point.min_lesion_volume_mm3) == (0.3, 0.0)


def test_models_with_other_tiles_do_not_decide_together() -> None:
    """The mean needs the same tiles from both networks."""
    contracts = (make_contract("nested_unet"), make_contract("attention_unet", tile_halo="2"))
    with pytest.raises(ModelContractError, match="averaged"):
        plan_segmentation(DecisionOptions(), contracts)


def test_a_model_without_peaks_asks_none() -> None:
    """As models had none before there were peaks."""
    assert all(point.min_peak_probability == 0.0 for point in make_contract().points.values())


def test_peaks_that_fall_towards_specific_are_refused() -> None:
    """They would turn the names around."""
    with pytest.raises(ModelContractError, match="peaks that rise"):
        make_contract(min_peak_probability_sensitive="0.9", min_peak_probability="0.8")


@pytest.mark.parametrize(
    ("options", "point"),
    [
        (DecisionOptions(), OperatingPoint(0.5, 14.0, 0.85)),
        (DecisionOptions(threshold=0.3), OperatingPoint(0.3, 14.0)),
        (DecisionOptions(min_peak_probability=0.6), OperatingPoint(0.5, 14.0, 0.6)),
        (DecisionOptions(threshold=0.3, min_peak_probability=0.9), OperatingPoint(0.3, 14.0, 0.9)),
    ],
)
def test_a_threshold_alone_decides_alone(options: DecisionOptions, point: OperatingPoint) -> None:
    """A client from before there were peaks gets what it got; one that knows them says so."""
    contract = make_contract(min_peak_probability="0.85", min_peak_probability_specific="0.9")
    plan = plan_segmentation(options, (contract,))
    assert plan.point == point
    assert plan.operating_point is (OperatingPointName.BALANCED if options == DecisionOptions() else None)
