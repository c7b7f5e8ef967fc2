"""What set-up believes to be installed is, whatever was set up, deleted or checked out between."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from local import environment, installation, machine, setup
from local.errors import StackError
from local.installation import Purpose, install


@dataclass
class Workplace:
    """A folder in which set-up works, with installers that write down what they did."""

    root: Path
    python: str = "3.11"

    @property
    def venv(self) -> Path:
        """The environment."""
        return self.root / "venv"

    @property
    def constraints(self) -> Path:
        """The pinned versions."""
        return self.root / "constraints.txt"

    @property
    def installed(self) -> tuple[str, str]:
        """The interpreter, the versions and the extras that are in the environment."""
        return (self.venv / "bin" / "python").read_text(), (self.venv / "installed").read_text()

    def create_environment(self) -> None:
        """Make an empty one."""
        environment.remove_environment()
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin" / "python").write_text(self.python)

    def install_extras(self, *extras: str) -> None:
        """Add extras to what there is, at the versions of now."""
        note = self.venv / "installed"
        there = set(note.read_text().split()[1:]) if note.exists() else set()
        note.write_text(" ".join([self.constraints.read_text(), *sorted(there | set(extras))]))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Set-up in a folder of its own, without what is carried in from packages."""
    place = Workplace(tmp_path)
    place.constraints.write_text("one")
    for module in (installation, environment):
        monkeypatch.setattr(module, "VENV", place.venv)
    monkeypatch.setattr(installation, "BUILD", tmp_path)
    monkeypatch.setattr(installation, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(installation, "PYTHON", place.venv / "bin" / "python")
    monkeypatch.setattr(installation, "CONSTRAINTS", place.constraints)
    monkeypatch.setattr(installation, "interpreter_words", lambda: (place.python,))
    monkeypatch.setattr(installation, "create_environment", place.create_environment)
    monkeypatch.setattr(installation, "install_extras", place.install_extras)
    monkeypatch.setattr(installation, "_carried", tuple)
    return place


RUN = " ".join(Purpose.RUN.extras)
TEST = " ".join(sorted(Purpose.TEST.extras))
BOTH = " ".join(sorted((*Purpose.RUN.extras, *Purpose.TEST.extras)))


def delete_environment(place: Workplace) -> None:
    """As a user does to whom it seems broken."""
    environment.remove_environment()
    assert not place.venv.exists()


def take_another_python(place: Workplace) -> None:
    """As our own sentences advise."""
    place.python = "3.12"


@pytest.mark.parametrize("change", [delete_environment, take_another_python])
@pytest.mark.parametrize(
    ("purposes", "expected"),
    [((Purpose.TEST,), TEST), ((Purpose.RUN,), RUN), ((Purpose.RUN, Purpose.TEST), BOTH)],
)
def test_another_environment_gets_its_packages(
    workplace: Workplace, change: Callable[[Workplace], None], purposes: tuple[Purpose, ...], expected: str
) -> None:
    """Although the stamps of the former one's say that they are there."""
    install(Purpose.TEST)
    change(workplace)
    for purpose in purposes:
        install(purpose)
    assert workplace.installed == (workplace.python, f"one {expected}")


def test_what_another_branch_installed_is_replaced(workplace: Workplace) -> None:
    """Back on the first one, its versions are installed again."""
    install(Purpose.TEST)
    workplace.constraints.write_text("two")
    install(Purpose.RUN)
    workplace.constraints.write_text("one")
    install(Purpose.TEST)
    assert workplace.installed[1] == f"one {BOTH}"


@pytest.mark.usefixtures("workplace")
def test_what_is_done_for_more_is_done_for_less(capsys: pytest.CaptureFixture[str]) -> None:
    """`make run` after `make test` has nothing to do."""
    install(Purpose.TEST)
    capsys.readouterr()
    install(Purpose.RUN)
    assert capsys.readouterr().out == ""


def test_a_disk_that_is_nearly_full_is_told_before_pip_is(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is an environment already, whose files need no room any more."""
    asked: list[int] = []
    monkeypatch.setattr(installation, "find_shortage", lambda _, needed: asked.append(needed) or "too little")
    workplace.create_environment()
    (workplace.venv / "large").write_bytes(b"1" * 1_000_000)
    (workplace.root / "stamps").mkdir()
    monkeypatch.setattr(installation, "is_done", lambda step, _: step.name == "environment")
    with pytest.raises(StackError, match="too little"):
        install(Purpose.TEST)
    assert Purpose.TEST.size_bytes - 2_000_000 < asked[0] <= Purpose.TEST.size_bytes - 1_000_000


def test_nothing_is_used_by_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """As on a fresh machine."""
    assert machine.used_bytes(tmp_path / "none") == 0


def test_a_file_that_cannot_be_written_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a set-up by root: which file, and why."""

    def refuse(_: Purpose) -> None:
        raise PermissionError(13, "Permission denied", "build/setup.lock")

    monkeypatch.setattr(installation, "install", refuse)
    assert "build/setup.lock: Permission denied" in setup.main("run")
