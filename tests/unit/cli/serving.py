"""Commands run against a fake API server, as a person with a kubeconfig runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from computepool.cli.main import app
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.threaded import ThreadedApiServer, serving

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u{namespace}}}}}]
current-context: x
"""


@dataclass
class Shell:
    """Runs commands; `columns` is the width of the terminal, 0: a pipe."""

    kubeconfig: Path
    server: ThreadedApiServer
    columns: int = 200

    def run(self, *words: str) -> Result:
        env = {"KUBECONFIG": str(self.kubeconfig), "COLUMNS": str(self.columns) if self.columns else None}
        return CliRunner().invoke(app, words, env=env)

    def prints(self, *words: str) -> str:
        """What a command that succeeds prints, without the padding of its lines."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return "\n".join(line.rstrip() for line in result.stdout.splitlines())

    def fails(self, *words: str) -> str:
        """What a command that fails says, in one line; it says it on standard error and ends with 1."""
        result = self.run(*words)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())


@contextmanager
def shell(folder: Path, before: Callable[[FakeApiServer], object], namespace: str = "") -> Iterator[Shell]:
    """A shell whose kubeconfig leads to a cluster that was made `before`, with that namespace in its context."""
    with serving() as server:
        server.do(before)
        file = folder / "kubeconfig"
        file.write_text(KUBECONFIG.format(url=server.url, namespace=f", namespace: {namespace}" if namespace else ""))
        yield Shell(file, server)
