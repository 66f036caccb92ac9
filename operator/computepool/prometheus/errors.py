"""Why a query got no answer, in words for people. No text here ever contains a credential."""

from typing import ClassVar, Final

MAX_TEXT: Final = 300
"""Longest text of a server that a message repeats, in characters: a proxy may answer with a page of HTML."""


class SourceError(Exception):
    """A query got no answer. The message says why, and what to check."""

    kind: ClassVar[str] = "Failed"
    """The kind of error in one word, for metrics. Failed: an unexpected error, whose traceback is in the log."""


class ConfigError(SourceError):
    """The configuration of the source, or a file that it names, can't be used."""

    kind = "Configuration"


class UnreachableError(SourceError):
    """No connection, or a TLS handshake that failed."""

    kind = "Unreachable"


class SlowError(SourceError):
    """No answer in time."""

    kind = "Timeout"


class RefusedError(SourceError):
    """401 or 403: the server refuses the credentials, or they lack the right."""

    kind = "Refused"


class BadQueryError(SourceError):
    """400 or 422: the server can't run the query. The same query fails again."""

    kind = "BadQuery"


class ServerError(SourceError):
    """429, 5xx, or a status that no query server gives."""

    kind = "ServerError"


class GarbledError(SourceError):
    """An answer that no query server gives: not JSON, another shape, or too large."""

    kind = "Garbled"


KINDS: Final = tuple(
    error.kind
    for error in (
        ConfigError,
        UnreachableError,
        SlowError,
        RefusedError,
        BadQueryError,
        ServerError,
        GarbledError,
        SourceError,
    )
)
"""Every kind of error."""
