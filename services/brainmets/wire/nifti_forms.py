"""How a NIfTI file says where its voxels lie, on its way to what is written on its grid."""

from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.internal.v1 import preprocessing_service_pb2 as messages


def forms_to_proto(forms: NiftiForms | None) -> messages.NiftiForms | None:
    """Write forms, if there are any."""
    if forms is None:
        return None
    return messages.NiftiForms(
        sform_code=forms.sform_code,
        qform_code=forms.qform_code,
        pixdim=forms.pixdim,
        quaternion=forms.quaternion,
        offset_mm=forms.offset_mm,
    )


def forms_from_proto(message: messages.NiftiForms) -> NiftiForms:
    """Read forms.

    Raises:
        ValueError: They are incomplete, or none that a file can have.
    """
    handedness, columns_mm, rows_mm, slices_mm = message.pixdim
    b, c, d = message.quaternion
    x_mm, y_mm, z_mm = message.offset_mm
    return NiftiForms(
        message.sform_code,
        message.qform_code,
        (handedness, columns_mm, rows_mm, slices_mm),
        (b, c, d),
        (x_mm, y_mm, z_mm),
    )
