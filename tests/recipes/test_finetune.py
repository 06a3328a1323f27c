"""A folder of one's own to an adapter and a report, at toy size: parts, tasks, going on, and what is said of too little."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from faceshield.cli import app
from faceshield.evaluation import score
from faceshield.model import is_adapter, read_info
from faceshield.predictor import FaceShieldPredictor
from faceshield.provenance import write_run
from faceshield.recipes.finetune import MOST_OFTEN, FinetuneConfig, _evened, _stage, defaults, finetune
from faceshield.recipes.finetune_report import _apart, verdict
from faceshield.records import Dialogue, Prediction, Sample, read_jsonl, write_jsonl
from faceshield.training.settings import StageConfig, inherited

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
SMALL = {"max_steps": 1, "batch_size": 2, "threads": 1, "lora_r": 4, "lora_alpha": 8, "report_to": [], "epochs": 1}
Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def few_words_and_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model says and how wide the intervals are is looked at elsewhere."""
    monkeypatch.setattr("faceshield.predictor.FaceShieldPredictor._answer_tokens", 2)
    monkeypatch.setattr("faceshield.recipes.measure.score", partial(score, repeats=20))


@pytest.fixture
def photos(tmp_path: Path) -> Folder:
    """Makes a folder: so many people, each with two pictures of a class."""

    def make(bonafide: int = 8, attacks: int = 8, *, kind: str = "attack/print", name: str = "mine") -> Path:
        root, rng = tmp_path / name, np.random.default_rng(0)
        for below, people in (("real", bonafide), (kind, attacks)):
            for number in range(2 * people):
                path = root / below / f"p{number // 2}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        root.mkdir(exist_ok=True)
        return root

    return make


def tuned(folder: Path, checkpoint: Path, out: Path, **changes: Any) -> FinetuneConfig:
    values = {"folder": folder, "out": out, "init": str(checkpoint), "face": "whole", "settings": SMALL, "tasks": ("coarse",)}
    return FinetuneConfig(**{**values, **changes})


def test_a_folder_to_an_adapter_and_a_report(
    photos: Folder, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
    found = finetune(tuned(photos(), checkpoint, tmp_path / "out"))
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()} == before
    people = {}
    for part in ("train", "dev", "test"):
        rows = read_jsonl(tmp_path / f"out/data/{part}.jsonl", Sample)
        assert {row.is_attack for row in rows} == {True, False}
        people[part] = {row.subject for row in rows}
    assert not people["train"] & people["test"] and not people["dev"] & people["test"] and not people["train"] & people["dev"]
    dialogues = read_jsonl(tmp_path / "out/data/dialogues.jsonl", Dialogue)
    assert {row.meta["subject"] for row in dialogues} == people["train"]

    assert not (tmp_path / "out/cache").exists(), "features of faces"
    assert is_adapter(found.model) and read_info(found.model).extra["crop_side"] == 80
    source = read_info(found.model).threshold_source
    assert source["n"] == len(read_jsonl(tmp_path / "out/data/dev.jsonl", Sample)) and source["face"] == "whole"
    for metrics in found.metrics.values():
        assert metrics["overall"]["coarse"]["by_score"]["acc"]["ci95"] and metrics["threshold"]["source"]["criterion"] == "eer"
    page = found.report.read_text()
    assert "| fine-tuned | score" in page and f"| {checkpoint} as it was | score" in page
    predictions = read_jsonl(tmp_path / "out/scores/after/test.jsonl", Prediction)
    assert {row.task for row in predictions} == {"coarse"}
    shield = FaceShieldPredictor.from_pretrained(found.model)
    judged = [row for row in predictions if row.bonafide_score is not None]
    wrong = [row for row in judged if (row.bonafide_score < shield.threshold) != row.truth.is_attack]
    assert page.count("(threshold ") == len(wrong) and "Who is shown" not in page
    assert "looks twice" not in page, "this one has not learnt to"
    path = Path(judged[0].image)
    report = shield.detect(path if path.is_absolute() else tmp_path / "out/scores/after" / path, face="whole")
    assert report.bonafide_score == pytest.approx(judged[0].bonafide_score, abs=1e-5)

    assert "Scored on the part test, nobody of train or dev by name." in page

    # Once more: everything is there, also by another name of the folder.
    monkeypatch.chdir(tmp_path)
    assert finetune(tuned(Path("mine"), checkpoint, tmp_path / "out")).metrics == found.metrics
    stamp = (found.model / "run.json").stat().st_mtime_ns
    assert finetune(tuned(tmp_path / "mine", checkpoint, tmp_path / "out")).metrics == found.metrics
    assert (found.model / "run.json").stat().st_mtime_ns == stamp
    # By another criterion, as where no threshold meets the first: the same training and scores.
    again = finetune(tuned(tmp_path / "mine", checkpoint, tmp_path / "out", criterion="bpcer50"))
    assert {metrics["threshold"]["source"]["criterion"] for metrics in again.metrics.values()} == {"bpcer50"}
    assert read_info(found.model).threshold_source["criterion"] == "bpcer50"
    assert (found.model / "run.json").stat().st_mtime_ns == stamp
    with monkeypatch.context() as changed:
        changed.setattr("faceshield.recipes.finetune.checkpoint_hash", lambda folder: "other weights of the same name")
        with pytest.raises(ValueError, match="was begun with weights"):
            finetune(tuned(tmp_path / "mine", checkpoint, tmp_path / "out"))
    with pytest.raises(ValueError, match="begun with max_steps 1, now 2"):
        finetune(tuned(tmp_path / "mine", checkpoint, tmp_path / "out", settings={**SMALL, "max_steps": 2}))
    next((tmp_path / "mine/real").rglob("*.png")).unlink()
    with pytest.raises(ValueError, match="was begun with pictures"):
        finetune(tuned(tmp_path / "mine", checkpoint, tmp_path / "out"))


