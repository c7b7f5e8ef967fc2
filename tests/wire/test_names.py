"""Names of the contract and of imaging are the same, and what a newer contract adds is nothing."""

import pytest

from brainmets.imaging.media_type import MediaType
from brainmets.v1 import study_pb2
from brainmets.wire.names import media_type_from_proto, media_type_to_proto


@pytest.mark.parametrize("media_type", MediaType)
def test_a_media_type_has_the_contracts_name(media_type: MediaType) -> None:
    """There and back."""
    number = media_type_to_proto(media_type)
    assert study_pb2.MediaType.Name(number) == f"MEDIA_TYPE_{media_type.name}"
    assert media_type_from_proto(number) is media_type


def test_every_stated_media_type_is_known() -> None:
    """A value that the contract gains has a name here too."""
    assert set(map(media_type_from_proto, study_pb2.MediaType.values())) == {None, *MediaType}


def test_an_unknown_media_type_is_none() -> None:
    """A client of a newer contract is told, not misread."""
    assert media_type_from_proto(99) is None  # type: ignore[arg-type]  # a number that the contract does not know
