"""A reader of the documents, who runs their commands as they are and shows their manifests to the API server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from e2e import binaries, chart, objects
from e2e.cluster import Cluster
from tests.unit.docs.blocks import METRICS, README, REPOSITORY, Block, blocks, table_headings
from tests.unit.docs.manifests import Shown, shown_as

Json = dict[str, Any]

NAMESPACE, POOL = "inference", "inference"
SOURCE_URL = "http://prometheus-operated.monitoring:9090"
"""The address of the source of metrics in the documents. There is no such Service in a test."""
NOT_RUN = ("docker ", "make ")
"""No test builds or pushes images; tests/unit/docs looks at these commands. `make` runs the demo and all tests."""
PRINTED_SECONDS = 60.0
"""For how long a command is asked again until it prints the tables that the document shows below it."""
_KUBECTL = """\
#!/usr/bin/env bash
# No pod's commands run here: what is to run in the operator's pod, or to print its log, is done beside the cluster.
case " $* " in
*" exec deploy/computepool -- "*)
    while [[ $1 != -- ]]; do shift; done
    KUBECONFIG={folder}/kubeconfig-{operator} exec "${{@:2}}" {flags} ;;
*" logs deployment/computepool "*)
    exec tail -n "${{@: -1}}" {log} ;;
*)
    exec {kubectl} "$@" ;;
esac
"""


class Reader:
    """Runs the documents' commands in a shell, in the root of the repository."""

    def __init__(self, cluster: Cluster, tools: Path, env: Mapping[str, str] = MappingProxyType({})) -> None:
        """`tools`: an empty folder for the commands that the reader has; `env`: what else the environment has."""
        self.cluster = cluster
        self.source_url = SOURCE_URL
        """The address to be used for the address of the source of metrics in the documents."""
        for name in ("kubectl", "helm"):
            (tools / name).symlink_to(binaries.find_all()[name])
        self._tools = tools
        path = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._env = cluster.command_env() | {"PATH": os.pathsep.join(path), "COLUMNS": "160", **env}

    def let_pod_be(self, operator: str, log: Path, flags: Sequence[str] = ()) -> None:
        """From now on that operator stands for the operator's pods: `kubectl exec` runs its command with the operator's
        rights and with these flags, and `kubectl logs` prints its log.
        """
        kubectl = self._tools / "kubectl"
        kubectl.unlink()
        script = _KUBECTL.format(
            folder=self.cluster.layout.folder,
            operator=operator,
            flags=shlex.join(flags),
            log=log,
            kubectl=binaries.find_all()["kubectl"],
        )
        kubectl.write_text(textwrap.dedent(script))
        kubectl.chmod(0o755)

    def commands(self, heading: str, path: Path = README) -> list[Block]:
        """The shell blocks under a heading."""
        found = [block for block in blocks(path) if block.heading == heading and block.language == "sh"]
        assert found, heading
        return found

    def all_commands(self, path: Path) -> list[Block]:
        """The shell blocks of a document."""
        return [block for block in blocks(path) if block.language == "sh"]

    def follow(self, *headings: str, path: Path = README) -> str:
        """Run all shell blocks under the headings; return what they printed."""
        return "".join(
            self.run(block)
            for heading in headings
            for block in self.commands(heading, path)
            if not block.text.startswith(NOT_RUN)
        )

    def run(self, block: Block) -> str:
        """Run one block; return what it printed."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text.replace(SOURCE_URL, self.source_url)],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{block.text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def read(self, path: Path) -> None:
        """Read a document from top to bottom: run its commands, compare what they print with the tables that it shows,
        and let the API server say whether it would take the manifests.
        """
        found = blocks(path)
        for index, block in enumerate(found):
            if block.language == "sh" and not block.text.startswith(NOT_RUN):
                shown = [after.text for after in _run_of(found[index + 1 :], "console")]
                self._run_until(block, [heading for text in shown for heading in table_headings(text)])
            elif block.language == "yaml":
                self.show(block)

    def show(self, block: Block) -> None:
        """Let the API server say whether it would take what a YAML block has."""
        match shown_as(block):
            case Shown.MANIFEST:
                command = f"kubectl apply --dry-run=server --filename - <<'EOF'\n{block.text}EOF\n"
            case Shown.PART_OF_POOL:
                patch = shlex.quote(block.text)
                command = f"kubectl patch cpool {POOL} --type merge --dry-run=server --patch {patch}"
            case Shown.PATCH | Shown.OF_ANOTHER_PROJECT:
                # The first is applied by a command. Of the others no API server here knows the kind.
                return
            case None:
                raise AssertionError(f"what is this?\n{block.text}")
        self.run(Block("sh", command, block.heading))

    def _run_until(self, block: Block, headings: list[list[str]]) -> None:
        """Run a block, again where it takes the operator a moment to have what the document shows."""

        def prints_all() -> bool:
            printed = [line.split() for line in self.run(block).splitlines()]
            return all(heading in printed for heading in headings)

        chart.until(prints_all, f"`{block.text}` to print {headings}", PRINTED_SECONDS)


def _run_of(found: Sequence[Block], language: str) -> list[Block]:
    """The blocks of a language at the beginning."""
    others = (index for index, block in enumerate(found) if block.language != language)
    return list(found[: next(others, len(found))])


def example_nodes(accelerators: int) -> list[Json]:
    """The nodes of the README's example as EKS and Liqo make them: the hybrid node has neither label nor taint yet."""
    hybrid = objects.gpu_node("hybrid", "nebius", labels={"eks.amazonaws.com/compute-type": "hybrid"})
    del hybrid["metadata"]["labels"][objects.PROVIDER_KEY]
    liqo = {"key": "virtual-node.liqo.io/not-allowed", "value": "true", "effect": "NoExecute"}
    return [
        objects.gpu_node("p5", "aws", gpus=accelerators, labels={"eks.amazonaws.com/nodegroup": "p5"}),
        hybrid,
        objects.gpu_node("liqo", "partner", taints=[liqo], labels={"liqo.io/type": "virtual-node"}),
    ]


def device_plugin() -> Json:
    """The DaemonSet of NVIDIA's static manifest, as far as the documents speak of it."""
    labels = {"name": "nvidia-device-plugin-ds"}
    container = {"name": "nvidia-device-plugin-ctr", "image": objects.IMAGE}
    tolerations = yaml.safe_load("[{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]")
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "nvidia-device-plugin-daemonset", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "tolerations": tolerations},
            },
        },
    }


def metrics_documented() -> dict[str, set[str]]:
    """The labels of each metric, by the reference."""
    rows = re.findall(r"^\| `(computepool_\w+)(?:\{([\w,]+)\})?` \|", METRICS.read_text(), re.MULTILINE)
    return {name: set(labels.split(",")) - {""} for name, labels in rows}
