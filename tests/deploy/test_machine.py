"""A machine that cannot run the stack is told so in one sentence."""

import platform
import sys
from pathlib import Path

import pytest

from local import machine
from local.machine import find_shortage, find_unfitness


def test_this_machine_is_fit() -> None:
    """The tests run on one of those that are supported."""
    assert find_unfitness() == ""


@pytest.mark.parametrize(("system", "processor"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_platform_is_named(monkeypatch: pytest.MonkeyPatch, system: str, processor: str) -> None:
    """Triton's package is built for Linux on x86-64 alone."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    assert f"{system} on {processor}" in find_unfitness()


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 14, 0)])
def test_another_python_is_named(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> None:
    """Older ones lack the language, newer ones Triton's backend."""
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(platform, "python_version", lambda: ".".join(map(str, version)))
    assert ".".join(map(str, version)) in find_unfitness()


@pytest.mark.parametrize("library", [("glibc", (2, 31)), ("", ())])
def test_an_old_c_library_is_named(monkeypatch: pytest.MonkeyPatch, library: tuple[str, tuple[int, ...]]) -> None:
    """And one that is not glibc."""
    monkeypatch.setattr(machine, "glibc_version", lambda: library)
    assert "glibc 2.35" in find_unfitness()


def test_a_full_disk_is_told_in_numbers(tmp_path: Path) -> None:
    """What is needed, where, and what is left."""
    assert str(tmp_path) in find_shortage(tmp_path, 10**18)
    assert find_shortage(tmp_path, 1) == ""
