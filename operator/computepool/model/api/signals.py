"""Signals from the cluster's metrics: the query, the owner of each series, and the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from computepool.model.api.base import DNS_LABEL, ApiModel, Int, Name, fits, rule
from computepool.model.api.selectors import LabelSelector

THRESHOLD: Final = r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$"
"""Form of a threshold: no exponent, and no unit."""
LABEL_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
PLACEHOLDERS_IN_STRINGS: Final = r"""^([^$"'`#]|"([^"\\]|\\.)*"|'([^'\\$]|\\.)*'|#[^\n]*\n)*(#[^\n]*)?$"""
"""Form of a query that keeps its placeholders inside double quotes, where no value can break out. A comment may have
any characters."""
MAX_METRICS: Final = 8
_NAMESPACE: Final = "__namespace__"
"""The field `namespace` in CEL, where this word is reserved."""
Threshold = Annotated[str, Field(max_length=24)]
LabelName = Annotated[str, Field(max_length=128)]


class Preset(StrEnum):
    """An exporter or a server whose metrics are known."""

    DCGM = "dcgm"
    AMD = "amd"
    VLLM = "vllm"
    SGLANG = "sglang"
    TRTLLM = "trtllm"
    TRITON = "triton"
    LLMD = "llmd"
    TGI = "tgi"


class Measure(StrEnum):
    """A quantity that a preset measures."""

    UTILIZATION = "Utilization"
    MEMORY = "Memory"
    QUEUE = "Queue"
    KV_CACHE = "KVCache"
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"
    ERRORS = "Errors"


MEASURES: Final[dict[Preset, tuple[Measure, ...]]] = {
    Preset.DCGM: (Measure.UTILIZATION, Measure.MEMORY, Measure.ERRORS),
    Preset.AMD: (Measure.UTILIZATION, Measure.MEMORY, Measure.ERRORS),
    Preset.VLLM: (Measure.QUEUE, Measure.KV_CACHE, Measure.TIME_TO_FIRST_TOKEN, Measure.ERRORS),
    Preset.SGLANG: (Measure.QUEUE, Measure.KV_CACHE, Measure.TIME_TO_FIRST_TOKEN),
    Preset.TRTLLM: (Measure.QUEUE, Measure.KV_CACHE, Measure.TIME_TO_FIRST_TOKEN, Measure.ERRORS),
    Preset.TRITON: (Measure.QUEUE, Measure.KV_CACHE, Measure.ERRORS),
    Preset.LLMD: (Measure.QUEUE, Measure.KV_CACHE),
    Preset.TGI: (Measure.QUEUE, Measure.ERRORS),
}
"""By preset: what it measures, the usual measure first."""


class Reduce(StrEnum):
    """How the values of many series become one."""

    MAX = "Max"
    AVG = "Avg"
    SUM = "Sum"
    P95 = "P95"


class Where(StrEnum):
    """Whose series count for the saturation of the primary."""

    BASELINE = "Baseline"
    POOL = "Pool"


class Target(StrEnum):
    """Whether a health signal judges nodes or providers."""

    NODE = "Node"
    PROVIDER = "Provider"


class SeriesLabels(ApiModel):
    """The labels of a query's series that say to which node or pod a series belongs."""

    node: LabelName | None = None
    """Label with the name of a node."""
    pod: LabelName | None = None
    """Label with the name of a pod; `namespace` names the label with its namespace."""
    namespace: LabelName | None = None
    """Label with the namespace of the pod."""

    @rule(
        cel=f"has(self.node) ? !has(self.pod) && !has(self.{_NAMESPACE}) : has(self.pod) && has(self.{_NAMESPACE})",
        message="a series belongs to a node or to a pod: give node alone, or pod and namespace together",
    )
    def _names_node_or_pod(self) -> bool:
        given = (self.pod is not None, self.namespace is not None)
        return given == (False, False) if self.node is not None else given == (True, True)

    @rule(
        cel=" && ".join(
            f"(!has(self.{name}) || self.{name}.matches('{LABEL_NAME}'))" for name in ("node", "pod", _NAMESPACE)
        ),
        message="a label name is letters, digits and '_', and begins with a letter or '_': correct the label",
    )
    def _are_label_names(self) -> bool:
        return all(label is None or fits(LABEL_NAME, label) for label in (self.node, self.pod, self.namespace))


class MetricSignal(ApiModel):
    """A signal from the cluster's metrics. Missing, stale, partial and contradictory data is Unknown: it is neither
    pressure nor relief, neither healthy nor unhealthy.
    """

    name: Name
    """Name of the signal, unique in its list."""
    preset: Preset | None = None
    """An exporter or a server whose metrics are known: dcgm, amd, vllm, sglang, trtllm, triton, llmd or tgi. Give
    either a preset or a query."""
    measure: Measure | None = None
    """The quantity that the preset measures. Utilization, Memory and KVCache are percentages from 0 to 100.
    Queue is the number of waiting requests of a server. TimeToFirstToken is the 95th percentile in seconds. Errors is
    the share of failed requests in percent, or the number of errors of a device. Left out: Utilization for dcgm and
    amd, Queue for servers."""
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """A query in PromQL whose answer is a vector. Inside double quotes, $pool, $provider, $nodes and $namespaces stand
    for the names of the pool, of the provider, of its nodes and of the pool's namespaces; compare the last two with =~.
    A query with $provider or $nodes is asked for each provider."""
    labels: SeriesLabels | None = None
    """The labels of the query's series that name a node, or a pod. Presets know theirs. Left out with a query: the
    series belong to the whole pool, such as the length of a queue that all its servers read."""
    pod_selector: LabelSelector = LabelSelector()
    """Labels of the pods that serve this metric, where the pool has other pods too. Left out: all pods of the pool. It
    matters only for series of pods."""
    reduce: Reduce | None = None
    """How the values of all series become one value: Max, Avg, Sum or P95. Left out: Max for a health signal whose
    target is Node, and Avg for every other signal."""
    enter: Threshold
    """The signal turns on at this value, as a decimal in quotes. If `enter` is above `exit`, high values turn it on; if
    `enter` is below `exit`, low values do."""
    exit: Threshold
    """The signal turns off at this value. The gap between the two prevents flapping."""
    sustain_seconds: Annotated[Int, Field(ge=0, le=3_600)] = 30
    """Seconds that the value must stay at `enter` or beyond before the signal turns on."""
    clear_seconds: Annotated[Int, Field(ge=0, le=86_400)] = 120
    """Seconds that the value must stay at `exit` or beyond before the signal turns off."""
    max_age_seconds: Annotated[Int, Field(ge=5, le=3_600)] = 90
    """Age in seconds from which a sample counts as missing. Keep it above the time between two scrapes plus the time
    between two queries, which is the chart's value `prometheus.intervalSeconds`."""
    coverage_percent: Annotated[Int, Field(ge=1, le=100)] = 80
    """Percent of the nodes, or of the started pods, that must have a sample. With fewer the signal is Unknown. It does
    not apply to series of the whole pool."""

    @rule(
        cel="has(self.preset) != has(self.query)",
        message="a signal reads either a preset or a query: give one of them",
    )
    def _reads_one_thing(self) -> bool:
        return (self.preset is None) != (self.query is None)

    @rule(
        field="labels",
        cel="!has(self.labels) || has(self.query)",
        message="a preset knows the labels of its series: remove labels",
    )
    def _preset_knows_labels(self) -> bool:
        return self.labels is None or self.query is not None

    @rule(
        field="measure",
        cel="!has(self.measure) || (has(self.preset) && ("
        + " || ".join(
            f"self.preset == '{preset}' && self.measure in [{', '.join(repr(str(one)) for one in measures)}]"
            for preset, measures in MEASURES.items()
        )
        + "))",
        message="a measure belongs to a preset that has it: choose one of these, or remove measure: "
        + "; ".join(f"{preset} has {', '.join(measures)}" for preset, measures in MEASURES.items()),
    )
    def _preset_has_measure(self) -> bool:
        return self.measure is None or (self.preset is not None and self.measure in MEASURES[self.preset])

    @rule(
        field="query",
        cel="!has(self.query) || self.query.matches(r'''" + PLACEHOLDERS_IN_STRINGS + "''')",
        message='a placeholder may stand only inside double quotes, such as {node=~"$nodes"}, and strings can\'t be '
        "in backticks: write strings with placeholders in double quotes",
    )
    def _placeholders_are_quoted(self) -> bool:
        return self.query is None or fits(PLACEHOLDERS_IN_STRINGS, self.query)

    @rule(
        field="enter",
        cel=f"self.enter.matches(r'{THRESHOLD}') && self.exit.matches(r'{THRESHOLD}')",
        message='a threshold is a decimal in quotes, such as "0.9" or "5": remove units, exponents and separators',
    )
    def _thresholds_are_decimals(self) -> bool:
        return fits(THRESHOLD, self.enter) and fits(THRESHOLD, self.exit)

    @rule(
        field="exit",
        cel=f"!self.enter.matches(r'{THRESHOLD}') || !self.exit.matches(r'{THRESHOLD}') "
        "|| double(self.enter) != double(self.exit)",
        message="enter and exit are equal, so the signal would flap: move exit away from enter, below it if high "
        "values turn the signal on",
    )
    def _thresholds_differ(self) -> bool:
        decimals = fits(THRESHOLD, self.enter) and fits(THRESHOLD, self.exit)
        return not decimals or Decimal(self.enter) != Decimal(self.exit)

    @rule(
        field="name",
        cel=f"self.name.matches('{DNS_LABEL}')",
        message="a name is lowercase letters, digits and '-', begins and ends with a letter or a digit: correct it",
        shows="self.name",
    )
    def _name_is_label(self) -> bool:
        return fits(DNS_LABEL, self.name)

    @property
    def rises(self) -> bool:
        """Whether high values turn the signal on."""
        return Decimal(self.enter) > Decimal(self.exit)


NAMES_DIFFER: Final = "!has(self.metrics) || self.metrics.all(m, self.metrics.exists_one(n, n.name == m.name))"
"""In CEL: `names_differ` of the field `metrics`."""
SAME_NAME: Final = "two metrics have the same name: rename one of them"


def names_differ(metrics: Sequence[MetricSignal]) -> bool:
    """Say whether each signal of a list has a name of its own."""
    return len({metric.name for metric in metrics}) == len(metrics)


class SaturationMetric(MetricSignal):
    """A signal of pressure on the primary."""

    where: Where = Where.BASELINE
    """Baseline: only nodes of the primary, and pods on them, count, so that a burst does not hide its own cause. Pool:
    all providers count."""


class HealthMetric(MetricSignal):
    """A signal of the health of providers or nodes. Each provider, or each node, has a verdict of its own."""

    target: Target = Target.PROVIDER
    """Provider: while the signal is on, the provider counts as failed. Its value is made of all series of the provider.
    Node: while the signal is on for a node, the node is unhealthy. Its value is made of the series of that node, so the
    series must belong to nodes."""

    @rule(
        field="labels",
        cel="has(self.labels) || !has(self.query)",
        message="a query about health needs labels, which say to which node or pod a series belongs: give labels",
    )
    def _query_has_labels(self) -> bool:
        return self.labels is not None or self.query is None

    @rule(
        field="preset",
        cel="!has(self.preset) || self.preset != 'llmd'",
        message="llmd measures the whole pool, and not each provider: use the preset of the servers, such as vllm",
    )
    def _preset_tells_providers_apart(self) -> bool:
        return self.preset is not Preset.LLMD

    @rule(
        field="target",
        cel="self.target != 'Node' || (has(self.preset) ? self.preset in ['dcgm', 'amd'] : "
        "has(self.labels) && has(self.labels.node))",
        message="only series of nodes judge a node: use the preset dcgm or amd, or a query with labels.node",
    )
    def _nodes_have_series(self) -> bool:
        by_node = self.preset in (Preset.DCGM, Preset.AMD) or (self.labels is not None and self.labels.node is not None)
        return self.target is not Target.NODE or by_node
