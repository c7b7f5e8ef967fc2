"""Owns what DICOM headers say of how a series was acquired, classic and Enhanced MR in the same words."""

from datetime import date

from brainmets.formats.data_set import DataSet
from brainmets.formats.dicom_pixels import Frame
from brainmets.formats.dicom_tags import Tag
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes

# Of an IS: 32 bits (PS3.5 6.2).
_MAX_WHOLE = 2**31 - 1
# What people and scanners enter as ContrastBolusAgent when there was none, in the languages of their hospitals.
_NO_AGENT = frozenset(
    {
        *("none", "no", "non", "nein", "nee", "nej", "nessuno", "ninguno", "aucun", "kein", "keine", "keins", "nil"),
        *("without", "without contrast", "no contrast", "non contrast", "ohne", "ohne km", "sans", "sin contraste"),
        *("nativ", "native", "pre", "0", "n", "false", "off", "-", "--", "n/a", "na"),
    }
)
_DATES = (Tag.ACQUISITION_DATE, Tag.ACQUISITION_DATE_TIME, Tag.SERIES_DATE, Tag.STUDY_DATE)
# EchoPulseSequence of Enhanced MR in the words of ScanningSequence (PS3.3 C.8.13.4 and C.8.3.1.1.2).
_SCANNING_SEQUENCES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
_ANSWERS = {"YES": True, "NO": False}


def series_attributes(
    frame: Frame,
    *,
    file_index: int,
    geometry: Geometry | None,
    fault: str,
    stated: Sequence | None,
    uneven_mm: float,
) -> SeriesAttributes:
    """Return what one of a series' frames says of all of them, and what was found out about them together."""
    header = frame.header
    return SeriesAttributes(
        file_index=file_index,
        geometry=geometry,
        fault=fault,
        stated=stated,
        series_number=series_number(header),
        phase=_phase(header),
        modality=frame.instance.modality,
        description=_description(header),
        image_type=_image_type(header),
        scanning_sequence=_scanning_sequence(header),
        sequence_variant=_upper(header, Tag.SEQUENCE_VARIANT),
        acquisition_contrast=header.text(Tag.ACQUISITION_CONTRAST).upper(),
        repetition_time_ms=header.decimal(Tag.REPETITION_TIME),
        echo_time_ms=_first(header.decimal(Tag.ECHO_TIME), header.double(Tag.EFFECTIVE_ECHO_TIME)),
        inversion_time_ms=_first(header.decimal(Tag.INVERSION_TIME), header.double(Tag.INVERSION_TIMES)),
        flip_angle_deg=header.decimal(Tag.FLIP_ANGLE),
        contrast_agent=_contrast_agent(header),
        body_part=header.text(Tag.BODY_PART_EXAMINED).upper(),
        acquired_on=_first_date(header),
        burned_in_text=_ANSWERS.get(header.text(Tag.BURNED_IN_ANNOTATION).upper()),
        uneven_mm=uneven_mm,
    )


def series_number(header: DataSet) -> int | None:
    """Return SeriesNumber (0020,0011), if it is one."""
    return _whole(header, Tag.SERIES_NUMBER)


def _whole(header: DataSet, tag: Tag) -> int | None:
    number = header.decimal(tag)
    return int(number) if number is not None and abs(number) <= _MAX_WHOLE else None


def _phase(header: DataSet) -> int | None:
    temporal = _whole(header, Tag.TEMPORAL_POSITION_IDENTIFIER), header.unsigned(Tag.TEMPORAL_POSITION_INDEX)
    return next((phase for phase in (*temporal, _whole(header, Tag.ACQUISITION_NUMBER)) if phase is not None), None)


def _description(header: DataSet) -> str:
    # GE writes one ProtocolName, such as "BRAIN WITH CONTRAST", into every series: only one without a name goes by it.
    named = Tag.SERIES_DESCRIPTION if header.texts(Tag.SERIES_DESCRIPTION) else Tag.PROTOCOL_NAME
    texts = (" ".join(header.texts(tag)) for tag in (named, Tag.SEQUENCE_NAME, Tag.PULSE_SEQUENCE_NAME))
    # Each text once.
    return " ".join(dict.fromkeys(text for text in texts if text))


def _upper(header: DataSet, tag: Tag) -> tuple[str, ...]:
    return tuple(text.upper() for text in header.texts(tag))


def _image_type(header: DataSet) -> tuple[str, ...]:
    """Return ImageType, or a frame's own; the component that Enhanced MR states apart is its last value."""
    values = _upper(header, Tag.FRAME_TYPE) or _upper(header, Tag.IMAGE_TYPE)
    component = header.text(Tag.COMPLEX_IMAGE_COMPONENT).upper()
    return (*values, component) if component else values


def _scanning_sequence(header: DataSet) -> tuple[str, ...]:
    stated = _upper(header, Tag.SCANNING_SEQUENCE)
    if stated:
        return stated
    inverted = header.text(Tag.INVERSION_RECOVERY).upper() == "YES"
    return (*_SCANNING_SEQUENCES.get(header.text(Tag.ECHO_PULSE_SEQUENCE).upper(), ()), *(("IR",) if inverted else ()))


def _contrast_agent(header: DataSet) -> bool | None:
    """Return whether contrast medium was given, as far as anything says so (PS3.3 C.7.6.4, C.7.6.4b)."""
    administered = _ANSWERS.get(header.text(Tag.CONTRAST_BOLUS_AGENT_ADMINISTERED).upper())
    if administered is not None:
        return administered
    items = header.sequences.get(Tag.CONTRAST_BOLUS_AGENT_SEQUENCE, ())
    names = [header.text(Tag.CONTRAST_BOLUS_AGENT), *(item.text(Tag.CODE_MEANING) for item in items)]
    named = [name.casefold() not in _NO_AGENT for name in names if name]
    amounts = (header.decimal(tag) for tag in (Tag.CONTRAST_BOLUS_VOLUME, Tag.CONTRAST_BOLUS_TOTAL_DOSE))
    if named:
        return any(named)
    return True if any(amounts) else None


def _first(*numbers: float | None) -> float | None:
    return next((number for number in numbers if number is not None), None)


def _first_date(header: DataSet) -> date | None:
    for tag in _DATES:
        text = header.text(tag)[:8]
        try:
            return date.fromisoformat(text)
        except ValueError:
            continue
    return None
