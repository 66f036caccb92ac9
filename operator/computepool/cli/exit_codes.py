"""The exit codes that several commands have. Light to import: `--help` needs them."""

from typing import Final

NOT_AS_WANTED: Final = 3
"""Where --fail-on says so, and after a live drill in which not all planned pods were Ready elsewhere."""
INTERRUPTED: Final = 130
"""After Ctrl-C, as shells have it."""
