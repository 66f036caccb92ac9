"""What a preset measures, and by which query. `docs/signals.md` explains each measure.

Names and labels are those of the exporters, in the versions that `tests/exporters` has. A query covers old and new
names: the new name wins, and a device or a server is never counted twice. It keeps few labels, so that answers stay
small: the labels that may name a node or a pod, and the label of a device. What is absent stays absent.
"""

from enum import Enum, auto
from typing import Final

import msgspec

from computepool.model.api import MEASURES, HealthMetric, Measure, MetricSignal, Preset, Reduce, Target


class Scope(Enum):
    """What the series of a signal belong to."""

    NODE = auto()
    POD = auto()
    POOL = auto()


class Reads(msgspec.Struct, frozen=True):
    """What a signal asks, and how its answer is read."""

    query: str
    scope: Scope
    node_labels: tuple[str, ...] = ()
    """Labels that may name the node, the surest first."""
    pod_labels: tuple[tuple[str, str], ...] = ()
    """Pairs of labels that may name the namespace and the pod, the surest first."""
    lowest: float | None = None
    highest: float | None = None
    """The range of possible values; a value outside is no sample."""
    unit: str = ""
    """What the value is, for people, such as "%" or "requests"."""


def reads_of(metric: MetricSignal) -> Reads:
    """Return what a signal asks."""
    if metric.preset is not None:
        return _PRESETS[metric.preset, metric.measure or MEASURES[metric.preset][0]]
    query, labels = metric.query or "", metric.labels
    if labels is None:
        return Reads(query, Scope.POOL)
    if labels.node is not None:
        return Reads(query, Scope.NODE, node_labels=(labels.node,))
    return Reads(query, Scope.POD, pod_labels=((labels.namespace or "", labels.pod or ""),))


def reduce_of(metric: MetricSignal) -> Reduce:
    """Return how the values of a signal's series become one value.

    One bad device makes its node bad, and a single bad node or server makes no provider bad.
    """
    if metric.reduce is not None:
        return metric.reduce
    of_node = isinstance(metric, HealthMetric) and metric.target is Target.NODE
    return Reduce.MAX if of_node else Reduce.AVG


NODE_LABELS: Final = ("node", "kubernetes_node", "nodename", "Hostname", "hostname", "instance")
"""The labels of the scrape come first: an exporter that asks a remote host engine takes its own pod for the host. A
series of a GPU has the labels pod and namespace too, which may name the exporter or the workload: they are not read."""
_POD_LABELS: Final = (("namespace", "pod"), ("kubernetes_namespace", "kubernetes_pod_name"))
"""As a PodMonitor sets them, and as the scrape configuration of Prometheus' chart does."""
_NODE: Final = ", ".join(NODE_LABELS)
_GPU: Final = f"{_NODE}, gpu"
_PART: Final = f"{_GPU}, GPU_I_ID"
_AMD_GPU: Final = f"{_NODE}, gpu_id"
_POD: Final = ", ".join(label for pair in _POD_LABELS for label in pair)


def _of_gpus(query: str, highest: float | None = 100.0, unit: str = "%") -> Reads:
    return Reads(query, Scope.NODE, node_labels=NODE_LABELS, lowest=0.0, highest=highest, unit=unit)


def _of_servers(query: str, unit: str, highest: float | None = None, scope: Scope = Scope.POD) -> Reads:
    labels = _POD_LABELS if scope is Scope.POD else ()
    return Reads(query, scope, pod_labels=labels, lowest=0.0, highest=highest, unit=unit)


def _rate(selector: str) -> str:
    return f"sum by ({_POD}) (rate({selector}[5m]))"


def _share(part: str, whole: str, of: str = "") -> str:
    """Return a query for a percentage. `of`: where it exists, a missing part is 0."""
    counted = f"({part} or 0 * {of})" if of else part
    return f"100 * {counted} / ({whole} > 0)"


def _first_token(buckets: str) -> str:
    # No request for two minutes gives NaN, which is no sample.
    return f"histogram_quantile(0.95, sum by ({_POD}, le) (rate({buckets}[2m]))) >= 0"


# -- devices

