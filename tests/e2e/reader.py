"""A reader who runs the commands of the documents, on a cluster of a test's own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from e2e import binaries
from e2e.cluster import Cluster
from tests.unit.docs.blocks import README, REPOSITORY, Block, blocks

# Nothing here builds or pulls images; tests/unit/docs looks at these. The others are the demo's and the whole suite.
NOT_RUN = ("docker ", "make ")


# No pod's commands run here, and there is no such Service: what is to run in the operator's pod runs beside the cluster
# with the operator's rights and settings, and the Prometheus is one of this test's.
IN_OPERATORS_POD = " exec deploy/computepool -- "
SOURCE_URL = "http://prometheus-operated.monitoring:9090"


class Reader:
    """Runs the documents' commands as they stand there, in a shell, in the root of the repository."""

    def __init__(self, cluster: Cluster, tools: Path, env: Mapping[str, str] = MappingProxyType({})) -> None:
        self.cluster = cluster
        self.source_url = ""
        """The address to be used for the address of the source of metrics in the documents."""
        for name in ("kubectl", "helm"):
            (tools / name).symlink_to(binaries.find_all()[name])
        self._tools = tools
        path = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
        self._env = cluster.command_env() | {"PATH": os.pathsep.join(path), "COLUMNS": "160", **env}

    def let_exec_run(self, operator: str, flags: Sequence[str]) -> None:
        """From now on `kubectl exec` into the operator's pods runs its command as that operator, with these flags."""
        kubectl = self._tools / "kubectl"
        kubectl.unlink()
        script = f"""\
            #!/usr/bin/env bash
            [[ " $* " == *"{IN_OPERATORS_POD}"* ]] || exec {binaries.find_all()["kubectl"]} "$@"
            while [[ $1 != -- ]]; do shift; done
            KUBECONFIG={self.cluster.layout.folder}/kubeconfig-{operator} exec "${{@:2}}" {shlex.join(flags)}
            """
        kubectl.write_text(textwrap.dedent(script))
        kubectl.chmod(0o755)

    def commands(self, heading: str, path: Path = README) -> list[Block]:
        """The shell blocks under a heading."""
        found = [block for block in blocks(path) if block.heading == heading and block.language == "sh"]
        assert found, heading
        return found

    def follow(self, heading: str, path: Path = README) -> str:
        """Run all shell blocks under a heading; return what they printed."""
        return "".join(self.run(block) for block in self.commands(heading, path) if not block.text.startswith(NOT_RUN))

    def run(self, block: Block) -> str:
        """Run one block; return what it printed."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text.replace(SOURCE_URL, self.source_url or SOURCE_URL)],
            cwd=REPOSITORY,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{block.text}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def try_patches(self, path: Path, pool: str) -> None:
        """Let the API server say whether it would take each part of that pool that a document shows."""
        for block in blocks(path):
            if block.language == "yaml":
                patch = f"kubectl patch cpool {pool} --type merge --dry-run=server --patch {shlex.quote(block.text)}"
                self.run(Block("sh", patch, block.heading))
