"""Reads a saved cluster for an audit: a file or a folder of what kubectl printed, as JSON or YAML.

    kubectl get nodes,pods,namespaces,replicasets,jobs,pdb --all-namespaces -o json > cluster.json

A folder may be a must-gather. Every file with the ending .json, .yaml or .yml is read, also if it was packed with gzip.
A file of a folder that holds no objects of Kubernetes is noted and left out. The path - is the standard input.
A list of 100,000 pods is hundreds of megabytes. So the objects of a list in kubectl's own form are read one by one, and
any other form is read whole.
"""

import codecs
import gzip
import io
import os
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
import yaml

from computepool.audit.cluster import NOT_SAVED, Cluster, Facilities
from computepool.audit.decode import ClusterBuilder
from computepool.cli.errors import ToldError
from computepool.cli.yaml_loader import Loader
from computepool.kube.wire import Wire
from computepool.report.formatting import listed

JSON_ENDINGS: Final = (".json", ".json.gz")
YAML_ENDINGS: Final = (".yaml", ".yml", ".yaml.gz", ".yml.gz")
_CHUNK: Final = 1 << 20
_KUBECTL_ITEM: Final = b"\n        {"
"""kubectl indents by four spaces, so each object of a list begins and ends in the ninth column. A text in JSON has no
line ends, so nothing else looks like that."""
_KUBECTL_END: Final = b"\n        }"
_KUBECTL_LIST_END: Final = b"\n    ]"
_KUBECTL_DOCUMENT_END: Final = b"\n}"
_YAML_ITEM: Final = "- "
_LIST: Final = "List"
STANDARD_INPUT: Final = Path("-")
_GZIP: Final = b"\x1f\x8b"
_NAMED_FILES: Final = 3
_MOST_BLANK: Final = 64
"""How many bytes of the standard input are looked at to tell JSON from YAML."""
Progress = Callable[[str, int], None]


class SavedClusterError(ToldError):
    """The saved cluster can't be read; the message says which file, and why."""


class _Version(Wire):
    git_version: str = ""


class _Head(Wire):
    kind: str = ""
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    server_version: _Version | None = None


_HEAD: Final = msgspec.json.Decoder(_Head)


def read_saved(path: Path, accelerators: Collection[str], progress: Progress) -> Cluster:
    """Read a saved cluster. Raises SavedClusterError."""
    files = _files(path)
    builder = ClusterBuilder(accelerators)
    reader = _Reader(builder, progress)
    broken: list[str] = []
    for file in files:
        try:
            reader.read(file)
        except (OSError, EOFError) as error:
            why = f"{file} can't be read: {getattr(error, 'strerror', None) or error}"
            raise SavedClusterError(why) from None
        except (msgspec.DecodeError, UnicodeDecodeError, yaml.YAMLError) as error:
            if file == path:
                if _is_empty(file):
                    break
                raise SavedClusterError(f"{file} is no JSON or YAML of Kubernetes objects: {error}") from None
            # A must-gather has files of other programs too.
            builder.note_unreadable(str(file), f"no JSON or YAML of Kubernetes objects: {error}")
            broken.append(file.name)
    if not reader.counts.get("Node"):
        kinds = ", ".join(sorted(kind for kind, count in reader.counts.items() if count))
        raise SavedClusterError(
            f"{_named(path)} {_without_nodes(kinds, broken)} Save a cluster with: kubectl get "
            "nodes,pods,namespaces,replicasets,jobs,pdb --all-namespaces -o json > cluster.json"
        )
    saved_at = time.time() if path == STANDARD_INPUT else max(file.stat().st_mtime for file in files)
    return reader.cluster(path, saved_at)


def _named(path: Path) -> str:
    return "The standard input" if path == STANDARD_INPUT else str(path)


def _without_nodes(kinds: str, broken: Sequence[str]) -> str:
    """Say what there is in place of nodes. `kinds`: what was read; `broken`: files that can't be read."""
    lost = f" {listed(broken, _NAMED_FILES)} can't be read." if broken else ""
    if kinds:
        return f"has no nodes, but {kinds}.{lost}"
    return f"has no objects.{lost}" if lost else "has no objects: has the command that wrote it failed?"


def _is_empty(file: Path) -> bool:
    return file != STANDARD_INPUT and file.stat().st_size == 0


def _files(path: Path) -> list[Path]:
    if path == STANDARD_INPUT or path.is_file():
        return [path]
    if not path.is_dir():
        raise SavedClusterError(f"{path} does not exist: give a file or folder of what kubectl get -o json has printed")
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(path)
        for name in names
        if name.endswith((*JSON_ENDINGS, *YAML_ENDINGS))
    ]
    if not found:
        raise SavedClusterError(f"{path} has no file that ends with .json, .yaml or .yml")
    return sorted(found)


