"""What a process imports is not searched for garbage, neither meanwhile nor later."""

import gc
from collections.abc import Iterator
from types import ModuleType

import pytest

from brainmets.runtime.imports import uncollected_imports


@pytest.fixture
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("error", [None, ImportError])
def test_nothing_is_searched_meanwhile_or_later(error: type[Exception] | None) -> None:
    """Also when an import failed."""
    imported = ModuleType("imported")
    try:
        with uncollected_imports():
            assert not gc.isenabled()
            if error:
                raise error
    except ImportError:
        pass
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert not any(found is imported for found in gc.get_objects()), "it is searched still"
