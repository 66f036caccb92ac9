"""Flags of kubectl in front of the command: `kubectl computepool --context prod status`.

kubectl hands a plugin everything behind the plugin's name as it is, and people write these flags first, as for kubectl
itself. The commands take them behind their names.
"""

from collections.abc import Sequence
from typing import Final

FLAGS: Final = frozenset({"--kubeconfig", "--context", "--namespace", "-n"})
"""Flags with a value, which stands behind them or behind an equals sign."""


def command_first(words: Sequence[str]) -> list[str]:
    """Return the command line with the command in front of kubectl's flags. Everything else stays in its place."""
    flags: list[str] = []
    position = 0
    while position < len(words) and words[position].partition("=")[0] in FLAGS:
        size = 1 if "=" in words[position] else 2
        flags += words[position : position + size]
        position += size
    command, rest = words[position : position + 1], words[position + 1 :]
    return [*command, *flags, *rest]
