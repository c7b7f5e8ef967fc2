"""The build identity names the installed sources, and nothing but them."""

from pathlib import Path

import pytest

from brainmets.runtime.build_identity import PACKAGE, digest_package, identify_build


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a module, a script and weights."""
    return write_package(tmp_path / "package")


def write_package(folder: Path) -> Path:
    """Write a package into a folder, and return the folder."""
    (folder / "lua").mkdir(parents=True)
    for name in ("__init__.py", "lua/complete_job.lua", "network.onnx"):
        (folder / name).write_text(name)
    return folder


def test_it_is_the_installed_package() -> None:
    """With all that decides a result: modules, scripts of Redis, and the brain network."""
    assert identify_build() == digest_package(PACKAGE)
    for name in ("__init__.py", "gateway/lua/complete_job.lua", "imaging/brain_network.onnx"):
        assert (PACKAGE / name).is_file()


def test_two_installations_of_the_same_sources_agree(package: Path, tmp_path: Path) -> None:
    """Wherever they lie, and whatever bytecode Python has left there."""
    other = write_package(tmp_path / "elsewhere")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"of this machine")
    assert digest_package(other) == digest_package(package)


@pytest.mark.parametrize("name", ["__init__.py", "lua/complete_job.lua", "network.onnx", "new.py", "sourceless.pyc"])
def test_every_edit_is_another_build(package: Path, name: str) -> None:
    """Also one of a file that is no Python, and one of a package that was installed without its sources."""
    before = digest_package(package)
    (package / name).write_text("edited")
    assert digest_package(package) != before


def test_a_file_that_moved_is_another_build(package: Path) -> None:
    """The same bytes elsewhere are another module."""
    before = digest_package(package)
    (package / "network.onnx").rename(package / "lua" / "network.onnx")
    assert digest_package(package) != before
