"""The session's stack, and studies to send to it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from heads import head_geometry, head_on
from integration.running_stack import RunningStack
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from preparation_bench import head_voxels, nifti_bytes

# A head that fills it keeps both networks busy for seconds on two cores.
LARGE_SHAPE = (256, 256, 256)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The real stack with the networks of this repository."""
    if not (REDIS_SERVER.exists() and TRITON_BACKENDS.exists()):
        pytest.skip("needs Triton and Redis in build/ (make test unpacks them)")
    if not list(MODEL_REPOSITORY.glob("*/*/model.onnx")):
        pytest.skip("needs the networks in model_repository (make train export makes them)")
    with RunningStack(tmp_path_factory.mktemp("stack"), model_repository=MODEL_REPOSITORY) as running:
        yield running


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small head as a file, RAS."""
    voxels = head_on(head_geometry(np.eye(3))).voxels  # (slice, row, column), LPS
    path = tmp_path_factory.mktemp("study") / "head-t1c.nii.gz"
    path.write_bytes(nifti_bytes(np.ascontiguousarray(voxels.T[::-1, ::-1]), spacing_mm=1.5))
    return path


@pytest.fixture
def large_head(tmp_path: Path) -> Path:
    """A head large enough for something to happen while it is segmented, and never the same twice."""
    path = tmp_path / "large-t1c.nii.gz"
    seed = abs(hash(tmp_path)) % 2**32
    path.write_bytes(nifti_bytes(head_voxels(LARGE_SHAPE, seed=seed), spacing_mm=1.0))
    return path
