"""Which extended resources are accelerators: network cards and other devices have the same form of name."""

from collections.abc import Collection, Mapping
from typing import Final

from computepool.model.quantity import MILLI

_NAMES: Final = frozenset(
    {
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "amd.com/gpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
        "habana.ai/gaudi",
        "aws.amazon.com/neuron",
        "aws.amazon.com/neuroncore",
        "aws.amazon.com/neurondevice",
        "google.com/tpu",
        "qualcomm.com/qaic",
        "furiosa.ai/npu",
        "rebellions.ai/ATOM",
        "tenstorrent.com/n150",
        "cambricon.com/mlunum",
        "mthreads.com/gpu",
        "metax-tech.com/gpu",
        "hygon.com/dcu",
    }
)
_PREFIXES: Final = (
    "nvidia.com/mig-",
    "amd.com/cpx",
    "amd.com/spx",
    "huawei.com/Ascend",
    "tenstorrent.com/",
    "furiosa.ai/",
)
_PARTS: Final = frozenset({"nvidia.com/gpu.shared", "aws.amazon.com/neuroncore", "aws.amazon.com/neurondevice"})
_PART_PREFIXES: Final = ("nvidia.com/mig-", "amd.com/cpx")
_REPLICAS: Final = "nvidia.com/gpu.replicas"
_SHARED_BY_LABEL: Final = "nvidia.com/gpu"


def is_accelerator(resource: str, given: Collection[str] = ()) -> bool:
    """Say whether an extended resource is an accelerator. `given`: names of further accelerators."""
    return resource in _NAMES or resource in given or resource.startswith(_PREFIXES)


def units(milli: int) -> int | float:
    """Return an amount of accelerators in whole units; with a fraction only if it has one."""
    return milli // MILLI if milli % MILLI == 0 else milli / MILLI


def accelerators(milli: int) -> str:
    """Write an amount of accelerators with its noun: `1 accelerator`, `2.5 accelerators`."""
    return f"{units(milli)} accelerator{'' if milli == MILLI else 's'}"


def is_part(resource: str, labels: Mapping[str, str]) -> bool:
    """Say whether one of a resource is less than a device, or another name of a device that is counted already.

    `labels`: of the node. NVIDIA's GPU feature discovery tells by a label how many pods share a device in time.
    """
    replicas = labels.get(_REPLICAS, "")
    shared = resource == _SHARED_BY_LABEL and replicas.isdecimal() and int(replicas) > 1
    return shared or resource in _PARTS or resource.startswith(_PART_PREFIXES)
