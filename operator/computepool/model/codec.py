"""Stores snapshots, states and outcomes of passes as bytes (MessagePack), and reads them back.

A value that is read back equals the stored value, and `reconcile` gives an equal outcome for it.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from computepool.model.api import ComputePool, InvalidPool

T = TypeVar("T")


def encode(value: msgspec.Struct) -> bytes:
    """Return a snapshot, a state or an outcome as bytes. Equal values need not give equal bytes: sets have no order."""
    return msgspec.msgpack.encode(value, enc_hook=_to_plain)


def decode(data: bytes, kind: type[T]) -> T:
    """Read back a value that `encode` has written. Raises msgspec.ValidationError if it is of another kind."""
    return msgspec.msgpack.decode(data, type=kind, dec_hook=_from_plain)


def _to_plain(value: Any) -> Any:
    if isinstance(value, ComputePool):
        return value.to_object()
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"a {type(value).__name__} can't be encoded")


def _from_plain(kind: type, value: Any) -> Any:
    if kind is not ComputePool:
        raise NotImplementedError(f"a {kind.__name__} can't be decoded")
    try:
        return ComputePool.from_object(value)
    except InvalidPool as error:
        raise ValueError(str(error)) from error
