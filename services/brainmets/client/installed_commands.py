"""Commands that need more than the client carries, found by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from brainmets.client.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS_GROUP = "brainmets.commands"


def installed_command(name: str) -> Callable[..., bool]:
    """Return a command that needs more than the client carries: it is found by its entry point, and then loaded.

    Raises:
        MissingExtraError: Not all that it needs is installed.
    """
    entry_point = next(iter(entry_points(group=COMMANDS_GROUP, name=name)), None)
    if entry_point is None:
        raise MissingExtraError(name, missing=f"{COMMANDS_GROUP}:{name}")
    try:
        command: Callable[..., bool] = entry_point.load()
    except ModuleNotFoundError as error:
        raise MissingExtraError(name, missing=error.name or "") from error
    return command
