"""Manifests in files: what is read, and the sentence for each thing that is wrong."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.manifests import MAX_BYTES, ManifestError, read_manifests
from computepool.cli.pool_manifest import pool_in
from computepool.model.api import InvalidPool
from tests.unit.docs.blocks import REPOSITORY

GOOD, BAD = (sorted((REPOSITORY / f"tests/manifests/{kind}").glob("*.yaml")) for kind in ("good", "bad"))
POOL = """\
apiVersion: computepool.io/v1alpha1
kind: ComputePool
metadata: {name: inference}
spec:
  providers:
  - {name: aws, nodeSelector: {matchLabels: {p: aws}}}
  - {name: nebius, nodeSelector: {matchLabels: {p: nebius}}}
"""
OTHER = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
Write = Callable[[str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: str | bytes) -> str:
        file = tmp_path / "pool.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return written


def problem(file: str) -> str:
    """What is wrong, without the name of the file."""
    with pytest.raises(ManifestError) as told:
        read_manifests([file])
    return str(told.value).replace(file, "FILE")


# -- what is read


def test_documents_of_other_kinds_are_left_out_and_told(write: Write) -> None:
    file = write(f"{POOL}{OTHER}---\n# nothing\n---\n{POOL.replace('inference', 'batch')}")
    found = read_manifests([file])
    assert [pool.name for pool in found.pools] == ["inference", "batch"]
    assert found.left_out == (f"{file}, line 9: Deployment web is no ComputePool, so it is left out.",)


def test_a_list_of_kubectl_is_taken_apart(write: Write) -> None:
    items = [yaml.safe_load(POOL), yaml.safe_load(POOL.replace("inference", "batch"))]
    found = read_manifests([write(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))])
    assert [pool.name for pool in found.pools] == ["inference", "batch"]


def test_several_files_and_a_file_twice(write: Write, tmp_path: Path) -> None:
    first, second = write(POOL), tmp_path / "second.yaml"
    second.write_text(POOL.replace("inference", "batch"))
    assert [pool.name for pool in read_manifests([first, str(second), first]).pools] == ["inference", "batch"]


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(POOL.encode())))
    assert [pool.name for pool in read_manifests(["-"]).pools] == ["inference"]


def test_what_the_api_server_serves_is_a_manifest_too(write: Write) -> None:
    """As `kubectl get -o yaml` prints it: with labels, a status and all of metadata."""
    served = yaml.safe_load(POOL)
    served["metadata"] |= {"uid": "x", "labels": {"a": "b"}, "managedFields": [{"manager": "kubectl"}]}
    served["status"] = {"primary": "aws", "unknown": 1}
    (pool,) = read_manifests([write(yaml.safe_dump(served))]).pools
    assert (pool.name, pool.status.primary) == ("inference", None)


def test_a_field_that_is_null_has_its_default(write: Write) -> None:
    (pool,) = read_manifests([write(f"{POOL}  placement:\n  budget: null\n")]).pools
    assert (pool.spec.placement, pool.spec.budget) == ("Ordered", None)


def test_a_label_that_looks_like_a_date_stays_text(write: Write) -> None:
    (pool,) = read_manifests([write(POOL.replace("p: aws", "p: 2026-01-01"))]).pools
    assert pool.spec.primary.node_selector.match_labels == {"p": "2026-01-01"}


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_every_good_manifest_of_the_api_is_taken(file: Path) -> None:
    assert len(read_manifests([str(file)]).pools) == 1


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_every_bad_manifest_of_the_api_is_refused_with_its_field(file: Path) -> None:
    said = problem(str(file))
    assert said.startswith("FILE, line ")
    assert any(f": {top}" in said for top in ("spec", "metadata")), said


# -- what is wrong with a file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "FILE is empty: it has no manifest"),
        ("# later\n---\n", "FILE is empty: it has no manifest"),
        ("- a\n", "FILE, line 1: a manifest is a mapping with apiVersion and kind, and this is a list"),
        ("hello", "FILE, line 1: a manifest is a mapping with apiVersion and kind, and this is a single value"),
        ("kind: List\nitems: [1]\n", "FILE, line 1: items[0] is no object"),
        (b"\x7fELF\x02\x01\xff\xfe", "FILE is no text in UTF-8, so it is no manifest"),
        ("a: b\n\x00", "FILE is no YAML: "),
        ("a: [b\n", "FILE, line 2, column 1: this is no YAML: "),
        ("spec:\n\ta: b\n", "YAML is indented with spaces, and has no tabs there."),
        (f"{POOL}  mode: Observe\n  mode: Enforce\n", "FILE, line 9: the key 'mode' is there twice: keep one of them"),
        (f"{POOL}---\n{POOL}", "FILE, line 9: the pool inference is there twice: keep one of them"),
        ("a: &a [*a]\n", "FILE, line 1: an alias stands for a value that contains it"),
        ("[" * 200_000, "FILE is nested too deeply to be a manifest"),
        ("{a: " * 500 + "1" + "}" * 500, "FILE is nested too deeply to be a manifest"),
        (f"{POOL}  saturation: {{pendingSeconds: {'9' * 5000}}}\n", "FILE has a value that can't be read: "),
        ("? [a]\n: b\n", "found unhashable key"),
        (OTHER, "FILE, line 2: Deployment web is no ComputePool, so it is left out."),
        ("a: b\n", "FILE, line 1: kind is missing: write `kind: ComputePool`"),
        (POOL.replace("ComputePool", "computepools"), "kind: 'computepools' is unknown: write `kind: ComputePool`"),
        (POOL.replace("v1alpha1", "v1"), "write `apiVersion: computepool.io/v1alpha1`"),
    ],
)
def test_a_file_that_is_no_manifest_is_told_in_a_sentence(write: Write, content: str | bytes, said: str) -> None:
    assert said in problem(write(content))


def test_a_file_that_cant_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    assert problem(str(tmp_path)) == "FILE is a directory: name a file in it"
    assert problem(str(tmp_path / "none")) == "FILE can't be read: No such file or directory"


def test_a_huge_file_is_not_read_to_its_end(write: Write) -> None:
    assert problem(write(b"a" * (MAX_BYTES + 1))) == "FILE is larger than 1 MiB: give a file with ComputePools alone"
    assert problem("/dev/zero") == "FILE is larger than 1 MiB: give a file with ComputePools alone"


def test_nested_aliases_do_not_multiply(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 30)]
    assert "there are too many values for a manifest" in problem(write("\n".join(lines)))


# -- what is wrong with a pool


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  placement: Cheap\n", "spec.placement: should be 'Ordered' or 'Cheapest', and is \"Cheap\""),
        ("  placment: Cheapest\n", "spec.placment: there is no such field: write placement"),
        ("  saturation: {pending_seconds: 5}\n", "spec.saturation.pending_seconds: there is no such field: write pen"),
        ("  budget: {perHours: '3'}\n", "spec.budget.perHours: there is no such field: write perHour"),
        ("  budget: {zz: '3'}\n", "spec.budget.zz: there is no such field: it may have onExhausted, perDay, perHour"),
        ("  saturation: {pendingSeconds: -1}\n", "should be greater than or equal to 0, and is -1"),
        ("  admission: {mode: Off}\n", 'YAML reads a bare Off as false: write "Off" in quotes if you mean it'),
        ("  saturation: {metrics: 5}\n", "spec.saturation.metrics: should be a list, and is 5"),
        ("  saturation: {metrics: [{name: q}]}\n", "spec.saturation.metrics[0]"),
        ("status: 5\nspecs: {}\n", "specs: there is no such field: write spec"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_to_write(write: Write, more: str, said: str) -> None:
    assert said in problem(write(POOL + more))


@pytest.mark.parametrize(
    ("found", "path"),
    [
        ({"spec": {}}, "metadata"),
        ({"metadata": {"name": "a"}}, "spec"),
        ({"metadata": {}, "spec": {}}, "metadata.name"),
        ({"metadata": {"name": "a"}, "spec": {}}, "spec.providers"),
        ({"metadata": [], "spec": {}}, "metadata"),
        ({"metadata": {"name": 5}, "spec": {}}, "metadata.name"),
    ],
)
def test_a_part_that_is_missing_is_named(found: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidPool) as told:
        pool_in(found)
    assert told.value.path == path


def test_a_provider_with_an_unknown_field_is_named_by_its_place(write: Write) -> None:
    file = write(POOL.replace("{name: nebius, ", "{name: nebius, maxAccelerator: 3, "))
    assert "spec.providers[1].maxAccelerator: there is no such field" in problem(file)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"metadata": _VALUES, "spec": _VALUES | st.fixed_dictionaries({"providers": _VALUES})}))
def test_any_object_is_a_pool_or_told_to_be_none(found: dict[str, object]) -> None:
    try:
        name = pool_in(found).name
    except InvalidPool as invalid:
        name = invalid.path
    assert name
