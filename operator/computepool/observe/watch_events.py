"""Decodes the lines of a watch as far as a reflector needs: the object itself stays JSON."""

from __future__ import annotations

import msgspec

from computepool.kube import errors, wire
from computepool.kube.wire import WatchEvent

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends the initial events of a streaming list."""


class Bookmark(msgspec.Struct, frozen=True):
    """Everything up to `version` has been sent. `initial_end`: it ends the initial events of a streaming list."""

    version: int
    initial_end: bool


_EVENT = msgspec.json.Decoder(WatchEvent)
_BOOKMARK = msgspec.json.Decoder(wire.Bookmark)
_STATUS = msgspec.json.Decoder(wire.Status)


def event(line: bytes, request: str) -> WatchEvent:
    """Decode a line. Raises Unavailable if it is no event: then the stream can't be trusted any further."""
    return errors.decoded(_EVENT, line, request=request)


def bookmark(raw: bytes, request: str) -> Bookmark:
    """Decode a BOOKMARK's object. Raises Unavailable for anything else."""
    meta = errors.decoded(_BOOKMARK, raw, request=request).metadata
    initial_end = (meta.annotations or {}).get(INITIAL_EVENTS_END) == "true"
    return Bookmark(version_number(meta.resource_version, request), initial_end)


def error(raw: bytes, request: str) -> errors.ApiError:
    """Return the error of an ERROR line, as if it were the answer to a request.

    Raises Unavailable if the object is no Status.
    """
    return errors.from_status(errors.decoded(_STATUS, raw, request=request), request=request)


def version_number(version: str, request: str) -> int:
    """Return a resourceVersion as the integer that it is within one resource. Raises Unavailable for anything else.

    Comparable since Kubernetes 1.35: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    if not version.isdecimal():
        raise errors.garbled(f"resourceVersion {version!r}", request=request)
    return int(version)
