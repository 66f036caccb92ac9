"""SECURITY.md and RELEASE.md, held against the files of a release and the workflow that makes them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.release import versions
from tools.release.__main__ import ROOT

WORKFLOW = ROOT / ".github/workflows/release.yaml"


@pytest.mark.parametrize("version", ["1.2.0", "1.2.0-rc.1"])
def test_the_files_to_verify_are_named_as_a_release_and_a_candidate_name_them(tmp_path: Path, version: str) -> None:
    files = {f"computepool-{versions.python_version(version)}-py3-none-any.whl", f"computepool-{version}.cdx.json"}
    for name in files | {f"computepool-{version}.tgz", "computepool.yaml"}:
        (tmp_path / name).touch()
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"computepool-[\w$*.-]+\.(?:whl|json)", text)
    found = [
        subprocess.check_output(
            ["bash", "-c", f"ls {name}"], cwd=tmp_path, env={"VERSION": version, "PATH": "/usr/bin:/bin"}, text=True
        )
        for name in named
    ]
    assert {name.strip() for name in found} == files
    # In quotes the shell would not replace the star.
    assert '*.whl"' not in text


def test_each_approval_that_the_workflow_waits_for_is_named_in_its_order() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    waiting = {name: job["environment"] for name, job in jobs.items() if "environment" in job}
    (step,) = re.findall(r"^5\. The workflow(.*?)^6\. ", (ROOT / "RELEASE.md").read_text(), re.MULTILINE | re.DOTALL)
    told = " ".join(step.split())
    *release, python = waiting
    assert [waiting[name] for name in release] == ["release"] * 3
    assert "environment `release` three times" in told
    assert f"`{release[0]}`, `{release[1]}` and `{release[2]}`" in told
    assert (python, waiting[python]) == ("python", "python")
    assert f"then approve the environment `{python}`" in told
