"""The manifests in this folder: `good/` is accepted, `bad/` is refused, and says in its first line with which words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve().parent
_REFUSED = "# refused: "
_SERVER_ONLY = "# by the API server alone"


@dataclass(frozen=True)
class BadManifest:
    """A manifest that is refused: `field` is what the message must name, `says` a part of its sentence."""

    name: str
    path: Path
    field: str
    says: str
    server_only: bool
    """The operator itself takes it: it ignores unknown fields, which may be a newer version's."""


def good() -> list[Path]:
    """Manifests that are accepted, by name."""
    return sorted((_HERE / "good").glob("*.yaml"))


def bad() -> list[BadManifest]:
    """Manifests that are refused, by name."""
    return [_read(path) for path in sorted((_HERE / "bad").glob("*.yaml"))]


def load(path: Path) -> dict[str, Any]:
    """The manifest as an object."""
    manifest: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return manifest


def _read(path: Path) -> BadManifest:
    lines = path.read_text(encoding="utf-8").splitlines()
    field, _, says = lines[0].removeprefix(_REFUSED).partition(": ")
    if not lines[0].startswith(_REFUSED) or not says:
        raise ValueError(f"{path.name} must begin with '{_REFUSED}<field>: <part of the message>'")
    return BadManifest(path.stem, path, field, says, server_only=lines[1].startswith(_SERVER_ONLY))
