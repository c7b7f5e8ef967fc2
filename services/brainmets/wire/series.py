"""What became of a study's series, and which were chosen by hand, both ways."""

from typing import TypeVar

from brainmets.imaging.series import SeriesReason, SeriesSelection, SeriesUse
from brainmets.v1 import job_pb2, result_pb2
from brainmets.wire.names import sequence_from_proto, sequence_to_proto

Number = TypeVar("Number", int, float)


def series_use_to_proto(use: SeriesUse) -> result_pb2.SeriesUse:
    """Write what became of a series."""
    return result_pb2.SeriesUse(
        series_index=use.series_index,
        series_number=use.series_number,
        file_index=use.file_index,
        sequence=sequence_to_proto(use.sequence),
        used=use.used,
        reason=result_pb2.SeriesReason.Value(f"SERIES_REASON_{use.reason.name}"),
        message=use.message,
        shape=use.shape or (),
        spacing_mm=use.spacing_mm or (),
        stated=use.stated,
    )


def series_use_from_proto(message: result_pb2.SeriesUse) -> SeriesUse:
    """Read what became of a series.

    Raises:
        KeyError: The reason is of a newer contract.
        ValueError: Shape or spacing are incomplete.
    """
    return SeriesUse(
        series_index=message.series_index,
        file_index=message.file_index,
        series_number=message.series_number if message.HasField("series_number") else None,
        sequence=sequence_from_proto(message.sequence),
        reason=SeriesReason[result_pb2.SeriesReason.Name(message.reason).removeprefix("SERIES_REASON_")],
        message=message.message,
        shape=_three(tuple(message.shape)),
        spacing_mm=_three(tuple(message.spacing_mm)),
        stated=message.stated,
    )


def _three(values: tuple[Number, ...]) -> tuple[Number, Number, Number] | None:
    if not values:
        return None
    slices, rows, columns = values
    return slices, rows, columns


def selection_to_proto(selection: SeriesSelection) -> job_pb2.SeriesSelection:
    """Write a choice made by hand."""
    return job_pb2.SeriesSelection(
        sequence=sequence_to_proto(selection.sequence), series_number=selection.series_number
    )


def selection_from_proto(message: job_pb2.SeriesSelection) -> SeriesSelection | None:
    """Read a choice made by hand; None when its sequence is not stated or of a newer contract."""
    sequence = sequence_from_proto(message.sequence)
    return None if sequence is None else SeriesSelection(sequence, message.series_number)
