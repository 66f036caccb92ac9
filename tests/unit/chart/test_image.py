"""The Dockerfile, read as text, because the tests have no Docker engine. The copied files exist, the installed packages
are in a lock with hashes, and the process runs as an ordinary user.
"""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
RUNTIME_LOCK = REPOSITORY / "requirements-runtime.lock"
LOCK = REPOSITORY / "requirements.lock"


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def _all(word: str) -> list[str]:
    return [rest for name, rest in _instructions() if name == word]


def _final_stage() -> list[tuple[str, str]]:
    instructions = _instructions()
    last = max(index for index, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last:]


def _copied() -> list[str]:
    """The paths that are copied from the build context."""
    return [source for rest in _all("COPY") if "--from=" not in rest for source in rest.split()[:-1]]


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps a top-level path out of the context: the last pattern that matches decides."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fnmatch(path, pattern.removeprefix("!")):
            ignored = not pattern.startswith("!")
    return ignored


def _pins(lock: Path) -> dict[str, frozenset[str]]:
    """Each requirement of a lock, with its hashes."""
    requirements = re.split(r"\n(?=\S)", lock.read_text().replace("\\\n", " "))
    return {
        requirement.split(" ")[0]: frozenset(re.findall(r"--hash=(\S+)", requirement))
        for requirement in requirements
        if requirement.strip()
    }


def test_everything_that_is_copied_is_there_and_in_the_context() -> None:
    assert _copied()
    assert [path for path in _copied() if not (REPOSITORY / path).exists() or _ignored(path)] == []


@pytest.mark.parametrize("path", [".git", ".venv", "build", "tests", "e2e", "charts"])
def test_what_the_image_does_not_need_stays_out_of_the_context(path: str) -> None:
    assert _ignored(path)


def test_the_build_reads_everything_that_the_package_is_made_of() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    for needed in ("README.md", "LICENSE"):
        assert needed in project
        assert needed in _copied()
    assert {"pyproject.toml", "operator"} <= set(_copied())


def test_what_is_installed_from_an_index_is_checked_against_hashes() -> None:
    from_index = [rest for rest in _all("RUN") if " install " in rest and "--no-index" not in rest]
    assert len(from_index) == 2
    assert all("--require-hashes" in rest and "--only-binary :all:" in rest for rest in from_index)


def test_the_runtime_lock_is_the_part_of_the_lock_that_runs() -> None:
    runtime, everything = _pins(RUNTIME_LOCK), _pins(LOCK)
    assert runtime.items() <= everything.items()
    names = {requirement.split("==")[0] for requirement in runtime}
    project = re.search(
        r"^dependencies = \[(.*?)^\]", (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL
    )
    assert project
    assert set(re.findall(r'"([a-z-]+)', project[1])) <= names
    assert not names & {"pytest", "hypothesis", "mypy", "ruff", "uv", "hatchling"}


def test_every_stage_is_built_on_the_same_base_which_a_release_may_pin() -> None:
    (base,) = (rest for rest in _all("ARG") if rest.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:3\.\d+-slim", base)
    bases = [rest.split(" AS ")[0] for rest in _all("FROM")]
    stages = {rest.split(" AS ")[1] for rest in _all("FROM") if " AS " in rest}
    assert set(bases) - stages == {"${BASE}"}
    assert bases[-1] == "${BASE}"


def test_every_stage_that_compiles_files_knows_the_time_of_the_commit() -> None:
    stages = " ".join(f"{word} {rest}\n" for word, rest in _instructions()).split("FROM ")[1:]
    assert len(stages) == 4
    for stage in stages:
        assert ("pip" in stage) == ("ARG SOURCE_DATE_EPOCH" in stage)


def test_the_image_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', dict(_final_stage())["LABEL"]))
    chart = yaml.safe_load((REPOSITORY / "charts/computepool/Chart.yaml").read_text())
    assert labels == {
        "title": chart["name"],
        "description": chart["description"],
        "licenses": chart["annotations"]["artifacthub.io/license"],
        "base.name": "${BASE}",
    }


def test_the_locks_name_no_index() -> None:
    for lock in REPOSITORY.glob("requirements*.lock"):
        assert "://" not in lock.read_text()


def test_the_image_runs_the_operator_as_the_user_that_the_chart_names_and_needs_no_shell() -> None:
    final = dict(_final_stage())
    assert json.loads(final["ENTRYPOINT"]) == ["computepool"]
    assert json.loads(final["CMD"]) == ["run"]
    user, group = (int(number) for number in final["USER"].split(":"))
    pod = yaml.safe_load((REPOSITORY / "charts/computepool/values.yaml").read_text())["podSecurityContext"]
    assert (user, group) == (pod["runAsUser"], pod["runAsGroup"])
    assert user > 0
    assert "RUN" not in final


def test_a_user_without_an_entry_in_passwd_still_has_a_name() -> None:
    assert re.search(r"\bUSER=\w+", dict(_final_stage())["ENV"])
