"""Owns the pictures of an evaluation: the worst studies, and the reliability diagram."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainmets.evaluation.calibration import ProbabilityCounts
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.volume import Volume
from brainmets.training.labelled_studies import LabelledStudy

# Okabe and Ito 2008: told apart by every eye.
REFERENCE_COLOUR, PREDICTION_COLOUR = "#56b4e9", "#e69f00"
SLICES = 3
# Slices of a study's picture are at least so far apart, mm.
APART_MM = 8.0
RESOLUTION_DPI = 110


def save_study_picture(path: Path, labelled: LabelledStudy, prediction: LesionMask, *, title: str) -> None:
    """Draw the axial slices of a study's T1c where reference and prediction differ most."""
    figure = Figure(figsize=(3.6 * SLICES, 4.6), facecolor="black")
    axes = figure.subplots(1, SLICES)
    volume = labelled.study.t1c
    axis = int(np.argmax(np.abs(volume.geometry.affine[2, :3])))  # array axis closest to feet-head
    differing = labelled.reference.voxels ^ prediction.voxels
    for place, index in zip(axes, _choose_slices(differing, axis, volume=volume), strict=True):
        _draw_slice(place, volume, (labelled.reference, prediction), axis=axis, index=index)
    figure.suptitle(title, color="white", fontsize=10)
    figure.text(
        0.5, 0.03, "blue: reference   orange: prediction   research use only", color="white", fontsize=9, ha="center"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=RESOLUTION_DPI, facecolor="black")


def _choose_slices(differing: NDArray[np.bool_], axis: int, *, volume: Volume) -> list[int]:
    others = tuple(each for each in range(3) if each != axis)
    counts = differing.sum(axis=others).astype(np.float64)
    apart = max(1, round(APART_MM / volume.geometry.spacing_mm[axis]))
    chosen: list[int] = []
    for _ in range(SLICES):
        at = int(np.argmax(counts)) if counts.max() > 0 else len(counts) * (len(chosen) + 1) // (SLICES + 1)
        chosen.append(at)
        counts[max(0, at - apart) : at + apart + 1] = -1.0
    return sorted(chosen)


def _draw_slice(place: Axes, volume: Volume, masks: tuple[LesionMask, LesionMask], *, axis: int, index: int) -> None:
    rows, columns = (each for each in range(3) if each != axis)

    head = find_bounding_box(volume.voxels > 0.0)

    def show(voxels: NDArray[Any]) -> NDArray[Any]:  # Any: intensities and masks
        cropped = (
            voxels
            if head is None
            else voxels[tuple(slice(None) if each == axis else head.slices[each] for each in range(3))]
        )
        plane: NDArray[Any] = np.take(cropped, index, axis=axis)
        # As a radiologist looks: the patient's right on the left, the front above (world is LPS).
        affine = volume.geometry.affine
        if abs(affine[0, rows]) > abs(affine[0, columns]):
            plane, down, across = plane.T, columns, rows
        else:
            down, across = rows, columns
        plane = plane[::-1] if affine[1, down] < 0 else plane
        return plane[:, ::-1] if affine[0, across] < 0 else plane

    high = float(np.percentile(volume.voxels[volume.voxels > 0.0], 99.8)) if (volume.voxels > 0.0).any() else 1.0
    place.imshow(show(volume.voxels), cmap="gray", vmin=0.0, vmax=high)
    for mask, colour in zip(masks, (REFERENCE_COLOUR, PREDICTION_COLOUR), strict=True):
        shown = show(mask.voxels)
        if shown.any():
            place.contour(shown.astype(np.float32), levels=[0.5], colors=[colour], linewidths=1.2)
    place.set_axis_off()


def save_reliability_diagram(path: Path, counts: Mapping[str, ProbabilityCounts], *, title: str) -> None:
    """Draw observed against predicted probability, one line for each network, with its expected calibration error."""
    figure = Figure(figsize=(4.8, 4.8))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1.0)
    colours: Sequence[str] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
    for (name, counted), colour in zip(counts.items(), colours, strict=False):
        cells = counted.reliability()
        label = f"{name}, ECE {counted.expected_error():.3f}"
        predicted, observed = [cell.predicted for cell in cells], [cell.observed for cell in cells]
        axes.plot(predicted, observed, marker="o", markersize=4, color=colour, label=label)
    axes.set_xlabel("predicted probability of lesion")
    axes.set_ylabel("observed fraction of voxels")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=RESOLUTION_DPI)
