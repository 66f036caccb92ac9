"""Burst by patch while the source of metrics hangs: a signal of the pool has had an answer, and then Prometheus is
stopped in its tracks. The same burst without a source stands beside it, turn by turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from e2e import pools
from e2e.bench.contenders import operating, ours
from e2e.bench.report import Result
from e2e.bench.rounds import Scale, alternate, compared
from e2e.bench.stand import PRIMARY, STANDBY, Stand
from e2e.exporter import Exporter
from e2e.prometheus import Prometheus, Target

LIMIT = 1.1
DEPTH: Mapping[str, Any] = {"name": "depth", "query": "depth", "enter": "5", "exit": "1"}
SATURATION: Mapping[str, Any] = {**pools.AT_ONCE, "metrics": [DEPTH]}


def run(stand: Stand, scale: Scale) -> Result:
    """Measure and compare single pods, and the smallest batch."""
    small = msgspec.structs.replace(scale, sizes=(min(scale.sizes),))
    contenders = {"source hangs": hanging, "no source": ours}
    measured = alternate("burst while the source hangs", stand, contenders, small, {})
    rows = []
    for size, figures in measured["source hangs"].items():
        what = f"burst while the source of metrics hangs, {size} pod{'s' if size > 1 else ''}, beside no source"
        rows += compared(what, figures, measured["no source"][size], ["sent.p50"], LIMIT)
    return Result("hanging", rows, msgspec.to_builtins(measured, str_keys=True))


@contextmanager
def hanging(stand: Stand) -> Iterator[list[int]]:
    """The operator with a pool that has a signal, whose source has answered and does not any more."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Exporter() as exporter,
        Prometheus(Path(folder), exporter) as prometheus,
    ):
        exporter.serve("depth", "depth 0\n")
        prometheus.watch([Target("depth")])
        prometheus.wait_for("depth", 1)
        config = Path(folder) / "source.yaml"
        config.write_text(yaml.safe_dump({"url": prometheus.url, "intervalSeconds": 1, "timeoutSeconds": 2}))
        flags = ["--prometheus-config", str(config)]
        with operating(stand.site, [PRIMARY, STANDBY], flags=flags, saturation=SATURATION) as operator:
            pools.wait_condition(stand.site, stand.site.namespace, "SignalsKnown", "True")
            prometheus.pause()
            yield [operator.pid]