_ENGINE: Final = "(DCGM_FI_PROF_GR_ENGINE_ACTIVE or DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO)"
_BUSY: Final = "(100 * DCGM_FI_DEV_GPU_UTIL_RATIO or DCGM_FI_DEV_GPU_UTIL)"
_USED: Final = f"max by ({_PART}) (DCGM_FI_DEV_FB_USED or DCGM_FI_DEV_FB_USED_BYTES)"
_FREE: Final = f"max by ({_PART}) (DCGM_FI_DEV_FB_FREE or DCGM_FI_DEV_FB_FREE_BYTES)"
_XID_OF_APPLICATIONS: Final = ("13", "31", "43", "45", "68", "109")
"""Errors that a program causes, and no device. NVIDIA's device plugin leaves these out too."""
_XID: Final = "(DCGM_FI_DEV_XID_ERRORS or DCGM_FI_DEV_XID_ERROR)"
_LAST_XID: Final = f"max by ({_GPU}) ({_XID} {' '.join(f'!= {xid}' for xid in _XID_OF_APPLICATIONS)} or 0 * {_XID})"
_XID_COUNT: Final = f'DCGM_EXP_XID_ERRORS_COUNT{{xid!~"{"|".join(("0", *_XID_OF_APPLICATIONS))}"}}'
_XID_EVENTS: Final = (
    f"sum by ({_GPU}) (max by ({_GPU}, xid) ({_XID_COUNT})) or 0 * max by ({_GPU}) (DCGM_EXP_XID_ERRORS_COUNT) "
    # The gauge keeps the last error for ever: only its changes are events.
    f"or changes({_LAST_XID}[5m:30s]) * ({_LAST_XID} > bool 0)"
)
_REMAP_FAILED: Final = f"max by ({_GPU}) (DCGM_FI_DEV_ROW_REMAP_FAILURE or DCGM_FI_DEV_ROW_REMAP_FAILED)"
FIRST_PARTITION: Final = '{gpu_partition_id=~"0|NA|", gpu_id!=""}'
"""Only the first partition of an AMD device reports, for all of it. A value such as 65535 says that there is none."""


def _amd(metric: str) -> str:
    return f"(gpu_{metric}{FIRST_PARTITION} or amd_gpu_{metric}{FIRST_PARTITION})"


# -- servers

_VLLM_CALLS: Final = 'http_requests_total{method="POST", handler=~"/v1/.*"'
"""Many programs have a metric of this name, so only pods that are vLLM's count."""


def _vllm_calls(status: str = "") -> str:
    return f"sum by ({_POD}) (rate({_VLLM_CALLS}{status}}}[5m]) and on ({_POD}) vllm:num_requests_running)"


_BLOCKS: Final = "nv_trt_llm_kv_cache_block_metrics"
_TRT_ERRORS: Final = _rate('trtllm_request_error_total{http_code=~"5.."}')
_TRT_SUCCESSES: Final = _rate("trtllm_request_success_total")
_TRITON_FAILURES: Final = _rate('nv_inference_request_failure{reason!="CANCELED"}')
_TRITON_SUCCESSES: Final = _rate("nv_inference_request_success")
_ROUTERS: Final = ("llm_d_epp_", "llm_d_router_epp_", "inference_pool_")


def _llmd(metric: str) -> str:
    return " or ".join(f"max by (name) ({router}{metric})" for router in _ROUTERS)


