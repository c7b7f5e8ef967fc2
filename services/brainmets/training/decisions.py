"""Owns a network's decision: its temperature and operating points, as validation chose them and a file keeps them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName, are_ordered


@dataclass(frozen=True, slots=True)
class Decision:
    """How a network's log-odds become lesions.

    Attributes:
        temperature: What they are divided by, above 0.
        points: Where the probability decides, by name; thresholds and peaks rise from SENSITIVE to SPECIFIC.

    Raises:
        InvalidArgumentError: One of them is not so.
    """

    temperature: float
    points: Mapping[OperatingPointName, OperatingPoint]

    def __post_init__(self) -> None:
        """Refuse what no gateway would serve, before it is exported."""
        if not 0.0 < self.temperature < float("inf") or not are_ordered(self.points):
            raise InvalidArgumentError(
                "This is no decision",
                expected="a temperature above 0, and thresholds and peaks that rise from sensitive to specific",
                got=f"{self.temperature} and {[self.points[name] for name in OperatingPointName]}",
                remedy="choose them again on validation studies",
            )


# Before anything was chosen: what choose-points begins with.
UNDECIDED = Decision(
    1.0,
    {
        OperatingPointName.SENSITIVE: OperatingPoint(0.3, 15.0),
        OperatingPointName.BALANCED: OperatingPoint(0.5, 30.0),
        OperatingPointName.SPECIFIC: OperatingPoint(0.7, 60.0),
    },
)


def save_decision(decision: Decision, path: Path, *, found: Mapping[str, object]) -> None:
    """Write a decision as JSON, with what was found when it was chosen."""
    content = {
        "temperature": decision.temperature,
        "points": {str(name): asdict(point) for name, point in decision.points.items()},
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def load_decision(path: Path) -> Decision:
    """Read a decision.

    Raises:
        InvalidArgumentError: The file lacks a part of it.
    """
    try:
        content = json.loads(path.read_text())
        points = {name: OperatingPoint(**content["points"][name]) for name in OperatingPointName}
        return Decision(float(content["temperature"]), points)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            "There is no decision to export",
            expected="a file that `python -m brainmets.evaluation choose-points` wrote",
            got=type(error).__name__,
            remedy="choose temperature and operating points on validation studies first",
        ) from error
