"""What Triton answers is compared with the network that it serves, which has to be the only one."""

import shutil
from pathlib import Path

import pytest

from brainmets.runtime.network_version import find_graph
from local.errors import StackError
from local.layout import MODEL_REPOSITORY
from local.ports import HOST
from local.triton_values import check_values


def test_two_versions_of_a_network_are_refused(tmp_path: Path) -> None:
    """As after a copy of an export over another one; told before Triton is asked."""
    folder = tmp_path / "attention_unet"
    shutil.copytree(MODEL_REPOSITORY / folder.name, folder)
    shutil.copytree(find_graph(folder).parent, folder / "2880154539")
    with pytest.raises(StackError, match="2880154539"):
        check_values(f"{HOST}:1", tmp_path)
