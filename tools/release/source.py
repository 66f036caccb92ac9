"""What a published file says about the place it comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.release.errors import ReleaseError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_URL = re.compile(r"https://[\w.-]+(/[\w.-]+)+")


@dataclass(frozen=True)
class Image:
    """The operator's image as it was pushed: the repository with its host, and the digest of all platforms."""

    repository: str
    digest: str

    def __post_init__(self) -> None:
        """Raise ReleaseError for a name or a digest that no registry would take."""
        if not _REFERENCE.fullmatch(self.repository):
            raise ReleaseError(f"{self.repository!r} is no repository of an image: write host/owner/name in lower case")
        if not _DIGEST.fullmatch(self.digest):
            raise ReleaseError(f"{self.digest!r} is no digest: write sha256: and 64 hexadecimal digits")

    def __str__(self) -> str:
        """The reference that can't change its meaning."""
        return f"{self.repository}@{self.digest}"


def repository_url(text: str) -> str:
    """The address of the source repository without a slash at its end. Raises ReleaseError if it is none."""
    url = text.rstrip("/")
    if not _URL.fullmatch(url):
        raise ReleaseError(f"{text!r} is no address of a repository: write https://host/owner/name")
    return url
