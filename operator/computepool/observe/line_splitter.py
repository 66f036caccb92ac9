"""Joins the chunks of a byte stream into lines."""

from __future__ import annotations

MAX_LINE = 64 * 1024 * 1024
"""In bytes. etcd refuses objects beyond a few MB, so a longer line is no event and is given up."""


class LineTooLongError(Exception):
    """More than MAX_LINE bytes came without a line end."""


class LineSplitter:
    """Joins chunks into lines, in time linear in the bytes however the chunks are cut.

    The client library's own line reader ends the connection at 64 KiB; watch events are regularly larger.
    """

    def __init__(self, max_line: int = MAX_LINE) -> None:
        """`max_line` in bytes."""
        self._max_line = max_line
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes, without their line ends and without empty lines.

        Raises LineTooLongError.
        """
        head, newline, rest = chunk.partition(b"\n")
        self._parts.append(head)
        self._held += len(head)
        if self._held > self._max_line:
            raise LineTooLongError(f"more than {self._max_line} bytes without a line end")
        if not newline:
            return []
        first = b"".join(self._parts) if len(self._parts) > 1 else head
        *lines, last = rest.split(b"\n")
        self._parts = [last]
        self._held = len(last)
        return [line for line in (first, *lines) if line]
