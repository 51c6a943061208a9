"""The sample data is what its README says."""

from __future__ import annotations

import csv
import re
from hashlib import sha256

import pytest

from tests.conftest import ROOT

README = (ROOT / "data/README.md").read_text()


@pytest.mark.parametrize(
    ("name", "rows"),
    [("flights_train.csv", 30_000), ("flights_november.csv", 5_000), ("penguins.csv", 344)],
)
def test_a_data_file_is_the_one_that_is_described(name: str, rows: int) -> None:
    content = (ROOT / "data" / name).read_bytes()
    assert content.count(b"\n") == rows + 1
    row = next(line for line in README.splitlines() if f"`{name}`" in line and "|" in line)
    assert sha256(content).hexdigest() in row
    assert f"{rows:,}" in row
    assert f"{len(content):,}" in row


def test_the_columns_of_the_penguins_are_those_that_are_described() -> None:
    with (ROOT / "data/penguins.csv").open(newline="") as file:
        penguins = list(csv.DictReader(file))
    described = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", README.split("## Penguins")[1], re.M)
    missing = {name: sum(row[name] == "NA" for row in penguins) for name in penguins[0]}
    assert {name: int(count) for name, count in described} == missing
