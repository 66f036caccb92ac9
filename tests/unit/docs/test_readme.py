"""The claims of the README, as far as they can be checked without a cluster.

tests/e2e/test_readme_commands.py runs its commands. test_pages.py holds the README and all pages to the same rules.
"""

from __future__ import annotations

import re

import yaml

from computepool.model.api import ComputePool
from tests.unit.docs.blocks import EXAMPLES, PAGES, README, REPOSITORY, blocks, prose

LINES = 250
"""The README is a way to a first success, and no longer than that takes. Everything else is a page."""


def _shell() -> list[str]:
    return [command for block in blocks(README) if block.language == "sh" for command in block.commands()]


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= LINES


def test_the_two_commands_come_first() -> None:
    assert _shell()[:2] == ["make demo", "make test"]


def test_it_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)", prose(README)))
    assert {str(page.relative_to(REPOSITORY)) for page in PAGES} <= linked


def test_the_image_that_is_built_is_the_one_that_is_installed() -> None:
    shell = _shell()
    build, push = (command for command in shell if command.startswith("docker"))
    (install,) = (command for command in shell if command.startswith("helm install"))
    repository = re.search(r"image\.repository=(\S+)", install)
    version = yaml.safe_load((REPOSITORY / "charts/computepool/Chart.yaml").read_text())["appVersion"]
    assert repository is not None
    image = f"{repository.group(1)}:{version}"
    assert build == f"docker build --tag {image} ."
    assert push == f"docker push {image}"
    assert (REPOSITORY / "Dockerfile").is_file()


def test_every_example_that_is_applied_is_there_and_the_pool_is_shown_as_it_is() -> None:
    applied = {name for command in _shell() for name in re.findall(r"docs/examples/([\w.-]+)", command)}
    assert applied == {"device-plugin.yaml", "eks.yaml", "chat.yaml"}
    assert all((EXAMPLES / name).is_file() for name in applied)
    assert (EXAMPLES / "eks.yaml").read_text() in [block.text for block in blocks(README)]


def test_the_examples_order_is_that_of_its_prices_so_that_coming_home_saves_money() -> None:
    pool = ComputePool.from_object(yaml.safe_load((EXAMPLES / "eks.yaml").read_text()))
    assert [provider.name for provider in pool.spec.providers] == ["aws", "nebius", "partner"]
    prices = [provider.price() for provider in pool.spec.providers]
    assert None not in prices
    assert prices == sorted(price for price in prices if price is not None)


def test_the_workload_belongs_to_the_pool_and_does_not_fit_on_one_node_of_the_primary() -> None:
    pool = ComputePool.from_object(yaml.safe_load((EXAMPLES / "eks.yaml").read_text()))
    deployment, budget = yaml.safe_load_all((EXAMPLES / "chat.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {pool.spec.accelerator.resource_name: 1}
    assert deployment["spec"]["replicas"] == 12
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"] == budget["spec"]["selector"] == {"matchLabels": labels}
    namespace = deployment["metadata"]["namespace"]
    (label,) = (f"{key}={value}" for key, value in pool.spec.workloads.namespace_selector.match_labels.items())
    assert f"kubectl label namespace {namespace} {label}" in _shell()
