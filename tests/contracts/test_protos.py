"""The published contract keeps its promises: commented, compatible with its baseline, stubs fresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")
BASELINE = ROOT / "protos" / "baseline.binpb"


def run_buf(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run buf with arguments; its output is in the result."""
    return subprocess.run([str(BUF), *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_every_element_is_commented_and_named_by_the_standard() -> None:
    """Buf's STANDARD and COMMENTS rules find nothing in protos/."""
    lint = run_buf("lint")

    assert (lint.returncode, lint.stdout) == (0, "")


def test_v1_is_compatible_with_its_baseline() -> None:
    """No field, RPC or enum value of the published baseline has been changed or taken away."""
    breaking = run_buf("breaking", "--against", str(BASELINE))

    assert (breaking.returncode, breaking.stdout) == (0, "")


def test_the_compatibility_check_notices_a_removed_field(tmp_path: Path) -> None:
    """Taking Lesion.volume_mm3 away is reported, so the test above can fail."""
    copy_protos(tmp_path)
    result_proto = tmp_path / "protos/brainmets/v1/result.proto"
    text = result_proto.read_text()
    result_proto.write_text(text.replace("  double volume_mm3 = 2;\n", ""))

    breaking = run_buf("breaking", "--against", str(BASELINE), cwd=tmp_path)

    assert "volume_mm3" in breaking.stdout


@pytest.mark.parametrize("package", ["brainmets/v1", "brainmets/internal/v1"])
def test_the_committed_stubs_are_those_of_the_protos(package: str, tmp_path: Path) -> None:
    """Generating again gives the committed stubs, byte for byte."""
    subprocess.run([str(ROOT / "protos/generate.sh"), sys.executable, str(tmp_path)], check=True, capture_output=True)
    committed = ROOT / "services" / package

    fresh = {path.name: path.read_text() for path in (tmp_path / package).iterdir()}

    assert fresh == {path.name: path.read_text() for path in committed.glob("*_pb2*") if path.is_file()}


def copy_protos(directory: Path) -> None:
    """Copy buf.yaml and the .proto files below a directory."""
    (directory / "buf.yaml").write_text((ROOT / "buf.yaml").read_text())
    for source in (ROOT / "protos").rglob("*.proto"):
        target = directory / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
