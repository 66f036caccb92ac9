"""Prepare a release: `python -m tools.release --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.release import chart, krew, notes, plugin, sbom, versions
from tools.release.errors import ReleaseError
from tools.release.source import Image, repository_url

ROOT = Path(__file__).resolve().parents[2]

_DESCRIPTION = """\
Prepare a release. .github/workflows/release.yaml runs these commands, and RELEASE.md says when.
No command publishes anything: each writes a file or text on standard output.
"""
_EXAMPLES = """\
examples:
  python -m tools.release check                 do all files state the same version?
  python -m tools.release check --tag v1.2.0    can this tree be released as v1.2.0?
  python -m tools.release plugin --out dist     build the kubectl plugin for this machine
"""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, env: Mapping[str, str] = os.environ) -> int:
    """Run a command; returns the exit code, 1 if the release can't go on."""
    chosen = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace, Path, Mapping[str, str]], None] = chosen.run
    try:
        run(chosen, root, env)
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.release",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    check = command("check", _check, "fail unless all files state the same version")
    check.add_argument("--tag", help="also fail unless this tag fits, and CHANGELOG.md has the day of the release")
    command("version", _version, "print the version of this tree")
    _add_out(command("plugin", _plugin, "build the kubectl plugin for this machine, as an archive for krew"))
    command("sbom", _sbom, "print the SBOM of the Python package")
    chart_parser = command("chart", _chart, "write the chart to publish: with the image's digest, for Artifact Hub")
    _add_out(chart_parser)
    _add_image(chart_parser)
    notes_parser = command("notes", _notes, "print the release's notes")
    _add_image(notes_parser)
    notes_parser.add_argument("--chart", required=True, help="reference of the published chart, as oci://host/path")
    krew_parser = command("krew", _krew, "print the krew manifest")
    krew_parser.add_argument("--archives", type=Path, required=True, help="folder with the archives of all platforms")
    _add_repository(krew_parser)
    return parser


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", required=True, help="repository of the pushed image, as host/owner/name")
    parser.add_argument("--digest", required=True, help="digest of the pushed image, as sha256:...")
    _add_repository(parser)


def _add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", required=True, help="address of the source repository, as https://...")


def _check(chosen: argparse.Namespace, root: Path, _env: Mapping[str, str]) -> None:
    if wrong := versions.problems(root, chosen.tag):
        raise ReleaseError("\n".join(wrong))


def _version(_chosen: argparse.Namespace, root: Path, _env: Mapping[str, str]) -> None:
    sys.stdout.write(f"{versions.version_of(root)}\n")


def _plugin(chosen: argparse.Namespace, root: Path, env: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="computepool-plugin-") as work:
        sys.stdout.write(f"{plugin.build(root, chosen.out, Path(work), env)}\n")


def _sbom(_chosen: argparse.Namespace, root: Path, env: Mapping[str, str]) -> None:
    sys.stdout.write(sbom.render(root, int(env.get("SOURCE_DATE_EPOCH") or time.time())))


def _chart(chosen: argparse.Namespace, root: Path, _env: Mapping[str, str]) -> None:
    chart.write(root, chosen.out, Image(chosen.image, chosen.digest), repository_url(chosen.repository))


def _notes(chosen: argparse.Namespace, root: Path, _env: Mapping[str, str]) -> None:
    image, address = Image(chosen.image, chosen.digest), repository_url(chosen.repository)
    sys.stdout.write(notes.render(root, versions.version_of(root), image, chosen.chart, address))


def _krew(chosen: argparse.Namespace, root: Path, _env: Mapping[str, str]) -> None:
    address = repository_url(chosen.repository)
    sys.stdout.write(krew.render(root, versions.version_of(root), chosen.archives, address))


if __name__ == "__main__":
    sys.exit(main())
