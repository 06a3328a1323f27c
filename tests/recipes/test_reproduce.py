"""The paper's tables by one command: what they hold, that nothing leaks, what a cell says, and a whole run at toy scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from faceshield.cli import app
from faceshield.cli.reproduce import _named
from faceshield.recipes.reproduce.bench import SCALES, Bench, Protocol, own
from faceshield.recipes.reproduce.paper import ACC, AP50, CROSS, ENTRIES, HTER, SYSTEMS, Entry, Row
from faceshield.recipes.reproduce.reproduction import NotAvailable, Outcome, Reproduction
from faceshield.recipes.reproduce.show import BEGIN, END, cell, grid, notes, printed, put_into, report, seconds, values, write
from faceshield.recipes.sweep import Results, SweepConfig
from faceshield.records import Dialogue, Sample, read_jsonl, write_jsonl
from faceshield.simulate.domains import DOMAINS
from faceshield.tasks import TASKS

ROOT = Path(__file__).parents[2]
quiet = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


# -- what the tables hold


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_every_row_is_a_system_under_a_protocol_with_the_paper_s_numbers(entry: Entry) -> None:
    assert entry.rows
    for row in entry.rows:
        assert row.system in SYSTEMS and len(row.paper) in (0, len(entry.metrics))
        protocol = Protocol.of(row.protocol)
        assert set(protocol.train) | set(protocol.test) <= set(DOMAINS) - {"D"}
        assert (entry.kind == "sweep") == (row.at is not None)
    keys = [(row.system, row.protocol, row.decided, row.label) for row in entry.rows]
    assert len(set(keys)) == len(keys)


def test_the_paper_s_numbers_are_where_the_paper_has_them() -> None:
    """Spot checks against the text: the abstract's claims, and that HTER and ACC were not mixed up."""
    of = {(row.label, row.protocol): row.paper for row in ENTRIES["table2"].rows}
    assert of["FaceShield", "W+S>P"] == ((93.17, 0.22), (6.37, 0.21)) and of["IADG", "S+P>W"] == (78.55, 26.27)
    six = {row.label: row.paper for row in ENTRIES["table6"].rows}
    assert six["SAVP"][-2:] == (97.09, 95.21) and six["PVTM"] == ()
    assert ENTRIES["table5"].rows[-1].paper == ((97.78, 0.21), (95.60, 0.19), None)
    assert [row.at for row in ENTRIES["fig8"].rows] == [0.0, 0.1, 0.2, 0.3]
    # the same training is one row of several tables: their numbers agree
    first = {row.label: row.paper for row in ENTRIES["table1"].rows}
    assert first["FaceShield"] == six["SAVP and PVTM"][:2]


def test_sweeps_and_ablations_share_the_trainings_that_are_the_same() -> None:
    of = {name: {row.system for row in ENTRIES[name].rows} for name in ("fig7", "table6")}
    assert of["fig7"] & of["table6"] == {"SAVP", "FaceShield"}
    trained = [json.dumps(system.changes) for system in SYSTEMS.values()
               if system.stage == "sft" and not (system.baseline or system.general)]  # fmt: skip
    assert len(set(trained)) == len(trained)


# -- pictures and protocols


def named(samples: list[Sample], dataset: str) -> list[Sample]:
    splits = {"p3": "dev", "p4": "test"}
    return [
        row.model_copy(update={"dataset": dataset, "id": f"{dataset}-{row.id}", "split": splits.get(str(row.subject), "train")})
        for row in samples
    ]


def done(name: str, target: Path, work: Any) -> None:
    if not target.exists():
        work()


@pytest.fixture
def bench(samples: list[Sample], samples_jsonl: Path, tmp_path: Path) -> Bench:
    """The shared drawn pictures in the place of WMCA and SiW-Mv2, as `prepare` would name them."""
    rows = [row for name in ("wmca", "siw-mv2", "else") for row in named(samples, name)]
    file = samples_jsonl.with_name("mine.jsonl")
    write_jsonl(file, rows)
    return own(tmp_path / "bench", [file], done, seed=0, wording="plain")


