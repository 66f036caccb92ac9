"""An audit on terminals of any width."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from computepool.cli.audit.document import TERMINAL
from computepool.cli.audit.sections import document
from computepool.cli.main import app
from computepool.model.text import printable
from tests.unit.cli.audit.audited_clusters import audited, hostile, huge, two_providers
from tests.unit.cli.audit.saved_objects import Json, saved

INDENTED: Final = 5
CLUSTERS: Final = {"two providers": two_providers, "hostile names": hostile, "huge": huge}


def printed(file: str, columns: int, *words: str) -> str:
    result = CliRunner().invoke(app, ["audit", "--from", file, *words], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("made", CLUSTERS.values(), ids=CLUSTERS)
def test_no_line_is_longer_than_the_terminal_and_no_word_is_cut(
    tmp_path: Path, columns: int, made: Callable[[], list[Json]]
) -> None:
    text = printed(saved(tmp_path, made()), columns)
    assert max(map(cell_len, text.splitlines())) <= columns
    told = document(audited(tmp_path, made()), TERMINAL)
    cells = [cell for section in told.sections if section.table for row in section.table.rows for cell in row.cells]
    sentences = [*told.verdict, *(check.message for check in told.checks), *(check.remedy for check in told.checks)]
    sentences += [sentence for section in told.sections for sentence in (*section.before, *section.after)]
    words = printable(" ".join((*cells, *sentences))).split()
    # A paragraph sets a comma or a colon behind each cell, and indents its lines by three columns.
    seen = {form for word in text.split() for form in (word, word.rstrip(",:"))}
    assert {word for word in words if len(word) <= columns - INDENTED} <= seen
    assert text.count("…") == " ".join(words).count("…")


def test_numbers_stand_below_each_other(tmp_path: Path) -> None:
    lines = [line.rstrip() for line in printed(saved(tmp_path, two_providers()), 120).splitlines()]
    begin = lines.index("Supply")
    assert lines[begin + 1 : begin + 3] == [
        " Provider  Region     Group     Type       Nodes  Has  Used  Free  Bad  Model",
        " aws       us-east-1  p5        on-demand      1    8     8     0    0  H100",
    ]


def test_sentences_follow_each_other_with_one_full_stop(tmp_path: Path) -> None:
    for made in CLUSTERS.values():
        text = " ".join(printed(saved(tmp_path, made()), 1000).split())
        assert not re.search(r"\.,|\.\.|,\.|  ", text)


def test_names_can_not_control_the_terminal(tmp_path: Path) -> None:
    text = printed(saved(tmp_path, hostile()), 1000)
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_a_document_has_the_same_bytes_on_any_terminal(tmp_path: Path, form: str) -> None:
    file = saved(tmp_path, hostile())
    assert printed(file, 30, "--output", form) == printed(file, 1000, "--output", form)
