"""Fine-tunes a checkpoint on one's own pictures: from their folder to an adapter and a report on people it has not seen.

The steps: prepare, split (no person in two parts), generate, train (stage `sft` of the paper, §4.3, as an adapter), choose on
the development part how much of what was learnt to keep, and the threshold; score on the test part, next to the checkpoint as
it was, with a threshold chosen the same way. A finished step is not repeated.
Use: `result = finetune(FinetuneConfig(folder="mine", out="my-model"))`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from faceshield.config import Config, write_override
from faceshield.data_engine.backends import BackendConfig
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.datasets import DATASETS, PrepareConfig, prepare, rejects_path
from faceshield.datasets.folder import LINES, LIST
from faceshield.datasets.splits import SPLITS, SplitConfig, split
from faceshield.evaluation.threshold import rate_limit
from faceshield.inspection import FaceMode
from faceshield.looks import how_looked
from faceshield.model import SMALL, checkpoint_hash, count_parameters, is_adapter, read_info, resolve_model
from faceshield.provenance import RUN_FILE, begun, file_sha256, read_json, write_text_atomic
from faceshield.recipes.finetune_report import report_lines, unnamed_people
from faceshield.recipes.keep import SHARES, keep_best
from faceshield.recipes.measure import METRICS_FILE, measure
from faceshield.records import Sample, iter_jsonl, read_jsonl
from faceshield.tasks import COARSE, QUESTIONS, TASKS, learnable_tasks
from faceshield.taxonomy import BONAFIDE, UNTYPED
from faceshield.training.settings import MACHINE, StageConfig
from faceshield.training.stages import train_stage
from faceshield.training.watch import Report

LEAST_PICTURES = 12  # of each class: with fewer, a held-out part of two pictures says nothing
LEAST_HELD_OUT = 2  # of each class, in each part
MOST_OFTEN = 4.0  # limit on how many times the rarer class is seen to balance the two
REPORT_FILE = "report.md"


class FinetuneConfig(Config):
    """Settings of a fine-tuning; all else follows from the pictures and the checkpoint.

    Attributes:
        folder: pictures as `prepare folder` reads them: `real/…` and `attack/<type>/…`, or a list; or a samples file.
        out: folder of all results; `out/model` is the adapter, `out/trained` the one that holds all that was learnt.
        init: checkpoint to adapt: "tiny", a folder, or a hub id.
        face: "detect": cut out the largest face, as `inspect` does; "whole": the pictures are face crops.
        tasks: tasks to learn and to score; None = those for which most attacks have a true answer (`learnable_tasks`). The
            coarse task is always among them.
        criterion: criterion of the threshold, see `choose_threshold`.
        dev_share, test_share: shares of the people of each kind.
        settings: settings of stage `sft` that replace those of `defaults`.
        seed: seed of the split, the wordings and the training.
    """

    folder: Path
    out: Path
    init: str = "tiny"
    face: FaceMode = "detect"
    tasks: tuple[str, ...] | None = None
    criterion: str = "eer"
    dev_share: float = Field(0.2, gt=0, lt=1)
    test_share: float = Field(0.25, gt=0, lt=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Finetuned:
    """The result of a fine-tuning.

    Attributes:
        model: the adapter's folder, with its threshold.
        kept: share of what was learnt that the adapter holds, and the figures of each share tried, see `keep_best`.
        metrics: metrics of the test part: "before" (the checkpoint as it was, its threshold chosen on the same development
            part) and "after".
        report: a Markdown page with both.
    """

    model: Path
    kept: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    report: Path


def defaults(init: str, pictures: int) -> dict[str, Any]:
    """Settings of stage `sft` that suit a checkpoint and a number of pictures.

    A small model takes larger steps, as in its own training (configs/train/tiny-sft.yaml); the low rank suits few pictures.
    """
    folder = resolve_model(init)
    small = count_parameters(folder) < SMALL
    batch = 8 if small else 4
    updates = max(1, -(-pictures // batch))
    return {
        "learning_rate": 1e-3 if small else 2e-4,
        "projector_lr": 5e-4 if small else 2e-5,
        "batch_size": batch,
        **({} if is_adapter(folder) else {"lora_r": 16, "lora_alpha": 32}),
        "epochs": max(3, min(30, -(-100 // updates))) if small else 3,
        "crop_side": read_info(folder).crop_side,
        "cache_features": True,
        "pack": True,
        "threads": torch.get_num_threads(),
        "save_steps": 25,
        "log_every": 10,
    }


def finetune(config: FinetuneConfig, *, report: Report | None = None) -> Finetuned:
    """Fine-tunes as this module describes; the same call resumes a run that was stopped.

    Args:
        config: the settings.
        report: called with a row for each step, and with every row of the training log.

    Raises:
        ValueError: too few pictures, people or classes; `out` was begun with other settings or pictures, or lies in `folder`.
        FileNotFoundError: no such folder or checkpoint.
    """
    tell = report or (lambda row: None)
    _check(config)
    # The model looks once, at what is cut out here; how the pictures of a samples file were cut is unknown.
    looked = {} if config.folder.is_file() else how_looked(config.face, twice=False)
    told = {key: value for key, value in config.settings.items() if key not in MACHINE}
    # Not the criterion: if no threshold meets it, the same training is scored by another.
    own = config.model_dump(mode="json", exclude={"out", "settings", "criterion"}) | {"folder": str(config.folder.resolve())}
    lists = [file for name in (LIST, LINES) if (file := config.folder / name).is_file()]
    content: dict[str, Any] = {"pictures": file_sha256(config.folder), "lists": [file_sha256(file) for file in lists]}
    content["weights"] = checkpoint_hash(resolve_model(config.init))
    begun(config.out, "finetune", {**own, **content, **looked, **told}, newer=("weights",))
    data = config.out / "data"
    samples = _prepared(config, data, tell)
    parts = _divided(config, samples, data, tell)
    if warning := unnamed_people(parts):
        tell({"event": "warning", "": warning})
    wanted = config.tasks or learnable_tasks(read_jsonl(parts["train"], Sample))
    tasks = tuple(dict.fromkeys((COARSE.name, *wanted)))  # the task that the threshold is for is always asked
    tell({"event": "tasks", "learnt and scored": ", ".join(tasks)})
    dialogues = data / "dialogues.jsonl"
    # Plain wording: the model learns the fixed questions, with which it is scored and used, and their fixed answers.
    plain = GenerateConfig(tasks=tasks, backend=BackendConfig(kind="grammar", wording="plain"))
    generate(parts["train"], dialogues, plain, seed=config.seed)
    stage = _stage(config, dialogues, read_jsonl(parts["train"], Sample))
    if not (stage.out / RUN_FILE).is_file():
        train_stage(stage, questions=QUESTIONS, report=tell)
    shutil.rmtree(config.out / "cache", ignore_errors=True)  # features of faces are biometric data, as faces are
    model = config.out / "model"
    # If `init` is an adapter, scaling back would lead to its base, not to the adapter as it was.
    shares = (1.0,) if is_adapter(resolve_model(config.init)) else SHARES
    kept = keep_best(stage.out, model, dev=parts["dev"], shares=shares)
    tell({"event": "kept", "share of what was learnt": kept["share"]})

    def progress(name: str, done: int, total: int) -> None:
        if done == total:
            tell({"event": "predicted", "part": name, "pictures": total})

    metrics = {}
    for name, asked in (("before", config.init), ("after", str(model))):
        scores = config.out / "scores" / name
        file = scores / METRICS_FILE
        metrics[name] = _measured(file, config.criterion) or measure(
            asked, scores, test=parts["test"], dev=parts["dev"], tasks=tasks, criterion=config.criterion, system=name,
            store=name == "after", told=looked, seed=config.seed, progress=progress,
        )  # fmt: skip
    page = write_text_atomic(config.out / REPORT_FILE, "\n".join(report_lines(config, parts, kept, metrics)) + "\n")
    return Finetuned(model, kept, metrics, page)


def _measured(file: Path, criterion: str) -> dict[str, Any] | None:
    """Metrics of an earlier call, if their threshold was chosen by this criterion."""
    found: dict[str, Any] = read_json(file) if file.is_file() else {}
    return found if found and found["threshold"]["source"]["criterion"] == criterion else None


def _check(config: FinetuneConfig) -> None:
    if not config.folder.exists():
        raise FileNotFoundError(f"{config.folder} — expected a folder with real/… and attack/<type>/…, or a samples file")
    if config.folder.is_dir() and config.out.resolve().is_relative_to(config.folder.resolve()):
        raise ValueError(f"out {config.out} lies in {config.folder} — expected a folder elsewhere — choose another --out")
    if unknown := sorted(set(config.tasks or ()) - set(TASKS)):
        raise ValueError(f"task {unknown[0]!r} — expected some of {', '.join(TASKS)}")
    instead = {
        "init": "--model",
        "out": "--out",
        "dialogues": "FOLDER",
        "save": "nothing, an adapter is saved",
        "stage": "nothing",
        "surroundings": "nothing, faces are learnt and judged from close",
    }
    if fixed := sorted(instead.keys() & config.settings):
        told = ", ".join(f"{name} (give {instead[name]})" for name in fixed)
        raise ValueError(f"setting {told} — expected settings of the training alone — leave it out")
    rate_limit(config.criterion)
    resolve_model(config.init)
    _stage(config, Path("dialogues.jsonl"), [])  # unknown settings are reported before anything is written


# -- the pictures ----------------------------------------------------------------------------------------------------------


def _prepared(config: FinetuneConfig, data: Path, tell: Report) -> Path:
    """The samples of the folder, with faces cut out where they are to be; a samples file is used as it is."""
    if config.folder.is_file():
        return config.folder
    target = data / "samples.jsonl"
    if not target.is_file():
        crop: Literal["detect", "as-is"] = "detect" if config.face == "detect" else "as-is"
        summary = prepare(DATASETS["folder"](config.folder), PrepareConfig(out=target, crop=crop, inspectable=True, workers=1))
        others = {"passed over, as no pictures by their names": sum(summary.ignored.values())} if summary.ignored else {}
        tell({"event": "prepared", "pictures": sum(summary.rows.values()), **summary.problems, **others})
    rows = read_jsonl(target, Sample)
    for is_attack, name, where in ((False, "bona fide pictures", "real"), (True, "attacks", "attack/<type>")):
        count = sum(row.is_attack == is_attack for row in rows)
        if count < LEAST_PICTURES:
            raise ValueError(
                f"{config.folder}: {count} {name} that can be used — expected at least {LEAST_PICTURES} — "
                f"{_hint(config, rows, f'{where}/<person>/')}"
            )
    return target


def _hint(config: FinetuneConfig, rows: list[Sample], where: str) -> str:
    rejects = rejects_path(config.out / "data" / "samples.jsonl")
    with rejects.open(encoding="utf-8") as lines:  # not splitlines(), which also breaks at characters that a name may hold
        reasons = Counter(json.loads(line)["reason"] for line in lines)
    again = f"then remove {config.out} and repeat the command"
    if reasons["no face"] >= max(1, len(rows)):
        return f"in {reasons['no face']} no face was found: if they are face crops, add --face whole; {again}"
    more = f"add some as {config.folder}/{where}…"
    if not any(row.is_attack for row in rows) and rows:
        more += f", or make some: faceshield simulate --faces {config.folder}/real --count 200 --out simulated, then "
        more += "faceshield finetune simulated"
    lost = f"; {sum(reasons.values())} left out, see {rejects}" if reasons else ""
    return f"{more}{lost}; {again}"


def _divided(config: FinetuneConfig, samples: Path, data: Path, tell: Report) -> dict[str, Path]:
    parts = {name: data / f"{name}.jsonl" for name in SPLITS}
    if not (data / "splits.json").is_file():
        own = {row.split for row in iter_jsonl(samples, Sample)}
        if strange := sorted(name for name in own if name is not None and name not in SPLITS):
            raise ValueError(f"{config.folder}: split {', '.join(strange)} — expected {', '.join(SPLITS)} — correct it")
        divided_before = {"train", "test"} <= own and None not in own
        if not divided_before and own not in ({None}, {"train"}):
            found = ", ".join(sorted(name or "none" for name in own))
            raise ValueError(
                f"{config.folder}: its splits are {found} — expected train and test, and dev if there is one, of "
                "every picture; or none, for all to be divided here — correct the column `split`, or leave it out; then remove "
                f"{config.out} and repeat the command"
            )
        protocol: Any = "official" if divided_before else "subject-disjoint"
        divided = SplitConfig(
            out=data, protocol=protocol, test_share=config.test_share, dev_share=config.dev_share, seed=config.seed
        )
        try:
            report = split([samples], divided)
        except ValueError as error:
            raise ValueError(f"{config.folder}: {error}; {_more_people(config, samples)}") from None
        for line in report.lines():
            tell({"event": "split", "": line})
    counts = {name: _counts(file) if file.is_file() else Counter() for name, file in parts.items()}
    short = [
        f"{name} has {count[kind]} {words}"
        for name, count in counts.items()
        for kind, words in ((False, "bona fide pictures"), (True, "attacks"))
        if count[kind] < LEAST_HELD_OUT
    ]
    if short:
        raise ValueError(
            f"{config.folder}: {', '.join(short)} — expected {LEAST_HELD_OUT} of each — {_more_people(config, samples)}"
        )
    return parts


def _more_people(config: FinetuneConfig, samples: Path) -> str:
    people = {row.subject for row in iter_jsonl(samples, Sample) if row.subject is not None}
    known = f"{len(people)} people are named" if people else "nobody is named"
    where = f"a `split` in {config.folder}" if config.folder.is_file() else f"a column `split` in {config.folder}/samples.csv"
    return (
        f"nobody may be in two of train, dev and test ({known}): add pictures of other people, or {where}; then remove "
        f"{config.out} and repeat the command"
    )


def _counts(file: Path) -> Counter[bool]:
    return Counter(row.is_attack for row in iter_jsonl(file, Sample))


# -- the training ----------------------------------------------------------------------------------------------------------


def _stage(config: FinetuneConfig, dialogues: Path, rows: list[Sample]) -> StageConfig:
    values: dict[str, Any] = {
        **defaults(config.init, len(rows)), "oversample": _evened(rows), "seed": config.seed, "cache": config.out / "cache",
        # Of the checkpoint's own training: its pictures are elsewhere, and its log was another's.
        "samples": [], "report_to": None,
        **config.settings,
        "stage": "sft", "init": config.init, "dialogues": [str(dialogues)], "out": config.out / "trained", "save": "adapter",
    }  # fmt: skip
    return StageConfig.load(None, [write_override(name, value) for name, value in values.items()])


def _evened(rows: list[Sample]) -> dict[str, float]:
    """How often to see the rarer class, so that neither answer is right by habit; empty without rows."""
    kinds = Counter(row.presentation_type or UNTYPED for row in rows)
    bonafide, attacks = kinds[BONAFIDE], len(rows) - kinds[BONAFIDE]
    rarer = [BONAFIDE] if bonafide < attacks else [kind for kind in kinds if kind != BONAFIDE]
    times = min(MOST_OFTEN, max(bonafide, attacks) / max(1, min(bonafide, attacks)))
    return {kind: round(times, 3) for kind in rarer} if times > 1 else {}