def test_own_samples_find_their_domain_and_keep_their_splits(bench: Bench) -> None:
    assert bench.domains == ("W", "S") and bench.missing(Protocol.of("W+S>P")) == ["P"]
    people = {split: {row.subject for row in read_jsonl(bench.file("W", split), Sample)} for split in ("train", "dev", "test")}
    assert people == {"train": {"p0", "p1", "p2"}, "dev": {"p3"}, "test": {"p4"}}
    told = read_jsonl(bench.file("W", "dialogues"), Dialogue)
    assert {row.meta["sample_id"] for row in told} == {row.id for row in read_jsonl(bench.file("W", "train"), Sample)}


def test_a_cross_protocol_sees_nothing_of_its_target_but_the_test_pictures(bench: Bench) -> None:
    protocol = Protocol.of("W>S")
    assert all("/W/" in str(file) for file in bench.files(protocol, "train", "dev", "dialogues", "captions"))
    dev, test = (read_jsonl(bench.joined(protocol, split), Sample) for split in ("dev", "test"))
    assert {row.dataset for row in dev} <= {"wmca"} and {row.dataset for row in test} == {"siw-mv2"}
    assert all((bench.joined(protocol, "test").parent / row.image).is_file() for row in test)


def test_a_data_set_that_has_train_and_test_keeps_them_and_rows_of_others_are_told(
    samples: list[Sample], samples_jsonl: Path, tmp_path: Path
) -> None:
    rows = [
        row.model_copy(update={"id": f"{row.id}-{n}", "subject": f"{row.subject}-{n}", "split": "test" if n == 4 else "train"})
        for n in range(5)
        for row in named(samples, "wmca")
    ]
    file, said = samples_jsonl.with_name("two.jsonl"), []
    write_jsonl(file, [*rows, *named(samples, "else")])
    made = own(tmp_path / "bench", [file], done, seed=0, wording="plain", report=said.append)
    tested = {row.id for row in read_jsonl(made.file("W", "test"), Sample)}
    assert tested == {row.id for row in rows if row.split == "test"} and read_jsonl(made.file("W", "dev"), Sample)
    assert said == [f"left out, for no protocol has them: {len(samples)} of else"]


def test_dialogues_of_another_wording_are_not_gone_on_with(
    samples: list[Sample], samples_jsonl: Path, bench: Bench, tmp_path: Path
) -> None:
    file = samples_jsonl.with_name("mine.jsonl")
    assert own(tmp_path / "bench", [file], done, seed=0, wording="plain").domains == bench.domains
    with pytest.raises(ValueError, match="dialogues.jsonl has the plain wording, now it is rich"):
        own(tmp_path / "bench", [file], done, seed=0, wording="rich")


def test_rich_words_are_scored_against_rich_words(samples_jsonl: Path, samples: list[Sample], tmp_path: Path) -> None:
    file = samples_jsonl.with_name("rich.jsonl")
    write_jsonl(file, [*named(samples, "wmca"), *named(samples, "siw-mv2")])
    rich = own(tmp_path / "rich", [file], done, seed=0, wording="rich")
    (references,) = rich.references(Protocol.of("W>S"))
    told = read_jsonl(references, Dialogue)
    assert {row.task for row in told} == {"reasoning"}
    assert {row.meta["sample_id"] for row in told} == {row.id for row in read_jsonl(rich.file("S", "test"), Sample)}
    plain = own(tmp_path / "plain", [file], done, seed=0, wording="plain")
    assert plain.references(Protocol.of("W>S")) == []


