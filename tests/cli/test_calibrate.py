"""A threshold of one's own: chosen on photographs, stored in a copy, with evidence and honest warnings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner, Result

from faceshield import FaceShieldPredictor
from faceshield.cli import app
from faceshield.evaluation.metrics.intervals import Estimate, rate
from faceshield.evaluation.metrics.pad import correct_by_score
from faceshield.model import read_info
from faceshield.recipes.calibrate import _copied, _dependent, _uncertain
from faceshield.records import Prediction, Sample, read_jsonl, write_jsonl
from faceshield.tasks import COARSE


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """21 bona fide photographs of 7 people, 4 attacks, and a file that is none."""
    root = tmp_path / "photos"
    for number in range(21):
        photograph(root / f"real/p{number % 7}/{number}.png", number)
    for number in range(4):
        photograph(root / f"attack/{'print' if number % 2 else 'paper mask'}/{number}.png", 100 + number)
    (root / "real/p0/broken.jpg").write_bytes(b"no picture")
    return root


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def test_a_copy_gets_the_threshold_and_its_evidence(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
    out = tmp_path / "mine"
    result = run(photos, "--model", checkpoint, "--out", out, "--face", "whole", "--name", "our door")
    assert result.exit_code == 0, result.output
    assert before == {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
    info = read_info(out)
    source = info.threshold_source
    assert source["dataset"] == "our door" and source["criterion"] == "bpcer5" and source["face"] == "whole"
    assert (source["n"], source["n_bonafide"], source["n_attack"]) == (25, 21, 4)
    rows = read_jsonl(tmp_path / "mine.calibration" / "predictions.jsonl", Prediction)
    attack = np.array([row.truth.is_attack for row in rows], dtype=bool)
    wrong = ~correct_by_score([row.bonafide_score for row in rows], attack, info.threshold or -1.0)
    assert wrong[~attack].mean() == source["bpcer"] <= 0.05 and wrong[attack].mean() == source["apcer"]
    assert source["bpcer_ci95"][0] <= source["bpcer"] <= source["bpcer_ci95"][1]
    assert "21 bona fide photographs are too few to show BPCER 5% of others, which takes 59" in result.stderr
    assert "21 bona fide photographs are of 7 people or recordings" in result.stderr and "unreadable 1" in result.stderr
    assert "4 of 25 photographs do not say whom they show" in result.stderr
    assert "4 attacks are too few to measure APCER" in result.stderr and "attack/<type>/<person>" in result.stderr
    assert "Paper mask" in result.stdout and str(out) in result.stdout.splitlines()[-1]


def test_a_rate_of_these_photographs_is_not_taken_for_that_of_others() -> None:
    """The threshold refuses up to 5% of the sample, so that about half of all such thresholds refuse more of others."""

    def said(bpcer: Estimate, asked: float, apcer: Estimate = rate(30, 400)) -> list[str]:  # noqa: B008 (immutable)
        return list(_uncertain({"BPCER": bpcer, "APCER": apcer}, ("bpcer", asked)))

    (found,) = said(rate(4, 80), 0.05)
    assert "at most 5% of these 80 bona fide photographs, but they show at most 11.1% of others" in found
    assert "4 errors in 80" in found and found.endswith("bpcer0 would show 5%")
    (found,) = said(rate(48, 967), 0.05)
    assert found.endswith("bpcer3.7 would show 5%")
    (found,) = said(rate(int(0.037 * 967), 967), 0.037)
    assert "they show at most 4.8% of others" in found, "as was told"
    assert not said(rate(int(0.037 * 967), 967), 0.05)
    (found,) = said(rate(5, 100), 0.05)
    assert found.endswith("bpcer1 would show 5%")
    (found,) = said(rate(1, 100), 0.01)
    assert "they show at most 4.7% of others" in found and found.endswith("or be content with that"), "5% was wanted"
    assert not said(rate(0, 59), 0.05)
    assert "which takes 59 without an error" in said(rate(0, 58), 0.05)[0]
    assert not said(rate(80, 80), 1.0)


def test_few_attacks_and_a_rate_of_nought_are_told() -> None:
    bpcer = rate(0, 400)
    said = list(_uncertain({"BPCER": bpcer, "APCER": rate(0, 3)}, ("apcer", 0.05)))
    assert len(said) == 1 and "3 attacks are too few to show APCER 5%" in said[0] and "at most 63.2% of others" in said[0]
    said = list(_uncertain({"BPCER": bpcer, "APCER": rate(4, 80)}, ("apcer", 0.05)))
    assert len(said) == 1 and said[0].endswith("apcer0 would show 5%, if a threshold meets that")
    for limit in (None, ("bpcer", 0.05)):
        said = list(_uncertain({"BPCER": bpcer, "APCER": rate(0, 3)}, limit))
        assert len(said) == 1 and "3 attacks are too few to measure APCER" in said[0] and "at least 59" in said[0]
    said = list(_uncertain({"BPCER": bpcer, "APCER": rate(9, 90)}, ("bpcer", 0.0)))
    assert len(said) == 1 and "shows BPCER 0% of others: they show at most 0.7% of others" in said[0]


def test_frames_of_a_recording_and_nameless_photographs_are_told(tmp_path: Path) -> None:
    def rows(**truth: list[str | None]) -> list[Prediction]:
        return [
            Prediction(
                id=str(number), sample_id=str(number), image=f"{number}.png", task="coarse", bonafide_score=0.9,
                truth={"is_attack": False} | {name: values[number] for name, values in truth.items()},
            )
            for number in range(4)
        ]  # fmt: skip

    said = list(_dependent(rows(video=["a", "a", "b", "b"]), tmp_path / "predictions.jsonl"))
    assert len(said) == 1 and "4 bona fide photographs are of 2 people or recordings" in said[0]
    said = list(_dependent(rows(subject=["Ann", None, None, None]), tmp_path / "predictions.jsonl"))
    assert len(said) == 1 and "3 of 4 photographs do not say whom they show" in said[0]
    assert not list(_dependent(rows(subject=["Ann", "Bea", "Cid", "Dan"]), tmp_path / "predictions.jsonl"))


def test_what_is_passed_over_is_told_and_a_folder_has_a_name(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(photos / "real/p0/0.png", photos / "real/p0/copy")
    monkeypatch.chdir(photos)
    result = run(".", "--model", checkpoint, "--out", tmp_path / "mine", "--face", "whole")
    assert result.exit_code == 0, result.output
    assert "passed over, as no pictures by their names: (none) 1" in result.stderr
    assert read_info(tmp_path / "mine").threshold_source["dataset"] == "photos"


def test_the_card_of_the_copy_says_what_is_no_longer_true(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    model, front, text = tmp_path / "model", "---\nlicense: apache-2.0\n---\n", "# A card\n\nThe threshold is 0.325.\n"
    shutil.copytree(checkpoint, model)
    for head in (front, ""):
        (model / "README.md").write_text(head + text)
        out = tmp_path / f"mine{len(head)}"
        assert run(photos, "--model", model, "--out", out, "--face", "whole", "--name", "our door").exit_code == 0
        card, now = (out / "README.md").read_text(), f"{read_info(out).threshold:.4f}"
        assert card.startswith(f"{head}> **A copy of `{model}` with another threshold**: {now}, chosen for bpcer5 on our door")
        assert "(n = 25: 21 bona fide, 4 attacks) with `face=whole`" in card and card.endswith(f"original.\n\n{text}")
        assert (model / "README.md").read_text() == head + text


def test_scores_made_otherwise_are_not_gone_on_with(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assert run(photos, "--model", checkpoint, "--out", out, "--face", "whole").exit_code == 0
    shutil.rmtree(out)
    error = run(photos, "--model", checkpoint, "--out", out, "--keep-tokens", 8, "--face", "whole").exception
    assert "mine.calibration was begun with keep_tokens None, now 8 — expected the same — choose another" in str(error)
    error = run(photos / "real", "--model", checkpoint, "--out", tmp_path / "b", "--face", "whole").exception
    assert f"give {photos}, or see" in str(error)


def test_a_threshold_for_fewer_tokens(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    assert run(photos, "--model", checkpoint, "--out", tmp_path / "few", "--face", "whole", "--keep-tokens", "8").exit_code == 0
    assert read_info(tmp_path / "few").threshold_source["keep_tokens"] == "8"
    blank = np.full((80, 80, 3), 127, np.uint8)
    for tokens, told in ((8, False), (None, True)):
        report = FaceShieldPredictor.from_pretrained(tmp_path / "few", keep_tokens=tokens).detect(blank, face="whole")
        assert any("chosen with keep_tokens 8" in note for note in report.meta["notes"]) is told


def test_what_a_training_goes_on_from_is_not_copied(checkpoint: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained"
    shutil.copytree(checkpoint, trained)
    (trained / "trainer").mkdir()
    for name in ("trainer/optimizer.bin", "state.safetensors"):
        (trained / name).write_bytes(b"only a resumed run reads this")
    with _copied(trained, tmp_path / "mine") as fresh:
        assert {path.name for path in fresh.iterdir()} == {path.name for path in checkpoint.iterdir()}
    assert (trained / "state.safetensors").is_file() and (tmp_path / "mine" / "model.safetensors").is_file()


def test_a_model_that_is_write_protected_has_a_copy_that_is_not(checkpoint: Path, tmp_path: Path) -> None:
    protected = tmp_path / "protected"
    shutil.copytree(checkpoint, protected)
    everything = [protected, *protected.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with pytest.raises(OSError, match="full"), _copied(protected, tmp_path / "mine"):
        raise OSError("the disk is full")
    assert not list(tmp_path.glob("*mine*"))
    with _copied(protected, tmp_path / "mine"):
        pass
    assert all(path.stat().st_mode & 0o200 for path in (tmp_path / "mine", *(tmp_path / "mine").rglob("*")))
    for path in everything:
        path.chmod(0o755)


def test_bona_fides_alone_and_scores_that_are_kept(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in photos.glob("attack/*/*"):
        file.unlink()
    first = run(photos, "--model", checkpoint, "--out", tmp_path / "a", "--face", "whole", "--criterion", "bpcer10")
    assert first.exit_code == 0, first.output
    assert read_info(tmp_path / "a").threshold_source["apcer"] is None
    assert "no attacks" in first.stderr and "APCER            unknown" in first.stdout

    (tmp_path / "a.calibration").rename(tmp_path / "b.calibration")
    from faceshield.predictor import FaceShieldPredictor

    monkeypatch.setattr(FaceShieldPredictor, "detect", lambda *_, **__: pytest.fail("scored twice"))
    again = run(photos, "--model", checkpoint, "--out", tmp_path / "b", "--face", "whole", "--criterion", "bpcer20")
    assert again.exit_code == 0, again.output
    assert read_info(tmp_path / "b").threshold_source["criterion"] == "bpcer20"


def test_a_photograph_that_was_replaced_is_judged_anew(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    def scores(out: str) -> dict[str, float | None]:
        (tmp_path / "work").rename(tmp_path / f"{out}.calibration")
        assert run(photos, "--model", checkpoint, "--out", tmp_path / out, "--face", "whole").exit_code == 0
        (tmp_path / f"{out}.calibration").rename(tmp_path / "work")
        return {row.sample_id: row.bonafide_score for row in read_jsonl(tmp_path / "work/predictions.jsonl", Prediction)}

    (tmp_path / "work").mkdir()
    before = scores("a")
    Image.new("RGB", (64, 64), "white").save(photos / "real/p0/0.png")
    (photos / "real/p1/1.png").unlink()
    after = scores("b")
    assert after["folder:real/p0/0.png"] != before["folder:real/p0/0.png"]
    assert {key: value for key, value in before.items() if "p0/0." not in key and "p1/1." not in key} == {
        key: value for key, value in after.items() if "p0/0." not in key
    }


def test_without_a_face_nothing_is_written(checkpoint: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "photos/real/wall.png", 0)
    result = run(tmp_path / "photos", "--model", checkpoint, "--out", tmp_path / "mine")
    assert "no face was found in any bona fide one" in str(result.exception)


def test_photographs_without_a_face_have_rates_of_their_own(checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for seed, kind in enumerate(("real", "attack/print")):
        (root / kind).mkdir(parents=True)
        Image.new("RGB", (64, 64), (90 + seed,) * 3).save(root / kind / "wall.png")
        Image.fromarray(np.roll(astronaut(), 10 * seed, axis=1)).save(root / kind / "face.png")
    result = run(root, "--model", checkpoint, "--out", tmp_path / "mine", "--criterion", "bpcer50")
    assert result.exit_code == 0, result.output
    rates = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.split()[-1].startswith("n=")}
    assert rates["BPNRR"][0] == rates["APNRR"][0] == "50.0%" and rates["BPNRR"][-1] == "n=2"
    assert rates["BPCER"][-1] == rates["APCER"][-1] == "n=1"
    assert "2 photographs without a face, or unreadable, were not judged (" in result.stderr and "wall" in result.stderr


def test_photographs_that_have_moved_are_not_blamed_on_faces(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "samples.jsonl"
    moved.parent.mkdir()
    moved.write_text(samples_jsonl.read_text())
    result = run(moved, "--model", checkpoint, "--out", tmp_path / "mine", "--face", "whole")
    assert "no such file" in str(result.exception) and "--face whole" not in str(result.exception)
    assert not (tmp_path / "mine").exists()


def test_nothing_that_is_there_is_written_over(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with_what = {"there": tmp_path / "there", "inside": checkpoint / "new"}
    for said, out in with_what.items():
        result = run(photos, "--model", checkpoint, "--out", out)
        assert isinstance(result.exception, ValueError) and said in str(result.exception)
    nowhere = run(tmp_path / "fotos", "--model", checkpoint, "--out", tmp_path / "x")
    assert isinstance(nowhere.exception, FileNotFoundError) and not list(tmp_path.glob("x*")), "photos may have this --out"
    wrong = run(photos, "--model", checkpoint, "--out", tmp_path / "x", "--criterion", "best")
    assert "criterion 'best'" in str(wrong.exception) and not list(tmp_path.glob("x*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "expected a folder that holds real/" in str(run(empty, "--model", checkpoint, "--out", tmp_path / "y").exception)


def test_a_samples_file_does_as_well(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    result = run(samples_jsonl, "--model", checkpoint, "--out", tmp_path / "mine", "--face", "whole", "--criterion", "eer")
    assert result.exit_code == 0, result.output
    info = json.loads((tmp_path / "mine" / "faceshield.json").read_text())
    assert info["threshold_source"]["n_bonafide"] == 2 and info["questions"]["coarse"] == COARSE.question
    assert info["threshold_source"]["dataset"] == samples_jsonl.name, "nothing of the path, which may name somebody"


def test_copies_and_mixed_splits_of_a_samples_file_are_told(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    samples = read_jsonl(samples_jsonl, Sample)
    mixed = [sample.model_copy(update={"split": ("dev", "test")[place % 2]}) for place, sample in enumerate(samples)]
    twice = [samples[0].model_copy(update={"id": "again", "split": None})]
    file = samples_jsonl.with_name("mixed.jsonl")
    write_jsonl(file, [*mixed, *twice])
    result = run(file, "--model", checkpoint, "--out", tmp_path / "mine", "--face", "whole", "--criterion", "eer")
    assert result.exit_code == 0, result.output
    assert "1 photographs are copies of others and count again (again)" in result.stderr
    assert "of the splits dev, test, none: those that the model was trained on flatter it" in result.stderr
    write_jsonl(file, [sample.model_copy(update={"split": "dev"}) for sample in samples])
    result = run(file, "--model", checkpoint, "--out", tmp_path / "other", "--face", "whole", "--criterion", "eer")
    assert result.exit_code == 0, result.output
    assert "splits" not in result.stderr and "copies" not in result.stderr


def test_a_picture_in_the_place_of_a_folder_is_told_as_such(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    result = run(photos / "real/p0/0.png", "--model", checkpoint, "--out", tmp_path / "mine", "--face", "whole")
    assert "a picture — expected samples" in str(result.exception)
