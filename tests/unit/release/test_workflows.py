"""The workflows by their shape, and their shell scripts run for real where they need no network.

GitHub and a registry are not here. So these tests hold the workflows to rules that a reviewer would check by hand.
zizmor (`make check`) and actionlint (CI) know more rules.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.release.published import CHART, IMAGE, REPOSITORY, VERSION
from tools.release import archive, krew
from tools.release.__main__ import ROOT

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
# Programs that run code of the project or of its dependencies.
PROJECT_CODE = re.compile(r"\b(make|python3?|pip|uv|pytest|hatchling|go)\b|\.ci/|tools\.|\.venv")

Yaml = dict[str, Any]


def _read(path: Path) -> Yaml:
    workflow: Yaml = yaml.safe_load(path.read_text())
    return workflow


def _jobs() -> Iterator[tuple[str, Yaml]]:
    for path in WORKFLOWS:
        for name, job in _read(path)["jobs"].items():
            yield f"{path.name}/{name}", job


def _steps() -> Iterator[tuple[str, Yaml]]:
    for name, job in _jobs():
        for number, step in enumerate(job["steps"]):
            yield f"{name}[{number}]", step


def _release() -> dict[str, Yaml]:
    jobs: dict[str, Yaml] = _read(FOLDER / "release.yaml")["jobs"]
    return jobs


def _writes(job: Yaml) -> bool:
    return "write" in job["permissions"].values()


def _publishing() -> dict[str, Yaml]:
    return {name: job for name, job in _release().items() if _writes(job)}


def _step(job: str, name: str) -> Yaml:
    found: Yaml
    (found,) = (step for step in _release()[job]["steps"] if step.get("name") == name)
    return found


def _before(job: str) -> set[str]:
    """All jobs that must have succeeded before a job starts."""
    needs = _release()[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(_before, direct))


def test_there_are_two_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yaml", "release.yaml"]


def test_every_action_is_pinned_to_a_commit_with_its_release_beside_it() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        lines = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
        assert len(lines) == sum(1 for name, step in _steps() if name.startswith(path.name) and "uses" in step)
        for line in lines:
            pin = re.fullmatch(r"(?:- )?uses: ([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert pin, line
            pins.setdefault(pin[1], set()).add(f"{pin[2]} {pin[3]}")
    assert {action: pin for action, pin in pins.items() if len(pin) > 1} == {}


def test_a_workflow_has_no_rights_and_each_job_says_its_own() -> None:
    for path in WORKFLOWS:
        assert _read(path)["permissions"] == {}
    for name, job in _jobs():
        assert set(job["permissions"].values()) <= {"read", "write"}, name
        assert isinstance(job["timeout-minutes"], int), name


def test_the_rights_of_each_publishing_job_are_these() -> None:
    signing = {"id-token": "write", "attestations": "write"}
    assert {name: job["permissions"] for name, job in _publishing().items()} == {
        "image": {"contents": "read", "packages": "write", **signing},
        "chart": {"packages": "write", **signing},
        "release": {"contents": "write", **signing},
        "python": {"id-token": "write"},
    }
    ci = _read(FOLDER / "ci.yaml")["jobs"]
    assert not any(_writes(job) for job in ci.values())


def test_no_job_that_may_publish_runs_code_of_the_project() -> None:
    for name, job in _publishing().items():
        for step in job["steps"]:
            assert not PROJECT_CODE.search(step.get("run", "")), name
    # The rule finds such code where it runs.
    assert PROJECT_CODE.search(_step("assemble", "Render")["run"])


def test_secrets_reach_only_the_login_and_no_shell() -> None:
    for name, step in _steps():
        for key, value in step.items():
            if key == "with" and step["uses"].startswith("docker/login-action@"):
                continue
            assert "secrets." not in str(value), name
    for name, job in _jobs():
        assert "secrets." not in str({key: value for key, value in job.items() if key != "steps"}), name


def test_the_login_sends_the_token_of_the_job_only_if_no_user_is_named() -> None:
    logins = [step["with"] for _, step in _steps() if step.get("uses", "").startswith("docker/login-action@")]
    assert len(logins) == 2
    for login in logins:
        assert login == {
            "registry": "${{ vars.REGISTRY }}",
            "username": "${{ vars.REGISTRY_USERNAME || github.actor }}",
            "password": "${{ vars.REGISTRY_USERNAME == '' && github.token || secrets.REGISTRY_PASSWORD }}",
        }


def test_no_expression_is_pasted_into_a_script() -> None:
    for name, step in _steps():
        assert "${{" not in step.get("run", ""), name


def test_no_checkout_leaves_its_token_behind() -> None:
    for name, step in _steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, name


def test_no_registry_is_named() -> None:
    """No address is written out, and the registry's host comes from a variable alone."""
    for path in [*WORKFLOWS, ROOT / "Dockerfile"]:
        text = path.read_text()
        assert re.findall(r"\w+://(?!\$)[^\s\"']+", text) == [], path.name
        hosts = re.findall(r"^ +registry: (.+)$", text, re.MULTILINE) + re.findall(
            r"^ +REGISTRY: (.+)$", text, re.MULTILINE
        )
        assert set(hosts) <= {"${{ vars.REGISTRY }}"}, path.name


