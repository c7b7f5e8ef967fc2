"""Owns a study: its sequences as acquired, and how they come to lie on one axial grid of the T1c's place."""

from collections.abc import Mapping
from dataclasses import dataclass

from brainmets.imaging.errors import InternalError, MissingT1cError, SequencesDoNotOverlapError
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.registration import RigidTransform, fits_best_in_place, register_rigidly
from brainmets.imaging.resampling import axial_grid, grids_overlap, resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One patient's sequences of one session, each on its own grid.

    Raises:
        MissingT1cError: There is no T1c.
    """

    volumes: Mapping[Sequence, Volume]

    def __post_init__(self) -> None:
        if Sequence.T1C not in self.volumes:
            raise MissingT1cError(
                "The study has no T1c",
                expected="a volume of sequence t1c",
                got=", ".join(sorted(self.volumes)) or "none",
                remedy="add the T1-weighted series after contrast medium",
            )

    @property
    def t1c(self) -> Volume:
        """The sequence whose grid the result has."""
        return self.volumes[Sequence.T1C]


@dataclass(frozen=True, slots=True, eq=False)
class AlignedStudy:
    """A study's sequences on one isotropic axial grid.

    Attributes:
        volumes: At least the T1c, all on one grid; zero where a sequence was not acquired.
        acquired: Grid of the T1c as it was acquired.
        findings: What happened on the way.

    Raises:
        InternalError: The volumes lie on different grids.
    """

    volumes: Mapping[Sequence, Volume]
    acquired: Geometry
    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        if len({volume.geometry for volume in self.volumes.values()}) != 1:
            raise InternalError(
                "An aligned study has one grid",
                expected="one grid",
                got="several or none",
                remedy="report it as a defect of brainmets",
            )

    @property
    def geometry(self) -> Geometry:
        """The grid."""
        return self.volumes[Sequence.T1C].geometry


def align_study(study: Study, *, spacing_mm: float) -> AlignedStudy:
    """Bring all sequences onto the axial patient grid of `spacing_mm` that holds the T1c.

    A sequence's header is believed when no shift or turn of it fits the T1c better; else it is registered rigidly, and
    dropped when that does not help either.

    Raises:
        SequencesDoNotOverlapError: A sequence lies beside the T1c altogether.
    """
    return align_onto(align_t1c(study.t1c, spacing_mm=spacing_mm), study)


def align_t1c(t1c: Volume, *, spacing_mm: float) -> Volume:
    """Bring a T1c onto the axial patient grid of `spacing_mm` that holds it."""
    return resample_volume(t1c, axial_grid(t1c.geometry, spacing_mm=spacing_mm))


def align_onto(t1c: Volume, study: Study) -> AlignedStudy:
    """Bring a study's other sequences onto its T1c's axial grid, as `align_study` does.

    Raises:
        SequencesDoNotOverlapError: A sequence lies beside the T1c altogether.
    """
    acquired = study.t1c.geometry
    volumes: dict[Sequence, Volume] = {Sequence.T1C: t1c}
    findings: tuple[Finding, ...] = ()
    for sequence, volume in study.volumes.items():
        if sequence is not Sequence.T1C:
            _check_overlap(sequence, volume.geometry, acquired)
            placed, finding = _place(sequence, volume, t1c)
            findings += () if finding is None else (finding,)
            if placed is not None:
                volumes[sequence] = placed
    return AlignedStudy(volumes, acquired, findings)


def _place(sequence: Sequence, volume: Volume, t1c: Volume) -> tuple[Volume | None, Finding | None]:
    """Return a sequence on the T1c's grid and what is to be said about it; no volume when it cannot be placed."""
    believed = resample_volume(volume, t1c.geometry)
    if fits_best_in_place(t1c, believed):
        return believed, None
    transform: RigidTransform = register_rigidly(volume, onto=t1c)
    registered = resample_volume(transform.move(volume), t1c.geometry)
    if fits_best_in_place(t1c, registered):
        message = (
            f"The sequence did not lie where its header says and was moved by {transform.shift_mm:.1f} mm and "
            f"{transform.angle_deg:.1f} degrees onto the T1c."
        )
        return registered, Finding(FindingCode.SEQUENCE_REGISTERED, message, sequence)
    message = "The sequence could not be brought onto the T1c and was left out."
    return None, Finding(FindingCode.SEQUENCE_DROPPED, message, sequence)


def _check_overlap(sequence: Sequence, grid: Geometry, t1c_grid: Geometry) -> None:
    if not grids_overlap(grid, t1c_grid):
        raise SequencesDoNotOverlapError(
            f"Sequence {sequence} lies beside the T1c",
            expected="sequences of the same place in the patient",
            got="fields of view that share nothing",
            remedy="send sequences of one session, with the positions they were acquired at",
        )
