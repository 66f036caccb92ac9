"""The command as pipx and `uv tool` install it: from a wheel, in an environment of its own, and as kubectl's plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.apiserver import FakeApiServer
from tests.unit.app.cluster import full, make_pool
from tests.unit.cli.serving import Shell, shell

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS = 120


def _ran(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # The sources of this test must not be found in place of the wheel's.
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COLUMNS")} | variables
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=SECONDS, check=False, env=env
    )


def _run(*words: str | Path, **variables: str) -> str:
    ended = _ran(*words, **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed scripts. Only the wheel is installed; what it depends on is that of this process."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, REPOSITORY)
    (wheel,) = folder.glob("*.whl")
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv/bin/python"
    _run(*pip, "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    # A path in a .pth file comes behind the environment's own packages.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv/bin"


@pytest.fixture
def sh(tmp_path: Path) -> Iterator[Shell]:
    def before(server: FakeApiServer) -> None:
        full(server, waiting=1)
        make_pool(server)

    with shell(tmp_path, before) as running:
        yield running


def test_the_wheels_own_code_runs(scripts: Path) -> None:
    where = _run(scripts / "python", "-c", "import computepool; print(computepool.__file__)").strip()
    assert Path(where).is_relative_to(scripts.parent)


def test_the_command_and_the_plugin_know_their_names(scripts: Path) -> None:
    assert "Usage: computepool " in _run(scripts / "computepool", "--help")
    assert "Usage: kubectl computepool " in _run(scripts / "kubectl-computepool", "--help")


def test_commands_work_with_kubectls_flags_in_front_of_them_too(scripts: Path, sh: Shell) -> None:
    flag = ("--kubeconfig", sh.kubeconfig)
    plain = _run(scripts / "computepool", "explain", "new-0", *flag)
    assert "About to be sent to nebius." in plain
    assert _run(scripts / "kubectl-computepool", *flag, "explain", "-n", "default", "pod/new-0") == plain
    assert _run(scripts / "kubectl-computepool", "-n", "default", *flag, "explain", "new-0") == plain
    assert "inference" in _run(scripts / "kubectl-computepool", f"--kubeconfig={sh.kubeconfig}", "status")
    assert "is drained" in _run(scripts / "kubectl-computepool", *flag, "drain", "inference/nebius")


def test_the_kubeconfig_of_the_environment_is_found(scripts: Path, sh: Shell) -> None:
    assert "inference" in _run(scripts / "computepool", "status", KUBECONFIG=str(sh.kubeconfig))


def test_without_a_kubeconfig_it_says_so_in_one_sentence(scripts: Path, tmp_path: Path) -> None:
    ended = _ran(scripts / "computepool", "status", HOME=str(tmp_path), KUBECONFIG="", KUBERNETES_SERVICE_HOST="")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "Traceback" not in ended.stderr