def test_every_row_is_scored_against_the_words_that_were_learnt(
    samples_jsonl: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = samples_jsonl.with_name("rich.jsonl")
    write_jsonl(file, [*named(samples, "wmca"), *named(samples, "siw-mv2")])
    bench = own(tmp_path / "rich", [file], done, seed=0, wording="rich")
    engine = Reproduction(
        tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, init="tiny", meteor=True,
        starts={"ResNet": "microsoft/resnet-50"},
    )  # fmt: skip
    told: dict[str, Any] = {}

    def measured(model: Any, out: Path, *, tasks: Any, references: Any, meteor: bool, **_: Any) -> None:
        told[tuple(tasks)] = (references, meteor)
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.json").write_text("{}")

    def swept(config: SweepConfig, **_: Any) -> Results:
        told["ours"] = (config.references, config.meteor)
        file = config.out / next(iter(config.variants)) / "seed-0/scores/metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        return Results()

    monkeypatch.setattr("faceshield.recipes.reproduce.reproduction.measure", measured)
    monkeypatch.setattr("faceshield.recipes.reproduce.reproduction.run_sweep", swept)
    protocol = Protocol.of("W>S")
    wanted = bench.references(protocol)
    engine.metrics("FaceShield", protocol, 1)
    assert told["ours"] == (wanted, True)
    engine._scored("a baseline", "model", tmp_path / "a", protocol, tasks=("coarse", "fine"))
    engine.models = {"LLaVA": ("model", "http://127.0.0.1:1/v1")}
    for _ in range(2):  # and once it is there
        engine.metrics("LLaVA", protocol, 1)
    assert told["coarse", "fine"] == ([], True) and told[tuple(TASKS)] == (wanted, True)
    write_jsonl(wanted[0], read_jsonl(wanted[0], Dialogue)[:1])
    with pytest.raises(ValueError, match="begun with references"):
        engine.metrics("LLaVA", protocol, 1)


def test_samples_of_other_data_sets_are_refused_with_their_names(samples_jsonl: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data sets drawn — expected some of wmca, siw-mv2, padisi"):
        own(tmp_path / "bench", [samples_jsonl], done, seed=0, wording="plain")


def test_a_general_model_behind_an_endpoint_fills_its_row(bench: Bench, tmp_path: Path) -> None:
    from openai_server import OpenAIServer

    assert _named("LLaVA=llava:7b@http://127.0.0.1:1/v1", SYSTEMS) == ("LLaVA", ("llava:7b", "http://127.0.0.1:1/v1"))
    assert _named("LLaVA=models/a@b", SYSTEMS) == ("LLaVA", ("models/a@b", None))
    protocol = Protocol.of("W>S")
    with OpenAIServer(answer=lambda body: "Yes, this is a presentation attack.") as server:
        models = {"LLaVA": ("llava:7b", server.url)}
        engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, models=models)
        (found,) = engine.metrics("LLaVA", protocol, 1)
        asked = len(server.requests)
    rows = read_jsonl(bench.joined(protocol, "test"), Sample)
    attacks = sum(row.is_attack for row in rows)
    assert asked >= len(rows) and {body["model"] for body in server.requests} == {"llava:7b"}
    assert found["threshold"] is None
    assert found["overall"]["coarse"]["by_answer"]["acc"]["value"] == pytest.approx(attacks / len(rows))
    with pytest.raises(NotAvailable, match="NAME=MODEL@ENDPOINT"):
        engine.metrics("Bunny", protocol, 1)
    engine.models, engine.only = {}, ["FaceShield"]
    assert engine.metrics("LLaVA", protocol, 1) == [found]  # what is there is shown
    engine.models = {"LLaVA": ("llava:34b", server.url)}
    with pytest.raises(NotAvailable, match="was begun with model 'llava:7b', now 'llava:34b'"):
        engine.metrics("LLaVA", protocol, 1)
    engine.only = None
    with pytest.raises(ValueError, match="was begun with model"):
        engine.metrics("LLaVA", protocol, 1)


def test_the_foundation_and_every_baseline_start_see_d_alone(tmp_path: Path) -> None:
    """Which pictures each training is given: the leak would be here."""
    asked: dict[str, list[str]] = {}

    def train(config: Path, overrides: list[str]) -> None:
        given = dict(item.split("=", 1) for item in overrides)
        asked[given["out"]] = overrides
        Path(given["out"]).mkdir(parents=True, exist_ok=True)
        (Path(given["out"]) / "run.json").write_text("{}")

    configs = tmp_path / "configs"
    (configs / "baseline").mkdir(parents=True)
    (configs / "baseline" / "resnet.yaml").write_text("# a baseline\n")
    (configs / "train").mkdir()
    for name in ("towers", "lm", "pretrain", "sft"):
        (configs / "train" / f"tiny-{name}.yaml").write_text("# a stage\n")
    engine = Reproduction(tmp_path / "out", Bench(tmp_path / "data", ("W", "S", "P", "D")), SCALES["toy"], configs, train)
    engine._scored = lambda *args, **kwargs: {}  # type: ignore[method-assign,assignment]
    protocol = Protocol.of("W+S>P")
    assert engine.foundation(protocol, 0) == str(tmp_path / "out/foundation/sft")
    engine.metrics("ResNet", protocol, 2)
    data = {out.removeprefix(f"{tmp_path}/out/"): next((o for o in given if o.startswith(("data=", "dialogues="))), "")
            for out, given in asked.items()}  # fmt: skip
    assert set(data) == {"foundation/towers", "foundation/lm", "foundation/pretrain", "foundation/sft", "foundation/resnet",
                         "runs/WS-to-P/resnet/seed-0/model", "runs/WS-to-P/resnet/seed-1/model"}  # fmt: skip
    for out, files in data.items():
        seen = {name for name in DOMAINS if f"/data/{name}/" in files}
        assert seen == ({"D"} if out.startswith("foundation") else {"W", "S", "D"}), (out, files)
        assert "/test.jsonl" not in files, out
        assert ("/D/dev.jsonl" in files) == (out in ("foundation/towers", "foundation/resnet")), out
    assert f"init={tmp_path}/out/foundation/resnet" in asked[f"{tmp_path}/out/runs/WS-to-P/resnet/seed-0/model"]
    engine.adapt = True
    assert engine.foundation(protocol, 1) == str(tmp_path / "out/runs/WS-to-P/towers/seed-1")
    given = " ".join(asked[f"{tmp_path}/out/runs/WS-to-P/towers/seed-1"])
    assert "seed=1" in given  # each seed's own: what varies in a baseline varies in ours
    assert f"init={tmp_path}/out/foundation/sft" in given and "/data/W/" in given and "/data/S/" in given
    assert "/data/P/" not in given and "/data/D/train.jsonl" in given and "/data/D/dev.jsonl" not in given
    engine.adapt = False
    (configs / "baseline" / "resnet.yaml").write_text("weight_decay: 0.2  # another recipe\n")
    with pytest.raises(ValueError, match="begun with recipe"):  # its seeds 0, 1 and 2 would be two recipes
        engine.metrics("ResNet", protocol, 3)
    (configs / "baseline" / "resnet.yaml").write_text("# a baseline\n")
    note = json.loads((tmp_path / "out/foundation/resnet/begun.json").read_text())["reproduce"]
    assert not any("out/" in str(value) for value in note.values())  # the folder spelt otherwise is the same folder
    with pytest.raises(ValueError, match="begun with"):  # another scale in the same folder would mix two runs
        Reproduction(engine.out, engine.bench, SCALES["small"], configs, train).metrics("ResNet", protocol, 1)


def test_a_folder_is_the_same_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (Path('läufe "a"'), tmp_path / 'läufe "a"'):
        engine = Reproduction(out, Bench(tmp_path, ("W",)), SCALES["toy"], tmp_path, lambda *given: None)
        engine._begun(out / "runs", {"init": out / "foundation", "seed": 0})
    assert json.loads((out / "runs" / "begun.json").read_text())["reproduce"] == {"init": "foundation", "seed": 0}


def test_what_cannot_be_had_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ("W", "S", "D"))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "tiny-towers.yaml").write_text("# a stage\n")
    engine = Reproduction(tmp_path, bench, SCALES["toy"], tmp_path, lambda *given: None, only=["ResNet", "Bunny"])
    for name, protocol, reason in (
        ("ResNet", "W+S>P", "no pictures of P"), ("ResNet", "W>S", "no recipe in"), ("FaceShield", "W>S", "left out"),
        ("Bunny", "W>S", "--model NAME="),
    ):  # fmt: skip
        with pytest.raises(NotAvailable, match=reason):
            engine.metrics(name, Protocol.of(protocol), 1)
    assert not (tmp_path / "foundation").exists()  # nothing of a system that is left out is begun


