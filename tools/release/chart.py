"""The chart as it is published: it names its image by digest, and tells Artifact Hub about itself.

The chart in the repository names no registry and no address. Here it gets both, as a copy. The digest is an annotation
and no value, because a value would also hold for an image of the user's own.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from tools.release import changelog, versions
from tools.release.errors import ReleaseError
from tools.release.source import Image

CHART = "charts/computepool"
PLATFORMS = ["linux/amd64", "linux/arm64"]

IMAGE_ANNOTATION = "computepool.io/image"
"""Where the chart's templates read the image of the release."""
# The line of values.yaml that is replaced.
_REPOSITORY = '\n  repository: ""\n'


def write(root: Path, out: Path, image: Image, repository_url: str) -> None:
    """Write the chart into a folder that does not exist yet.

    Raises ReleaseError if values.yaml lacks the line that names the image's repository.
    """
    if out.exists():
        raise ReleaseError(f"{out} exists: remove it, or name another folder")
    shutil.copytree(root / CHART, out)
    values = out / "values.yaml"
    values.write_text(with_image(values.read_text(encoding="utf-8"), image), encoding="utf-8")
    metadata = _metadata(root, image, repository_url)
    (out / "Chart.yaml").write_text(_dump(metadata), encoding="utf-8")


def with_image(values: str, image: Image) -> str:
    """The text of values.yaml with the published image's repository as its default; all else stays as it is."""
    if values.count(_REPOSITORY) != 1:
        raise ReleaseError(f"values.yaml must have the line {_REPOSITORY.strip()!r} once: see {__name__}")
    return values.replace(_REPOSITORY, f"\n  repository: {image.repository}\n")


def _metadata(root: Path, image: Image, repository_url: str) -> dict[str, Any]:
    """Chart.yaml as an object. Source of the annotations: Artifact Hub, "Helm annotations"."""
    chart: dict[str, Any] = yaml.safe_load((root / CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = chart["version"]
    changes = changelog.section(root, version).changes()
    lists = {
        "changes": [{"kind": kind.lower(), "description": text} for kind, text in changes],
        "images": [{"name": "computepool", "image": str(image), "platforms": PLATFORMS}],
        "links": [
            {"name": "source", "url": repository_url},
            {"name": "support", "url": f"{repository_url}/issues"},
        ],
        "crds": [_crd(root)],
        "crdsExamples": [yaml.safe_load((root / "docs/examples/eks.yaml").read_text(encoding="utf-8"))],
    }
    flags = {
        "prerelease": versions.is_prerelease(version),
        "containsSecurityUpdates": any(kind == "Security" for kind, _ in changes),
    }
    # Annotations are texts; Artifact Hub reads YAML inside them.
    annotations = {f"artifacthub.io/{name}": _dump(value) for name, value in lists.items()}
    annotations |= {f"artifacthub.io/{name}": str(flag).lower() for name, flag in flags.items()}
    annotations[IMAGE_ANNOTATION] = str(image)
    return chart | {
        "home": repository_url,
        "sources": [repository_url],
        "annotations": chart["annotations"] | annotations,
    }


def _crd(root: Path) -> dict[str, str]:
    crd = yaml.safe_load((root / "crds/computepool.io_computepools.yaml").read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    kind = crd["spec"]["names"]["kind"]
    return {
        "kind": kind,
        "version": version["name"],
        "name": crd["metadata"]["name"],
        "displayName": kind,
        "description": " ".join(version["schema"]["openAPIV3Schema"]["description"].split()),
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that people can read them."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _dump(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
