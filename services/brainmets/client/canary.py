"""Owns the canary: a phantom of known truth goes the whole way, and the answer is compared with what it must be."""

from __future__ import annotations

import gzip
import math
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.client.options import SegmentationOptions
from brainmets.client.phantom import SPACING_MM
from brainmets.client.results import MASK_NAME, PROBABILITY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from brainmets.client.aio import AsyncClient
    from brainmets.client.phantom import Phantom
    from brainmets.client.results import Lesion, Segmentation

# The shipped networks give 99 % (docs/how-to/canary.md).
VOLUME_TOLERANCE = 0.25
PLACE_TOLERANCE_MM = 3.0
# The header's affine is in float32.
_AFFINE_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """How the service answered a phantom.

    Attributes:
        seed: The phantom's number, from which it can be made again.
        job_id: Its job; erased when the answer was right.
        duration_s: From the first byte sent to the last file fetched, seconds.
        side: Where the lesion lies.
        true_volume_mm3: The lesion's volume.
        found_volume_mm3: Volume of all lesions that were found, mm³.
        faults: What was wrong with the answer; none when it was right.
    """

    seed: int
    job_id: str
    duration_s: float
    side: str
    true_volume_mm3: float
    found_volume_mm3: float
    faults: tuple[str, ...]

    @property
    def words(self) -> str:
        """The report in one line."""
        if self.faults:
            return f"canary wrong after {self.duration_s:.1f} s, job {self.job_id}: {'; '.join(self.faults)}"
        return (
            f"canary right in {self.duration_s:.1f} s: a lesion on the {self.side}, "
            f"{self.found_volume_mm3:.0f} of {self.true_volume_mm3:.0f} mm³"
        )


async def send_canary(client: AsyncClient, phantom: Phantom, *, timeout_s: float) -> CanaryReport:
    """Send a phantom and examine the answer; the job of a right one is erased, that of a wrong one is kept.

    Raises:
        ServiceError: The service was not reached, or refused or failed the study.
        TimeoutError: There was no answer in time; the job is cancelled.
    """
    # Drawn before the clock starts.
    study = phantom.study()
    start_s = time.perf_counter()
    # Or what hospitals send would drift with the canary.
    segmentation = await client.segment(study, SegmentationOptions(test=True), timeout_s=timeout_s)
    duration_s = time.perf_counter() - start_s
    faults = tuple(find_faults(segmentation, phantom))
    if not faults:
        await client.delete(segmentation.job.job_id)
    return CanaryReport(
        seed=phantom.seed,
        job_id=segmentation.job.job_id,
        duration_s=round(duration_s, 3),
        side=phantom.side,
        true_volume_mm3=round(phantom.volume_mm3, 1),
        found_volume_mm3=round(sum(lesion.volume_mm3 for lesion in segmentation.lesions), 1),
        faults=faults,
    )


def find_faults(segmentation: Segmentation, phantom: Phantom) -> Iterator[str]:
    """Yield what of an answer is not as it must be."""
    if segmentation.report.intended_use != RESEARCH_USE_ONLY:
        yield f"expected the words “{RESEARCH_USE_ONLY}”, got “{segmentation.report.intended_use}”"
    if segmentation.job.from_cache:
        yield "expected a computed result, got one from the cache; send another seed"
    if len(segmentation.lesions) == 1:
        yield from _lesion_faults(segmentation.lesions[0], phantom)
    else:
        yield f"expected 1 lesion, got {len(segmentation.lesions)}; see which networks are loaded"
    for name in (MASK_NAME, PROBABILITY_NAME):
        if name in segmentation.files:
            yield from _grid_faults(name, gzip.decompress(segmentation.files[name]), phantom)
        else:
            yield f"expected {name}, got none"
    if MASK_NAME in segmentation.files:
        yield from _mask_faults(gzip.decompress(segmentation.files[MASK_NAME]), segmentation.lesions)


def _lesion_faults(lesion: Lesion, phantom: Phantom) -> Iterator[str]:
    if lesion.side != phantom.side:
        yield f"expected it on the {phantom.side}, got {lesion.side}"
    if abs(lesion.volume_mm3 - phantom.volume_mm3) > VOLUME_TOLERANCE * phantom.volume_mm3:
        yield f"expected {phantom.volume_mm3:.0f} mm³ within {VOLUME_TOLERANCE:.0%}, got {lesion.volume_mm3:.0f}"
    away_mm = math.dist(lesion.centroid_mm, phantom.centroid_mm)
    if away_mm > PLACE_TOLERANCE_MM:
        yield f"expected its centroid within {PLACE_TOLERANCE_MM:g} mm of the truth, got {away_mm:.1f} mm"


def _grid_faults(name: str, content: bytes, phantom: Phantom) -> Iterator[str]:
    """Yield how the grid of a NIfTI-1 file differs from the phantom's."""
    shape = struct.unpack_from("<3h", content, 42)
    if shape != phantom.shape:
        yield f"expected {name} with {phantom.shape} voxels, got {shape}"
    affine = struct.unpack_from("<12f", content, 280)
    expected = tuple(number for row in phantom.affine_ras for number in row)
    if math.dist(affine, expected) > _AFFINE_TOLERANCE_MM:
        yield f"expected {name} on the grid that was sent, got one that lies elsewhere"


def _mask_faults(content: bytes, lesions: Iterable[Lesion]) -> Iterator[str]:
    """Yield how the voxels of a mask, a byte each, differ from the lesions that were told of."""
    (voxels_at,) = struct.unpack_from("<f", content, 108)
    voxels = content[int(voxels_at) :]
    marked_mm3 = (len(voxels) - voxels.count(0)) * SPACING_MM**3
    told_mm3 = sum(lesion.volume_mm3 for lesion in lesions)
    if abs(marked_mm3 - told_mm3) > SPACING_MM**3:
        yield f"expected a mask of the {told_mm3:.0f} mm³ in the report, got {marked_mm3:.0f}"
