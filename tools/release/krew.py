"""The manifest by which krew installs the plugin, made from krew/computepool.yaml and the built archives."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from string import Template

import yaml

from tools.release import archive
from tools.release.errors import ReleaseError

TEMPLATE = "krew/computepool.yaml"
PLATFORMS = (("linux", "amd64"), ("linux", "arm64"), ("darwin", "amd64"), ("darwin", "arm64"))


def render(root: Path, version: str, archives: Path, repository_url: str) -> str:
    """The manifest of a version whose archives lie in a folder. Raises ReleaseError if an archive is missing."""
    values = {"version": f"v{version}", "repository": repository_url}
    for system, machine in PLATFORMS:
        path = archives / archive.name_of(version, system, machine)
        if not path.is_file():
            raise ReleaseError(f"{path} is missing: `make plugin` builds it on {system} with {machine}")
        values[f"sha256_{system}_{machine}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    # The comments of the template are for its readers.
    text = re.sub(r"^#.*\n", "", (root / TEMPLATE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    try:
        manifest = Template(text).substitute(values)
    except (KeyError, ValueError) as error:
        raise ReleaseError(f"{TEMPLATE} has a placeholder that has no value: {error}") from error
    named = {(p["selector"]["matchLabels"]["os"], p["selector"]["matchLabels"]["arch"]) for p in _platforms(manifest)}
    if named != set(PLATFORMS):
        raise ReleaseError(f"{TEMPLATE} and {__name__} name different platforms")
    return manifest


def _platforms(manifest: str) -> list[dict[str, dict[str, dict[str, str]]]]:
    platforms: list[dict[str, dict[str, dict[str, str]]]] = yaml.safe_load(manifest)["spec"]["platforms"]
    return platforms
