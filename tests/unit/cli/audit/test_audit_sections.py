"""What an audit tells people: the sections that all forms share."""

from __future__ import annotations

from pathlib import Path

from computepool.audit.auditing import Question
from computepool.audit.cluster import Cluster
from computepool.cli.audit.document import PAPER, TERMINAL, Form, Section
from computepool.cli.audit.sections import document
from computepool.cli.audit.wording import abilities
from computepool.model.api import PoolStatus
from tests.builders import NOW, pool, provider
from tests.unit.cli.audit.audited_clusters import audited, huge, node, pods, two_providers


def section(told: tuple[Section, ...], title: str) -> Section:
    (found,) = (each for each in told if each.title == title)
    return found


def rows(found: Section) -> list[tuple[str, ...]]:
    assert found.table is not None
    return [row.cells for row in found.table.rows]


def test_a_document_begins_with_the_verdict_and_tells_more_than_a_terminal(tmp_path: Path) -> None:
    found = audited(tmp_path, two_providers())
    terminal, paper = document(found, TERMINAL), document(found, PAPER)
    verdict = "If aws fails now: 6 of 14 accelerators have somewhere to go; 8 do not, of 2 workloads."
    assumed = "All 6 places assume a ComputePool over all providers: no pool of this cluster has these pods."
    assert terminal.verdict == paper.verdict == (verdict, assumed)
    titles = ["Supply", "Workloads", "If it is lost now", "Stranded if aws is lost", "Cluster"]
    assert [each.title for each in terminal.sections] == titles
    assert [each.title for each in paper.sections] == [*titles, "How losses are judged"]


def test_on_a_terminal_nodes_that_differ_in_their_zone_alone_share_a_row(tmp_path: Path) -> None:
    objects = [node(f"a{zone}", region="r", zone=zone, model="H100") for zone in "xyz"]
    found = audited(tmp_path, objects)
    (row,) = rows(section(document(found, TERMINAL).sections, "Supply"))
    assert row == ("aws", "r", "not told", "not told", "3", "24", "0", "24", "0", "H100")
    assert len(rows(section(document(found, PAPER).sections, "Supply"))) == 3


def test_the_largest_place_comes_first_and_its_models_are_neighbours(tmp_path: Path) -> None:
    objects = [
        node("a1", group="a-small", model="H100"),
        node("a2", group="b-large", model="A100"),
        node("a3", group="b-large", model="H100"),
        node("a4", group="b-large", model="H100"),
        node("n1", "nebius", gpus=64, group="only", model="H100"),
    ]
    found = rows(section(document(audited(tmp_path, objects), TERMINAL).sections, "Supply"))
    assert [(row[0], row[2], row[-1]) for row in found] == [
        ("nebius", "only", "H100"),
        ("aws", "b-large", "H100"),
        ("aws", "b-large", "A100"),
        ("aws", "a-small", "H100"),
    ]


def test_on_paper_columns_that_tell_nothing_are_left_out_and_that_is_told(tmp_path: Path) -> None:
    found = audited(tmp_path, [node("a1", region="r")])
    supply = section(document(found, PAPER).sections, "Supply")
    assert supply.table is not None
    assert [column.heading for column in supply.table.columns][:3] == ["Provider", "Region", "Nodes"]
    assert supply.after[-1] == "No label tells these of any node: zone, group, type."
    terminal = section(document(found, TERMINAL).sections, "Supply")
    assert terminal.table is not None
    assert [column.heading for column in terminal.table.columns][:4] == ["Provider", "Region", "Group", "Type"]


def test_workloads_with_the_same_cause_share_a_row_which_does_not_name_the_lost_provider(tmp_path: Path) -> None:
    found = document(audited(tmp_path, two_providers()), TERMINAL).sections
    assert rows(section(found, "Stranded if aws is lost")) == [
        (
            "ml/replicaset/web and 1 more",
            "8",
            "8",
            "NoRoom at nebius. The pod runs once other pods end, or nodes join, on nebius.",
        )
    ]


