"""The source of metrics that a command's options name."""

from pathlib import Path

from pydantic import ValidationError

from computepool.cli.errors import ToldError
from computepool.prometheus.errors import ConfigError
from computepool.prometheus.source import Source, load_source


class SourceOptionError(ToldError):
    """The options name no source of metrics that can be used."""


def source_at(url: str, option: str, timeout_seconds: float = 10.0) -> Source:
    """Return the source at an address, without credentials. `option`: its name, for the error.

    Raises SourceOptionError.
    """
    try:
        return Source(url=url, timeout_seconds=timeout_seconds)
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SourceOptionError(f"{option}: {told}") from None


def source_in(path: Path) -> Source:
    """Return the source of a configuration file. Raises SourceOptionError."""
    try:
        return load_source(path)
    except ConfigError as error:
        raise SourceOptionError(str(error)) from None
