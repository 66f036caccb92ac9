"""What a YAML block of a document is, so that each is held against what reads it."""

from __future__ import annotations

from enum import Enum, auto

import yaml

from computepool.model.api import PoolSpec
from tests.unit.docs.blocks import EXAMPLES, Block

OF_OTHERS = {"NodePool", "DeschedulerPolicy", "ResourceFlavor", "Application"}
"""Kinds that other projects define, so that no API server of a test knows them."""
_VALUES_OF_OTHERS = ("tolerations", "daemonsets")
"""The top fields of Helm values for other projects' charts."""


class Shown(Enum):
    """What a YAML block is."""

    MANIFEST = auto()
    """A whole object that an API server takes."""
    PART_OF_POOL = auto()
    """Fields of a ComputePool's spec, to be merged into a pool."""
    PATCH = auto()
    """A file of docs/examples that a command of the same page applies to an object of another kind."""
    OF_ANOTHER_PROJECT = auto()
    """A manifest, or Helm values, of a project that a test cluster does not have."""


def shown_as(block: Block) -> Shown | None:
    """Say what a block is; None if it is no YAML or nothing that a document should show."""
    if block.language != "yaml":
        return None
    shown = yaml.safe_load(block.text)
    if kind := shown.get("kind"):
        return Shown.OF_ANOTHER_PROJECT if kind in OF_OTHERS else Shown.MANIFEST
    if shown.keys() == {"spec"} and shown["spec"].keys() <= PoolSpec.model_json_schema()["properties"].keys():
        return Shown.PART_OF_POOL
    if any(block.text == example.read_text() for example in EXAMPLES.glob("*.yaml")):
        return Shown.PATCH
    return Shown.OF_ANOTHER_PROJECT if any(key in shown for key in _VALUES_OF_OTHERS) else None
