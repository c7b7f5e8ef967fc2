"""Set-up runs each step once, and again when what it stands on has changed."""

import re
from pathlib import Path

import pytest

from local.steps import Step, find_missing, run_steps


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """An empty folder of stamps."""
    return tmp_path / "stamps"


def make_step(folder: Path, *depends_on: str) -> Step:
    """Return a step that writes its product."""
    product = folder / "product"
    return Step("step", "a step", depends_on, product, product.touch)


def test_a_step_that_was_run_is_done(tmp_path: Path, stamps: Path) -> None:
    """A second set-up has nothing to do."""
    step = make_step(tmp_path, "1.0")
    run_steps((step,), stamps)
    assert find_missing((step,), stamps) == ()


def test_a_changed_version_runs_it_again(tmp_path: Path, stamps: Path) -> None:
    """The stamp is that of another version."""
    run_steps((make_step(tmp_path, "1.0"),), stamps)
    newer = make_step(tmp_path, "1.1")
    assert find_missing((newer,), stamps) == (newer,)


def test_a_lost_product_runs_it_again(tmp_path: Path, stamps: Path) -> None:
    """A stamp without what it stands for is worth nothing."""
    step = make_step(tmp_path)
    run_steps((step,), stamps)
    step.product.unlink()
    assert find_missing((step,), stamps) == (step,)


def test_a_step_that_broke_is_not_done(tmp_path: Path, stamps: Path) -> None:
    """Although an earlier run of it had succeeded."""
    run_steps((make_step(tmp_path, "1.0"),), stamps)

    def break_off() -> None:
        raise RuntimeError

    broken = Step("step", "a step", ("1.1",), tmp_path / "product", break_off)
    with pytest.raises(RuntimeError):
        run_steps((broken,), stamps)
    assert find_missing((make_step(tmp_path, "1.0"),), stamps)


def test_each_step_is_told_with_its_time(tmp_path: Path, stamps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees what takes so long."""
    run_steps((make_step(tmp_path),), stamps)
    assert re.fullmatch(r"\[1/1\] a step \.\.\. \d+ s\n", capsys.readouterr().out)
