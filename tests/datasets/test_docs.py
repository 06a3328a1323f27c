"""docs/datasets.md says of every data set what the code does with its labels, and names the options that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.datasets import DATASETS, rejects_path
from faceshield.datasets.folder import ALSO
from faceshield.taxonomy import TAXONOMY

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
SECTIONS = {match[1]: match[2] for match in re.finditer(r"^### ([\w-]+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)}


def labels(cell: str, known: list[str]) -> Iterator[str]:
    """`a`, `b` as they are; `a`-`c` by the order of the labels; `m50*` by what it fits."""
    for first, last in re.findall(r"`([^`]+)`(?:-`([^`]+)`)?", cell):
        if last:
            yield from (label for label in known if first <= label <= last and len(label) == len(first))
        else:
            yield from (label for label in known if fnmatch(label, first))


def test_the_twelve_types_are_the_taxonomys() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXT.split("## The twelve types")[1].split("\n## ")[0], re.MULTILINE)
    assert rows[1:] == [(row.name, row.sentence) for row in TAXONOMY]


def test_every_data_set_has_a_section() -> None:
    assert set(DATASETS) <= set(SECTIONS)
    for name in set(DATASETS) - {"folder"}:
        assert "*Get it*" in SECTIONS[name] and "*Layout*" in SECTIONS[name], name


@pytest.mark.parametrize("name", [name for name, kind in DATASETS.items() if kind.types and name != "folder"])
def test_the_tables_are_the_mapping(name: str) -> None:
    said = {}
    for cell, kind in re.findall(r"^\| ([^|]*`[^|]*) \| ([^|]+) \|$", SECTIONS[name], re.MULTILINE):
        for label in labels(cell.split(" (")[0], sorted(DATASETS[name].types)):
            assert label not in said, label
            said[label] = kind.split(" (")[0]
    assert said == {label: kind or "left out" for label, kind in DATASETS[name].types.items()}


def test_what_is_said_of_crops_is_what_prepare_says() -> None:
    rows = re.findall(r"^\| [^|]+ \| (?:`([\w-]+)`|—) \| ([^|]+) \|$", TEXT, re.MULTILINE)
    said = {name: crop or None for crop, names in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert said == {name: kind.crop for name, kind in DATASETS.items()}


def test_other_names_of_types_are_all_named() -> None:
    named = re.search(r"other names: (.*?)\.", SECTIONS["folder"], re.DOTALL)
    assert named is not None
    found = {
        name: kind
        for names, kind in re.findall(r"([^;()]+) \(([\w ]+)\)", named[1].replace("\n", " "))
        for name in names.split(", ")
    }
    assert {name.strip(): kind for name, kind in found.items()} == ALSO


def test_options_that_it_names_exist() -> None:
    known = {option for verb in ("prepare", "split", "predict") for option in
             re.findall(r"--[a-z-]+", CliRunner().invoke(app, [verb, "--help"]).stdout)}  # fmt: skip
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known
    assert rejects_path(Path("wmca/samples.jsonl")) == Path("wmca/rejects.jsonl")
