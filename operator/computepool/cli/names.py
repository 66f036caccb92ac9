"""Names on the command line, checked before they become part of a path. Light to import: `--help` needs it.

The rules are those of the API server: the name of an object is a DNS subdomain, the name of a namespace a DNS label.
"""

import re
from typing import Final

import typer

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Say whether an object can have this name."""
    return _NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Say whether a namespace can have this name."""
    return _NAMESPACE.fullmatch(text) is not None


def checked_name(text: str) -> str:
    """Return an option's value. Raises BadParameter if no object can have this name."""
    if not is_name(text):
        raise typer.BadParameter(f"{text!r} is no name of an object")
    return text


def no_namespace(text: str | None) -> None:
    """Raise BadParameter if a namespace was given to a command whose objects belong to none."""
    if text is not None:
        raise typer.BadParameter("pools and nodes belong to no namespace: leave this flag out")


def checked_namespace(text: str | None) -> str | None:
    """Return an option's value, None where it was not given. Raises BadParameter if no namespace can have this name."""
    if text is not None and not is_namespace(text):
        raise typer.BadParameter(f"{text!r} is no name of a namespace")
    return text
