"""docs/signals.md shows the signal that its command applies."""

from __future__ import annotations

from tests.unit.docs.blocks import EXAMPLES, REPOSITORY, blocks


def test_the_first_signal_shown_is_the_file_that_is_applied() -> None:
    shown = [block.text for block in blocks(REPOSITORY / "docs/signals.md") if block.heading == "A first signal"]
    assert (EXAMPLES / "queue-signal.yaml").read_text() in shown
