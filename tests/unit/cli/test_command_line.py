"""The command's manners: help, version and completion, which import little."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.app.cluster import make_pool
from tests.unit.cli.serving import shell

COMMAND = str(Path(sys.executable).with_name("computepool"))
HEAVY = ("aiohttp", "kopf", "kubernetes", "msgspec", "prometheus_client", "yaml", "computepool.model")
"""Modules that are slow to import. (Typer itself imports a part of pydantic.)"""
_PROBE = """
import sys
sys.argv = ["computepool", *sys.argv[1:]]
from computepool.cli.main import main
try:
    main()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    probe = [sys.executable, "-c", _PROBE.format(heavy=HEAVY), *words]
    return subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False, env=env)


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("status", "-h"), ("run", "--help"), ("--version",)])
def test_help_and_version_import_nothing_heavy(words: tuple[str, ...]) -> None:
    ended = run(*words)
    assert (ended.returncode, ended.stderr.strip()) == (0, "[]")


@pytest.mark.parametrize("words", [("status",), ("status", "--watch"), ("drain", "inference/nebius")])
def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    with shell(tmp_path, lambda server: make_pool(server)) as sh, Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", "from computepool.cli.main import main; main()", *words]
        env = os.environ | {"KUBECONFIG": str(sh.kubeconfig)}
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=env
        )
    assert ended.returncode == 1
    assert ended.stderr == "the command could not do or print everything: No space left on device\n"


def test_the_version_is_that_of_the_package() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    version = run("--version").stdout.split()[1]
    assert f'version = "{version}"' in project


@pytest.mark.parametrize(
    ("typed", "offered"), [("computepool sta", ["status"]), ("computepool status --kube", ["--kubeconfig"])]
)
def test_the_shell_completes_commands_and_options_quickly(typed: str, offered: list[str]) -> None:
    words = typed.split()
    env = {
        "_COMPUTEPOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": ":".join(path for path in sys.path if path),
    }
    ended = run(env=env)
    assert ended.stdout.split() == offered
    assert ended.stderr.strip() == "[]"
