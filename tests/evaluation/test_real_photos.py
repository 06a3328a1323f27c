from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "real_photos.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_real_photos", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_photos_without_a_verdict_are_counted_and_are_errors(bench: ModuleType) -> None:
    def photo(attack: bool, score: float | None, status: str = "ok") -> object:
        kind = "Print" if attack else "Bonafide"
        judged = None if score is None else score < 0.5
        return bench.Photo(f"{attack}{score}.jpg", attack, kind, f"{score}", status, score, judged)

    photos = [
        photo(False, 0.9),
        photo(False, 0.5),  # on the threshold: bona fide
        photo(False, 0.2),
        photo(False, None, "no_face"),
        photo(True, 0.1),
        photo(True, None, "error"),
    ]
    found = bench.measure(photos, np.random.default_rng(0))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values["no face, bona fide"] == pytest.approx(1 / 4)
    assert values["unreadable, attacks"] == pytest.approx(1 / 2)
    assert values["ACC, judged photos"] == pytest.approx(3 / 4)
    assert values["HTER, judged photos"] == pytest.approx((1 / 3 + 0) / 2)
    assert values["ACC, all photos"] == pytest.approx(3 / 6)
    assert values["HTER, all photos"] == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert values["AUC, judged photos"] == 1.0
    assert "HTER, all photos" in bench.show(found)


def test_one_kind_alone_has_no_hter(bench: ModuleType) -> None:
    photos = [bench.Photo(f"{i}.jpg", False, "Bonafide", str(i), "ok", 0.9, False) for i in range(5)]
    names = set(bench.measure(photos, np.random.default_rng(0)))
    assert "BPCER, judged photos" in names
    assert not any(name.startswith(("HTER", "AUC", "APCER")) for name in names)


def test_the_list_of_photos_is_checked_at_once(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "photos.csv"
    path.write_text("file,kind,subject\na.jpg,bonafide,one\nb.jpg,spoof,two\nc.jpg,real,\n")
    with pytest.raises(ValueError) as caught:
        bench.read_photos(path)
    assert "photos.csv:3: kind 'spoof'" in str(caught.value) and ":4: kind 'real'" in str(caught.value)
    path.write_text("file,kind,subject\na.jpg,bonafide,one\nc.jpg,attack,\n")
    photos = bench.read_photos(path)
    assert [(p.is_attack, p.subject) for p in photos] == [(False, "one"), (True, "c.jpg")]
    path.write_text("name\na.jpg\n")
    with pytest.raises(ValueError, match="no column file, kind"):
        bench.read_photos(path)
