"""The evaluator through the running service gives what it gives by itself."""

import os
from pathlib import Path

import pytest

from brainmets.client import SegmentationOptions
from brainmets.evaluation.decided_study import GatewayDecider, OnnxDecider, with_mean
from brainmets.formats.nifti import read_nifti
from brainmets.imaging.evaluation import dice
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study
from brainmets.runtime.network_version import find_graph
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.model_card import CARD_NAME, contract_from_card, load_facts
from brainmets.training.scoring import MEAN, Scorer
from integration.running_stack import RunningStack
from local.demonstration import load_demonstration
from local.engine import choose_kind, engine_file
from local.layout import MODEL_REPOSITORY

NETWORKS = ("attention_unet", "nested_unet")


@pytest.mark.integration
@pytest.mark.parametrize("name", OperatingPointName)
def test_the_gateway_decides_as_the_evaluator_does(
    stack: RunningStack, tmp_path: Path, name: OperatingPointName
) -> None:
    """Each network's mask and probability, and their mean's, but for the engine's rounding."""
    # Its lesions are plain: in a head of noise rounding alone may lift a peak over what an operating point asks.
    t1c = read_nifti(load_demonstration(tmp_path).study.read_bytes(), file_index=0)
    labelled = LabelledStudy(
        "head", Study({Sequence.T1C: t1c}), LesionMask(t1c.voxels > t1c.voxels.max(), t1c.geometry)
    )
    folders = [MODEL_REPOSITORY / name for name in NETWORKS]
    points = {folder.name: contract_from_card(load_facts(folder / CARD_NAME)).points[name] for folder in folders}
    # The graph that Triton's backend chose: what int8 changes is not the service's doing.
    exact = find_graph(folders[0])
    graph = engine_file(choose_kind(os.environ, exact), exact).name
    alone = OnnxDecider(Scorer(folders, threads=2, graph=graph), with_mean(points)).decide(labelled)
    with stack.client() as client:
        options = SegmentationOptions(operating_point=str(name))
        served = GatewayDecider(client, (*NETWORKS, MEAN), options).decide(labelled)
    assert served.with_skull == alone.with_skull
    for network in (*NETWORKS, MEAN):
        assert dice(alone.masks[network], served.masks[network]) > 0.97
        difference = alone.probability_maps[network].voxels - served.probability_maps[network].voxels
        assert abs(difference).mean() < 0.005
