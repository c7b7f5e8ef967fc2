"""Commands whose help shows nothing behind an option that takes no value, and whose refusals are in plain words."""

from __future__ import annotations

from typing import Any

from typer import BadParameter
from typer.core import TyperCommand, TyperGroup, TyperOption


# Any, here and below: typer's classes of contexts and parameters are not public.
def _plain(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


# What pydantic, by which typer reads values, puts before what was wrong with one.
_PREFIX = "Value error, "


class PlainCommand(TyperCommand):
    """A command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read a command line."""
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            error.message = error.message.removeprefix(_PREFIX)
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its parameters."""
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The commands together."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return their common parameters."""
        return _plain(super().get_params(ctx))
