"""The glossary of CONTRIBUTING.md, held against the code: a term that is renamed in one place is renamed in both."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.unit.docs.blocks import REPOSITORY, prose

PACKAGE = REPOSITORY / "operator/computepool"
RETIRED = r"\b(?:sick|sent on to)\b"
"""Words that the glossary has replaced."""


def _rows() -> list[list[str]]:
    """The cells of each row, without the heading."""
    section = (REPOSITORY / "CONTRIBUTING.md").read_text().split("### Glossary\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def _defined() -> Iterator[str]:
    """Every class, function, field and constant that the package defines, by its own name."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield name
                case ast.AnnAssign(target=ast.Name(id=name)):
                    yield name
                case ast.Assign(targets=[ast.Name(id=name)]):
                    yield name


def test_every_term_has_a_meaning_and_a_name_in_the_code() -> None:
    rows = _rows()
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert len({term for term, *_ in rows}) == len(rows)


def test_every_name_of_the_glossary_is_defined_in_the_package() -> None:
    assert {name.strip("`") for *_, name in _rows()} - set(_defined()) == set()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "docs/reference"])
def test_documents_use_the_terms_of_the_glossary(name: str) -> None:
    path = REPOSITORY / name
    for document in sorted(path.glob("*.md")) if path.is_dir() else [path]:
        # Examples of style quote retired words. So do the names of some reasons, which stand in backticks.
        text = re.sub(r"`[^`]*`", "", prose(document).split("| before | after |")[0])
        assert re.findall(RETIRED, text) == [], document.name
