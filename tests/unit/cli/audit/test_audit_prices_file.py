"""The file of prices: small, exact, and each mistake names its key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from computepool.audit.prices import PriceRule
from computepool.cli.audit.prices_file import PricesError, read_prices

FULL = """
nebius: 2.95
crusoe: "3"
aws:
  H100: "12.29"
  A100-80GB: {spot: "1.80", default: "4.10"}
  nvidia.com/mig-1g.10gb: 1.750000
  spot: "4.10"
  default: 9.10
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "prices.yaml"
    file.write_text(text)
    return file


def test_each_form_of_a_price_is_read_exactly(tmp_path: Path) -> None:
    assert read_prices(written(tmp_path, FULL)) == (
        PriceRule("nebius", Decimal("2.95")),
        PriceRule("crusoe", Decimal(3)),
        PriceRule("aws", Decimal("12.29"), model="H100"),
        PriceRule("aws", Decimal("1.80"), model="A100-80GB", capacity_type="spot"),
        PriceRule("aws", Decimal("4.10"), model="A100-80GB"),
        PriceRule("aws", Decimal("1.750000"), resource="nvidia.com/mig-1g.10gb"),
        PriceRule("aws", Decimal("4.10"), capacity_type="spot"),
        PriceRule("aws", Decimal("9.10")),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'write a price for each provider, such as aws: "12.29"'),
        ("- aws", "write a price for each provider"),
        ("aws: '4,10'", "aws: 4,10 is no price. Write a decimal"),
        ("aws: -1", "aws: -1 is no price"),
        ("aws: 1e3", "aws: 1e3 is no price"),
        ("aws: $3", "aws: $3 is no price"),
        ("aws:", "aws: nothing is no price"),
        ("aws: [1]", "aws: a list is no price"),
        ("aws: {}", "aws: there is no price"),
        ("aws: {spot: {}}", "aws.spot: a mapping is no price"),
        ("aws: {H100: {}}", "aws.H100: there is no price"),
        ("aws: {H100: {sopt: 1}}", "aws.H100.sopt: there is no such capacity type; there is on-demand, reserved, spot"),
        ("aws: {H100: {spot: free}}", "aws.H100.spot: free is no price"),
        ("aws: {'--': 1}", "aws.--: name a model such as H100"),
        ("aws: 1\naws: 2", "this key is there twice: aws"),
        ("aws: {spot: 1, spot: 2}", "this key is there twice: spot"),
        ("[a]: 1", "a key must be a text"),
        ("'': 1", "the file: a key must be a text"),
        ("aws: {", "this is no YAML"),
        ("aws: &a [*a]", "this is no YAML"),
        ("aws: 1\x1b[2J", "this is no YAML"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PricesError) as told:
        read_prices(written(tmp_path, text))
    assert words in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)
    assert "\x1b" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match="No such file"):
        read_prices(tmp_path / "none.yaml")


def test_a_file_of_bytes_is_told(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PricesError, match="no YAML"):
        read_prices(file)
