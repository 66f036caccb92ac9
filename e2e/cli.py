"""The `python -m e2e` command."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from e2e import binaries, provide, roster, versions
from e2e.access import attach
from e2e.cluster import Cluster
from e2e.components import Layout, Options
from e2e.errors import E2EError

EPILOG = """\
examples:
  python -m e2e up                      start a cluster and leave it running
  python -m e2e kubectl get nodes       use it (or: export KUBECONFIG=$(python -m e2e kubeconfig))
  python -m e2e down                    end it; nothing stays behind
  python -m e2e up --name b             a second one, side by side
  python -m e2e binaries                find the binaries, or download or build them into the cache

The binaries are looked for in $COMPUTEPOOL_E2E_BIN, $KUBEBUILDER_ASSETS, PATH (only of the right version) and the
cache. Missing binaries are downloaded, or built where that is not possible; DOWNLOAD=0 never downloads, DOWNLOAD=1
never builds. Clusters keep their files in $COMPUTEPOOL_E2E_STATE, by default in the system's temporary folder.
"""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed) or 0)
    except E2EError as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("e2e: interrupted; a build goes on where it was when it is run again", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e",
        description=f"A real Kubernetes {versions.KUBERNETES} control plane with kwok nodes, as processes on loopback.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    up = _command(commands, "up", _up, "start a cluster and leave it running until `down`")
    up.add_argument("--benchmark", action="store_true", help="raise what the API server takes at once")
    up.add_argument("--keep-logs", action="store_true", help="leave the logs behind when it ends")
    down = _command(commands, "down", _down, "end a cluster")
    down.add_argument("--all", action="store_true", help="end all of this user's clusters")
    down.add_argument("--keep-logs", action="store_true", help="leave the logs behind")
    _command(commands, "list", _list, "list the clusters that run", named=False)
    _command(commands, "kubeconfig", _kubeconfig, "print the path of a cluster's kubeconfig")
    kubectl = _command(commands, "kubectl", _kubectl, "run kubectl, of the cluster's own version, against a cluster")
    kubectl.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="what kubectl gets; begin with -- where that begins with a dash"
    )
    _command(commands, "binaries", _binaries, "find the binaries, or get them into the cache", named=False)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    text: str,
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(run=run)
    if named:
        command.add_argument("--name", default="default", help="which cluster (default: %(default)s)")
    return command


def _up(parsed: argparse.Namespace) -> None:
    provide.provide()
    began = time.monotonic()
    started = Cluster(parsed.name, Options(benchmark=parsed.benchmark), keep_logs=parsed.keep_logs)
    started.keep()
    print(f"cluster {started.name!r} is up after {time.monotonic() - began:.1f} s")
    print(f"  export KUBECONFIG={started.kubeconfig}")
    started.release()


def _down(parsed: argparse.Namespace) -> None:
    names = [layout.folder.name for layout in roster.running()] if parsed.all else [parsed.name]
    for name in names:
        roster.end(name, keep_logs=parsed.keep_logs)
        print(f"cluster {name!r} has ended")


def _list(_parsed: argparse.Namespace) -> None:
    for layout in roster.running():
        print(f"{layout.folder.name}\t{layout.url}\t{layout.folder}")


def _kubeconfig(parsed: argparse.Namespace) -> None:
    print(Layout(roster.folder_of(parsed.name), ()).kubeconfig)


def _kubectl(parsed: argparse.Namespace) -> int:
    access = attach(parsed.name)
    if parsed.arguments[:1] == ["--"]:
        del parsed.arguments[0]
    return subprocess.run(
        [binaries.find_all()["kubectl"], *parsed.arguments], env=access.command_env(), check=False
    ).returncode


def _binaries(_parsed: argparse.Namespace) -> None:
    for name, path in provide.provide().items():
        print(f"{name}\t{binaries.version_of(path, name)}\t{path}")