def test_only_a_tag_of_a_version_releases_and_only_after_all_tests() -> None:
    workflow = _read(FOLDER / "release.yaml")
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # type: ignore[index]
    verify = [step.get("run", "") for step in _release()["verify"]["steps"]]
    assert any(run.strip() == ".ci/run" for run in verify)
    assert any('tools.release check --tag "$GITHUB_REF_NAME"' in run for run in verify)
    assert _publishing()
    for name, job in _publishing().items():
        assert "verify" in _before(name), name
        assert job["environment"] in ("release", "python"), name


def test_ci_runs_what_a_person_runs_without_rights_on_every_pull_request() -> None:
    workflow = _read(FOLDER / "ci.yaml")
    assert workflow[True].keys() == {"push", "pull_request"}  # type: ignore[index]
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read"}
    assert ".ci/run" in [step.get("run", "").strip() for step in job["steps"]]
    assert (ROOT / ".ci/run").is_file()


def test_the_image_is_signed_before_it_has_a_tag() -> None:
    steps = _release()["image"]["steps"]
    (build,) = (step["with"] for step in steps if step.get("uses", "").startswith("docker/build-push-action@"))
    assert "push-by-digest=true" in build["outputs"]
    assert "tags" not in build
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (build["provenance"], build["sbom"]) == ("mode=max", True)
    assert _step("image", "Sign")["run"] == 'cosign sign --yes --recursive "$IMAGE@$DIGEST"'
    assert '--tag "$IMAGE:$VERSION" "$IMAGE@$DIGEST"' in _step("chart", "Tag the signed image")["run"]
    assert "image" in _before("chart")


def test_the_base_image_that_is_pinned_is_the_one_of_the_dockerfile() -> None:
    run = _step("image", "Pin the base image to its digest of today")["run"]
    (read,) = re.findall(r'name="\$\((sed .+?)\)"', run)
    ran = subprocess.run(["bash", "-c", read], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"python:3\.\d+-slim\n", ran.stdout)
    (build,) = (s["with"] for s in _release()["image"]["steps"] if s.get("uses", "").startswith("docker/build-push"))
    assert build["build-args"] == "BASE=${{ steps.base.outputs.reference }}"


def test_a_release_of_each_platform_that_krew_knows_is_built() -> None:
    include = _release()["plugin"]["strategy"]["matrix"]["include"]
    assert {entry["platform"] for entry in include} == {f"{system}_{machine}" for system, machine in krew.PLATFORMS}
    assert _step("plugin", "Build, and run the command once")["run"].splitlines()[0] == "make plugin"
    name = archive.name_of("$V", "linux", "amd64").replace("$V", "${VERSION}").replace("linux_amd64", "$PLATFORM")
    assert name in _step("plugin", "Build, and run the command once")["run"]