def test_with_a_checkpoint_of_one_s_own_its_size_says_the_recipe_and_baselines_are_given_a_start(
    tmp_path: Path, monkeypatch: Any
) -> None:
    bench = Bench(tmp_path / "data", ("W", "S", "P"))
    engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, init="tiny")
    small = engine._stage("sft", {"epochs": 9}, [])
    assert engine.wording == "plain"
    assert small["config"].endswith("train/tiny-sft.yaml") and small["epochs"] == 9
    monkeypatch.setattr("faceshield.recipes.reproduce.reproduction.count_parameters", lambda folder: 4_000_000_000)
    large = engine._stage("sft", {"epochs": 9}, [])
    assert large["config"].endswith("train/sft.yaml") and "epochs" not in large  # a scale is of the tiny model
    assert engine.wording == "rich"
    with pytest.raises(NotAvailable, match="--start ResNet=FOLDER"):
        engine._start("ResNet", SYSTEMS["ResNet"], Protocol.of("W+S>P"), 0)
    engine.starts = {"ResNet": "microsoft/resnet-50"}
    assert engine._start("ResNet", SYSTEMS["ResNet"], Protocol.of("W+S>P"), 0) == "microsoft/resnet-50"
    (line,) = engine.told(ENTRIES["table2"])
    assert "whether that has seen the tested domain" in line and engine.told(ENTRIES["table1"]) == []


