"""The error of all release tools."""


class ReleaseError(Exception):
    """The release can't go on. The message says what to change."""
