"""`computepool --version` prints the version of the installed package."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from computepool.cli.main import app


@pytest.mark.parametrize("words", [["--version"], ["--version", "status"]])
def test_the_version_is_printed_and_nothing_else_is_done(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (0, f"computepool {version('computepool')}\n")


def test_without_it_a_command_runs_as_before() -> None:
    result = CliRunner().invoke(app, ["status", "--help"])
    assert result.exit_code == 0
    assert "Show " in result.stdout