def test_a_table_says_how_many_pictures_each_has_seen(tmp_path: Path) -> None:
    engine = Reproduction(tmp_path, Bench(tmp_path, ("D",)), SCALES["small"], ROOT / "configs", lambda *given: None, adapt=True)
    (line,) = engine.told(ENTRIES["table2"])
    assert line == (
        "Pictures seen on D, then on the sources with D's among them: our towers 160,000, then 24,000 before the stages; "
        "ResNet 160,000, then 24,000; PatchNet 160,000, then 24,000; IADG 160,000, then 24,000; CDCN 160,000, then 24,000."
    )
    engine.adapt = False
    (line,) = engine.told(ENTRIES["table2"])
    assert "our towers 160,000, then frozen; ResNet" in line
    engine.starts = {"ResNet": "microsoft/resnet-50"}
    line, of_ours = engine.told(ENTRIES["table1"])
    assert of_ours.startswith("RGB-only: switched off after the foundation")
    assert "; PatchNet 160,000, then 24,000" in line and "ResNet those of microsoft/resnet-50, then 24,000" in line
    assert "CoOp those of our towers, then 24,000" in line
    (of_ours,) = engine.told(ENTRIES["table6"])
    assert of_ours.startswith("RGB-only, SAVP, PVTM: switched off after the foundation")


def test_what_is_done_is_shown_though_another_system_is_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "data", ("W", "S", "D"))
    engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, only=["IADG"])
    for file in ("foundation/resnet/run.json", "runs/W-to-S/resnet/seed-0/model/run.json"):
        (tmp_path / "out" / file).parent.mkdir(parents=True)
        (tmp_path / "out" / file).write_text("{}")
    scores = tmp_path / "out/runs/W-to-S/resnet/seed-0/scores/metrics.json"
    protocol = Protocol.of("W>S")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bench, "joined", lambda self, protocol, part: tmp_path / f"{part}.jsonl")
        with pytest.raises(NotAvailable, match="left out"):
            engine.metrics("ResNet", protocol, 1)
        scores.parent.mkdir(parents=True)
        scores.write_text('{"done": 1}')
        assert engine.metrics("ResNet", protocol, 1) == [{"done": 1}]
        assert engine.metrics("ResNet", protocol, 3) == [{"done": 1}], "of three seeds, the one that is there"
        (scores.parent.parent / "model" / "begun.json").write_text('{"reproduce": {"seed": 7}}')
        with pytest.raises(NotAvailable, match="left out of this run, and .* was begun with"):
            engine.metrics("ResNet", protocol, 1)


