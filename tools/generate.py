"""Write the files that are made from code, or check that they are current: `python -m tools.generate [--check]`.

To add one: write a function that returns its text, and list it in GENERATED.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import alerts, crd, dashboard, metrics, reasons, reference

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Generated:
    """A file made from code: its path from the root of the repository, and the function that returns its text."""

    path: str
    render: Callable[[], str]


GENERATED = (
    Generated("crds/computepool.io_computepools.yaml", crd.render),
    Generated("charts/computepool/templates/crd.yaml", crd.render_chart),
    Generated("docs/reference/api.md", reference.render),
    Generated("docs/reference/reasons.md", reasons.render),
    Generated("docs/reference/metrics.md", metrics.render),
    Generated("docs/reference/alerts.md", alerts.render),
    Generated("charts/computepool/files/dashboard.json", dashboard.render),
)


def write(root: Path, files: Iterable[Generated] = GENERATED) -> list[str]:
    """Write those that are not current; returns their paths."""
    written = []
    for file in files:
        text = file.render()
        if _read(root / file.path) != text:
            (root / file.path).parent.mkdir(parents=True, exist_ok=True)
            (root / file.path).write_text(text, encoding="utf-8")
            written.append(file.path)
    return written


def stale(root: Path, files: Iterable[Generated] = GENERATED) -> list[str]:
    """What `write` would change, as one unified diff a file."""
    diffs = []
    for file in files:
        have, want = _read(root / file.path), file.render()
        if have != want:
            lines = difflib.unified_diff(
                have.splitlines(keepends=True), want.splitlines(keepends=True), file.path, f"{file.path} (generated)"
            )
            diffs.append("".join(lines))
    return diffs


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, files: Iterable[Generated] = GENERATED) -> int:
    """Run the command; returns the exit code, 1 if --check finds something stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description="Write the files made from code.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is not current")
    if not parser.parse_args(arguments).check:
        sys.stdout.writelines(f"wrote {path}\n" for path in write(root, files))
        return 0
    diffs = stale(root, files)
    if diffs:
        sys.stdout.writelines(diffs)
        sys.stderr.write("Generated files are not current: run make generate\n")
    return 1 if diffs else 0


if __name__ == "__main__":
    sys.exit(main())
