"""The objects of one resource that could not be read in full, and what is wrong with the first of them.

The view is incomplete or inexact because of them, and the pools' status says so until the object can be read again, is
deleted, or is not in the next list.
"""

from typing import Final

import msgspec

from computepool.kube.wire import UnreadMeta, UnreadObject
from computepool.model.text import cut

MAX_ERROR: Final = 300
"""Characters of an error: it may quote a value of any length."""
_OBJECT = msgspec.json.Decoder(UnreadObject)


class UnreadableObjects:
    """Unreadable objects by uid. Objects without a readable uid share one entry, which stays until the next list."""

    def __init__(self, resource: str) -> None:
        """`resource` is the plural name, for the text."""
        self._resource = resource
        self._known: dict[str, str] = {}
        self._listed: dict[str, str] | None = None

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._known)

    @property
    def text(self) -> str:
        """One sentence about the first object; empty if every object could be read. It stays while that object does."""
        return next(iter(self._known.values()), "")

    def note(self, raw: bytes, error: Exception) -> None:
        """Note an object that could not be read."""
        self._put(raw, f"cannot read one of the {self._resource}: {cut(str(error), MAX_ERROR)}")

    def note_in_part(self, raw: bytes, text: str) -> None:
        """Note an object of which a part counts otherwise than it is written; `text` says which part, and how."""
        self._put(raw, f"one of the {self._resource} is not counted as written: {cut(text, MAX_ERROR)}")

    def _put(self, raw: bytes, text: str) -> None:
        meta = _meta(raw)
        if meta.uid:
            text += f" ({'/'.join(part for part in (meta.namespace, meta.name) if part)})"
        for entries in (self._known, self._listed):
            if entries is not None:
                entries[meta.uid] = text

    def forget(self, raw: bytes) -> None:
        """Forget an object that could be read, or is gone."""
        uid = _meta(raw).uid
        for entries in (self._known, self._listed):
            if uid and entries is not None:
                entries.pop(uid, None)

    def list_started(self) -> None:
        """Collect anew beside the earlier entries: they stand until the list is complete."""
        self._listed = {}

    def list_finished(self) -> None:
        """Replace the earlier entries by the entries of this list."""
        self._known, self._listed = self._listed or {}, None


def _meta(raw: bytes) -> UnreadMeta:
    try:
        return _OBJECT.decode(raw).metadata
    except msgspec.MsgspecError:
        return UnreadMeta("")
