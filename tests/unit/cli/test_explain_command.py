"""`computepool explain`: how a pod is named, and what is said where rights or objects are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.unit.act.objects import pod
from tests.unit.app.cluster import NAMESPACES
from tests.unit.cli.explaining import cluster, explained, full_with_pool, rows
from tests.unit.cli.serving import Shell, shell


@pytest.mark.parametrize("words", [("web",), ("default/web",), ("pod/web",), ("web", "-n", "default"), ("pods/web",)])
def test_a_pod_is_found_by_its_name_and_namespace(tmp_path: Path, words: tuple[str, ...]) -> None:
    with shell(tmp_path, cluster()) as sh:
        assert "default/web" in sh.prints("explain", *words)


def test_the_namespace_is_that_of_the_kubeconfig_unless_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        item = pod("web")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": "team"}})

    with shell(tmp_path, before, namespace="team") as sh:
        assert "team/web" in sh.prints("explain", "web")
        assert "team/web" in sh.prints("explain", "web", "--kubeconfig", str(sh.kubeconfig))
        assert "namespace 'default'" in sh.fails("explain", "web", "-n", "default")


def test_an_unknown_pod_is_told_in_a_sentence(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        assert sh.fails("explain", "nobody") == (
            "there is no pod 'nobody' in namespace 'default': check the name, and --namespace"
        )


def test_what_was_probably_meant_is_named(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        for name in ("chat-5d9-a", "chat-5d9-b"):
            server.create(PODS, pod(name))
        item = pod("away")
        server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": "team"}})

    with shell(tmp_path, before) as sh:
        assert sh.fails("explain", "chat").endswith(". Pods that begin so: chat-5d9-a, chat-5d9-b")
        assert sh.fails("explain", "away").endswith(". A pod of that name is in team")
        assert sh.fails("explain", "inference").endswith(
            ". inference is a ComputePool: see `computepool status inference`"
        )


def test_a_pod_that_has_ended_says_how(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        full_with_pool(server)
        server.create(PODS, {**pod("done", on="a1"), "status": {"phase": "Succeeded"}})
        failed = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no devices"}
        server.create(PODS, {**pod("failed", on="a1"), "status": failed})

    with shell(tmp_path, before) as sh:
        done = sh.prints("explain", "done")
        assert "It has ended, so nothing is decided about it." in done
        assert "Its phase is Succeeded." in done
        assert "Its phase is Failed (UnexpectedAdmissionError: no devices)." in sh.prints("explain", "failed")


def test_a_pod_that_this_version_cannot_read_is_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        item = pod("odd")
        item["spec"]["containers"][0]["resources"] = {"requests": {"nvidia.com/gpu": "many"}}
        server.create(PODS, item)

    with shell(tmp_path, before) as sh:
        assert sh.fails("explain", "odd").startswith("this version can't read the pod, so the operator leaves it out: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("a/b/c/d",), "'a/b/c/d' names no pod. Give NAME, NAMESPACE/NAME, pod/NAME or NAMESPACE/pod/NAME"),
        (("deploy/web",), "'deploy/web' names a Deployment, and explain is about a single pod."),
        (("default/web", "-n", "team"), "'default/web' is in namespace default, and --namespace says team"),
    ],
)
def test_what_names_no_pod_is_a_wrong_use_of_the_command(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    with shell(tmp_path, cluster()) as sh:
        ended = sh.run("explain", *words)
        assert ended.exit_code == 2
        assert says in " ".join(ended.stderr.replace("│", " ").split())


def refuse(server: FakeApiServer, *lists: str) -> None:
    """Refuse lists whose path is one of these."""
    for path in lists:
        resource = path.rpartition("/")[2]
        message = f'{resource} is forbidden: User "jane" cannot list resource "{resource}" at the cluster scope'
        server.fault("list", path=path, times=99, status=403, message=message)


def partly(sh: Shell, name: str) -> tuple[str, str]:
    """What it prints, and what it says is missing, of a command that could not read all of the cluster."""
    ended = sh.run("explain", name)
    assert ended.exit_code == 1, ended.output
    assert "Traceback" not in ended.stderr
    return ended.stdout, " ".join(ended.stderr.split())


@pytest.mark.parametrize("resource", [NODES, COMPUTEPOOLS])
def test_without_a_right_it_says_what_it_knows_and_which_right_is_missing(tmp_path: Path, resource: str) -> None:
    gate = {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}
    with shell(tmp_path, cluster(**gate)) as sh:
        sh.server.do(lambda server: refuse(server, resource))
        said, missing = partly(sh, "web")
    assert said.startswith("default/web  1 nvidia.com/gpu  priority 0")
    assert "Has waited for" in said
    assert "There is no verdict, because not all of the cluster may be read." in said
    assert ("removed by Kueue" in said) == (resource == NODES), "its pool is known"
    assert f'cannot list resource "{resource.rpartition("/")[2]}" at the cluster scope.' in missing
    assert (
        "This command needs the right to list computepools, namespaces, nodes and pods in the whole cluster" in missing
    )
    assert "the ClusterRole computepool-explainer" in missing
    assert "exec deploy/computepool -- computepool explain default/web" in missing
    assert "cleanup" not in missing
    assert "signals" not in missing


def test_a_right_that_the_answer_does_not_need_is_not_missed(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(pool={"workloads": {"podSelector": {"matchLabels": {"app": "other"}}}})(server)
        server.create(PODS, {**pod("done", on="a1"), "status": {"phase": "Succeeded"}})
        refuse(server, NODES)

    with shell(tmp_path, before) as sh:
        assert "its podSelector wants app=other" in sh.prints("explain", "web")
        assert "Its phase is Succeeded." in sh.prints("explain", "done")


def test_who_may_only_list_pods_of_the_namespace_is_told_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster(on="n1")(server)
        message = 'pods is forbidden: User "jane" cannot list resource "pods" at the cluster scope'
        # The namespace's own list comes first.
        server.fault("list", path="/namespaces/default/pods")
        server.fault("list", path=PODS, times=9, status=403, message=message)

    with shell(tmp_path, before) as sh:
        said, missing = partly(sh, "web")
    assert "Runs on node n1." in said
    assert "See `computepool status inference`." in said
    assert 'cannot list resource "pods" at the cluster scope' in missing


@pytest.mark.parametrize("readable", [True, False])
def test_without_the_other_namespaces_it_decides_by_this_one(tmp_path: Path, readable: bool) -> None:
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}

    def before(server: FakeApiServer) -> None:
        cluster(pool={"workloads": selector})(server)
        # The list of the namespace's pods comes first, and its path begins with that of the namespaces.
        server.fault("list", path="/namespaces/default/pods")
        refuse(server, NAMESPACES)
        if not readable:
            server.fault("get", path=f"{NAMESPACES}/default", times=9, status=403)

    with shell(tmp_path, before) as sh:
        said, missing = partly(sh, "web")
    assert "About to be sent to nebius." in said
    assert "Pods of other namespaces that wait too are not counted" in said
    assert 'cannot list resource "namespaces"' in missing


def test_without_the_right_to_list_pods_anywhere_nothing_can_be_said(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        sh.server.do(lambda server: refuse(server, "/pods"))
        assert 'cannot list resource "pods"' in sh.fails("explain", "web")


def test_objects_that_can_not_be_read_do_not_stand_in_the_way(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        cluster()(server)
        server.create(COMPUTEPOOLS, {"metadata": {"name": "odd"}})
        server.create(PODS, {"metadata": {"name": "odd", "namespace": "default"}, "spec": {"containers": "none"}})
        server.create(NODES, {"metadata": {"name": "odd"}, "status": {"allocatable": {"cpu": "many"}}})

    assert "About to be sent to nebius." in explained(tmp_path, "web", before)


def test_nothing_is_written(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        sh.prints("explain", "web")
        sh.prints("status")
        assert {call.verb for call in sh.server.do(lambda server: list(server.calls))} == {"list", "get"}


def test_programs_get_the_same_as_json_and_yaml(tmp_path: Path) -> None:
    with shell(tmp_path, cluster()) as sh:
        text, shown = sh.prints("explain", "web"), json.loads(sh.prints("explain", "web", "--output", "json"))
        assert yaml.safe_load(sh.prints("explain", "web", "-o", "yaml")).keys() == shown.keys()
    assert (shown["namespace"], shown["pod"], shown["pool"], shown["node"]) == ("default", "web", "inference", "")
    assert shown["requests"] == {"nvidia.com/gpu": 1}
    assert shown["headline"] in text
    assert f"{shown['reason']}: {shown['message']}" in text
    assert [[row["name"], row["reason"]] for row in shown["providers"]] == rows(text)
    assert all(note in text for note in shown["notes"])


def test_programs_learn_that_nobody_looks_after_a_pod(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: server.create(PODS, pod("web"))) as sh:
        shown = json.loads(sh.prints("explain", "web", "--output", "json"))
    assert (shown["pool"], shown["reason"], shown["providers"]) == ("", "", [])
    assert shown["headline"] == "No ComputePool looks after this pod."
