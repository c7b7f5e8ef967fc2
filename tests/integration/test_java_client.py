"""The worked example in another language: its client is generated from the protos, compiled, and segments a study."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from brainmets.formats.nifti import read_label_map
from gateway_bench import running_gateway, study_bytes
from local.debian_packages import unpack_package
from local.errors import StackError
from local.layout import VENV

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "java"
PACKAGES = (
    "protobuf-compiler",
    "libprotobuf32",
    "libprotoc32",
    "protobuf-compiler-grpc-java-plugin",
    "libgrpc-java",
    "libprotobuf-java",
    "libguava-java",
    "libnetty-java",
    "libperfmark-java",
    "libopencensus-java",
    "libgeronimo-annotation-1.3-spec-java",
    "libjsr305-java",
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def class_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where Java finds the compiled example, with what it needs."""
    javac = shutil.which("javac")
    if javac is None:
        pytest.skip("needs a Java development kit (javac)")
    try:
        root = [unpack_package(name) for name in PACKAGES][-1]
    except StackError as error:
        pytest.skip(f"needs Debian's gRPC for Java: {error}")
    folder = tmp_path_factory.mktemp("java")
    environment = {
        **os.environ,
        "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(next(root.glob("usr/lib/*/libprotoc.so.32")).parent),
    }
    command = [VENV / "bin" / "buf", "generate", "protos", "--template", EXAMPLE / "buf.gen.yaml", "-o", folder]
    paths = ("--path", "protos/brainmets/v1", "--path", "protos/google")
    subprocess.run([*command, *paths], cwd=ROOT, env=environment, check=True)
    jars = ":".join(str(jar) for jar in sorted(root.glob("usr/share/**/*.jar")))
    sources = [*folder.rglob("*.java"), EXAMPLE / "SegmentStudy.java"]
    subprocess.run([javac, "-nowarn", "-cp", jars, "-d", folder / "classes", *sources], check=True)
    return f"{folder / 'classes'}:{jars}"


async def test_the_example_segments_a_study(class_path: str, redis_url: str, tmp_path: Path) -> None:
    """It prints the lesion, and its mask is a mask."""
    study, mask = tmp_path / "study-t1c.nii.gz", tmp_path / "mask.nii.gz"
    study.write_bytes(study_bytes())
    with capture_logs():
        async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running, running.working():
            command = ["java", "-cp", class_path, "SegmentStudy", running.address, study, mask]
            ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "lesion 1" in ended.stdout
    assert "Not for diagnosis" in ended.stdout
    assert read_label_map(mask.read_bytes(), file_index=0).voxels.any()
