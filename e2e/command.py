"""The command `computepool`, as a user runs it on a site's cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from e2e.site import Site

COMMAND = str(Path(sys.executable).with_name("computepool"))
SECONDS = 60.0


def explained(site: Site, pod: str) -> str:
    """What `computepool explain` prints about a pod, on one line. Raises CalledProcessError if the command fails."""
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | site.cluster.command_env()
    words = [COMMAND, "explain", "-n", site.namespace, pod]
    told = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=True, env=env).stdout
    # The width of the terminal decides where lines end.
    return " ".join(told.split())
