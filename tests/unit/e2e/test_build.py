"""Building: what module is written, how Go is called, and what a failed or interrupted build leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import build, versions
from e2e.errors import BuildError
from tests.unit.e2e.fake_go import FakeGo

KUBERNETES = next(project for project in build.PROJECTS if project.module == "k8s.io/kubernetes")
KWOK = next(project for project in build.PROJECTS if "kwok" in project.packages)


@pytest.fixture
def go(tmp_path: Path) -> FakeGo:
    return FakeGo(tmp_path / "go")


@pytest.fixture
def workshop(tmp_path: Path, go: FakeGo) -> build.Workshop:
    return build.Workshop(
        tmp_path / "build", go.path, {"PATH": "/usr/bin:/bin", "GOOS": "plan9", "GOFLAGS": "-mod=vendor"}
    )


def built_by(workshop: build.Workshop, *names: str) -> dict[str, Path]:
    built: dict[str, Path] = {}
    workshop.build(names, built.__setitem__)
    return built


def test_every_binary_is_built_by_exactly_one_project() -> None:
    assert sorted(name for project in build.PROJECTS for name in project.packages) == sorted(versions.BINARIES)


def test_siblings_that_are_replaced_by_folders_are_replaced_by_what_was_published() -> None:
    theirs = {
        "Go": "1.26.0",
        "Godebug": [{"Key": "default", "Value": "go1.26"}],
        "Replace": [
            {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
            {"Old": {"Path": "example.invalid/fork"}, "New": {"Path": "example.invalid/other", "Version": "v1.0.0"}},
        ],
    }
    assert build.module_text(KUBERNETES, theirs).splitlines() == [
        "module computepool.io/e2e/build",
        "",
        "go 1.26.0",
        "",
        "godebug default=go1.26",
        f"require k8s.io/kubernetes v{versions.KUBERNETES}",
        f"replace k8s.io/api => k8s.io/api v{versions.staging()}",
    ]


def test_replacements_of_a_project_without_staging_are_left_out() -> None:
    theirs = {"Go": "1.26.0", "Replace": [{"Old": {"Path": "a.invalid"}, "New": {"Path": "./a"}}]}
    assert "replace" not in build.module_text(KWOK, theirs)


def test_binaries_of_one_project_are_built_together_and_handed_over(workshop: build.Workshop, go: FakeGo) -> None:
    built = built_by(workshop, "kubectl", "kube-scheduler")
    assert {name: path.name for name, path in built.items()} == {
        "kubectl": "kubectl",
        "kube-scheduler": "kube-scheduler",
    }
    assert len(go.calls("build")) == 1


def test_a_single_binary_gets_its_own_name_whatever_its_package_is_called(workshop: build.Workshop) -> None:
    assert built_by(workshop, "etcd")["etcd"].name == "etcd"


def test_kubernetes_is_told_its_version(workshop: build.Workshop, go: FakeGo) -> None:
    built_by(workshop, "kubectl")
    flags = " ".join(go.calls("build")[0]["arguments"])
    assert f"version.gitVersion=v{versions.KUBERNETES}" in flags
    assert f"version.gitMinor={versions.kubernetes_minor()}" in flags


def test_the_projects_own_checksums_are_used(workshop: build.Workshop, go: FakeGo) -> None:
    built_by(workshop, "kwok")
    folder = Path(go.calls("build")[0]["folder"])
    assert "h1:pinned=" in (folder / "go.sum").read_text()


def test_go_keeps_everything_in_the_workshop(workshop: build.Workshop, go: FakeGo, tmp_path: Path) -> None:
    built_by(workshop, "kwok")
    env = go.calls("build")[0]["env"]
    assert {env["GOCACHE"], env["GOMODCACHE"]} == {str(tmp_path / "build" / "gocache"), str(tmp_path / "build" / "mod")}


def test_what_would_build_for_another_machine_is_not_passed_on(workshop: build.Workshop, go: FakeGo) -> None:
    built_by(workshop, "kwok")
    env = go.calls("build")[0]["env"]
    assert "GOOS" not in env
    assert env["GOFLAGS"] == "-mod=mod -modcacherw -buildvcs=false"


def test_modules_the_user_has_already_are_read_from_there(tmp_path: Path, go: FakeGo) -> None:
    downloads = go.folder / "user-modules" / "cache" / "download"
    downloads.mkdir(parents=True)
    built_by(build.Workshop(tmp_path / "build", go.path, {"PATH": "/usr/bin:/bin"}), "kwok")
    assert go.calls("build")[0]["env"]["GOPROXY"] == f"{downloads.as_uri()},https://proxy.invalid,direct"


def test_a_failed_build_shows_what_go_said(workshop: build.Workshop, go: FakeGo) -> None:
    go.build_fails = "undefined: somebody's mistake"
    go.tell()
    with pytest.raises(BuildError, match="undefined: somebody's mistake"):
        built_by(workshop, "kwok")


def test_an_interrupted_build_finds_its_folder_again(workshop: build.Workshop, go: FakeGo, tmp_path: Path) -> None:
    def interrupted(name: str, path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workshop.build(["kwok"], interrupted)
    built_by(workshop, "kwok")
    first, second = go.calls("build")
    assert first["env"]["GOCACHE"] == second["env"]["GOCACHE"]
    assert first["folder"] == second["folder"]
