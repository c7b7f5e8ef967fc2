"""Commands whose help shows nothing behind an option that takes no value."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


# Any, here and below: typer's classes of contexts and parameters are not public.
def _plain(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


class PlainCommand(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its parameters."""
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The commands together."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return their common parameters."""
        return _plain(super().get_params(ctx))
