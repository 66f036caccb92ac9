"""The SBOM of the Python package lists all that the lock pins, and is the same for the same lock."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.unit.release.published import VERSION
from tools.release import sbom, versions
from tools.release.__main__ import ROOT

CREATED = 1_700_000_000


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sbom.render(ROOT, CREATED))
    return document


def test_every_pin_of_the_lock_is_a_component_and_a_dependency() -> None:
    lock = (ROOT / sbom.LOCK).read_text()
    pins = {line.split(" ")[0] for line in lock.splitlines() if line and not line.startswith((" ", "#"))}
    document = _document()
    assert {f"{found['name']}=={found['version']}" for found in document["components"]} == pins
    (dependencies,) = document["dependencies"]
    assert dependencies["dependsOn"] == [found["bom-ref"] for found in document["components"]]
    assert len(set(dependencies["dependsOn"])) == len(pins) > 10


def test_package_addresses_have_their_normal_form() -> None:
    for component in _document()["components"]:
        assert re.fullmatch(r"pkg:pypi/[a-z0-9]+(-[a-z0-9]+)*@\S+", component["purl"])


def test_the_package_itself_is_what_the_document_is_about() -> None:
    document = _document()
    component = document["metadata"]["component"]
    assert (component["name"], component["version"]) == ("computepool", versions.python_version(VERSION))
    assert document["dependencies"][0]["ref"] == component["bom-ref"]
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"


def test_the_same_lock_makes_the_same_document() -> None:
    assert sbom.render(ROOT, CREATED) == sbom.render(ROOT, CREATED)
    prefix, _, serial = _document()["serialNumber"].rpartition(":")
    assert prefix == "urn:uuid"
    assert uuid.UUID(serial).version == 5
