"""The results: a table for people, and a JSON file for each benchmark."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from e2e import versions
from e2e.cluster import REPOSITORY
from e2e.spread import Spread

FOLDER = REPOSITORY / "build" / "bench"
WIDTH = 160


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table: something measured, and what it is held to."""

    what: str
    unit: str
    """Of `value` and `limit`: "x" for a ratio."""
    value: Spread
    limit: float | None = None
    """What the middle value may be at most; None for a line that is there to compare with."""
    detail: str = ""
    """The absolute numbers behind a ratio."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.limit is None else self.value.p50 <= self.limit

    @property
    def verdict(self) -> str:
        """Say whether the target is met, and by how much it is not."""
        if self.limit is None:
            return ""
        if self.value.p50 <= self.limit:
            return "met"
        return f"missed by {number(self.value.p50 - self.limit)} {self.unit}"


class Result(msgspec.Struct, frozen=True):
    """What one benchmark found: its rows, and all that was measured."""

    name: str
    rows: list[Row]
    raw: Any


def write(result: Result, folder: Path = FOLDER) -> Path:
    """Keep a result, with what is needed to judge it later."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    content = {
        "name": result.name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kubernetes": versions.KUBERNETES,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rows": [msgspec.to_builtins(row) | {"met": row.met, "verdict": row.verdict} for row in result.rows],
        "raw": result.raw,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return path


def table_console() -> Console:
    """Return where to print a table: in a file, its lines are not folded to a terminal's width."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def show(results: Iterable[Result], console: Console) -> None:
    """Print everything as one table, and how many targets were missed."""
    missed = 0
    table = Table(title="ComputePool benchmarks: middle of the rounds (least to greatest)", title_justify="left")
    for column in ("what", "target", "measured", "range", "verdict", "in numbers"):
        table.add_column(column, overflow="fold")
    for result in results:
        for row in result.rows:
            missed += row.met is False
            colour = {True: "green", False: "red", None: "dim"}[row.met]
            table.add_row(
                row.what,
                "" if row.limit is None else f"≤ {number(row.limit)} {row.unit}",
                f"{number(row.value.p50)} {row.unit}",
                f"{number(row.value.min)}-{number(row.value.max)}",
                f"[{colour}]{row.verdict}[/{colour}]",
                row.detail,
            )
        table.add_section()
    console.print(table)
    console.print(f"{missed} target(s) missed. All that was measured: {FOLDER}")


def number(value: float) -> str:
    """Write a number with as many digits as say something."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
