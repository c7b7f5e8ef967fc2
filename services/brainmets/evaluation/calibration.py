"""Owns calibration: whether a probability of p is right in p of the cases, and the temperature that mends it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.probability_map import ProbabilityMap

# Most of a head is certain: the error is measured over voxels about which there is a question, and all of lesions. The
# temperature is fitted over every voxel that a network decided, or it would make the certain ones uncertain.
ASKED_FROM = 0.01
# Log-odds are counted in so many cells over this range; beyond it they count at its end.
CELLS = 480
LOGIT_LIMIT = 12.0
# Cells of equal width of a reliability diagram (Guo et al. 2017 have 15; tenths are easier to read).
RELIABILITY_CELLS = 10
# Bounds of the temperature: outside of them a network is broken, not uncalibrated.
TEMPERATURES = (0.25, 4.0)


@dataclass(frozen=True, slots=True)
class ReliabilityCell:
    """Voxels of like probability.

    Attributes:
        voxels: Their number.
        predicted: Their mean probability.
        observed: The fraction of them that is lesion.
    """

    voxels: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityCounts:
    """How often each probability was right: what calibration is measured from, studies added up.

    Attributes:
        outside: (CELLS,), voxels outside of lesions whose log-odds lie in a cell.
        inside: (CELLS,), voxels of lesions likewise.
    """

    outside: NDArray[np.int64]
    inside: NDArray[np.int64]

    @classmethod
    def count(cls, probability: ProbabilityMap, reference: LesionMask) -> Self:
        """Return a study's counts over voxels that were decided, which air is not, and those of lesions."""
        lesion = reference.voxels
        asked = (probability.voxels > 0.0) | lesion
        edges = np.linspace(-LOGIT_LIMIT, LOGIT_LIMIT, CELLS + 1)
        # Rounding lifts a probability a little above 1, and the log-odds of 0 and 1 are no numbers.
        log_odds = logit(np.clip(probability.voxels[asked].astype(np.float64), 0.0, 1.0))
        log_odds = np.clip(log_odds, *_centres()[[0, -1]])
        inside, _ = np.histogram(log_odds[lesion[asked]], edges)
        outside, _ = np.histogram(log_odds[~lesion[asked]], edges)
        return cls(outside, inside)

    def __add__(self, other: Self) -> Self:
        """Return the counts of both."""
        return type(self)(self.outside + other.outside, self.inside + other.inside)

    @property
    def voxels(self) -> int:
        """Number of voxels that the error is measured over."""
        return int(self._asked_outside.sum() + self.inside.sum())

    @property
    def _asked_outside(self) -> NDArray[np.int64]:
        return np.where(_centres() >= logit(ASKED_FROM), self.outside, 0)

    def reliability(self, *, temperature: float = 1.0) -> tuple[ReliabilityCell, ...]:
        """Return the reliability diagram at a temperature; cells without voxels are left out."""
        probability = expit(_centres() / temperature)
        places = np.minimum((probability * RELIABILITY_CELLS).astype(int), RELIABILITY_CELLS - 1)
        totals = self.inside + self._asked_outside
        cells = []
        for place in range(RELIABILITY_CELLS):
            here = places == place
            inside, total = int(self.inside[here].sum()), int(totals[here].sum())
            if total:
                predicted = float((totals[here] * probability[here]).sum()) / total
                cells.append(ReliabilityCell(total, predicted, inside / total))
        return tuple(cells)

    def expected_error(self, *, temperature: float = 1.0) -> float:
        """Return the expected calibration error, in [0, 1]; NaN when no voxel was asked.

        References:
            Guo et al. 2017, On Calibration of Modern Neural Networks, ICML, arXiv:1706.04599, equation 3.
        """
        if not self.voxels:
            return float("nan")
        cells = self.reliability(temperature=temperature)
        return sum(cell.voxels * abs(cell.predicted - cell.observed) for cell in cells) / self.voxels

    def fit_temperature(self) -> float:
        """Return the temperature T for which sigmoid(logit / T) is most likely, given the references.

        Raises:
            InvalidArgumentError: There are no voxels of lesions, or none outside of them.

        References:
            Guo et al. 2017, arXiv:1706.04599, section 4.2.
        """
        if not (self.inside.any() and self.outside.any()):
            raise InvalidArgumentError(
                "A temperature cannot be fitted",
                expected="voxels in lesions and outside of them",
                got=f"{int(self.inside.sum())} and {int(self.outside.sum())}",
                remedy="validate on studies with lesions",
            )
        centres = _centres()

        def mean_loss(log_temperature: float) -> float:
            scaled = centres / np.exp(log_temperature)
            # -log sigmoid(z) = log(1 + exp(-z)), without overflow.
            loss = self.inside * np.logaddexp(0.0, -scaled) + self.outside * np.logaddexp(0.0, scaled)
            return float(loss.sum())

        found = minimize_scalar(mean_loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
        return float(np.exp(found.x))


def _centres() -> NDArray[np.float64]:
    edges = np.linspace(-LOGIT_LIMIT, LOGIT_LIMIT, CELLS + 1)
    centres: NDArray[np.float64] = (edges[1:] + edges[:-1]) / 2.0
    return centres


def scale_probability(probability: ProbabilityMap, *, temperature: float) -> ProbabilityMap:
    """Return a map as the network with its logits divided by a temperature would have given it."""
    if temperature == 1.0:
        return probability
    edge = np.float32(1e-7)
    log_odds = logit(np.clip(probability.voxels, edge, 1.0 - edge))
    scaled = expit(log_odds / np.float32(temperature))
    return ProbabilityMap(scaled.astype(np.float32), probability.geometry)
