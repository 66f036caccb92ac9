"""The text of a release: its changes, and how to install and verify it."""

from __future__ import annotations

from pathlib import Path

from tools.release import changelog
from tools.release.source import Image


def render(root: Path, version: str, image: Image, chart: str, repository_url: str) -> str:
    """The release's notes in Markdown. `chart` is the chart's reference, such as oci://host/owner/charts/computepool.

    Raises ReleaseError if CHANGELOG.md has no part about the version.
    """
    changes = changelog.section(root, version).text.strip()
    security = f"{repository_url}/blob/v{version}/SECURITY.md"
    return f"""{changes}

## Install

```sh
helm install computepool {chart} --version {version} --namespace computepool-system --create-namespace
```

The chart names the operator's image by its digest, for linux/amd64 and linux/arm64:

```text
{image}
```

`kubectl krew install --manifest=computepool.yaml` installs `kubectl computepool` by the manifest below.
[SECURITY.md]({security}) says how to verify signatures, provenance and checksums.
"""
