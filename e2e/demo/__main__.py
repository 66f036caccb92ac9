"""`python -m e2e.demo`: sets up a cluster, plays the demo, prints a summary, and removes everything."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from e2e import binaries, versions
from e2e.cluster import REPOSITORY
from e2e.demo import page
from e2e.demo.recorder import DemoRecorder
from e2e.demo.report import Report
from e2e.demo.screen import Screen
from e2e.demo.stage import STANDBYS, Stage, stage
from e2e.demo.story import Story
from e2e.demo.telling import NAMESPACE, POOL
from e2e.errors import E2EError
from e2e.objects import PROVIDER_KEY
from e2e.spread import Spread
from e2e.stages import KUBELET_ALIVE, KUBELET_LABEL

REPORT = REPOSITORY / "build" / "demo" / "report.json"
KEPT_NAME = "demo"
INTERRUPTED = 130
PLAIN_WIDTH = 120
EPILOG = """\
environment:
  KEEP=1    as --keep

It ends with 0 if every pod that overflowed and may leave the primary ran on a standby, every pod of the provider that
failed was moved to another, all came home, within the limits of the pool, with no disruption budget violated and no
pod moved to and fro, and admission opened for a queue before a pod waited and closed after it; with 1 if not. Where
this machine has no Prometheus, the queue is left out.
"""


def main(arguments: list[str]) -> int:
    """Run the demo and return its exit code."""
    parsed = _parser().parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    # What was started is ended in order; also where a shell started us in the background, and SIGINT came ignored.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _interrupt)
    try:
        return _play(Screen(console, parsed.pause), parsed)
    except KeyboardInterrupt:
        console.print("\nInterrupted: the cluster has been ended, nothing is left running.")
        return INTERRUPTED
    except E2EError as error:
        console.print(f"\ndemo: {error}", style="red", markup=False, soft_wrap=True)
        return 1


def _play(screen: Screen, asked: argparse.Namespace) -> int:
    keep, report_file = asked.keep, asked.report
    with stage(screen, KEPT_NAME if keep else None, keep=keep) as ready:
        recorder = DemoRecorder(ready.cluster.api, NAMESPACE, POOL)
        story = Story(ready, screen, recorder)
        try:
            story.tell()
        finally:
            report = story.report()
            report.write(report_file)
            timeline = story.timeline()
            page.write(report_file.with_suffix(".html"), report, timeline)
        _sum_up(screen, report, report_file)
        if asked.picture:
            asked.picture.write_text(page.picture(timeline), encoding="utf-8")
        if keep:
            story.forget_signals()
            _how_to_go_on(screen, ready)
    return 0 if report.succeeded else 1


def _sum_up(screen: Screen, report: Report, report_file: Path) -> None:
    screen.title("What happened")
    screen.say(
        f"{report.overflow_pods} pods did not fit on the primary; {report.burst_pods} of them ran on a standby: "
        f"{report.by.patch} by patch, {report.by.admission} by admission. May not leave the primary, and waited: "
        f"{report.held_pods}."
    )
    failover, failback = report.failover, report.failback
    screen.say(
        f"{failover.provider} failed with {failover.pods} pods; {failover.moves} were moved, to {_places(failover.to)}."
    )
    screen.say(
        f"{failback.moves} pods came home in {failback.seconds:g} s, at most {failback.at_once} at once (limit "
        f"{failback.at_once_limit}) and {failback.in_a_minute} in a minute (limit {failback.in_a_minute_limit}). "
        f"Once home: {_places(report.pods_at_end)}."
    )
    if report.queue is not None:
        screen.say(
            f"Up to {report.queue.longest:g} requests waited in front of a server. While admission was open for them, "
            f"pods were created and bound: {_places(report.queue.pods)}. {report.queue.waited} of them had to wait."
        )
    screen.say(
        f"Disruption budgets violated: {report.pdb_violations}. Moved to and fro: {failback.flaps}. "
        f"Restarts: {report.restarts}."
    )
    screen.show(_table(report))
    for trouble in report.troubles:
        screen.say(f"Not as it should be: {trouble}.")
    screen.say(f"Report: {_relative(report_file)}")
    screen.say(f"Timeline, for a browser: {_relative(report_file.with_suffix('.html'))}")


def _table(report: Report) -> Table:
    table = Table("Milliseconds", box=None, pad_edge=True)
    for heading in ("p50", "p99", "max"):
        table.add_column(heading, justify="right")
    rows: list[tuple[str, Spread]] = [
        ("Patched pods: overflow -> the last of the batch patched", report.burst_ms),
        ("Patched pods: created -> patched, from outside", report.observed_ms),
        ("Patched pods: created -> bound on a standby", report.bound_ms_by["patch"]),
        ("Admitted pods: created -> bound on a standby", report.bound_ms_by["admission"]),
        ("Failure signal (breaker opens) -> replacement bound", report.failover_ms),
        ("Last heartbeat -> replacement bound", report.silence_ms),
    ]
    for text, spread in rows:
        table.add_row(text, *(f"{value:.1f}" for value in (spread.p50, spread.p99, spread.max)))
    return table


def _places(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} on {provider}" for provider, count in counts.items()) or "none"


def _how_to_go_on(screen: Screen, ready: Stage) -> None:
    python, computepool = (_relative(Path(sys.executable).with_name(name)) for name in ("python", "computepool"))
    kubectl = binaries.find_all()["kubectl"]
    screen.title("The cluster stays up")
    for line in (
        f"export KUBECONFIG={ready.cluster.kubeconfig}",
        f"alias kubectl={kubectl}",
        "kubectl get cpool,pods --all-namespaces",
        f"kubectl scale deployment/chat --namespace {NAMESPACE} --replicas 60",
        f"kubectl label nodes --selector {PROVIDER_KEY}={STANDBYS[0]} {KUBELET_LABEL}-   # it fails",
        f"kubectl label nodes --selector {PROVIDER_KEY}={STANDBYS[0]} {KUBELET_LABEL}={KUBELET_ALIVE}   # and recovers",
        f"{computepool} status",
        f"tail -f {ready.leader.log_file}",
        f"curl http://127.0.0.1:{ready.leader.port}/metrics",
    ):
        screen.command(line)
    screen.say("To end it, and both operators with it:")
    screen.command(f"{python} -m e2e down --name {ready.cluster.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.demo",
        description="Watch a saturated primary burst onto its standbys, one of them fail, and all pods come home, on a "
        f"real Kubernetes {versions.KUBERNETES} control plane that runs as processes on loopback. It takes two minutes "
        "once `make control-plane` has provided the binaries.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "") not in ("", "0"),
        help="leave the cluster and the operators running, and say how to use and to end them",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=REPORT,
        help="where to write the report (%(default)s); the timeline goes beside it, as .html",
    )
    parser.add_argument("--picture", type=Path, help="where to write the timeline alone, as an SVG like the README's")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds to read after each step, on a terminal")
    return parser


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