def test_what_starts_from_other_weights_is_refused(tmp_path: Path) -> None:
    """A path is not what it holds: trained anew, the same folder is another start."""
    out = tmp_path / "out"

    def train(config: Path, given: list[str]) -> None:
        folder = next(Path(one.removeprefix("out=")) for one in given if one.startswith("out="))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.safetensors").write_text(f"{config.name} {sorted(given)}")
        (folder / "run.json").write_text("{}")

    engine = Reproduction(out, Bench(tmp_path / "data", ("W", "S", "D")), SCALES["toy"], ROOT / "configs", train)
    engine._train("first", "train/tiny-towers", out / "a", {})
    engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")
    engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")
    note = json.loads((out / "b/begun.json").read_text())
    weights = note["reproduce"].pop("weights")
    (out / "b/begun.json").write_text(json.dumps(note))  # as an earlier version left it
    engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")
    assert json.loads((out / "b/begun.json").read_text())["reproduce"]["weights"] == weights
    kept = (out / "a/weights.safetensors").read_text()
    (out / "a/weights.safetensors").unlink()  # to save disk: what is gone is not another start
    engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")
    (out / "a/weights.safetensors").write_text(kept)
    engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")
    (out / "a/weights.safetensors").write_text("others")
    with pytest.raises(ValueError, match=f"begun with weights '{weights}'"):
        engine._train("second", "train/tiny-sft", out / "b", {}, init=out / "a")


def with_dialogues(bench: Bench) -> Bench:
    """The bench, with something in the place of its dialogues."""
    for name in bench.domains:
        for part in ("captions", "dialogues"):
            file = bench.file(name, part)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name} {part}")
    return bench


def test_our_finished_rows_are_of_these_recipes_and_dialogues(tmp_path: Path) -> None:
    bench = with_dialogues(Bench(tmp_path / "data", ("W", "S", "P")))
    engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, init="tiny")
    scores = tmp_path / "out/runs/WS-to-P/ours/FaceShield/seed-0/scores/metrics.json"
    scores.parent.mkdir(parents=True)
    scores.write_text('{"done": 1}')
    protocol = Protocol.of("W+S>P")
    for _ in range(2):
        assert engine.metrics("FaceShield", protocol, 1) == [{"done": 1}]
    bench.file("S", "dialogues").write_text("an assistant's")
    with pytest.raises(ValueError, match="begun with dialogues"):
        engine.metrics("FaceShield", protocol, 1)
    bench.file("S", "dialogues").write_text("S dialogues")
    engine.scale = replace(engine.scale, sft={"epochs": 9})
    with pytest.raises(ValueError, match="begun with stages"):
        engine.metrics("FaceShield", protocol, 1)


def test_our_rows_are_of_the_foundation_they_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = with_dialogues(Bench(tmp_path / "data", ("W", "S", "P", "D")))
    engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None)
    weights = tmp_path / "out/foundation/sft/model.safetensors"
    scores = tmp_path / "out/runs/WS-to-P/ours/FaceShield/seed-0/scores/metrics.json"

    def foundation(self: Reproduction, protocol: Protocol, seed: int) -> str:
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text("first")
        return str(weights.parent)

    def sweep(*_: Any, **__: Any) -> Results:
        scores.parent.mkdir(parents=True)
        scores.write_text("{}")
        return Results(runs=[{}])

    monkeypatch.setattr(Reproduction, "foundation", foundation)
    monkeypatch.setattr("faceshield.recipes.reproduce.reproduction.run_sweep", sweep)
    monkeypatch.setattr(Bench, "joined", lambda self, protocol, part: tmp_path / f"{part}.jsonl")
    protocol = Protocol.of("W+S>P")
    assert engine.metrics("FaceShield", protocol, 1) == engine.metrics("FaceShield", protocol, 1) == [{}]
    weights.write_text("second")
    with pytest.raises(ValueError, match="begun with weights"):
        engine.metrics("FaceShield", protocol, 1)


def test_the_time_of_a_resumed_training_is_that_of_its_log(tmp_path: Path) -> None:
    engine = Reproduction(tmp_path, Bench(tmp_path, ("W",)), SCALES["toy"], tmp_path, lambda *given: None)
    (tmp_path / "log.jsonl").write_text('{"minutes": 1.5}\n{"minutes": 2.5}\n{"event": "end"}\n{"minu')
    for name, log in (("resumed", tmp_path / "log.jsonl"), ("whole", None)):
        engine.step(name, tmp_path / name, (tmp_path / name).touch, log=log)
    took = seconds(tmp_path)
    assert took["resumed"] == 150.0 and took["whole"] < 1


