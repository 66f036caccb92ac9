"""The command `computepool`, as a user runs it on a site's cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from e2e.site import Site

COMMAND = str(Path(sys.executable).with_name("computepool"))
SECONDS = 60.0


def run(*words: str, env: Mapping[str, str] = MappingProxyType({})) -> subprocess.CompletedProcess[str]:
    """Run the command into a pipe, so that nothing is wrapped. `env`: variables beside those of this process."""
    # A COLUMNS that Python's readline has set would be inherited otherwise.
    own = {**{name: value for name, value in os.environ.items() if name != "COLUMNS"}, **env}
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=SECONDS, check=False, env=own)


def explained(site: Site, pod: str) -> str:
    """What `computepool explain` prints about a pod, on one line. Raises CalledProcessError if the command fails."""
    told = run("explain", "-n", site.namespace, pod, env=site.cluster.command_env())
    told.check_returncode()
    # The width of the terminal decides where lines end.
    return " ".join(told.stdout.split())
