"""What takes seconds to make and several files need: a demonstration study, and rendered installations."""

import pytest

from installations import CHOICES, install, name_choice
from local.carried import TEMPLATE_T1
from local.demonstration import Demonstration, load_demonstration
from manifests import Installation


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """A demonstration study, made anew."""
    if not TEMPLATE_T1.exists():
        pytest.skip("needs the brain template in build/ (make test unpacks it)")
    return load_demonstration(tmp_path_factory.mktemp("demonstration"))


@pytest.fixture(scope="session", params=CHOICES, ids=name_choice)
def installation(request: pytest.FixtureRequest) -> Installation:
    """One of all that are rendered."""
    return install(request.param)
