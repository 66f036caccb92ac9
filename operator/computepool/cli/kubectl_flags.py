"""Flags of kubectl in front of the command: `kubectl computepool --context prod status`.

kubectl hands a plugin everything behind the plugin's name as it is, and people write these flags first, as for kubectl
itself. The commands take them behind their names.
"""

from collections.abc import Sequence
from typing import Final

FLAGS: Final = frozenset({"--kubeconfig", "--context", "--namespace", "-n"})
"""Flags with a value, which stands behind them or behind an equals sign. Behind -n it may also follow at once."""


def command_first(words: Sequence[str]) -> list[str]:
    """Return the command line with the command in front of kubectl's flags. Everything else stays in its place.

    Without a command, as in `--context prod --help`, the flags have no meaning and are left out.
    """
    flags: list[str] = []
    position = 0
    while position < len(words) and (flag := _flag(words[position])) in FLAGS:
        if words[position] == flag:
            flags += words[position : position + 2]
            position += 2
        else:
            flags += [flag, words[position].removeprefix(flag).removeprefix("=")]
            position += 1
    rest = list(words[position:])
    return rest if not rest or rest[0].startswith("-") else [rest[0], *flags, *rest[1:]]


def _flag(word: str) -> str:
    """Return the name of a flag without its value."""
    return "-n" if word.startswith("-n") else word.partition("=")[0]
