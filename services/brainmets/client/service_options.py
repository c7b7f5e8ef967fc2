"""Which service a command calls, and how: options that every calling command has."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import shlex
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 -- typer reads the options' types
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from brainmets.client.aio import AsyncClient
from brainmets.client.arguments import read_address
from brainmets.client.sync import Client
from brainmets.client.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable

_ADDRESS_VARIABLE = "BRAINMETS_ADDRESS"
_CA_HELP = "Certificates of the authority that signed the service's, PEM; implies --tls."
_CERT_HELP = "This client's certificate, PEM, for a service that asks for one; implies --tls."


def _option(  # Any: as typer.Option
    metavar: str | None,
    variable: str,
    words: str,
    *,
    name: str | None = None,
    callback: Callable[[str], str] | None = None,
) -> Any:
    names = () if name is None else (name,)
    return typer.Option(
        *names, metavar=metavar, envvar=variable, help=words, rich_help_panel="Service", callback=callback
    )


@dataclass(frozen=True, slots=True)
class Service:
    """The service a command calls, as the command line or the environment says."""

    address: Annotated[
        str, _option("HOST:PORT", _ADDRESS_VARIABLE, "Where the gateway listens.", callback=read_address)
    ] = "127.0.0.1:8500"
    use_tls: Annotated[
        bool, _option(None, "BRAINMETS_TLS", "Speak TLS, as a service on a network should.", name="--tls")
    ] = False
    ca_file: Annotated[Path | None, _option("FILE", "BRAINMETS_CA_FILE", _CA_HELP)] = None
    cert: Annotated[Path | None, _option("FILE", "BRAINMETS_CERT", _CERT_HELP)] = None
    key: Annotated[Path | None, _option("FILE", "BRAINMETS_KEY", "The private key of --cert, PEM.")] = None

    def client(self) -> Client:
        """Return a client of it.

        Raises:
            TlsFileError: A file of certificates or a key cannot be used.
        """
        return Client(self.address, tls=self._tls())

    def async_client(self) -> AsyncClient:
        """Return an asynchronous client of it; raises as `client`."""
        return AsyncClient(self.address, tls=self._tls())

    def command(self, *words: str) -> str:
        """Return a command line that calls this service, as it can be typed."""
        options: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # The default too must be said where the environment names another service.
            if value != field.default or (field.name == "address" and _ADDRESS_VARIABLE in os.environ):
                name = "--tls" if field.name == "use_tls" else f"--{field.name.replace('_', '-')}"
                options += [name] if value is True else [name, str(value)]
        return shlex.join(("brainmets", *words, *options))

    def _tls(self) -> Tls | None:
        files = (self.ca_file, self.cert, self.key)
        return Tls(*files) if self.use_tls or any(files) else None


def calls_service(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its argument `service`, the options that describe one."""
    hints = get_type_hints(Service, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(Service)
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "service"
    ]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:  # Any: what the options of a command hold
        service = Service(**{option.name: arguments.pop(option.name) for option in options})
        command(service=service, **arguments)

    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]  # typer reads it
    return run
