"""A software bill of materials (SBOM) of the Python package with all that it needs to run, from the lock.

The image has an SBOM of its own, which BuildKit makes of what the image really contains.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.release import versions

LOCK = "requirements-runtime.lock"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
# Names within this project, from which an SBOM's serial number follows.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "computepool.io")


def render(root: Path, created: int) -> str:
    """The SBOM as JSON in the form of CycloneDX 1.6. `created` is in seconds since 1970."""
    lock = (root / LOCK).read_text(encoding="utf-8")
    version = versions.python_version(versions.version_of(root))
    package = _component("computepool", version) | {
        "type": "application",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    components = [_component(name, pinned) for name, pinned in _PIN.findall(lock)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, version + lock)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": package,
        },
        "components": components,
        "dependencies": [{"ref": package["bom-ref"], "dependsOn": [found["bom-ref"] for found in components]}],
    }
    return json.dumps(document, indent=2) + "\n"


def _component(name: str, version: str) -> dict[str, Any]:
    # A package URL names a Python package in lower case, with hyphens.
    url = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