def _bash(script: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub runs it."""
    inherited = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd,
        env=inherited | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_registry_the_release_stops_with_a_sentence(tmp_path: Path) -> None:
    script = _step("verify", "Require the settings")["run"]
    assert _release()["verify"]["steps"][0]["run"] == script
    stopped = _bash(script, tmp_path, REGISTRY="")
    assert stopped.returncode == 1
    assert stopped.stdout == (
        "::error::The variable REGISTRY is not set. Set it to the host of the registry: see RELEASE.md.\n"
    )
    assert _bash(script, tmp_path, REGISTRY="registry.example.com").returncode == 0


@pytest.mark.parametrize(("tag", "prerelease"), [("v1.2.3", "false"), ("v1.2.3-rc.1", "true")])
def test_what_will_be_published_is_named_by_the_tag_and_the_owner(tmp_path: Path, tag: str, prerelease: str) -> None:
    commit = "git init --quiet && git -c user.name=a -c user.email=a@example.com commit --quiet --allow-empty -m a"
    assert _bash(commit, tmp_path, GIT_COMMITTER_DATE="1700000000 +0000", HOME=str(tmp_path)).returncode == 0
    ran = _bash(
        _step("verify", "Name what will be published")["run"],
        tmp_path,
        REGISTRY="registry.example.com",
        GITHUB_REF_NAME=tag,
        GITHUB_REPOSITORY_OWNER="Example-Owner",
        GITHUB_OUTPUT="output",
        HOME=str(tmp_path),
    )
    assert ran.returncode == 0, ran.stderr
    outputs = dict(line.split("=") for line in (tmp_path / "output").read_text().splitlines())
    assert outputs == {
        "version": tag[1:],
        "prerelease": prerelease,
        "epoch": "1700000000",
        "image": "registry.example.com/example-owner/computepool",
        "charts": "registry.example.com/example-owner/charts",
    }
    assert outputs.keys() == _release()["verify"]["outputs"].keys()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the artifacts of the jobs before, and with stand-ins for the programs of GitHub's runner."""
    for name in ("tools", "charts", "crds", "docs", "krew"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("CHANGELOG.md", "pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / f"computepool-{VERSION}-py3-none-any.whl").write_bytes(b"wheel")
    for system, machine in krew.PLATFORMS:
        (dist / archive.name_of(VERSION, system, machine)).write_bytes(machine.encode())
    _program(tmp_path / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    _program(tmp_path / "bin/make", 'test "$*" = venv')
    package = f'tar -czf "$3/computepool-{VERSION}.tgz" -C "$4" .'
    _program(tmp_path / "bin/helm", f'case "$1" in lint) test -f "$3/Chart.yaml" ;; package) {package} ;; esac')
    return tmp_path


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def test_the_files_of_a_release_are_rendered_without_a_placeholder(checkout: Path) -> None:
    ran = _bash(
        _step("assemble", "Render")["run"],
        checkout,
        PATH=f"{checkout}/bin:{os.environ['PATH']}",
        IMAGE=IMAGE.repository,
        DIGEST=IMAGE.digest,
        CHARTS=CHART.removeprefix("oci://").removesuffix("/computepool"),
        REPOSITORY=REPOSITORY,
    )
    assert ran.returncode == 0, ran.stderr
    dist = checkout / "dist"
    plugins = {archive.name_of(VERSION, system, machine) for system, machine in krew.PLATFORMS}
    others = {f"computepool-{VERSION}-py3-none-any.whl", f"computepool-{VERSION}.tgz", "computepool.yaml", "SHA256SUMS"}
    assert {path.name for path in dist.iterdir()} == plugins | others
    checked = _bash("sha256sum --check SHA256SUMS", dist)
    assert checked.returncode == 0
    assert len(checked.stdout.splitlines()) == len(plugins | others) - 1
    notes = (checkout / "build/notes.md").read_text()
    assert f"helm install computepool {CHART} --version {VERSION} " in notes
    assert str(IMAGE) in notes
    assert f"{REPOSITORY}/blob/v{VERSION}/SECURITY.md" in notes
    texts = [notes, (dist / "computepool.yaml").read_text()]
    texts += [(checkout / "build/chart/computepool" / name).read_text() for name in ("Chart.yaml", "values.yaml")]
    for text in texts:
        assert not re.search(r"\$\{|\{\{|<owner>|TODO|FIXME", text)
        assert "example-owner" in text


def test_the_chart_step_reads_the_digest_that_helm_prints(tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    _program(tmp_path / "bin/helm", f'echo "Pushed: $3/computepool:1.2.3" >&2; echo "Digest: {digest}" >&2')
    _program(tmp_path / "bin/cosign", 'echo "$*" > signed')
    script = _step("chart", "Push and sign the chart")["run"]
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "VERSION": "1.2.3", "GITHUB_OUTPUT": "output"}
    ran = _bash(script, tmp_path, CHARTS="registry.example.com/o/charts", **env)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "output").read_text() == f"digest={digest}\n"
    assert (tmp_path / "signed").read_text() == f"sign --yes registry.example.com/o/charts/computepool@{digest}\n"
    _program(tmp_path / "bin/helm", "echo Error: denied >&2; exit 1")
    (tmp_path / "signed").unlink()
    assert _bash(script, tmp_path, CHARTS="registry.example.com/o/charts", **env).returncode != 0
    _program(tmp_path / "bin/helm", "echo pushed")
    assert "::error::helm push printed no digest." in _bash(script, tmp_path, CHARTS="r/o/charts", **env).stdout
    assert not (tmp_path / "signed").exists()


@pytest.mark.parametrize("prerelease", ["true", "false"])
def test_the_github_release_is_a_draft_until_all_files_are_there(tmp_path: Path, prerelease: str) -> None:
    _program(tmp_path / "bin/gh", 'echo "$*" >> calls')
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/file").touch()
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "GITHUB_REPOSITORY": "o/computepool"}
    ran = _bash(_step("release", "Publish")["run"], tmp_path, GITHUB_REF_NAME="v1.2.3", PRERELEASE=prerelease, **env)
    assert ran.returncode == 0, ran.stderr
    create, edit = (tmp_path / "calls").read_text().splitlines()
    assert create.startswith("release create v1.2.3 --repo o/computepool --verify-tag --draft ")
    assert create.endswith(" dist/file")
    assert ("--prerelease" in create) == (prerelease == "true")
    assert edit == "release edit v1.2.3 --repo o/computepool --draft=false"
