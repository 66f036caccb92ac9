"""Free ports on loopback for a new cluster."""

from __future__ import annotations

import random
import socket

# Below the range that systems take outgoing connections' ports from (Linux: from 32768), so that a busy test's own
# connections do not take a port between the moment it is chosen and the moment a component binds it.
FIRST, LAST = 20_000, 32_000


def choose(count: int, taken: set[int]) -> list[int]:
    """Choose ports that nothing listens on and no other cluster was promised (`taken`)."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.randrange(FIRST, LAST)
        if port not in taken and port not in chosen and _is_free(port):
            chosen.append(port)
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
