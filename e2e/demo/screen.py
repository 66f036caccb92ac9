"""Shows the demo: on a terminal a live table with events below it, elsewhere plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from computepool.cli.status import providers_table, signals_table
from computepool.model.api import ComputePool
from e2e.demo.recorder import DemoRecorder
from e2e.demo.seen import EventSeen

REDRAWS_PER_SECOND = 8
# Lines of events below the table; the report has them all.
SHOWN_EVENTS = 6
# Of an event's note, as many characters are shown where lines may be as long as they like.
PLAIN_NOTE = 160


class Screen:
    """Tells the story."""

    def __init__(self, console: Console, pause: float) -> None:
        """`pause`: seconds that a person gets to read after each step, on a terminal."""
        self.console = console
        self._pause = pause if console.is_terminal else 0.0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        """Begin a step."""
        self.console.print(f"\n[bold]{escape(text)}[/bold]  [dim]{self.seconds:.1f} s[/dim]", soft_wrap=True)

    def say(self, text: str) -> None:
        """Add a sentence."""
        self.console.print(f"  {text}", markup=False, soft_wrap=not self.console.is_terminal)

    def command(self, text: str, output: str = "") -> None:
        """Show a command as a person would type it, and what it printed."""
        self.console.print(f"  [cyan]$ {escape(text)}[/cyan]", highlight=False, soft_wrap=True)
        for line in output.splitlines():
            self.console.print(Text(f"  {line}"), soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Print anything else."""
        self.console.print(what)

    @contextmanager
    def watching(self, recorder: DemoRecorder) -> Iterator[None]:
        """Show the providers and what is told of the pool, as long as the block lasts and a moment longer."""
        scene = _Scene(recorder, len(recorder.events))
        if self.console.is_terminal:
            with Live(scene, console=self.console, refresh_per_second=REDRAWS_PER_SECOND):
                yield
                self.rest()
            return
        recorder.listener = self._tell
        try:
            yield
        finally:
            recorder.listener = None
        self.console.print(scene.table())

    def rest(self) -> None:
        """Let a person read."""
        time.sleep(self._pause)

    def _tell(self, event: EventSeen) -> None:
        if event.kind == "ComputePool":
            self.console.print(f"  {_line(event)[:PLAIN_NOTE]}", soft_wrap=True, markup=False, highlight=False)


class _Scene:
    """The table and the events as they are at the moment of drawing."""

    def __init__(self, recorder: DemoRecorder, seen_before: int) -> None:
        self._recorder = recorder
        self._seen_before = seen_before

    def __rich__(self) -> RenderableType:
        fresh = self._recorder.events[self._seen_before :]
        of_pools = [event for event in fresh if event.kind == "ComputePool"]
        lines = [Text(f"  {_line(event)}", no_wrap=True, overflow="ellipsis") for event in of_pools[-SHOWN_EVENTS:]]
        others = len(fresh) - len(of_pools)
        if others:
            lines.append(Text(f"  ... and {others} event(s) on pods", style="dim"))
        return Group(self.table(), *lines)

    def table(self) -> RenderableType:
        if not self._recorder.pool:
            return Text("  (the pool is not there yet)", style="dim")
        pool = _parsed(self._recorder.pool)
        providers = providers_table(pool)
        return Group(providers, signals_table(pool)) if pool.status.signals else providers


_parsed: Callable[[dict[str, Any]], ComputePool] = ComputePool.from_object


def _line(event: EventSeen) -> str:
    return f"{event.time[11:23]}  {event.reason:<16} {event.message}"
