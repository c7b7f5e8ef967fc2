"""What the gateway takes from a model's configuration, and what it refuses."""

import dataclasses

import pytest

from brainmets.gateway.model_contract import (
    DecisionOptions,
    ModelChoice,
    TensorSpec,
    plan_segmentation,
    read_contract,
)
from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.sequence import Sequence
from fakes import describe_model, make_contract


def test_contract_is_read_from_parameters() -> None:
    """Channels, tile sizes and operating point come from Triton's parameters."""
    contract = make_contract(tile_depth="16", threshold="0.4")
    assert contract.tiles.sequences == (Sequence.T1C, Sequence.T1N, Sequence.T2W, Sequence.T2F)
    assert (contract.tiles.depth, contract.tiles.halo, contract.threshold) == (16, 1, 0.4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("normalization", "z-score"),
        ("research_use_only", "false"),
        ("threshold", "1.0"),
        ("threshold", "nan"),
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


def test_missing_parameter_is_named() -> None:
    """The error says which parameter is not there."""
    description = describe_model()
    parameters = {name: text for name, text in description.parameters.items() if name != "target"}
    with pytest.raises(ModelContractError, match="target"):
        read_contract(dataclasses.replace(description, parameters=parameters))


def test_other_tensor_is_refused() -> None:
    """The number of channels of the input must be the number of sequences."""
    three = (TensorSpec("tile", "TYPE_FP32", (3, -1, -1, -1)),)
    with pytest.raises(ModelContractError, match="4, -1"):
        read_contract(dataclasses.replace(describe_model(), inputs=three))


def test_mean_of_models_uses_mean_threshold_and_larger_volume() -> None:
    """Without options, both networks' own operating points count."""
    contracts = (
        make_contract("nested_unet", threshold="0.4", min_lesion_volume_mm3="10"),
        make_contract("attention_unet", threshold="0.6", min_lesion_volume_mm3="20"),
    )
    plan = plan_segmentation(DecisionOptions(), contracts)
    assert (plan.threshold, plan.min_lesion_volume_mm3) == (0.5, 20.0)


def test_options_win_over_contract() -> None:
    """A client's threshold and volume are used as they are, also a volume of 0."""
    options = DecisionOptions(ModelChoice.NESTED_UNET, threshold=0.3, min_lesion_volume_mm3=0.0)
    plan = plan_segmentation(options, (make_contract(),))
    assert (plan.threshold, plan.min_lesion_volume_mm3) == (0.3, 0.0)


def test_models_with_other_tiles_do_not_decide_together() -> None:
    """The mean needs the same tiles from both networks."""
    contracts = (make_contract("nested_unet"), make_contract("attention_unet", tile_halo="2"))
    with pytest.raises(ModelContractError, match="averaged"):
        plan_segmentation(DecisionOptions(), contracts)
