"""`computepool status --watch`: what is printed again, and when."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from computepool.cli.leader import LeaseAddress
from computepool.cli.options import Output
from computepool.cli.status import Request, watch
from computepool.kube.errors import Forbidden
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.unit.cli.leases import NAMESPACE, lead
from tests.unit.cli.serving import Shell, shell
from tests.unit.cli.test_status_command import STATUS, looked_at


def _request(sh: Shell, output: Output = Output.TABLE) -> Request:
    return Request(str(sh.kubeconfig), None, None, LeaseAddress(NAMESPACE, "computepool"), output)


def _status(**changes: Any) -> Callable[[FakeApiServer], object]:
    def change(server: FakeApiServer) -> None:
        (item,) = server.items(COMPUTEPOOLS)
        server.update(COMPUTEPOOLS, {**item, "status": {**STATUS, **changes}})

    return change


def _lists(server: FakeApiServer) -> int:
    return sum(call.verb == "list" for call in server.calls)


async def _read_anew(sh: Shell, task: asyncio.Task[None]) -> None:
    """Wait until the cluster has been read twice more, or the watch has ended."""
    before = sh.server.do(_lists)
    while sh.server.do(_lists) < before + 2 and not task.done():
        await asyncio.wait([task], timeout=0.01)


async def _watched(
    sh: Shell, output: Output, steps: list[Callable[[FakeApiServer], object]], *, terminal: bool = False
) -> str:
    """Return what is printed while these changes are made, one after the other."""
    written = io.StringIO()
    console = Console(file=written, width=500, force_terminal=terminal, color_system=None)
    task = asyncio.create_task(watch(_request(sh, output), console, every=0.02))
    await _read_anew(sh, task)
    for step in steps:
        sh.server.do(step)
        await _read_anew(sh, task)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return written.getvalue()


def test_in_a_pipe_only_a_change_is_printed_and_a_renewal_is_none(tmp_path: Path) -> None:
    steps = [lead, _status(pending={"pods": 7, "accelerators": 7}), lead]
    with shell(tmp_path, looked_at) as sh:
        text = asyncio.run(_watched(sh, Output.TABLE, steps))
    assert text.count("Leader: computepool-7f9c") == 2
    assert text.index("1 pod waiting") < text.index("7 pods waiting")


def test_each_json_document_is_complete(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        text = asyncio.run(_watched(sh, Output.JSON, [_status(burstPods=9)]))
    decoder, bursts = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        bursts.append(document["pools"][0]["status"]["burstPods"])
        text = text[end:]
    assert bursts == [6, 9]


def test_an_api_server_that_is_away_for_a_moment_is_told_and_the_watch_goes_on(tmp_path: Path) -> None:
    def away(server: FakeApiServer) -> None:
        server.fault("list", path=COMPUTEPOOLS, status=503, message="restarting", times=1)

    with shell(tmp_path, looked_at) as sh:
        text = asyncio.run(_watched(sh, Output.TABLE, [away, lead]))
    assert "restarting" in text
    assert text.count("Leader: computepool-7f9c") == 2


def test_a_right_that_is_taken_away_ends_the_watch(tmp_path: Path) -> None:
    def refuse(server: FakeApiServer) -> None:
        server.fault("list", path=COMPUTEPOOLS, status=403, message="no", times=99)

    with shell(tmp_path, looked_at) as sh, pytest.raises(Forbidden):
        asyncio.run(_watched(sh, Output.TABLE, [refuse]))


def test_on_a_terminal_each_print_replaces_the_last(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        text = asyncio.run(_watched(sh, Output.TABLE, [lambda _: None], terminal=True))
    assert text.count("\x1b[2J") == text.count("Leader: computepool-7f9c") >= 2


def test_ctrl_c_ends_the_watch_without_a_word(tmp_path: Path) -> None:
    # A shell starts what runs in its background with this signal ignored, and these tests may run there.
    heeding = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [str(Path(sys.executable).with_name("computepool")), "status", "--watch"]
    command = [sys.executable, "-c", heeding, *words]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with shell(tmp_path, looked_at) as sh:
        env["KUBECONFIG"] = str(sh.kubeconfig)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as ran:
            assert ran.stdout is not None
            assert ran.stdout.readline().startswith("Leader: ")
            ran.send_signal(signal.SIGINT)
            _, error = ran.communicate(timeout=60)
    assert (ran.returncode, error) == (130, "")
