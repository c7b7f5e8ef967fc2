"""Tests of the documentation site: it builds without a warning, and its API page is the contract's."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from brainmets.v1 import job_pb2, model_service_pb2, result_pb2, segmentation_service_pb2, study_pb2

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = (job_pb2, model_service_pb2, result_pb2, segmentation_service_pb2, study_pb2)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """Return the module that makes pages."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_says_what_it_is_for(site: Path) -> None:
    """The site is read apart from the repository: no link leads into it, and research use is said on each page."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "Not a medical device" in text, page
        assert not re.search(r'href="(\.\./)*(services|deploy|protos|CONTRIBUTING)', text), page


def test_no_page_asks_the_network(site: Path) -> None:
    """Nothing is loaded from elsewhere."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src|<link[^>]+href)="(https?://[^"]+)"', page.read_text(encoding="utf-8"))
        assert not loaded, page


def test_the_reference_holds_every_call_message_and_field(pages: ModuleType) -> None:
    """What the contract has and the page has not would be missed by nobody but its users."""
    page = pages.render_api(pages.load_protos())
    for module in CONTRACT:
        for service in module.DESCRIPTOR.services_by_name.values():
            assert f"## {service.name}\n" in page
            assert all(f"### {method.name}\n" in page for method in service.methods)
        for message in module.DESCRIPTOR.message_types_by_name.values():
            assert f"### {message.name}\n" in page
            assert all(f"| `{field.name}` = {field.number} |" in page for field in message.fields)
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            assert all(f"| `{value.name}` = {value.number} |" in page for value in enum.values)
