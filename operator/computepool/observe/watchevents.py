"""The lines of a watch, decoded as far as a reflector needs: the object itself stays JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from computepool.kube import errors

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends the initial events of a streaming list."""


class Event(msgspec.Struct):
    """One line: what happened, and the JSON of the object (a view of the line)."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class Bookmark(msgspec.Struct, frozen=True):
    """Everything up to `version` has been sent; `initial_end` ends the initial events of a streaming list."""

    version: int
    initial_end: bool


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str
    annotations: dict[str, str] | None = None


class _BookmarkObject(msgspec.Struct):
    metadata: _Meta


_decode_event = msgspec.json.Decoder(Event).decode
_decode_bookmark = msgspec.json.Decoder(_BookmarkObject).decode
_decode_status = msgspec.json.Decoder(errors.Status).decode


def event(line: bytes, request: str) -> Event:
    """Decode a line. Raises Unavailable for what is no event: the stream can't be trusted any further."""
    try:
        return _decode_event(line)
    except msgspec.MsgspecError as error:
        raise garbled(error, request) from error


def bookmark(raw: bytes, request: str) -> Bookmark:
    """Decode a BOOKMARK's object. Raises Unavailable for what is none."""
    try:
        meta = _decode_bookmark(raw).metadata
    except msgspec.MsgspecError as error:
        raise garbled(error, request) from error
    initial_end = (meta.annotations or {}).get(INITIAL_EVENTS_END) == "true"
    return Bookmark(version_number(meta.resource_version, request), initial_end)


def error(raw: bytes, request: str) -> errors.ApiError:
    """Return what an ERROR event says, as the error that the same answer to a request would be."""
    try:
        status = _decode_status(raw)
    except msgspec.MsgspecError as failed:
        return garbled(failed, request)
    return errors.from_status(status, request=request)


def version_number(version: str, request: str) -> int:
    """Return a resourceVersion as the integer that it is within one resource. Raises Unavailable for anything else.

    Comparable since Kubernetes 1.35: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    if not version.isdecimal():
        raise garbled(f"resourceVersion {version!r}", request)
    return int(version)


def garbled(what: object, request: str) -> errors.Unavailable:
    """Return the error for an answer that makes no sense."""
    return errors.Unavailable(200, "Garbled", f"not what a Kubernetes API server sends: {what}", request=request)