def test_a_training_that_failed_is_tried_again_though_a_later_one_is_done(tmp_path: Path, monkeypatch: Any) -> None:
    bench = with_dialogues(Bench(tmp_path / "data", ("W", "S", "P")))
    engine = Reproduction(tmp_path / "out", bench, SCALES["toy"], ROOT / "configs", lambda *given: None, init="tiny")
    scores = [tmp_path / f"out/runs/WS-to-P/ours/FaceShield/seed-{seed}/scores/metrics.json" for seed in (0, 1)]
    scores[1].parent.mkdir(parents=True)
    scores[1].write_text("{}")
    tries: list[list[dict[str, Any]]] = [[{"error": "loss nan"}, {}], [{}, {}]]

    def sweep(*_: Any, **__: Any) -> Results:
        results = Results(runs=tries.pop(0))
        if not results.failed:
            scores[0].parent.mkdir(parents=True)
            scores[0].write_text("{}")
        return results

    monkeypatch.setattr("faceshield.recipes.reproduce.reproduction.run_sweep", sweep)
    monkeypatch.setattr(Bench, "joined", lambda self, protocol, part: tmp_path / f"{part}.jsonl")
    with pytest.raises(NotAvailable, match="loss nan"):
        engine.metrics("FaceShield", Protocol.of("W+S>P"), 2)
    assert engine.metrics("FaceShield", Protocol.of("W+S>P"), 2) == [{}, {}]


# -- what is shown


def run_of(hter: float, *, words: float | None = None, n: int = 50) -> dict[str, Any]:
    def rates(value: float) -> dict[str, Any]:
        hter = {"value": value, "n": n, "ci95": [value - 0.02, value + 0.04]}
        return {"acc": {"value": 1 - value, "n": n, "ci95": None}, "hter": hter}

    by_words = None if words is None else rates(words)
    coarse = {"n_bonafide": 20, "n_attack": 30, "by_score": rates(hter), "by_answer": by_words}
    if words is None:
        coarse["by_half"] = rates(2 * hter)
    return {"overall": {"coarse": coarse}}


def test_cells_of_one_training_and_of_several() -> None:
    one, many = Row("ResNet", "ResNet", decided="score"), Row("FaceShield", "FaceShield")
    assert cell(Outcome(one, (run_of(0.1),)), HTER) == "10.00 [8.0, 14.0]"
    assert cell(Outcome(replace(one, decided="half"), (run_of(0.1),)), HTER) == "20.00 [18.0, 24.0]"
    several = Outcome(many, (run_of(0.5, words=0.1), run_of(0.5, words=0.2)))
    assert cell(several, HTER) == "15.00 ± 7.07 [13.0, 19.0]" and values(several, ACC) == pytest.approx([90, 80])
    assert cell(several, AP50) == "–" and cell(Outcome(many, (run_of(0.1),)), HTER) == "–"  # it gave no words
    assert printed((5.71, 0.08)) == "5.71 ± 0.08" and printed(26.27) == "26.27" and printed(None) == "–"


def test_a_row_without_numbers_says_so_and_why() -> None:
    entry = ENTRIES["table2"]
    outcomes = [
        Outcome(row, (run_of(0.1, words=0.1),)) if row.system == "FaceShield" else Outcome(row, reason="it is not there")
        for row in entry.rows
    ]
    table = grid(entry, outcomes)
    text = table.render("text")
    assert all(name in text for name in CROSS.values())
    assert {len(row) for row in table.rows} == {len(table.header)}
    absent = [row for row in table.rows if row[0] == "PatchNet"]
    assert (
        len(absent) == 3
        and not any(row[0] == "PatchNet, by score" for row in table.rows)
        and absent[0][1:6] == ["not available", "77.18", "–", "22.87", "–"]
    )
    assert "Not available: ResNet, PatchNet, IADG, CDCN: it is not there." in notes(entry, outcomes)
    old = run_of(0.1)
    del old["overall"]["coarse"]["by_half"]
    said = notes(entry, [Outcome(row, (old,)) for row in entry.rows])
    assert any(line.startswith("Without a decision at 0.5, scored by an earlier version: ResNet, PatchNet") for line in said)


def test_a_report_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "results.md"
    file.write_text("# Results\n\nBefore.\n")
    put_into(file, "one\n")
    assert file.read_text() == f"# Results\n\nBefore.\n\n{BEGIN}\none\n{END}\n"
    file.write_text(file.read_text() + "After.\n")
    put_into(file, "two\n")
    assert file.read_text() == f"# Results\n\nBefore.\n\n{BEGIN}\ntwo\n{END}\nAfter.\n"