class _Reader:
    """One read of the files of a cluster."""

    def __init__(self, builder: ClusterBuilder, progress: Progress) -> None:
        self.counts: dict[str, int] = {}
        """By kind, how many objects were read."""
        self._builder = builder
        self._progress = progress
        self._version = ""
        self._latest = ""

    def read(self, file: Path) -> None:
        opened, is_yaml = _opened(file)
        with opened as data:
            if is_yaml:
                # Windows begins a file with a byte order mark.
                with io.TextIOWrapper(data, encoding="utf-8-sig") as text:
                    for document in _yaml_documents(text):
                        self._take(msgspec.json.encode(document, enc_hook=str))
            else:
                for raw in _json_objects(data):
                    self._take(raw)

    def cluster(self, path: Path, saved_at: float) -> Cluster:
        """Return what was read. The cluster is as old as the newest of its files."""
        missing = {kind: NOT_SAVED for kind in ("Pod", "Namespace", "PodDisruptionBudget") if kind not in self.counts}
        facilities = Facilities(version=self._version)
        now = min(time.time(), saved_at)
        return self._builder.build(now, facilities=facilities, missing=missing, source=str(path))

    def _take(self, raw: bytes) -> None:
        head = _HEAD.decode(raw)
        if head.server_version is not None:
            self._version = head.server_version.git_version
        if head.items is msgspec.UNSET:
            if head.kind and head.kind != _LIST:
                self._put(head.kind, raw)
            return
        # In what the API server itself answers, only the list has a kind.
        kind = head.kind.removesuffix(_LIST)
        if kind:
            self.counts.setdefault(kind, 0)
        for item in head.items or ():
            own = _HEAD.decode(item).kind or kind
            if own.endswith(_LIST):
                self._take(bytes(item))
            elif own:
                self._put(own, bytes(item))

    def _put(self, kind: str, raw: bytes) -> None:
        self._builder.put(kind, raw)
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if not count % 500:
            self._progress(kind, count)


def _opened(file: Path) -> tuple[IO[bytes], bool]:
    """Open a file, and say whether it is YAML: by its name, and for the standard input by its first letter."""
    if file != STANDARD_INPUT:
        packed = file.name.endswith(".gz")
        return cast("IO[bytes]", gzip.GzipFile(file)) if packed else file.open("rb"), file.name.endswith(YAML_ENDINGS)
    data = _buffered(sys.stdin.buffer)
    if data.peek(len(_GZIP)).startswith(_GZIP):
        data = _buffered(gzip.GzipFile(fileobj=data))
    begin = data.peek(_MOST_BLANK)[:_MOST_BLANK].removeprefix(codecs.BOM_UTF8).lstrip()
    return cast("IO[bytes]", data), not begin.startswith((b"{", b"["))


def _buffered(data: Any) -> Any:
    # So much may be looked at without being read.
    return io.BufferedReader(data)


def _json_objects(data: IO[bytes]) -> Iterator[bytes]:
    """Yield the objects of lists in kubectl's form, one by one; else the whole file."""
    start = data.read(_CHUNK).removeprefix(codecs.BOM_UTF8)
    while True:
        first = start.find(_KUBECTL_ITEM)
        head = start[: max(first, 0)]
        if b'"items": [' not in head or _KUBECTL_DOCUMENT_END in head:
            yield start + data.read()
            return
        start = yield from _kubectl_list(data, start, first)
        if not start.strip():
            return


def _kubectl_list(data: IO[bytes], buffer: bytes, at: int) -> Generator[bytes, None, bytes]:
    """Yield the objects of a list in kubectl's form; return how the text behind the list begins."""
    while True:
        begin = buffer.find(_KUBECTL_ITEM, at)
        ended = buffer.find(_KUBECTL_LIST_END, at, begin if begin >= 0 else None)
        if ended >= 0:
            break
        end = buffer.find(_KUBECTL_END, begin) if begin >= 0 else -1
        if end >= 0:
            at = end + len(_KUBECTL_END)
            yield buffer[begin:at]
            continue
        buffer, at = buffer[at:] + _more(data), 0
    while (end := buffer.find(_KUBECTL_DOCUMENT_END, ended)) < 0:
        buffer += _more(data)
    return buffer[end + len(_KUBECTL_DOCUMENT_END) :] + data.read(_CHUNK)


def _more(data: IO[bytes]) -> bytes:
    more = data.read(_CHUNK)
    if not more:
        raise msgspec.DecodeError("the file ends in the middle of a list")
    return more


def _yaml_documents(text: IO[str]) -> Iterator[Any]:
    """Yield the documents of a file; of a list in kubectl's form, the objects one by one."""
    lines: list[str] = []
    in_items = False
    for line in text:
        begins = line.startswith(_YAML_ITEM)
        if in_items and (begins or not line.startswith((" ", "#", "\n"))):
            if lines:
                yield from _loaded(lines)
            lines = []
            in_items = begins
        elif line.rstrip() == "items:":
            in_items, lines = True, []
            continue
        elif line.startswith("---"):
            if lines:
                yield from _loaded(lines)
            lines = []
            continue
        lines.append(line)
    if lines:
        yield from _loaded(lines)


def _loaded(lines: list[str]) -> Iterator[Any]:
    loaded = yaml.load("".join(lines), Loader=Loader)
    found = loaded if isinstance(loaded, list) else [loaded]
    yield from (one for one in found if isinstance(one, Mapping))