_PRESETS: Final[dict[tuple[Preset, Measure], Reads]] = {
    (Preset.DCGM, Measure.UTILIZATION): _of_gpus(
        f"100 * max by ({_PART}) {_ENGINE} or max by ({_PART}) ({_BUSY} unless on (instance, gpu, UUID) {_ENGINE})"
    ),
    (Preset.DCGM, Measure.MEMORY): _of_gpus(f"100 * {_USED} / ({_USED} + {_FREE} > 0)"),
    (Preset.DCGM, Measure.ERRORS): _of_gpus(
        f'sum by ({_GPU}) (label_replace({_XID_EVENTS}, "part", "xid", "", "") '
        f'or label_replace({_REMAP_FAILED}, "part", "remap", "", ""))',
        highest=None,
        unit="errors",
    ),
    (Preset.AMD, Measure.UTILIZATION): _of_gpus(f"max by ({_AMD_GPU}) ({_amd('gfx_activity')} <= 100)"),
    (Preset.AMD, Measure.MEMORY): _of_gpus(
        f"100 * max by ({_AMD_GPU}) {_amd('used_vram')} / (max by ({_AMD_GPU}) {_amd('total_vram')} > 0)"
    ),
    (Preset.AMD, Measure.ERRORS): _of_gpus(
        f"max by ({_AMD_GPU}) ((min_over_time(gpu_health{FIRST_PARTITION}[5m]) "
        f"or min_over_time(amd_gpu_health{FIRST_PARTITION}[5m])) < bool 1)",
        highest=1.0,
        unit="errors",
    ),
    (Preset.VLLM, Measure.QUEUE): _of_servers(
        f'sum by ({_POD}) (vllm:num_requests_waiting_by_reason{{reason="capacity"}}) '
        f"or sum by ({_POD}) (vllm:num_requests_waiting)",
        "requests",
    ),
    (Preset.VLLM, Measure.KV_CACHE): _of_servers(
        f"100 * (max by ({_POD}) (vllm:kv_cache_usage_perc) or max by ({_POD}) (vllm:gpu_cache_usage_perc))", "%", 100.0
    ),
    (Preset.VLLM, Measure.TIME_TO_FIRST_TOKEN): _of_servers(
        _first_token("vllm:time_to_first_token_seconds_bucket"), "s"
    ),
    (Preset.VLLM, Measure.ERRORS): _of_servers(
        _share(_vllm_calls(', status=~"5.*"'), _vllm_calls(), of=_vllm_calls()), "%", 100.0
    ),
    (Preset.SGLANG, Measure.QUEUE): _of_servers(
        f'sum by ({_POD}) (max by ({_POD}, model_name, dp_rank) (sglang:num_queue_reqs{{priority=""}}))', "requests"
    ),
    (Preset.SGLANG, Measure.KV_CACHE): _of_servers(f"100 * max by ({_POD}) (sglang:token_usage)", "%", 100.0),
    (Preset.SGLANG, Measure.TIME_TO_FIRST_TOKEN): _of_servers(
        _first_token('sglang:time_to_first_token_seconds_bucket{is_streaming!="false"}'), "s"
    ),
    (Preset.TRTLLM, Measure.QUEUE): _of_servers(f"sum by ({_POD}) (trtllm_num_requests_waiting)", "requests"),
    (Preset.TRTLLM, Measure.KV_CACHE): _of_servers(f"100 * max by ({_POD}) (trtllm_kv_cache_utilization)", "%", 100.0),
    (Preset.TRTLLM, Measure.TIME_TO_FIRST_TOKEN): _of_servers(
        _first_token("trtllm_time_to_first_token_seconds_bucket"), "s"
    ),
    (Preset.TRTLLM, Measure.ERRORS): _of_servers(
        # The series of errors appears with the first error. The gauge came with the same version.
        f"100 * ({_TRT_ERRORS} or 0 * max by ({_POD}) (trtllm_prefill_batch_occupancy)) "
        f"/ (({_TRT_ERRORS} or 0 * {_TRT_SUCCESSES}) + {_TRT_SUCCESSES} > 0)",
        "%",
        100.0,
    ),
    (Preset.TRITON, Measure.QUEUE): _of_servers(
        f'sum by ({_POD}) (nv_trt_llm_request_metrics{{request_type="waiting"}}) '
        f"or sum by ({_POD}) (nv_inference_pending_request_count)",
        "requests",
    ),
    (Preset.TRITON, Measure.KV_CACHE): _of_servers(
        f'100 * (max by ({_POD}) ({_BLOCKS}{{kv_cache_block_type="fraction"}}) '
        f'or max by ({_POD}) (sum by ({_POD}, model, version) ({_BLOCKS}{{kv_cache_block_type="used"}}) '
        f'/ (sum by ({_POD}, model, version) ({_BLOCKS}{{kv_cache_block_type="max"}}) > 0)))',
        "%",
        100.0,
    ),
    (Preset.TRITON, Measure.ERRORS): _of_servers(
        f"100 * {_TRITON_FAILURES} / ({_TRITON_FAILURES} + {_TRITON_SUCCESSES} > 0)", "%", 100.0
    ),
    (Preset.LLMD, Measure.QUEUE): _of_servers(_llmd("average_queue_size"), "requests", scope=Scope.POOL),
    (Preset.LLMD, Measure.KV_CACHE): _of_servers(
        f"100 * ({_llmd('average_kv_cache_utilization')})", "%", 100.0, scope=Scope.POOL
    ),
    (Preset.TGI, Measure.QUEUE): _of_servers(f"sum by ({_POD}) (tgi_queue_size)", "requests"),
    (Preset.TGI, Measure.ERRORS): _of_servers(
        _share(
            _rate('tgi_request_failure{err!~"dropped|validation"}'),
            _rate("tgi_request_count"),
            of=_rate("tgi_request_count"),
        ),
        "%",
        100.0,
    ),
}
