"""A network's version is its digest's, and its folder holds no other."""

from pathlib import Path

import pytest

from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.network_version import FIRST_VERSION, find_graph, name_version

# Triton's versions are int64.
LARGEST = 2**63 - 1


def make_version(folder: Path, name: str) -> Path:
    """Make a version with an ONNX file, and return that."""
    (folder / name).mkdir()
    graph = folder / name / "model.onnx"
    graph.write_bytes(b"a network")
    return graph


@pytest.mark.parametrize(
    ("digest", "version"), [("0" * 7 + "a" + "f" * 56, "10"), ("ab" * 32, "2880154539"), ("f" * 64, "4294967295")]
)
def test_a_version_is_the_beginning_of_the_digest(digest: str, version: str) -> None:
    """As a number, which Triton takes."""
    assert name_version(digest) == version
    assert version != FIRST_VERSION
    assert 0 < int(version) <= LARGEST


def test_the_graph_lies_in_the_one_folder_that_is_a_number(tmp_path: Path) -> None:
    """Beside configurations and what else somebody keeps there."""
    for name in ("configs", "1-old"):
        make_version(tmp_path, name)
    (tmp_path / "17").write_bytes(b"no folder")
    graph = make_version(tmp_path, "2880154539")
    assert find_graph(tmp_path) == graph


@pytest.mark.parametrize("names", [(), ("1", "2880154539")])
def test_no_version_or_several_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Nothing is guessed, and the error names them."""
    for name in names:
        make_version(tmp_path, name)
    with pytest.raises(ModelContractError, match=", ".join(names) or "none"):
        find_graph(tmp_path)


def test_a_version_without_a_graph_is_refused(tmp_path: Path) -> None:
    """As an export leaves it that broke off."""
    make_version(tmp_path, "2880154539").unlink()
    with pytest.raises(ModelContractError, match=r"model\.onnx"):
        find_graph(tmp_path)