def test_what_only_the_checkpoints_own_training_had_is_not_looked_for(checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(checkpoint, tmp_path / "trained"))
    own = StageConfig(
        stage="sft", init="tiny", dialogues=[Path("d.jsonl")], samples=[Path("gone.jsonl")], out=checkpoint,
        report_to=["wandb"], workers=3,
    )  # fmt: skip
    write_run(checkpoint, config=own, seed=0, inputs=[])
    settings = {"max_steps": 1}
    stage, _ = inherited(_stage(tuned(tmp_path, checkpoint, tmp_path / "out", settings=settings), Path("own.jsonl"), []))
    assert stage.samples == [] and stage.report_to is None and stage.workers == 3


def test_who_is_in_two_parts_is_said(tmp_path: Path) -> None:
    def told(**affected: int) -> str:
        shared = {
            f"{name}+test": {"subjects": 1, "videos": 0, "pictures": 0, "affected": count} for name, count in affected.items()
        }
        (tmp_path / "splits.json").write_text(json.dumps({"shared": shared}))
        return _apart(tmp_path)

    assert told(train=0, dev=0) == ", nobody of train or dev by name"
    assert "26 of its pictures show somebody, or are pictures, of train, so" in told(train=26, dev=0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["finetune", *map(str, arguments)])


