"""docs/metrics.md, held against the log lines that the operator really writes."""

from __future__ import annotations

import msgspec

from tests.unit.docs.blocks import REPOSITORY, blocks

PAGE = REPOSITORY / "docs/metrics.md"


def test_the_log_line_shown_is_json_as_the_operator_writes_it() -> None:
    (shown,) = (block.text for block in blocks(PAGE) if block.language == "json")
    line = msgspec.json.decode(shown)
    assert line["message"] == "burst"
    assert {"pool", "provider", "reason", "pods", "took_ms"} <= line.keys()
