"""What a person sees of a long step."""

from __future__ import annotations

import io
import threading

import pytest

from e2e.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Listened(io.StringIO):
    """A stream that tells when a word has been written to it."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.heard = threading.Event()
        self._word = word

    def write(self, text: str) -> int:
        if self._word in text:
            self.heard.set()
        return super().write(text)


def test_a_terminal_gets_one_line_that_is_written_over() -> None:
    out = Terminal()
    with Progress("etcd", out) as progress:
        progress.say("compiling")
    assert out.getvalue() == "\r\x1b[Ketcd: starting (0:00)\r\x1b[Ketcd: done (0:00)\n"


def test_elsewhere_each_tick_is_a_line() -> None:
    out = Listened("compiling")
    with Progress("etcd", out, sparse_seconds=0.01) as progress:
        progress.say("compiling")
        assert out.heard.wait(10)
    assert out.getvalue().splitlines()[0] == "etcd: starting (0:00)"
    assert out.getvalue().splitlines()[-1] == "etcd: done (0:00)"


def test_a_step_that_fails_does_not_say_done() -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress("etcd", out):
        raise KeyboardInterrupt
    assert out.getvalue().splitlines()[-1] == "etcd: not done (0:00)"
