"""Objects of one resource that could not be read: which, and what is wrong with the first of them.

The view is incomplete without them, and the pools' status says so for as long as that lasts: until the object can be
read again, is deleted, or is not in the next list.
"""

import msgspec

from computepool.kube.wire import UnreadMeta, UnreadObject

_OBJECT = msgspec.json.Decoder(UnreadObject)


class UnreadableObjects:
    """By uid. All objects whose uid can't be read either share one entry, which stands until the next list."""

    def __init__(self, resource: str) -> None:
        """`resource` is its plural name, for the text."""
        self._resource = resource
        self._held: dict[str, str] = {}
        self._listed: dict[str, str] | None = None

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._held)

    @property
    def text(self) -> str:
        """One sentence about the first of them; empty where all could be read. It stays while the first one does."""
        return next(iter(self._held.values()), "")

    def note(self, raw: bytes, error: Exception) -> None:
        """Note an object that could not be read."""
        meta = _meta(raw)
        which = f" ({'/'.join(part for part in (meta.namespace, meta.name) if part)})" if meta.uid else ""
        text = f"cannot read one of the {self._resource}: {error}{which}"
        for known in (self._held, self._listed):
            if known is not None:
                known[meta.uid] = text

    def forget(self, raw: bytes) -> None:
        """Forget an object that could be read, or is gone."""
        uid = _meta(raw).uid
        for known in (self._held, self._listed):
            if uid and known is not None:
                known.pop(uid, None)

    def list_started(self) -> None:
        """Begin anew beside what stands: until the list is complete, nothing is known to be right again."""
        self._listed = {}

    def list_finished(self) -> None:
        """Take what this list has brought in place of what stood before."""
        self._held, self._listed = self._listed or {}, None


def _meta(raw: bytes) -> UnreadMeta:
    try:
        return _OBJECT.decode(raw).metadata
    except msgspec.MsgspecError:
        return UnreadMeta("")
