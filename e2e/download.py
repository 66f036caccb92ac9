"""Downloads official releases and checks their published checksums.

A file counts only once it has the checksum; until then it lies in a temporary folder that goes in any case.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from e2e import versions
from e2e.errors import DownloadError, E2EError, HostError
from e2e.progress import Progress
from e2e.releases import Release, Sources, releases
from e2e.web import CHUNK, Web, host_of


def download(
    names: Iterable[str], target: str, folder: Path, done: Callable[[str, Path], None], web: Web, sources: Sources
) -> dict[str, str]:
    """Download the binaries of these names, and hand each over to `done` once it is verified.

    Returns the other binaries by name, each with the reason; an E2EError of `done` is a reason too. A host that can't
    be reached, or is too slow, is not asked for another file. Temporary files lie in the folder.
    """
    try:
        available = releases(sources, target)
    except DownloadError as error:
        return dict.fromkeys(names, str(error))
    wanted = {name: available[name] for name in names}
    lost = web.out_of_reach(url for release in wanted.values() for url in release.urls)
    refused: dict[str, str] = {}
    for name, release in wanted.items():
        if reasons := [lost[host] for host in map(host_of, release.urls) if host in lost]:
            refused[name] = reasons[0]
            continue
        try:
            with (
                Progress(f"{name} {versions.BINARIES[name]} from {host_of(release.url)}") as progress,
                tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as temporary,
            ):
                done(name, fetch(release, Path(temporary) / name, web, progress))
        except HostError as error:
            lost[error.host] = refused[name] = str(error)
        except E2EError as error:
            refused[name] = str(error)
    return refused


def fetch(release: Release, path: Path, web: Web, progress: Progress) -> Path:
    """Download one release to the path and verify it. Raises DownloadError, and then leaves nothing there."""
    progress.say("asking for its checksum")
    wanted = release.read_checksum(web.text(release.checksum_url))
    if not _is_sha256(wanted):
        raise DownloadError(f"{release.checksum_url} names no SHA-256 of {release.url}")
    whole = path.with_name(f"{path.name}.part")
    try:
        got = web.save(
            release.url,
            whole,
            lambda size, length: progress.say(f"downloaded {size >> 20} of {length >> 20} MiB"),
        )
        if got != wanted:
            raise DownloadError(f"{release.url} has the checksum {got}, but {release.checksum_url} says {wanted}")
        if release.member is None:
            whole.rename(path)
        else:
            _extract(whole, release.member, path)
    finally:
        whole.unlink(missing_ok=True)
    return path


def _extract(archive: Path, member: str, path: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(member)
            if file is None:
                raise DownloadError(f"{member} in the archive is no file")
            with file, path.open("wb") as out:
                while chunk := file.read(CHUNK):
                    out.write(chunk)
    except (KeyError, EOFError, OSError, tarfile.TarError, zlib.error) as problem:
        path.unlink(missing_ok=True)
        raise DownloadError(f"{member} can't be extracted from the archive: {problem}") from problem


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
