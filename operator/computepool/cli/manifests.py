"""ComputePools in files, as `kubectl apply -f` takes them: YAML or JSON, and several documents in a file."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import yaml

from computepool.cli.errors import ToldError
from computepool.cli.pool_manifest import pool_in
from computepool.cli.yaml_loader import Loader
from computepool.model.api import API_VERSION, GROUP, KIND, ComputePool, InvalidPool

MAX_BYTES: Final = 1 << 20
"""A pool is a few KiB, and the API server takes at most 1.5 MiB. More is another file."""
_MAX_VALUES: Final = 200_000
"""Values in a file, where aliases are replaced by what they stand for: nested aliases multiply."""
_MAX_DEPTH: Final = 64
"""A pool has about ten levels."""
STANDARD_INPUT: Final = "-"


class ManifestError(ToldError):
    """A file that can't be read, or holds no valid pool; the message names the file, the field and what to write."""


class Manifests(msgspec.Struct, frozen=True):
    """The pools of all files."""

    pools: tuple[ComputePool, ...]
    left_out: tuple[str, ...]
    """Sentences about the objects of other kinds."""


def read_manifests(files: Sequence[str]) -> Manifests:
    """Read the pools in these files; `-` is standard input. Raises ManifestError with the first problem."""
    pools: dict[str, ComputePool] = {}
    left_out: list[str] = []
    for file in dict.fromkeys(files):
        source = "standard input" if file == STANDARD_INPUT else file
        for where, found in _objects(source, _text(file, source)):
            pool = _pool(where, found)
            if pool is None:
                left_out.append(_left_out(where, found))
            elif pools.setdefault(pool.name, pool) is not pool:
                raise ManifestError(f"{where}: the pool {pool.name} is there twice: keep one of them")
    if not pools:
        others = "".join(f" {sentence}" for sentence in left_out[:3])
        raise ManifestError(f"there is no {KIND} in {', '.join(dict.fromkeys(files))}.{others}")
    return Manifests(tuple(pools.values()), tuple(left_out))


# --- bytes


def _text(file: str, source: str) -> str:
    try:
        if file == STANDARD_INPUT:
            content = _bounded(sys.stdin.buffer)
        else:
            with Path(file).open("rb") as opened:
                content = _bounded(opened)
    except IsADirectoryError:
        raise ManifestError(f"{source} is a directory: name a file in it") from None
    except OSError as error:
        raise ManifestError(f"{source} can't be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise ManifestError(f"{source} is larger than {MAX_BYTES >> 20} MiB: give a file with ComputePools alone")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{source} is no text in UTF-8, so it is no manifest") from None


def _bounded(stream: BinaryIO) -> bytes:
    return stream.read(MAX_BYTES + 1)


# --- YAML


def _objects(source: str, text: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield the objects in a text with their places, such as `pool.yaml, line 3`. Lists of kubectl are taken apart."""
    documents = _documents(source, text)
    if not documents:
        raise ManifestError(f"{source} is empty: it has no manifest")
    for line, found in documents:
        where = f"{source}, line {line}"
        if not isinstance(found, dict):
            kind = "a list" if isinstance(found, list) else "a single value"
            raise ManifestError(f"{where}: a manifest is a mapping with apiVersion and kind, and this is {kind}")
        if found.get("kind") != "List":
            yield where, found
            continue
        for position, item in enumerate(found.get("items") or ()):
            if not isinstance(item, dict):
                raise ManifestError(f"{where}: items[{position}] is no object")
            yield f"{where}, items[{position}]", item


def _documents(source: str, text: str) -> list[tuple[int, Any]]:
    """Return each document that is not empty, and its line."""
    documents = list[tuple[int, Any]]()
    loader = None
    try:
        _check_depth(source, text)
        loader = Loader(text)
        sizes = _Sizes(source)
        while loader.check_node():
            node = loader.get_node()
            sizes.add(node)
            found = loader.construct_document(node)
            if found is not None:
                documents.append((node.start_mark.line + 1, found))
    except yaml.MarkedYAMLError as error:
        raise ManifestError(_syntax(source, error)) from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{source} is no YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        # A number of thousands of digits.
        raise ManifestError(f"{source} has a value that can't be read: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()
    return documents


def _check_depth(source: str, text: str) -> None:
    """Raise ManifestError for a text that is nested too deeply: building its values would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ManifestError(f"{source} is nested too deeply to be a manifest")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _syntax(source: str, error: yaml.MarkedYAMLError) -> str:
    mark, problem = error.problem_mark, error.problem or "it can't be read"
    where = source if mark is None else f"{source}, line {mark.line + 1}, column {mark.column + 1}"
    # Both parsers of PyYAML name the character, each in its way.
    tab = re.search(r"'\\t'|tab character|cannot start any token", problem)
    help_ = " YAML is indented with spaces, and has no tabs there." if tab else ""
    return f"{where}: this is no YAML: {problem}.{help_}"


class _Sizes:
    """Counts the values of a text, and finds keys that are there twice: the second would silently win."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._of: dict[int, int | None] = {}
        self._total = 0
        self._nodes: list[yaml.Node] = []

    def add(self, node: yaml.Node) -> None:
        """Count a document. Raises ManifestError for too many values, a loop or a key that is there twice."""
        self._total += self._size(node)
        self._nodes.append(node)  # Its address must not be given to a node of the next document.

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        key = id(node)
        if key not in self._of:
            self._of[key] = None
            self._of[key] = self._sum(node)
        size = self._of[key]
        if size is None:
            raise self._error(node, "an alias stands for a value that contains it")
        if size + self._total > _MAX_VALUES:
            raise self._error(node, "there are too many values for a manifest")
        return size

    def _sum(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.SequenceNode):
            return 1 + sum(map(self._size, node.value))
        seen = set[str]()
        size = 1
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.value != "<<":
                    raise self._error(key, f"the key {key.value!r} is there twice: keep one of them")
                seen.add(key.value)
            size += self._size(key) + self._size(value)
        return size

    def _error(self, node: yaml.Node, problem: str) -> ManifestError:
        return ManifestError(f"{self._source}, line {node.start_mark.line + 1}: {problem}")


# --- objects


def _pool(where: str, found: Mapping[str, Any]) -> ComputePool | None:
    """Return the pool that an object is; None for an object of another kind. Raises ManifestError."""
    kind, version = found.get("kind"), found.get("apiVersion")
    if not isinstance(kind, str) or not kind:
        raise ManifestError(f"{where}: kind is missing: write `kind: {KIND}`")
    of_group = isinstance(version, str) and version.partition("/")[0] == GROUP
    if kind != KIND:
        if of_group or kind.lower() in (KIND.lower(), f"{KIND.lower()}s"):
            raise ManifestError(f"{where}: kind: {kind!r} is unknown: write `kind: {KIND}`")
        return None
    if version != API_VERSION:
        raise ManifestError(f"{where}: apiVersion: {version!r} is unknown: write `apiVersion: {API_VERSION}`")
    try:
        return pool_in(found)
    except InvalidPool as error:
        raise ManifestError(f"{where}: {error}") from None


def _left_out(where: str, found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return f"{where}: {' '.join(filter(None, (str(found['kind']), str(name))))} is no {KIND}, so it is left out."
