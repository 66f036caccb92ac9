"""What the tests of the documents find in a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs.blocks import Block, anchors, blocks, table_headings
from tests.unit.docs.manifests import Shown, shown_as

STATUS = """\
inference  Enforce  nvidia.com/gpu
 Provider  Role     Nodes  In use  Free
 aws       primary      1     8/8     0

 Condition  Status  Reason      Message
 Ready      True    Reconciled  The operator watches the pool and acts on its spec.
"""


def test_headings_of_tables_are_told_from_their_rows() -> None:
    assert table_headings(STATUS) == [
        ["Provider", "Role", "Nodes", "In", "use", "Free"],
        ["Condition", "Status", "Reason", "Message"],
    ]
    assert table_headings("NAME        PRIMARY   HEALTH    COST/H\ninference   aws       AllWell   28.60\n") == [
        ["NAME", "PRIMARY", "HEALTH", "COST/H"]
    ]


def test_anchors_are_those_that_a_browser_jumps_to(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# HEALTH is not AllWell\n\n## Karpenter, and others\n\n```sh\n# no heading\n```\n")
    assert anchors(page) == {"health-is-not-allwell", "karpenter-and-others"}
    (block,) = blocks(page)
    assert (block.language, block.heading) == ("sh", "Karpenter, and others")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", Shown.MANIFEST),
        ("apiVersion: karpenter.sh/v1\nkind: NodePool\n", Shown.OF_ANOTHER_PROJECT),
        ("spec: {mode: Observe}\n", Shown.PART_OF_POOL),
        ("spec: {mood: Observe}\n", None),
        ("daemonsets: {tolerations: []}\n", Shown.OF_ANOTHER_PROJECT),
    ],
)
def test_a_block_is_held_against_what_reads_it(text: str, shown: Shown | None) -> None:
    assert shown_as(Block("yaml", text, "")) is shown
    assert shown_as(Block("sh", text, "")) is None