@pytest.mark.slow
def test_attacks_without_a_type(photos: Folder, checkpoint: Path, tmp_path: Path) -> None:
    """`bonafide/` and `attack/` alone: the coarse question alone; both classes in every part, though nobody is named."""
    root = photos(12, 6, kind="attack")
    (root / "real").rename(root / "bonafide")
    for path in (root / "attack").rglob("*.png"):
        path.rename(root / "attack" / path.name)
    given = [f"{name}={json.dumps(value)}" for name, value in SMALL.items()]
    result = run(root, "--model", checkpoint, "--out", tmp_path / "out", "--face", "whole", *given)
    assert result.exit_code == 0, result.output
    assert "learnt and scored coarse\n" in result.output and "fine-tuned" in result.output
    assert result.output.strip().splitlines()[-1] == f"adapter: {tmp_path / 'out/model'}; report: {tmp_path / 'out/report.md'}"
    stage = json.loads((tmp_path / "out/trained/run.json").read_text())["config"]
    assert set(stage["oversample"]) == {"attack"} and stage["oversample"]["attack"] > 1
    assert "Who is shown is not known of 12 of 36 pictures" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(
    ("bonafide", "attacks", "said"),
    [
        (8, 0, "0 attacks that can be used — expected at least 12 — add some as .*attack/<type>/<person>/.*, or make some: "
               "faceshield simulate --faces .*mine/real --count 200"),
        (3, 8, "6 bona fide pictures that can be used — expected at least 12 — add some as .*real/<person>/"),
        (0, 0, "0 bona fide pictures"),
    ],
)  # fmt: skip
def test_too_little(photos: Folder, checkpoint: Path, tmp_path: Path, bonafide: int, attacks: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        finetune(tuned(photos(bonafide, attacks), checkpoint, tmp_path / "out"))


def test_what_else_is_refused(photos: Folder, checkpoint: Path, tmp_path: Path) -> None:
    root = photos()
    one = tmp_path / "one"
    for path in sorted(root.rglob("*.png")):  # everything of one person
        target = one / path.relative_to(root).parts[0] / ("print" if "attack" in path.parts else "") / "p0" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    with pytest.raises(ValueError, match=r"no sample in test.*nobody may be in two of .*\(1 people are named"):
        finetune(tuned(one, checkpoint, tmp_path / "out"))
    faces = photos(1, 1, name="walls")
    with pytest.raises(ValueError, match="no face was found: if they are face crops, add --face whole"):
        finetune(tuned(faces, checkpoint, tmp_path / "a", face="detect"))
    with pytest.raises(ValueError, match="lies in"):
        finetune(tuned(faces, checkpoint, faces / "out"))
    with pytest.raises(ValueError, match="task 'caption'"):
        finetune(tuned(faces, checkpoint, tmp_path / "b", tasks=("caption",)))
    with pytest.raises(FileNotFoundError, match="expected a folder with real"):
        finetune(tuned(tmp_path / "nowhere", checkpoint, tmp_path / "c"))
    error = run(faces, "epoch=2", "--out", tmp_path / "e").exception
    assert "unknown key 'epoch' — did you mean 'epochs'" in str(error) and not (tmp_path / "e").exists()
    assert "expected key=value" in str(run(faces, "epochs", "--out", tmp_path / "d").exception)
    for setting, instead in (
        ("init=x", "--model"),
        ("out=x", "--out"),
        ("dialogues=[x]", "FOLDER"),
        ("save=merged", "nothing"),
        ("surroundings=true", "nothing"),
    ):
        assert f"{setting.split('=')[0]} (give {instead}" in str(run(faces, setting, "--out", tmp_path / "d").exception)


def listed(root: Path, kinds: Sequence[str], splits: Sequence[str]) -> None:
    """A list of the folder's pictures, in turn of these kinds and splits."""
    rows = [
        f"{path.relative_to(root).as_posix()},{kinds[place % len(kinds)]},p{place},{splits[place % len(splits)]}\n"
        for place, path in enumerate(sorted(root.rglob("*.png")))
    ]
    (root / "samples.csv").write_text("image,presentation_type,subject,split\n" + "".join(rows))


def test_a_division_without_a_test_part_is_not_replaced_in_silence(photos: Folder, checkpoint: Path, tmp_path: Path) -> None:
    root = photos()
    listed(root, ("real", "print"), ("train", "train", "dev", "dev"))
    with pytest.raises(ValueError, match=r"its splits are dev, train — expected train and test.*then remove .*out"):
        finetune(tuned(root, checkpoint, tmp_path / "out"))
    listed(root, ("real", "print"), ("train", "test", "", ""))
    with pytest.raises(ValueError, match="its splits are none, test, train"):
        finetune(tuned(root, checkpoint, tmp_path / "more"))
    listed(root, ("real", "print"), ("test",))
    with pytest.raises(ValueError, match="its splits are test"):
        finetune(tuned(root, checkpoint, tmp_path / "other"))


def test_corrected_labels_are_another_folder(photos: Folder, checkpoint: Path, tmp_path: Path) -> None:
    """A list of the same length, so that names and sizes are what they were."""
    root = photos()
    listed(root, ("real", "fake"), ("train",))
    (root / "notes").touch()
    told: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        if row["event"] == "prepared":
            told.update(row)
            raise Stop

    with pytest.raises(Stop):
        finetune(tuned(root, checkpoint, tmp_path / "out"), report=stop)
    assert told["passed over, as no pictures by their names"] >= 1
    listed(root, ("fake", "real"), ("train",))
    with pytest.raises(ValueError, match="was begun with lists"):
        finetune(tuned(root, checkpoint, tmp_path / "out"))


def test_whether_training_has_helped_is_said() -> None:
    def metrics(before: float, after: float) -> dict[str, dict[str, Any]]:
        pairs = (("before", before), ("after", after))
        return {name: {"overall": {"coarse": {"by_score": {"hter": {"value": value}}}}} for name, value in pairs}

    assert verdict(metrics(0.2, 0.1)) == "Training has helped here: HTER 20.0% as it was, 10.0% fine-tuned."
    assert "Training has not helped here: HTER 16.0% as it was, 23.9% fine-tuned." in verdict(metrics(0.16, 0.239))


def test_the_defaults_are_settings_of_a_stage(checkpoint: Path) -> None:
    assert set(defaults("tiny", 50)) <= set(StageConfig.model_fields)
    assert defaults("tiny", 50)["crop_side"] == 224 and defaults(str(checkpoint), 50)["crop_side"] == 80
    assert defaults("tiny", 50)["epochs"] > defaults("tiny", 5000)["epochs"] == 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_it_goes_on(photos: Folder, checkpoint: Path, tmp_path: Path) -> None:
    """kill -9 in every part of the work, the same command again: the adapter and the scores of a run that was never stopped."""
    root = photos(7, 7)
    given = [f"{name}={json.dumps(value)}" for name, value in {**SMALL, "max_steps": 12, "save_steps": 2}.items()]

    def command(out: Path) -> list[str]:
        told = ["--model", str(checkpoint), "--out", str(out), "--face", "whole", "--tasks", "coarse", *given]
        return [sys.executable, "-m", "faceshield", "finetune", str(root), *told]

    start = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    seconds, kills = time.monotonic() - start, 0
    for share in np.linspace(0.1, 0.95, 6):  # what a run has done the next one finds
        process = subprocess.Popen(command(tmp_path / "again"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds * float(share))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    subprocess.run(command(tmp_path / "again"), check=True, capture_output=True)
    assert kills > 0
    first, second = (tmp_path / name for name in ("whole", "again"))
    weights = "model/adapter_model.safetensors"
    assert (first / weights).read_bytes() == (second / weights).read_bytes()
    scores = [json.loads((out / "scores/after/metrics.json").read_text())["overall"] for out in (first, second)]
    assert scores[0] == {**scores[1], "coarse": scores[0]["coarse"]}
    assert scores[0]["coarse"]["ranking"] == scores[1]["coarse"]["ranking"]


def test_the_rarer_class_is_seen_more_often(make_sample: Callable[..., Sample]) -> None:
    def rows(bonafide: int, attacks: int) -> list[Sample]:
        return [make_sample()] * bonafide + [make_sample("Print"), make_sample("Replay")] * (attacks // 2)

    assert _evened(rows(4, 8)) == {"Bonafide": 2.0}
    assert _evened(rows(9, 6)) == {"Print": 1.5, "Replay": 1.5}
    assert _evened(rows(4, 4)) == {} and set(_evened(rows(2, 40)).values()) == {MOST_OFTEN}


def test_what_to_keep_is_chosen_on_dev_and_scored_on_test(
    checkpoint: Path, tmp_path: Path, make_sample: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen on the part test, the report's numbers would be too good."""
    told: dict[str, Any] = {}

    class Enough(Exception):
        pass

    def keep(*_: Any, dev: Path, **__: Any) -> dict[str, Any]:
        told["keep"] = dev.name
        return {"share": 1.0, "tried": []}

    def measured(*_: Any, test: Path, dev: Path, **__: Any) -> dict[str, Any]:
        told["test"], told["dev"] = test.name, dev.name
        raise Enough

    monkeypatch.setattr("faceshield.recipes.finetune.train_stage", lambda *_, **__: None)
    monkeypatch.setattr("faceshield.recipes.finetune.keep_best", keep)
    monkeypatch.setattr("faceshield.recipes.finetune.measure", measured)
    rows = [
        make_sample(("Bonafide", "Print")[number % 2], id=f"s{number}", subject=f"p{number}", split=None, image=f"{number}.png")
        for number in range(24)
    ]
    for row in rows:
        (tmp_path / row.image).write_bytes(row.image.encode())
    write_jsonl(tmp_path / "samples.jsonl", rows)
    with pytest.raises(Enough):
        told_to = {"folder": tmp_path / "samples.jsonl", "out": tmp_path / "out", "init": str(checkpoint)}
        finetune(FinetuneConfig(**told_to, tasks=("coarse",)))
    assert told == {"keep": "dev.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
