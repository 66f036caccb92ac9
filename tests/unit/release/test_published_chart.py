"""The chart as it is published: its image by digest, and annotations that Artifact Hub can read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from computepool.model.api import ComputePool
from tests.unit.release.published import IMAGE, REPOSITORY, VERSION
from tools.release import changelog, chart
from tools.release.__main__ import ROOT
from tools.release.errors import ReleaseError
from tools.release.source import Image, repository_url

SOURCE = ROOT / chart.CHART
# Source: Artifact Hub, "Helm annotations".
CATEGORIES = {"ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking"}
CATEGORIES |= {"security", "storage", "streaming-messaging", "skip-prediction"}
KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    chart.write(ROOT, tmp_path / "computepool", IMAGE, REPOSITORY)
    return tmp_path / "computepool"


def _metadata(published: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = yaml.safe_load((published / "Chart.yaml").read_text())
    return metadata


def _annotation(published: Path, name: str) -> Any:
    text = _metadata(published)["annotations"][f"artifacthub.io/{name}"]
    assert isinstance(text, str)
    return yaml.safe_load(text)


def test_the_chart_names_the_image_by_digest_and_no_value_pins_another_image_to_it(published: Path) -> None:
    image = yaml.safe_load((published / "values.yaml").read_text())["image"]
    assert (image["repository"], image["tag"], image["digest"]) == (IMAGE.repository, "", "")
    assert _metadata(published)["annotations"][chart.IMAGE_ANNOTATION] == str(IMAGE)
    assert f'"{chart.IMAGE_ANNOTATION}"' in (published / "templates/_helpers.tpl").read_text()


def test_nothing_but_the_image_and_the_metadata_differs_from_the_repository(published: Path) -> None:
    files = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file()}
    assert {path.relative_to(published) for path in published.rglob("*") if path.is_file()} == files
    differing = {str(path) for path in files if (SOURCE / path).read_bytes() != (published / path).read_bytes()}
    assert differing == {"Chart.yaml", "values.yaml"}
    before, after = ((folder / "values.yaml").read_text().splitlines() for folder in (SOURCE, published))
    assert len(before) == len(after)
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [('repository: ""', f"repository: {IMAGE.repository}")]


def test_the_metadata_keep_what_the_repository_says_and_tell_where_the_chart_is_from(published: Path) -> None:
    have, wanted = _metadata(published), yaml.safe_load((SOURCE / "Chart.yaml").read_text())
    assert wanted.pop("annotations").items() <= have.pop("annotations").items()
    assert (have.pop("home"), have.pop("sources")) == (REPOSITORY, [REPOSITORY])
    assert have == wanted


def test_every_annotation_has_the_form_that_artifact_hub_reads(published: Path) -> None:
    annotations = _metadata(published)["annotations"]
    assert all(isinstance(text, str) for text in annotations.values())
    assert annotations["artifacthub.io/category"] in CATEGORIES
    assert annotations["artifacthub.io/license"] == "Apache-2.0"
    assert annotations["artifacthub.io/operator"] == "true"
    assert annotations["artifacthub.io/prerelease"] == str("-" in VERSION).lower()
    assert _annotation(published, "images") == [
        {"name": "computepool", "image": str(IMAGE), "platforms": ["linux/amd64", "linux/arm64"]}
    ]
    for link in _annotation(published, "links"):
        assert link.keys() == {"name", "url"}
        assert link["url"].startswith(REPOSITORY)
    for change in _annotation(published, "changes"):
        assert change.keys() == {"kind", "description"}
        assert change["kind"] in KINDS
        assert change["description"]
    written = changelog.section(ROOT, VERSION).changes()
    assert [change["description"] for change in _annotation(published, "changes")] == [text for _, text in written]
    assert annotations["artifacthub.io/containsSecurityUpdates"] == str("Security" in dict(written)).lower()


def test_the_crd_and_its_example_are_the_ones_of_the_chart(published: Path) -> None:
    (described,) = _annotation(published, "crds")
    crd = yaml.safe_load((ROOT / "crds/computepool.io_computepools.yaml").read_text())
    assert described["name"] == crd["metadata"]["name"]
    assert (described["kind"], described["version"]) == ("ComputePool", crd["spec"]["versions"][0]["name"])
    assert described["displayName"]
    assert described["description"].startswith("A ComputePool names")
    (example,) = _annotation(published, "crdsExamples")
    assert ComputePool.from_object(example).spec.providers


def test_the_chart_of_the_repository_names_no_registry_and_no_address() -> None:
    metadata = (SOURCE / "Chart.yaml").read_text()
    assert "://" not in metadata
    assert yaml.safe_load((SOURCE / "values.yaml").read_text())["image"]["repository"] == ""


def test_an_older_chart_is_not_written_over(published: Path) -> None:
    with pytest.raises(ReleaseError, match="exists"):
        chart.write(ROOT, published, IMAGE, REPOSITORY)


@pytest.mark.parametrize("values", ["", "image:\n  repository: other\n", '\n  repository: ""\n' * 2])
def test_values_that_name_the_image_otherwise_are_refused(values: str) -> None:
    with pytest.raises(ReleaseError, match=re.escape("must have the line 'repository: \"\"' once")):
        chart.with_image(values, IMAGE)


@pytest.mark.parametrize(
    ("repository", "digest"),
    [
        ("computepool", IMAGE.digest),
        ("/owner/computepool", IMAGE.digest),
        ("registry.example.com/Owner/computepool", IMAGE.digest),
        ("registry.example.com/owner/computepool:1.0", IMAGE.digest),
        ("registry.example.com/owner/computepool\n  x: y", IMAGE.digest),
        (IMAGE.repository, ""),
        (IMAGE.repository, "sha256:5e"),
        (IMAGE.repository, "5e" * 32),
    ],
)
def test_an_image_that_can_not_be_pulled_is_refused(repository: str, digest: str) -> None:
    with pytest.raises(ReleaseError, match="is no"):
        Image(repository, digest)


@pytest.mark.parametrize(
    "text", ["", "github.com/owner/name", "http://github.com/owner/name", "https://github.com", "https://a/b c"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ReleaseError, match="is no address"):
        repository_url(text)


def test_a_slash_at_the_end_of_an_address_does_not_double() -> None:
    assert repository_url(f"{REPOSITORY}/") == REPOSITORY


def test_long_texts_stay_readable(published: Path) -> None:
    # Artifact Hub and people read the same file: a list within a text is a block, not one line with \n.
    assert re.search(r"artifacthub\.io/changes: \|\n {4}- kind: ", (published / "Chart.yaml").read_text())
