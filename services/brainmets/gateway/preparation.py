"""Owns the gateway's port to preprocessing: stored files in, a study's grid and its normalised tiles out."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import Tile
from brainmets.wire.stored_file import StoredFile
from brainmets.wire.tiles import StudyHeader


@dataclass(frozen=True, slots=True)
class PreparedStudy:
    """A study on its way from preprocessing: what is known of it, and its tiles, in order of index, once."""

    header: StudyHeader
    tiles: AsyncIterator[Tile]


class StudyPreparer(Protocol):
    """Decodes, aligns, normalises and cuts a stored study."""

    def prepare(
        self,
        job_id: str,
        files: tuple[StoredFile, ...],
        *,
        choices: PreparationChoices,
        contract: TileContract,
        deadline: Deadline,
    ) -> AbstractAsyncContextManager[PreparedStudy]:
        """Prepare a study while the block runs; leaving it early stops the preparation.

        The tiles hold the channels of `header.sequences` only. An adapter begins again while preprocessing is
        unavailable and never yields a tile twice.

        Raises:
            StudyError: The study cannot be read or used.
            DataLossError: Stored bytes are missing or changed.
            DependencyUnavailableError: Preprocessing stayed unavailable until the deadline.
            DeadlineExceededError: The deadline passed.
        """
        ...
