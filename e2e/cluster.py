"""Start, use and end a cluster.

    with Cluster() as cluster:
        print(cluster.kubectl("get", "nodes"))

The cluster ends with the `with` block, and with this process however it ends, unless `keep()` was called.
"""

from __future__ import annotations

import os
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import msgspec

from e2e import binaries, certs, components, kubeconfig, procs, roster, stages, state, supervisor
from e2e.access import Access, attach
from e2e.closing import Closing
from e2e.components import ComponentSpec, Layout, Options
from e2e.errors import ClusterError

__all__ = ["REPOSITORY", "Access", "Cluster", "attach"]

REPOSITORY = Path(__file__).resolve().parent.parent
# Seconds for one component to become ready. It takes 1-3; a machine busy with another build takes longer.
READY_SECONDS = 90.0
LOG_TAIL_LINES = 25


class Cluster(Access, Closing):
    """A cluster that this process starts and owns."""

    def __init__(self, name: str | None = None, options: Options | None = None, *, keep_logs: bool = False) -> None:
        """Start a cluster and wait until all of it is ready: 3 to 5 seconds.

        `keep_logs` leaves the components' logs behind when it ends. Raises BinaryMissingError, or ClusterError with the
        end of the log of the component that did not start.
        """
        paths = binaries.find_all()
        name = name or f"c{secrets.token_hex(4)}"
        layout = roster.claim(name, keep_logs=keep_logs)
        token = secrets.token_urlsafe(24)
        _write_files(layout, token)
        super().__init__(name, layout, paths, token)
        self._specs = {spec.name: spec for spec in components.specs(layout, paths, options or Options())}
        self._asking = threading.Lock()
        self._supervisor = _start_supervisor(layout.folder)
        try:
            for spec in self._specs.values():
                self.start(spec.name)
            self._wait_for_default_namespace()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the cluster and remove its folder. Nothing happens where it has ended."""
        self.api.close()
        if self._supervisor.poll() is None:
            # It may end by itself just now.
            with suppress(BrokenPipeError):
                self._write(supervisor.End())
        _close_pipes(self._supervisor)
        self._supervisor.wait()

    def keep(self) -> None:
        """Let the cluster live on when this process ends; `python -m e2e down` ends it then."""
        self._ask(supervisor.Keep())

    def release(self) -> None:
        """Stop owning a cluster that was told to `keep`."""
        self.api.close()
        _close_pipes(self._supervisor)

    # -- one component ---------------------------------------------------------------------------------------------

    def start(self, component: str) -> None:
        """Start a component and wait until it is ready."""
        spec = self._specs[component]
        self._ask(supervisor.Start(spec))
        self._wait_ready(spec)

    def run(self, process: ComponentSpec) -> None:
        """Have one more process live and end with the cluster, such as an operator. It is not waited for."""
        self._specs[process.name] = process
        self._ask(supervisor.Start(process))

    def stop(self, component: str, *, orderly: bool = False) -> None:
        """End a component and wait until it is gone: as by a crash, or by SIGTERM where `orderly`."""
        self._ask(supervisor.Stop(component, signal.SIGTERM if orderly else signal.SIGKILL))

    def pause(self, component: str) -> None:
        """Stop a component in its tracks: its connections stay open, and nothing answers."""
        self._ask(supervisor.Signal(component, signal.SIGSTOP))

    def resume(self, component: str) -> None:
        """Let a paused component go on."""
        self._ask(supervisor.Signal(component, signal.SIGCONT))

    def restart_apiserver(self) -> None:
        """End the API server, as by a crash, and wait until a new one is ready on the same port."""
        self.stop(components.APISERVER)
        self.start(components.APISERVER)

    def pids(self) -> dict[str, int]:
        """The process ids of the components that run."""
        return self._ask(supervisor.Status()).running

    def log(self, component: str) -> str:
        """All that a component has written so far."""
        return Path(self._specs[component].log).read_text(errors="replace")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ask(self, request: supervisor.Request) -> supervisor.Answer:
        assert self._supervisor.stdout is not None
        with self._asking:
            self._write(request)
            line = self._supervisor.stdout.readline()
        if not line:
            raise ClusterError(f"the supervisor of cluster {self.name} has ended:\n{self._tail('supervisor')}")
        answer = msgspec.json.decode(line, type=supervisor.Answer)
        if answer.error:
            raise ClusterError(answer.error)
        return answer

    def _write(self, request: supervisor.Request) -> None:
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.write(msgspec.json.encode(request) + b"\n")
        self._supervisor.stdin.flush()

    def _wait_ready(self, spec: ComponentSpec) -> None:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(spec.health, context, self.admin_token):
            ended = self._ask(supervisor.Status()).ended
            if spec.name in ended:
                raise ClusterError(f"{spec.name} ended with {ended[spec.name]}:\n{self._tail(spec.name)}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{spec.name} was not ready in {READY_SECONDS:g} s:\n{self._tail(spec.name)}")
            time.sleep(0.05)

    def _wait_for_default_namespace(self) -> None:
        # It is made a moment after the API server says that it is ready, and its account by the controller manager.
        self.api.wait_for("serviceaccounts", bool, "default", name="default", what="the default ServiceAccount")

    def _tail(self, name: str) -> str:
        path = self.layout.logs / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else ["(no log)"]
        return "\n".join(lines[-LOG_TAIL_LINES:])


def _write_files(layout: Layout, token: str) -> None:
    layout.logs.mkdir()
    certs.write_all(layout.pki)
    layout.tokens.touch(mode=0o600)
    layout.tokens.write_text(f'{token},admin,admin,"system:masters"\n')
    stages.write(layout.stages)
    kubeconfig.write(layout.kubeconfig, server=layout.url, ca_file=layout.pki / "ca.crt", token=token)


def _start_supervisor(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "logs" / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "e2e.supervisor", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            # Ctrl-C in a terminal goes to all processes of its session; the end must come through the tether, in order.
            start_new_session=True,
        )
    record = msgspec.structs.replace(state.read_record(folder), supervisor=procs.ref(process.pid))
    state.write_record(folder, record)
    return process


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            pipe.close()


def _answers(url: str, context: ssl.SSLContext, token: str) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
