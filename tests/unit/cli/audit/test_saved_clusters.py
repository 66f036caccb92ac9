"""Saved clusters: what kubectl printed, in every form, and what is no cluster at all."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from computepool.audit.cluster import Cluster
from computepool.cli.audit.saved import SavedClusterError, read_saved
from tests.unit.cli.audit.saved_objects import Json, listed, node, pod, saved


def _node(name: str) -> Json:
    return node(name, "aws")


def _pod(name: str, on: str) -> Json:
    found = pod(name, on, owner="web-1")
    # A text may look like the form of a list.
    found["metadata"]["annotations"] = {"note": "}\n        },\n        {", "time": "2026-11-30"}
    return found


REPLICA_SET: Json = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "metadata": {
        "name": "web-1",
        "namespace": "ml",
        "uid": "rs-web-1",
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": True}
        ],
    },
}
OBJECTS = [_node("a1"), _node("a2"), _pod("w1", "a1"), _pod("w2", "a2"), REPLICA_SET]


def _read(path: Path) -> Cluster:
    return read_saved(path, (), lambda _kind, _count: None)


def _kubectl(folder: Path) -> Path:
    return Path(saved(folder, OBJECTS))


def _compact(folder: Path) -> Path:
    path = folder / "cluster.json"
    path.write_text(json.dumps(listed(OBJECTS)))
    return path


def _raw_lists(folder: Path) -> Path:
    """What `kubectl get --raw` prints: only the list has a kind."""
    for kind, objects in (("Node", OBJECTS[:2]), ("Pod", OBJECTS[2:4]), ("ReplicaSet", OBJECTS[4:])):
        bare = [{key: value for key, value in each.items() if key not in ("kind", "apiVersion")} for each in objects]
        (folder / f"{kind}.json").write_text(json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "items": bare}))
    return folder


def _yaml(folder: Path) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(listed(OBJECTS)))
    return path


def _must_gather(folder: Path) -> Path:
    nodes = folder / "cluster-scoped-resources" / "core" / "nodes"
    nodes.mkdir(parents=True)
    for each in OBJECTS[:2]:
        (nodes / f"{each['metadata']['name']}.yaml").write_text(f"---\n{yaml.safe_dump(each)}")
    core = folder / "namespaces" / "ml"
    core.mkdir(parents=True)
    (core / "pods.yaml").write_text(yaml.safe_dump(listed(OBJECTS[2:4])))
    (core / "rest.yaml").write_text(yaml.safe_dump_all([REPLICA_SET, {"kind": "ConfigMap", "metadata": {"name": "x"}}]))
    (core / "notes.txt").write_text("no object")
    return folder


def _packed(folder: Path) -> Path:
    path = folder / "cluster.json.gz"
    path.write_bytes(gzip.compress(json.dumps(listed(OBJECTS), indent=4).encode()))
    return path


def _with_byte_order_mark(folder: Path) -> Path:
    """As an editor on Windows saves it."""
    (folder / "a.json").write_bytes(codecs.BOM_UTF8 + json.dumps(listed(OBJECTS[:2]), indent=4).encode())
    (folder / "b.json").write_bytes(codecs.BOM_UTF8 + json.dumps(listed(OBJECTS[2:3])).encode())
    (folder / "c.yaml").write_bytes(codecs.BOM_UTF8 + yaml.safe_dump(listed(OBJECTS[3:])).encode())
    return folder


def _one_behind_another(folder: Path) -> Path:
    """What `kubectl get >> cluster.json` has gathered: lists, and an object by itself."""
    path = folder / "cluster.json"
    parts = (listed(OBJECTS[:2]), listed(OBJECTS[2:4]), REPLICA_SET)
    path.write_text("".join(f"{json.dumps(part, indent=4)}\n" for part in parts))
    return path


@pytest.mark.parametrize(
    "save",
    [
        _kubectl,
        _compact,
        _raw_lists,
        _yaml,
        _must_gather,
        _packed,
        _with_byte_order_mark,
        _one_behind_another,
    ],
)
def test_every_form_gives_the_same_cluster(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    found = _read(save(tmp_path))
    assert [(each.node.name, each.provider_id, each.kubelet) for each in found.nodes] == [
        ("a1", "aws:///a1", "v1.37.2"),
        ("a2", "aws:///a2", "v1.37.2"),
    ]
    assert sorted(each.pod.name for each in found.pods) == ["w1", "w2"]
    assert found.owners["rs-web-1"].name == "web"
    assert found.unreadable == ()
    assert found.missing.keys() == {"Namespace", "PodDisruptionBudget"}


def test_a_list_that_is_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    pods = [_pod(f"w{number}", "a1") for number in range(3_000)]
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(listed([*OBJECTS[:2], *pods]), indent=4))
    assert path.stat().st_size > 2 << 20
    assert len(_read(path).pods) == 3_000


def test_an_empty_list_beside_a_list_of_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(listed([]), indent=4))
    (tmp_path / "b.json").write_text(json.dumps(listed(OBJECTS), indent=4))
    assert len(_read(tmp_path).nodes) == 2


def test_an_object_that_can_not_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    broken = _pod("w9", "a1")
    broken["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "many"
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(listed([*OBJECTS, broken]), indent=4))
    found = _read(path)
    assert len(found.pods) == 2
    assert found.unreadable == ("Pod ml/w9: 'many' is no Kubernetes quantity",)


@pytest.mark.parametrize("size", range(-40, 41, 4))
def test_lists_one_behind_another_wherever_a_read_ends(tmp_path: Path, size: int) -> None:
    second = json.dumps(listed(OBJECTS[2:]), indent=4)
    filler = _node("a3")
    filler["metadata"]["annotations"] = {"note": ""}
    length = len(json.dumps(listed([*OBJECTS[:2], filler]), indent=4))
    filler["metadata"]["annotations"]["note"] = "x" * ((1 << 20) - length + size)
    first = json.dumps(listed([*OBJECTS[:2], filler]), indent=4)
    path = tmp_path / "cluster.json"
    path.write_text(f"{first}\n{second}\n")
    found = _read(path)
    assert (len(found.nodes), len(found.pods), len(found.owners)) == (3, 2, 1)


def test_a_list_without_items_is_read_and_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(listed(OBJECTS)))
    (tmp_path / "b.json").write_text(json.dumps({"kind": "NamespaceList", "apiVersion": "v1", "items": None}))
    found = _read(tmp_path)
    assert found.unreadable == ()
    assert found.missing.keys() == {"PodDisruptionBudget"}


@pytest.mark.parametrize(("name", "content"), [("health.json", b"[{}]"), ("a.json", b"{"), ("x.yaml", b"a: [\xff")])
def test_a_file_of_another_program_in_a_folder_is_noted(tmp_path: Path, name: str, content: bytes) -> None:
    _must_gather(tmp_path)
    (tmp_path / name).write_bytes(content)
    found = _read(tmp_path)
    assert len(found.nodes) == 2
    (note,) = found.unreadable
    assert note.startswith(f"{tmp_path / name}: no JSON or YAML of Kubernetes objects")


def test_an_empty_file_of_a_folder_is_told_beside_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps(listed(OBJECTS)))
    (tmp_path / "budgets.json").write_text("")
    assert any("budgets.json" in said for said in _read(tmp_path).unreadable)


def test_files_that_can_not_be_read_are_named_where_no_node_was_found(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(json.dumps(OBJECTS[:2]))
    with pytest.raises(SavedClusterError, match=r"has no objects\. nodes\.json can't be read\. Save"):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no objects: has the command that wrote it failed"),
        (json.dumps(listed([])), "has no objects: has the command that wrote it failed"),
        ("not json", "is no JSON or YAML of Kubernetes objects"),
        (json.dumps(listed(OBJECTS), indent=4)[:-200], "is no JSON or YAML of Kubernetes objects"),
        (json.dumps(listed(OBJECTS), indent=4)[:-40], "is no JSON or YAML of Kubernetes objects"),
        (f"{json.dumps(listed(OBJECTS), indent=4)}\n{{}} {{}}", "is no JSON or YAML of Kubernetes objects"),
        (json.dumps([1, 2]), "is no JSON or YAML of Kubernetes objects"),
        (json.dumps(listed(OBJECTS[2:])), "has no nodes, but Pod, ReplicaSet"),
        (json.dumps({"kind": "Status", "metadata": {}}), "has no nodes, but Status"),
        ("\0\1\2", "is no JSON or YAML of Kubernetes objects"),
    ],
)
def test_what_is_no_cluster(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(content)
    with pytest.raises(SavedClusterError, match=says):
        _read(path)


@pytest.mark.parametrize("content", ["a: [", "{a: 1}: {b", "\t- x", "just text", "- 1\n- 2\n"])
def test_yaml_that_is_no_cluster(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content)
    with pytest.raises(SavedClusterError):
        _read(path)


def test_a_path_that_is_not_there_and_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(SavedClusterError, match="does not exist"):
        _read(tmp_path / "nowhere")
    with pytest.raises(SavedClusterError, match=r"has no file that ends with \.json"):
        _read(tmp_path)


def test_objects_that_are_in_several_files_count_once(tmp_path: Path) -> None:
    older, newer = (_pod("w1", "a1"), _pod("w1", "a2"))
    older["metadata"] |= {"resourceVersion": "1", "uid": "first"}
    newer["metadata"] |= {"resourceVersion": "9", "uid": "second"}
    for name, objects in (("a", [*OBJECTS[:2], newer]), ("b", [*OBJECTS[:2], older])):
        (tmp_path / f"{name}.json").write_text(json.dumps(listed(objects), indent=4))
    assert [each.pod.node for each in _read(tmp_path).pods] == ["a2"]


def test_pods_without_a_uid_are_pods(tmp_path: Path) -> None:
    pods = [_pod(name, "a1") for name in ("w1", "w2")]
    for each in pods:
        del each["metadata"]["uid"]
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(listed([*OBJECTS[:2], *pods]), indent=4))
    assert len({each.pod.uid for each in _read(path).pods}) == 2
