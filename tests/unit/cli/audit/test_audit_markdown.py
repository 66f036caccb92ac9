"""An audit as Markdown, read by a parser of Markdown."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from computepool.audit.auditing import Audit
from computepool.cli.audit.document import PAPER, TERMINAL, Column, Row, Section, Table
from computepool.cli.audit.markdown import as_markdown, section_lines
from computepool.cli.audit.sections import document
from computepool.model.text import printable
from tests.unit.cli.audit.audited_clusters import EVIL, audited, hostile, huge, node, two_providers

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def texts(tokens: list[Token], kind: str) -> list[str]:
    """The plain texts of all elements of a kind."""
    return [_plain(tokens[index + 1]) for index, token in enumerate(tokens) if token.type == f"{kind}_open"]


def _plain(inline: Token) -> str:
    kinds = {child.type for child in inline.children or ()}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close", "code_inline"}, kinds
    return "".join(child.content for child in inline.children or ())


def headings(found: Audit) -> list[str]:
    return texts(PARSER.parse(as_markdown(found)), "heading")


def test_it_has_the_order_of_the_terminal(tmp_path: Path) -> None:
    found = audited(tmp_path, two_providers())
    told = headings(found)
    assert told[:2] == ["Compute dependency audit", "Checks"]
    terminal = [section.title for section in document(found, TERMINAL).sections]
    assert [title for title in told if title in terminal] == terminal


def test_the_verdict_and_failed_checks_can_not_be_missed(tmp_path: Path) -> None:
    text = as_markdown(audited(tmp_path, two_providers()))
    assert "**If aws fails now: 6 of 14 accelerators have somewhere to go; 8 do not, of 2 workloads.**" in text
    assert (
        "| ProviderLoss | **failed** | The loss of aws strands 8 accelerators of 14. Stranded: ml/replicaset/web, "
        in text
    )
    assert "| SecondProvider | passed | Accelerators at 2 providers: aws, nebius. |" in text
    assert "| **aws** | 24 | 14 | 6 | 8 | To nebius 6. Add 1 node with 8 accelerators to nebius. |" in text


def test_each_row_has_as_many_cells_as_its_table_has_columns(tmp_path: Path) -> None:
    tokens = PARSER.parse(as_markdown(audited(tmp_path, hostile())))
    widths, width = [], 0
    for token in tokens:
        if token.type == "tr_open":
            width = 0
        elif token.type in ("th_open", "td_open"):
            width += 1
        elif token.type == "tr_close":
            widths.append(width)
        elif token.type == "table_close":
            assert len(set(widths)) == 1
            widths = []
    assert any(EVIL.split("|")[0] in text for text in texts(tokens, "td"))


@given(st.text(max_size=30))
@example(EVIL)
@example("1. #x")
@example("#")
@example("a #")
@example("- a")
@example("# a")
@example("\\|")
@example("---")
@example("===")
def test_any_text_means_itself(text: str) -> None:
    words = printable(text) or "x"
    table = Table((Column("Name"), Column(words)), (Row((words, words), alarming=True), Row((words, words))))
    section = Section(words, before=(words,), table=table, after=(words,))
    tokens = PARSER.parse("\n".join(section_lines(section)))
    assert texts(tokens, "heading") == [words]
    assert texts(tokens, "td") == [words] * 4
    assert texts(tokens, "paragraph") == [words] * 2


def test_large_tables_are_bounded(tmp_path: Path) -> None:
    text = as_markdown(audited(tmp_path, huge()))
    assert f"And {240 - PAPER.most_rows} more: see `--output json`." in text
    assert len(text) < 60_000


def test_an_empty_cluster_has_a_document(tmp_path: Path) -> None:
    told = headings(audited(tmp_path, [node("a1", gpus=0)]))
    assert told[1:] == ["Checks", "Supply", "Workloads", "Cluster", "How losses are judged"]
