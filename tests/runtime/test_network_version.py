"""A network's version is its digest's, and its folder holds no other."""

from pathlib import Path

import pytest

from brainmets.imaging.errors import ModelContractError
from brainmets.runtime.network_version import FIRST_VERSION, find_version, list_versions, name_version

# Triton's versions are int64.
LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("digest", "version"), [("0" * 7 + "a" + "f" * 56, "10"), ("ab" * 32, "2880154539"), ("f" * 64, "4294967295")]
)
def test_a_version_is_the_beginning_of_the_digest(digest: str, version: str) -> None:
    """As a number, which Triton takes."""
    assert name_version(digest) == version
    assert 0 < int(version) <= LARGEST


def test_the_shipped_version_is_no_digests() -> None:
    """Whatever a network's digest is, its export is told apart from what was shipped."""
    assert name_version("ab" * 32) != FIRST_VERSION


def test_the_one_folder_that_is_a_number_is_the_version(tmp_path: Path) -> None:
    """Beside configurations and the card."""
    for name in ("configs", "2880154539", "1-old"):
        (tmp_path / name).mkdir()
    (tmp_path / "17").write_bytes(b"no folder")
    assert find_version(tmp_path) == tmp_path / "2880154539"


@pytest.mark.parametrize("names", [(), ("1", "2880154539")])
def test_no_version_or_several_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Nothing is guessed, and the error names them."""
    for name in names:
        (tmp_path / name).mkdir()
    assert [path.name for path in list_versions(tmp_path)] == list(names)
    with pytest.raises(ModelContractError, match=", ".join(names) or "none"):
        find_version(tmp_path)
