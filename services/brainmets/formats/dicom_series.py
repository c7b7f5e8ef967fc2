"""Owns the series of a DICOM study: how instances fall into volumes, and what is known of each.

One SeriesInstanceUID often holds several volumes: echoes, phases, magnitude and phase images, planes of a localizer.
`slice_groups` parts them; a part that makes no volume stays in the list, with the reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainmets.formats.dicom_attributes import series_attributes, series_number
from brainmets.formats.dicom_instance import Instance
from brainmets.formats.dicom_pixels import Frame, decode_frames, find_pixel_fault, pixel_bytes
from brainmets.formats.dicom_tags import Tag
from brainmets.formats.slice_groups import SliceGroup, group_slices
from brainmets.formats.slice_stack import SliceStack, SliceStackError
from brainmets.imaging.errors import InternalError, InvalidArgumentError, MalformedFileError, MixedStudiesError
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes
from brainmets.imaging.volume import Volume, VoxelMemory, new_voxels

_IDENTITY = (Tag.PATIENT_ID, Tag.PATIENT_NAME, Tag.PATIENT_BIRTH_DATE)


@dataclass(frozen=True, slots=True, eq=False)
class DicomSeries:
    """One volume's slices, or slices that make none.

    Attributes:
        attributes: What is known of them.
        frames: They, in the order of the grid if there is one.
    """

    attributes: SeriesAttributes
    frames: tuple[Frame, ...]

    def read_volume(self, *, memory: VoxelMemory = new_voxels) -> Volume:
        """Decode the pixels, into the given memory.

        Raises:
            StudyError: They are not whole, damaged, or no usable intensities.
            InternalError: The slices make no volume.
        """
        grid = self.attributes.geometry
        if grid is None:
            raise InternalError(
                "A series without a grid is to be decoded",
                expected="a series whose slices make a volume",
                got="another",
                remedy="report it as a defect of brainmets",
            )
        return Volume(decode_frames(self.frames, matrix=grid.shape[1:], memory=memory), grid)


def find_series(instances: Iterable[Instance], *, stated: Mapping[int, Sequence | None]) -> tuple[DicomSeries, ...]:
    """Return the series of one study, by SeriesNumber and then in the order of their first instances.

    Args:
        instances: In any order.
        stated: What the request says that each file holds, by file_index.

    Raises:
        MixedStudiesError: They belong to several patients or studies.
        MalformedFileError: Two different images have one SOPInstanceUID.
        InvalidArgumentError: Files of one series are said to be of different sequences.
    """
    by_uid: dict[str, list[Instance]] = {}
    for instance in _drop_repeated(instances):
        by_uid.setdefault(instance.header.text(Tag.SERIES_INSTANCE_UID), []).append(instance)
    check_one_study([instance for group in by_uid.values() for instance in group])
    numbered = sorted(by_uid.values(), key=lambda group: _order(series_number(group[0].header)))
    return tuple(series for group in numbered for series in _part(group, stated))


def check_one_study(instances: Iterable[Instance]) -> None:
    """Refuse instances of several patients or studies; an attribute that is absent speaks for neither.

    Raises:
        MixedStudiesError: They belong to several.
    """
    found: dict[Tag, set[str]] = {tag: set() for tag in (Tag.STUDY_INSTANCE_UID, *_IDENTITY)}
    for instance in instances:
        for tag, values in found.items():
            values.add(_normalize(instance.header.text(tag)))
    studies, *identities = (len(values - {""}) for values in found.values())
    if studies > 1 or max(identities) > 1:
        raise MixedStudiesError(
            "The files are not of one study",
            expected="one patient and one study",
            got=f"{studies} studies, and up to {max(identities)} values of a patient's identity",
            remedy="send each patient's study by itself",
        )


def _normalize(text: str) -> str:
    """Return an identity without what differs between systems: case, empty name components, other alphabets."""
    return text.partition("=")[0].rstrip("^ ").casefold()


def _order(number: int | None) -> tuple[bool, int]:
    return number is None, number or 0


def _drop_repeated(instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances, each that was sent several times once."""
    kept: dict[str, Instance] = {}
    nameless: list[Instance] = []
    for instance in instances:
        uid = instance.header.text(Tag.SOP_INSTANCE_UID)
        if not uid:
            nameless.append(instance)
        elif uid not in kept:
            kept[uid] = instance
        elif not _is_same(instance, kept[uid]):
            raise MalformedFileError(
                "Two images have one SOPInstanceUID",
                expected="an identifier of its own for each image",
                got="different images with the same one",
                remedy="export the series again, and do not mend identifiers by hand",
                file_index=instance.file_index,
            )
    return [*kept.values(), *nameless]


def _is_same(one: Instance, other: Instance) -> bool:
    places = (Tag.SERIES_INSTANCE_UID, Tag.IMAGE_POSITION_PATIENT, Tag.IMAGE_ORIENTATION_PATIENT)
    ours, theirs = ([[frame.texts(tag) for tag in places] for frame in each.frames] for each in (one, other))
    return ours == theirs and (one.pixels is None or pixel_bytes(one) == pixel_bytes(other))


def _part(instances: list[Instance], stated: Mapping[int, Sequence | None]) -> Iterable[DicomSeries]:
    frames = tuple(Frame(instance, number) for instance in instances for number in range(len(instance.frames)))
    for group in group_slices(frames):
        fault = next(filter(None, map(find_pixel_fault, group.frames)), "") or group.fault
        stack: SliceStack | None = None
        if not fault:
            try:
                stack = group.stack()
            except SliceStackError as error:
                fault = str(error)
        yield _describe(group, stack, fault=fault, stated=stated)


def _describe(
    group: SliceGroup, stack: SliceStack | None, *, fault: str, stated: Mapping[int, Sequence | None]
) -> DicomSeries:
    ordered = group.frames if stack is None else tuple(group.frames[place] for place in stack.order)
    indices = {frame.instance.file_index for frame in ordered}
    attributes = series_attributes(
        ordered[0],
        file_index=min(indices),
        geometry=stack.geometry if stack else None,
        fault=fault,
        stated=_one_statement({stated.get(index) for index in indices}, file_index=min(indices)),
        uneven_mm=stack.uneven_mm if stack else 0.0,
    )
    return DicomSeries(attributes, ordered)


def _one_statement(sequences: set[Sequence | None], *, file_index: int) -> Sequence | None:
    known = sequences - {None}
    if len(known) > 1:
        raise InvalidArgumentError(
            "Files of one series are said to be of different sequences",
            expected="one sequence for all files of a series",
            got=", ".join(sorted(sequence for sequence in known if sequence)),
            remedy="state the same sequence for them, or none",
            file_index=file_index,
        )
    return next(iter(known), None)