def test_a_report_has_all_that_is_in_the_folder_whichever_commands_made_it(tmp_path: Path) -> None:
    entries = [ENTRIES[name] for name in ("table2", "table3", "table6")]
    (tmp_path / "times.jsonl").write_text('{"step": "one", "seconds": 60}\n{"step": "one", "seconds": 30}\n')
    for entry, command in ((entries[0], "first"), (entries[2], "second")):
        outcomes = [Outcome(row, (), "it is not there") for row in entry.rows]
        write(tmp_path, entry, outcomes, {"command": command}, [f"note of {entry.name}"])
    text = report(tmp_path, entries, {"scale": "toy"})
    assert text.startswith("`first` (table2)  \n`second` (table6)\n\nHardware: ") and "scale toy." in text
    assert (
        text.index(entries[0].title)
        < text.index("note of table2")
        < text.index(entries[2].title)
        < text.index("note of table6")
    )
    assert entries[1].title not in text and "2 minutes" in text
    assert report(tmp_path, entries[2:], {}).startswith("`second`\n\n")


# -- the command


def command(*given: object) -> Result:
    return CliRunner().invoke(app, ["reproduce", *map(str, given)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tabel2"], "did you mean 'table2'"),
        (["table2", "--scale", "huge"], "expected one of toy"),
        (["table2", "--configs", "nowhere"], "run from it"),
        (["table2", "--configs", str(ROOT / "configs"), "--only", "Resnet"], "expected some of"),
        (["table2", "--configs", str(ROOT / "configs"), "--model", "GPT=x"], "a name out of LLaVA"),
    ],
)
def test_what_is_no_reproduction(given: list[str], said: str) -> None:
    assert said in str(command(*given).exception)


@quiet
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_table_2_and_the_figures_at_toy_scale_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "faceshield.predictor.FaceShieldPredictor._answer_tokens", 4
    )  # random weights never come to an end by themselves
    options = ["--scale", "toy", "--out", tmp_path / "out", "--configs", ROOT / "configs", "--threads", 1, "--workers", 1]
    made = command("table2", *options, "--into", tmp_path / "results.md")
    assert made.exit_code == 0, (made.output, made.exception)
    told = json.loads((tmp_path / "out/table2.json").read_text())
    ours = [row for row in told["rows"] if row["system"] == "FaceShield"]
    assert len(ours) == 6 and all(len(row["values"]["HTER(%) ↓"]) == 1 for row in ours)
    assert all(row["reason"] or row["values"]["ACC(%) ↑"] for row in told["rows"])
    assert "| W & S → P |" in (tmp_path / "results.md").read_text()

    steps = (tmp_path / "out/times.jsonl").read_text()
    again = command("table2", *options)
    assert (tmp_path / "out/times.jsonl").read_text() == steps and "==" not in again.stderr
    assert again.stdout.splitlines()[-2:] == made.stdout.splitlines()[-2:]

    drawn = command("fig6", "fig8", "fig9", *options, "--repeat", 2)
    assert drawn.exit_code == 0, (drawn.output, drawn.exception)
    for name in ("fig6", "fig8", "fig9"):
        assert (tmp_path / f"out/{name}.png").stat().st_size > 5000
    assert "tokens that lies inside a true box: RGB" in drawn.stdout
    repeats = json.loads((tmp_path / "out/fig8.json").read_text())["rows"]
    assert all(len(row["values"]["ACC(%) ↑"]) == 2 for row in repeats)
    mixed = command("table2", *options[2:], "--scale", "small")
    assert "was begun with scale 'toy', now 'small'" in str(mixed.exception)


def test_the_importance_figure_knows_where_a_box_lies(make_sample: Any) -> None:
    from faceshield.recipes.reproduce.figures import _covered

    row = make_sample("Print", size_wh=(50, 100), boxes=[(0, 0, 50, 50)])
    covered = _covered(row, 4)  # padded to 100 x 100: the box is the middle half of the upper half
    assert np.array_equal(covered, [[False, True, True, False]] * 2 + [[False] * 4] * 2)