def test_a_full_document_names_the_workloads_that_share_a_cause(tmp_path: Path) -> None:
    found = document(audited(tmp_path, two_providers()), PAPER).sections
    assert rows(section(found, "Stranded if aws is lost"))[0][0] == "ml/replicaset/web, ml/replicaset/worker"


def test_a_loss_tells_where_the_pods_go_and_one_node_has_no_each(tmp_path: Path) -> None:
    found = rows(section(document(audited(tmp_path, two_providers()), TERMINAL).sections, "If it is lost now"))
    assert found[0] == ("aws", "24", "14", "6", "8", "To nebius 6. Add 1 node with 8 accelerators to nebius.")
    assert found[1] == ("nebius", "8", "2", "2", "0", "To aws 2.")


def test_a_long_remedy_of_several_losses_is_written_once(tmp_path: Path) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    objects = [node("a1"), node("n1", "nebius"), *pods("x", "a1", volumes=volumes), *pods("y", "n1", volumes=volumes)]
    losses = section(document(audited(tmp_path, objects), TERMINAL).sections, "If it is lost now")
    assert [row[-1] for row in rows(losses)] == ["For 1 see note 1.", "For 1 see note 1."]
    (note,) = losses.after
    assert note.startswith("Note 1: The pod has volumes or resource claims")


def test_pins_are_explained_with_what_they_hold(tmp_path: Path) -> None:
    objects = [node("a1"), node("n1", "nebius"), *pods("bare", "a1", gpus=2, bare=True), *pods("web", "a1")]
    found = document(audited(tmp_path, objects), PAPER).sections
    (pin,) = rows(section(found, "What the pins mean"))
    assert pin[:4] == ("NoController", "1", "2", "nowhere else to go")
    assert [row[-1] for row in rows(section(found, "Workloads"))] == ["NoController", "no pin"]


def test_tables_are_bounded_and_say_how_many_rows_there_are(tmp_path: Path) -> None:
    found = audited(tmp_path, huge())
    for form in (TERMINAL, PAPER, Form(most_rows=3, full=True)):
        workloads = section(document(found, form).sections, "Workloads").table
        assert workloads is not None
        assert (len(workloads.rows), workloads.more) == (form.most_rows, 240 - form.most_rows)


def test_a_loss_that_the_user_asks_for_is_told_in_detail(tmp_path: Path) -> None:
    found = audited(tmp_path, two_providers(), Question(lose=("aws", "nebius")))
    told = document(found, PAPER)
    assert told.verdict[0] == (
        "If aws and nebius fail now: 0 of 16 accelerators have somewhere to go; 16 do not, of 4 workloads."
    )
    assert section(told.sections, "Stranded if aws and nebius is lost").table is not None


def test_an_empty_cluster_and_a_cluster_of_one_provider_are_told_in_words(tmp_path: Path) -> None:
    empty = document(audited(tmp_path, [node("a1", gpus=0)]), PAPER)
    assert empty.verdict == ("No node of this cluster has accelerators, so nothing depends on a provider.",)
    assert section(empty.sections, "Supply").before == ("No node has accelerators.",)
    only = document(audited(tmp_path, [node("a1"), *pods("web", "a1")]), TERMINAL).sections
    assert "a-second-provider" in rows(section(only, "If it is lost now"))[0][-1]


def test_what_was_not_read_is_told(tmp_path: Path) -> None:
    told = section(document(audited(tmp_path, [node("a1")]), PAPER).sections, "Cluster")
    assert "Not read: PodDisruptionBudget (not in the saved files)." in told.after


def test_an_operator_that_lacks_rights_is_told_in_its_own_words() -> None:
    missing = {
        "type": "Ready",
        "status": "False",
        "reason": "AccessMissing",
        "message": "nodes can't be listed: forbidden",
        "lastTransitionTime": "2026-11-23T05:00:00Z",
    }
    made = pool(provider("aws"), provider("nebius"))
    for status, told in (("False", True), ("True", False)):
        reported = PoolStatus.model_validate({"conditions": [{**missing, "status": status}]})
        found = list(abilities(Cluster((), (), NOW, pools=(made.model_copy(update={"status": reported}),))))
        says = "The operator can't look after the pool inference (AccessMissing): nodes can't be listed: forbidden."
        assert (says in found) is told
