"""Owns what a result's files hold: which function writes which of them."""

from collections.abc import Callable, Mapping

import numpy as np
from google.protobuf import json_format

from brainmets.formats.lesion_table import write_lesion_table
from brainmets.formats.nifti import write_nifti
from brainmets.formats.overlay import render_overlay
from brainmets.gateway.decision import DecidedStudy
from brainmets.gateway.jobs import ArtifactKind
from brainmets.imaging.lesions import InstanceMap
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.result import SegmentationResult
from brainmets.imaging.volume import Volume
from brainmets.wire.result import result_to_proto

# Probabilities are stored as bytes with NIfTI's slope 1/255: a tenth of float32's size, and a step of 0.4 %. Half, the
# usual threshold, lies between two steps, so that the file thresholded there is the mask's own components. A threshold
# that is a step itself, 0.2 or 0.4, parts otherwise what lies within half a step of it.
PROBABILITY_STEPS = 255
# NIfTI keeps it in float32, which would round it up, and 1 above 1.
_SLOPE = float(np.nextafter(np.float32(1.0 / PROBABILITY_STEPS), np.float32(0.0)))


def result_writers(
    decided: DecidedStudy, t1c: Volume, *, forms: NiftiForms | None = None
) -> Mapping[ArtifactKind, Callable[[], bytes]]:
    """Return what writes each file of a result.

    Args:
        decided: The result, on the acquired grid.
        t1c: The T1c as the networks saw it, for the picture.
        forms: How the T1c's file says where its voxels lie; None where that is no NIfTI.
    """
    result, instances = decided.result, decided.instances
    return {
        ArtifactKind.MASK_NIFTI: lambda: write_mask(instances, forms=forms),
        ArtifactKind.PROBABILITY_NIFTI: lambda: write_probability(decided.probability, forms=forms),
        ArtifactKind.REPORT_JSON: lambda: write_report(result),
        ArtifactKind.LESIONS_CSV: lambda: write_lesion_table(result.lesions),
        ArtifactKind.OVERLAY_PNG: lambda: render_overlay(t1c, instances, result),
    }


def write_mask(instances: InstanceMap, *, forms: NiftiForms | None = None) -> bytes:
    """Write lesions as NIfTI, 1 within them."""
    return write_nifti(instances.mask.voxels.view(np.uint8), instances.geometry, forms=forms)


def write_probability(probability: ProbabilityMap, *, forms: NiftiForms | None = None) -> bytes:
    """Write probabilities as NIfTI, in steps of 1/255."""
    steps = np.empty(probability.geometry.shape, dtype=np.uint8)
    # Slice by slice, which stays in the processor's cache.
    for plane, plane_steps in zip(probability.voxels, steps, strict=True):
        # Cut off after adding a half, which rounds; a rounding error outside of [0, 1] is cut off with it.
        plane_steps[...] = plane * np.float32(PROBABILITY_STEPS) + np.float32(0.5)
    return write_nifti(steps, probability.geometry, slope=_SLOPE, forms=forms)


def write_report(result: SegmentationResult) -> bytes:
    """Write a result as the canonical JSON of its message; what is empty or zero is written out too."""
    message = result_to_proto(result)
    return json_format.MessageToJson(message, always_print_fields_with_no_presence=True, indent=1).encode()
