"""A demonstration study for all who need one: making it takes seconds."""

import pytest

from local.carried import TEMPLATE_T1
from local.demonstration import Demonstration, load_demonstration


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """A demonstration study, made anew."""
    if not TEMPLATE_T1.exists():
        pytest.skip("needs the brain template in build/ (make test unpacks it)")
    return load_demonstration(tmp_path_factory.mktemp("demonstration"))
