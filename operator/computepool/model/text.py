"""Times and texts as the API server takes them."""

from datetime import UTC, datetime
from functools import lru_cache

_ELLIPSIS = "…"
_SENTENCE_ENDS = (". ", "! ", "? ")
_PART_ENDS = (", ", "; ", ": ")


def rfc3339(time: datetime | float, timespec: str = "seconds") -> str:
    """Return a time as `2026-11-23T05:00:00Z`.

    `time` is a datetime in UTC, or seconds since the epoch. `timespec` is the precision, as `datetime.isoformat` names
    it. Smaller fractions are cut off.
    """
    if not isinstance(time, datetime):
        time = datetime.fromtimestamp(time, UTC)
    return time.isoformat(timespec=timespec).replace("+00:00", "Z")


@lru_cache(maxsize=1_024)
def seconds_of(text: str | None) -> float | None:
    """Return a time with its zone, such as `2026-11-23T05:00:00Z`, in seconds since the epoch; None for other text.

    Cached, because many objects of one list have the same times, and equal numbers are shared then.
    """
    try:
        time = datetime.fromisoformat(text.strip() if text else "")
        # In UTC, because times of the calendar's first and last day could not be written again otherwise.
        return time.astimezone(UTC).timestamp() if time.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def printable(text: str) -> str:
    """Return a text of others in one line: characters that control a terminal, or have no form, become spaces."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def cut(text: str, characters: int) -> str:
    """Return the text, shortened to so many characters and ended by an ellipsis if it is longer.

    It is cut after a sentence if half of the characters or more remain, else after a part of a sentence or an item of a
    list, else after a word.
    """
    return text if len(text) <= characters else _ended(text[: characters - len(_ELLIPSIS)])


def cut_bytes(text: str, size: int) -> str:
    """Return the text, shortened as by `cut` to `size` bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= size:
        return text
    return _ended(encoded[: size - len(_ELLIPSIS.encode())].decode(errors="ignore"))


def _ended(text: str) -> str:
    """End the beginning of a text where a reader would pause, and add an ellipsis."""
    # The blank after a mark belongs to the text, and makes room for one before the ellipsis.
    for marks in (_SENTENCE_ENDS, _PART_ENDS, (" ",)):
        end = max(text.rfind(mark) + len(mark) for mark in marks)
        if end > len(text) // 2:
            return text[:end] + _ELLIPSIS
    return text + _ELLIPSIS
