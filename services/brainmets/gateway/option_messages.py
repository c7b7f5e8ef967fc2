"""Owns how a client's options are read from the published contract's message, and kept by a job."""

from brainmets.gateway.model_contract import DecisionOptions, ModelChoice
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.gateway.store_refusals import invalid_argument
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.series import SeriesSelection
from brainmets.v1 import job_pb2, result_pb2
from brainmets.wire.names import operating_point_to_proto
from brainmets.wire.series import selection_from_proto, selection_to_proto

# A study that has waited for a day is wanted no more.
MAX_DEADLINE_S = 86_400.0

_MODEL_CHOICES = {
    job_pb2.MODEL_CHOICE_UNSPECIFIED: ModelChoice.MEAN,
    job_pb2.MODEL_CHOICE_NESTED_UNET: ModelChoice.NESTED_UNET,
    job_pb2.MODEL_CHOICE_ATTENTION_UNET: ModelChoice.ATTENTION_UNET,
    job_pb2.MODEL_CHOICE_MEAN: ModelChoice.MEAN,
}
_OPERATING_POINTS = {
    result_pb2.OPERATING_POINT_UNSPECIFIED: OperatingPointName.BALANCED,
    **{operating_point_to_proto(name): name for name in OperatingPointName},
}


def canonical_options(options: job_pb2.SegmentationOptions) -> bytes:
    """Return checked options as a job keeps them: equal bytes for equal options.

    Raises:
        InvalidArgumentError: One of them is out of its range.
    """
    decision_options(options)
    deadline_s_from_options(options, default_s=MAX_DEADLINE_S)
    canonical = job_pb2.SegmentationOptions()
    canonical.CopyFrom(options)
    # Fields of no contract of ours could hold anything, of any size, and nothing reads them.
    canonical.DiscardUnknownFields()
    del canonical.series[:]
    canonical.series.extend(selection_to_proto(selection) for selection in preparation_choices(options).selections)
    return canonical.SerializeToString(deterministic=True)


def decision_options(options: job_pb2.SegmentationOptions) -> DecisionOptions:
    """Return how a client wants its study decided.

    Raises:
        InvalidArgumentError: A value is out of its range.
    """
    if options.model not in _MODEL_CHOICES:
        raise invalid_argument("options.model", expected="a ModelChoice", got=str(options.model))
    threshold = options.threshold if options.HasField("threshold") else None
    volume_mm3 = options.min_lesion_volume_mm3 if options.HasField("min_lesion_volume_mm3") else None
    peak = options.min_peak_probability if options.HasField("min_peak_probability") else None
    # All written so that a NaN is refused too.
    if threshold is not None and not 0.0 < threshold < 1.0:
        raise invalid_argument("options.threshold", expected="a value inside (0, 1)", got=str(threshold))
    if volume_mm3 is not None and not 0.0 <= volume_mm3 < float("inf"):
        raise invalid_argument("options.min_lesion_volume_mm3", expected="0 mm³ or more", got=str(volume_mm3))
    if peak is not None and not 0.0 <= peak < 1.0:
        raise invalid_argument("options.min_peak_probability", expected="a value in [0, 1)", got=str(peak))
    if options.operating_point not in _OPERATING_POINTS:
        raise invalid_argument(
            "options.operating_point", expected="an OperatingPoint", got=str(options.operating_point)
        )
    return DecisionOptions(
        _MODEL_CHOICES[options.model], _OPERATING_POINTS[options.operating_point], threshold, volume_mm3, peak
    )


def preparation_choices(options: job_pb2.SegmentationOptions) -> PreparationChoices:
    """Return how a client wants its study prepared; equal for equal options.

    Raises:
        InvalidArgumentError: A series is selected for no sequence, or two for one.
    """
    selections = sorted((_selection(message) for message in options.series), key=lambda chosen: chosen.sequence)
    if len({selection.sequence for selection in selections}) < len(selections):
        raise invalid_argument("options.series", expected="at most one series for each sequence", got="two for one")
    return PreparationChoices(force=options.force, selections=tuple(selections))


def _selection(message: job_pb2.SeriesSelection) -> SeriesSelection:
    selection = selection_from_proto(message)
    if selection is None:
        raise invalid_argument("options.series", expected="a sequence for each series", got=str(message.sequence))
    return selection


def deadline_s_from_options(options: job_pb2.SegmentationOptions, *, default_s: float) -> float:
    """Return the time from acceptance to a final state, seconds.

    Raises:
        InvalidArgumentError: It is not above 0 or beyond a day.
    """
    if not options.HasField("deadline"):
        return default_s
    deadline_s = options.deadline.seconds + options.deadline.nanos / 1e9
    if not 0.0 < deadline_s <= MAX_DEADLINE_S:
        raise invalid_argument(
            "options.deadline", expected=f"above 0 s and at most {MAX_DEADLINE_S:.0f} s", got=f"{deadline_s} s"
        )
    return deadline_s
