"""checkov and hadolint find nothing in the deployment but what deploy/checkov.yaml names, each with its reason."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from local.layout import ROOT
from local.scanners import SCANNERS
from manifests import EVERYTHING, KUBERNETES, OVERLAYS, Installation, combine, find_missing_tool, render

CHECKOV_CONFIG = ROOT / "deploy" / "checkov.yaml"
DOCKERFILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))
INSTALLATIONS = (*OVERLAYS, "everything")

pytestmark = [
    pytest.mark.skipif(not SCANNERS.exists(), reason="needs checkov and hadolint (make deploy-check installs them)"),
    # checkov takes a minute to start on a busy machine.
    pytest.mark.timeout(900),
]


def scan(name: str, *words: str | Path) -> str:
    """Run a scanner; return what it finds, nothing when it is content."""
    environment = {**os.environ, "PATH": f"{SCANNERS / 'bin'}:{os.environ['PATH']}"}
    # It is the other environment's: our folders are none of its.
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [SCANNERS / "bin" / name, *words], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def checkov(framework: str, *words: str | Path) -> str:
    """Run checkov, without asking the network for anything."""
    return scan("checkov", "--config-file", CHECKOV_CONFIG, "--framework", framework, *words)


def install(name: str) -> Installation:
    """Render an overlay, or all components."""
    return combine(EVERYTHING) if name == "everything" else render(KUBERNETES / "overlays" / name)


@pytest.mark.skipif(bool(find_missing_tool()), reason=find_missing_tool())
@pytest.mark.parametrize("name", INSTALLATIONS)
def test_checkov_is_content_with_the_manifests(name: str, tmp_path: Path) -> None:
    """As they are rendered."""
    rendered = tmp_path / f"{name}.yaml"
    rendered.write_text(yaml.safe_dump_all(install(name).objects))
    assert not checkov("kubernetes", "-f", rendered)


def test_checkov_is_content_with_the_images() -> None:
    """All of them."""
    assert not checkov("dockerfile", "-d", ROOT / "deploy" / "images")


def test_hadolint_is_content_with_the_images() -> None:
    """All of them."""
    assert not scan("hadolint", *DOCKERFILES)


def test_the_scanners_see_what_is_wrong(tmp_path: Path) -> None:
    """Else their silence would say nothing."""
    wrong = tmp_path / "wrong.Dockerfile"
    wrong.write_text("FROM debian\nRUN apt-get install curl\n")
    assert "DL3008" in scan("hadolint", wrong)
    assert "CKV_DOCKER_3" in checkov("dockerfile", "-f", wrong)
