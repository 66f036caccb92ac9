"""Where binaries are looked for, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import binaries, versions
from e2e.errors import BinaryMissingError


class Machine:
    """A pretended machine: folders of binaries and the environment that names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": str(folder / "path"), "XDG_CACHE_HOME": str(folder / "cache")}

    def put(self, where: str, name: str, says: str) -> Path:
        path = self.folder / where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {says}\n")
        path.chmod(0o755)
        return path

    def put_cached(self, name: str) -> Path:
        path = binaries.cached(name, self.env)
        return self.put(str(path.parent.relative_to(self.folder)), name, versions.BINARIES[name])

    def find(self, name: str) -> tuple[str, Path] | None:
        found = binaries.find(name, self.env)
        return (found.where, found.path) if found else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_explicit_folder_wins_over_every_other_place(machine: Machine) -> None:
    explicit = machine.put("explicit", "kwok", "anything")
    machine.put("assets", "kwok", "anything")
    machine.put("path", "kwok", f"v{versions.KWOK}")
    machine.put_cached("kwok")
    machine.env |= {
        "COMPUTEPOOL_E2E_BIN": str(machine.folder / "explicit"),
        "KUBEBUILDER_ASSETS": str(machine.folder / "assets"),
    }
    assert machine.find("kwok") == ("explicit", explicit)


def test_kubebuilder_assets_win_over_path_and_cache(machine: Machine) -> None:
    assets = machine.put("assets", "kwok", "anything")
    machine.put("path", "kwok", f"v{versions.KWOK}")
    machine.put_cached("kwok")
    machine.env["KUBEBUILDER_ASSETS"] = str(machine.folder / "assets")
    assert machine.find("kwok") == ("KUBEBUILDER_ASSETS", assets)


def test_path_wins_over_the_cache_where_the_version_is_right(machine: Machine) -> None:
    on_path = machine.put("path", "helm", f"v{versions.HELM}+g1a2b3c4")
    machine.put_cached("helm")
    assert machine.find("helm") == ("PATH", on_path)


@pytest.mark.parametrize("says", ["Client Version: v1.32.4", "v1.37.2-beta.1", "nothing that is a version"])
def test_a_kubectl_of_another_version_on_path_is_passed_over(machine: Machine, says: str) -> None:
    machine.put("path", "kubectl", says)
    cached = machine.put_cached("kubectl")
    assert machine.find("kubectl") == ("cache", cached)


@pytest.mark.parametrize("version", ["2.40.0", "2.42.0+ds", "2.53.5", "3.0.0-rc.0", "3.99.0", "10.0.0"])
@pytest.mark.parametrize("to", ["", " >&2"])
def test_a_prometheus_from_the_system_serves_if_it_is_new_enough(machine: Machine, version: str, to: str) -> None:
    on_path = machine.put("path", "prometheus", f"prometheus, version {version}{to}")
    machine.put_cached("prometheus")
    assert machine.find("prometheus") == ("PATH", on_path)


@pytest.mark.parametrize("says", ["version 2.39.2", "version 2.4.1", "version 1.8.2", "nothing that is a version"])
def test_a_prometheus_that_is_too_old_is_passed_over(machine: Machine, says: str) -> None:
    machine.put("path", "prometheus", says)
    cached = machine.put_cached("prometheus")
    assert machine.find("prometheus") == ("cache", cached)


def test_a_folder_that_lacks_a_binary_is_passed_over(machine: Machine) -> None:
    machine.put("assets", "etcd", "anything")
    cached = machine.put_cached("kwok")
    machine.env["KUBEBUILDER_ASSETS"] = str(machine.folder / "assets")
    assert machine.find("kwok") == ("cache", cached)


def test_a_file_that_may_not_be_executed_is_no_binary(machine: Machine) -> None:
    machine.put_cached("kwok").chmod(0o644)
    assert machine.find("kwok") is None


def test_the_cache_keeps_versions_and_machines_apart(machine: Machine) -> None:
    path = binaries.cached("etcd", machine.env)
    assert path.parent.name == f"etcd-{versions.ETCD}-{binaries.target()}"


def test_missing_binaries_are_named_together_with_the_command_that_makes_them(machine: Machine) -> None:
    for name in versions.BINARIES.keys() - {"kwok", "helm"}:
        machine.put_cached(name)
    with pytest.raises(BinaryMissingError, match="kwok, helm; run `make control-plane`"):
        binaries.find_all(machine.env)


def test_the_staging_version_follows_from_the_version_of_kubernetes() -> None:
    major, minor, patch = versions.KUBERNETES.split(".")
    assert (major, versions.kubernetes_minor()) == ("1", minor)
    assert versions.staging() == f"0.{minor}.{patch}"
