"""Results of segmented studies, as the published contract states them."""

from brainmets.imaging.lesion import Lesion
from brainmets.imaging.result import ModelUse, SegmentationResult
from brainmets.v1 import result_pb2
from brainmets.wire.findings import finding_to_proto
from brainmets.wire.geometry import box_to_proto, geometry_to_proto, point_to_proto
from brainmets.wire.names import operating_point_to_proto, sequence_to_proto, side_to_proto
from brainmets.wire.series import series_use_to_proto


def result_to_proto(result: SegmentationResult) -> result_pb2.SegmentationResult:
    """Write a result."""
    return result_pb2.SegmentationResult(
        lesions=[_lesion_to_proto(lesion) for lesion in result.lesions],
        statement=result.statement,
        findings=[finding_to_proto(finding) for finding in result.findings],
        sequences_used=[sequence_to_proto(sequence) for sequence in result.sequences_used],
        models=[_model_to_proto(model) for model in result.models],
        threshold=result.threshold,
        min_lesion_volume_mm3=result.min_lesion_volume_mm3,
        geometry=geometry_to_proto(result.geometry),
        input_sha256=result.input_sha256,
        software_version=result.software_version,
        target=result.target,
        intended_use=result.intended_use,
        series=[series_use_to_proto(use) for use in result.series],
        candidates_outside_brain=result.candidates_outside_brain,
        operating_point=operating_point_to_proto(result.operating_point),
        min_peak_probability=result.min_peak_probability,
        slice_angulation_deg=result.geometry.angulation_deg,
    )


def _lesion_to_proto(lesion: Lesion) -> result_pb2.Lesion:
    return result_pb2.Lesion(
        label=lesion.label,
        volume_mm3=lesion.volume_mm3,
        longest_axial_diameter_mm=lesion.longest_axial_diameter_mm,
        perpendicular_axial_diameter_mm=lesion.perpendicular_axial_diameter_mm,
        longest_diameter_mm=lesion.longest_diameter_mm,
        centroid=point_to_proto(lesion.centroid_mm),
        side=side_to_proto(lesion.side),
        bounding_box=box_to_proto(lesion.bounding_box),
        mean_probability=lesion.mean_probability,
        max_probability=lesion.max_probability,
    )


def _model_to_proto(model: ModelUse) -> result_pb2.ModelUse:
    return result_pb2.ModelUse(
        model_name=model.model_name, model_version=model.model_version, onnx_sha256=model.onnx_sha256
    )
