"""One study goes through the real stack: file in, mask, probability, report, table and picture out."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from brainmets.client import SegmentationOptions, ServiceError
from brainmets.runtime.network_version import find_graph
from integration.running_stack import RunningStack
from local.engine import choose_kind, engine_file, find_disagreement, open_engine
from local.engine_kind import EngineKind
from local.layout import MODEL_REPOSITORY
from local.triton_values import infer, sample_model_tile
from preparation_bench import head_voxels, nifti_bytes

ARTIFACTS = {"mask.nii.gz", "probability.nii.gz", "report.json", "lesions.csv", "overlay.png"}
MODELS = ("nested_unet", "attention_unet")
# So long nothing may be inferred before a job counts as stopped. A worker hears of a cancel within a second, and the
# tiles that are being inferred are finished, which takes a while where other things run.
QUIET_S, GIVE_UP_S = 1.5, 15.0


def test_a_study_comes_back_as_five_files(stack: RunningStack, head: Path) -> None:
    """Each network's probability is asked for unless told otherwise, and every artefact is there."""
    with stack.client() as client:
        segmentation = client.segment(head)
    assert set(segmentation.files) == ARTIFACTS
    assert set(segmentation.models) == set(MODELS)
    assert segmentation.sequences_used == ("t1c",)


@pytest.mark.parametrize("name", ["mask.nii.gz", "probability.nii.gz"])
def test_voxels_come_back_on_the_acquired_grid(stack: RunningStack, head: Path, tmp_path: Path, name: str) -> None:
    """Shape and affine are those of the T1c."""
    with stack.client() as client:
        client.segment(head).save(tmp_path)
    sent, got = Nifti1Image.from_filename(head), Nifti1Image.from_filename(tmp_path / name)
    assert got.shape == sent.shape
    np.testing.assert_allclose(got.affine, sent.affine, atol=1e-5)


@pytest.mark.parametrize("model_name", MODELS)
def test_triton_answers_what_the_network_answers(stack: RunningStack, model_name: str) -> None:
    """Through gRPC, shared memory and DLPack the values stay those of ONNX Runtime on the graph that is served."""
    client = stack.triton()
    tiles = sample_model_tile(client, model_name)
    probability = infer(client, model_name, tiles)
    client.close()
    model = find_graph(MODEL_REPOSITORY / model_name)
    reference = open_engine(EngineKind.ONNXRUNTIME, engine_file(choose_kind(os.environ, model), model))
    assert find_disagreement(probability, reference.infer(tiles)) == ""
    # NumPy's word for a tensor that was handed over as it does not know it: five lines for each inference.
    assert "PyCapsule" not in stack.place.log("triton").read_text()


def test_the_same_study_again_comes_from_the_cache(stack: RunningStack, head: Path) -> None:
    """Same bytes, same networks and same options are not computed twice."""
    options = SegmentationOptions(threshold=0.41)
    with stack.client() as client:
        first = client.segment(head, options)
        second = client.segment(head, options)
    assert not first.job.from_cache
    assert second.job.from_cache
    assert second.files == first.files


def test_a_repeated_request_is_the_same_job(stack: RunningStack, head: Path) -> None:
    """A request_id names one job however often it is sent."""
    with stack.client() as client:
        first = client.submit(head, request_id="repeated")
        second = client.submit(head, request_id="repeated")
    assert second.job_id == first.job_id


def test_a_request_id_with_other_bytes_is_refused(stack: RunningStack, head: Path, tmp_path: Path) -> None:
    """It would answer one study with another's result."""
    other = tmp_path / "other-t1c.nii.gz"
    other.write_bytes(nifti_bytes(head_voxels(seed=5)))
    with stack.client() as client:
        client.submit(head, request_id="reused")
        with pytest.raises(ServiceError) as caught:
            client.submit(other, request_id="reused")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def count_once_quiet(stack: RunningStack) -> int:
    """Return how many tiles were inferred, once nobody infers but the health probe, one a model."""
    give_up = time.monotonic() + GIVE_UP_S
    while True:
        count = stack.count_inferences()
        time.sleep(QUIET_S)
        if stack.count_inferences() <= count + len(MODELS):
            return count
        assert time.monotonic() < give_up, "tiles go on being inferred"


def test_cancelling_stops_triton(stack: RunningStack, large_head: Path) -> None:
    """Soon after a job is cancelled no tile of it is inferred any more, and most never were."""
    with stack.client() as client:
        before = stack.count_inferences()
        job = client.submit(large_head)
        while not (running := client.job(job.job_id)).tiles_done:
            time.sleep(0.02)
        client.cancel(job.job_id)
        assert count_once_quiet(stack) - before < running.tiles_total
        assert client.job(job.job_id).state == "cancelled"


def test_the_networks_are_listed_with_their_digests(stack: RunningStack) -> None:
    """ListModels knows what Triton has loaded."""
    with stack.client() as client:
        models = {model.model_name: model for model in client.models()}
    assert set(models) == set(MODELS)
    assert all(model.ready and len(model.onnx_sha256) == 64 for model in models.values())
