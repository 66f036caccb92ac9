"""What commands print on: a person's terminal as wide as it is, or a pipe, where nothing is cut or wrapped."""

import os

from rich.console import Console

PIPE_WIDTH = 1000


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints words as they are: brackets are no markup, colons no emoji."""
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def span(seconds: float) -> str:
    """Write a length of time as a person would: `43 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 pod`, `2 pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
