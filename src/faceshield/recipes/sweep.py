"""The same stages with several seeds and settings: repeats and ablations (paper §5.2, §5.4), as data.

A sweep names the stages, each with its base config, and what varies: a grid of values, or variants by name. Every run has a
folder, and the same command resumes a sweep that was stopped. The metrics of a variant's seeds become one `metrics.json`, mean
and standard deviation, which `faceshield table` reads.
Use: `run_sweep(SweepConfig.load("configs/ablation/components.yaml", ["out=runs/components", "repeat=3"]))`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from faceshield.config import Config, Paths, write_override
from faceshield.evaluation.development import check_apart
from faceshield.evaluation.metrics.meteor import meteor_is_there
from faceshield.evaluation.predict import dialogues_of
from faceshield.evaluation.repeats import collected, mean_std
from faceshield.evaluation.table import table
from faceshield.model import checkpoint_hash, resolve_model
from faceshield.provenance import RUN_FILE, begun, file_sha256, read_json, write_json_atomic, write_run, write_text_atomic
from faceshield.recipes.measure import METRICS_FILE, measure
from faceshield.records import Sample, read_jsonl
from faceshield.tasks import QUESTIONS, REASONING, TASKS
from faceshield.training.settings import MACHINE, StageConfig
from faceshield.training.stages import train_stage
from faceshield.training.watch import LOG_FILE, Report, read_log

RESULTS_FILE, TABLE_FILE = "results.json", "results.md"


class SweepConfig(Config):
    """What varies between runs, and what they have in common.

    Attributes:
        init: checkpoint that every run's first stage starts from, with `{seed}` replaced by the run's seed; each further
            stage starts from the one before it.
        out: folder of all results; a run's is `out/VARIANT/seed-S`, with a folder for each stage below it.
        stages: name -> settings of a stage, in the order of training; `config` is its YAML file, which all else overrides.
        settings: settings of every stage, which override both.
        grid: setting ("model.pvtm_mask_ratio") -> values; every combination is a variant, named "pvtm_mask_ratio=0.1".
        variants: name -> settings, besides those of the grid. Neither: one variant without a name.
        only: variants to run, None = all; for several machines, each with its own `settings.cache`.
        repeat: trainings of every variant, with the seeds seed, seed + 1, ….
        test: samples to score every run on; None = no metrics, the losses alone.
        dev: samples to choose each run's threshold on; None = a run is judged by its words.
        references: dialogues of the test samples that texts are scored against, see `predict`; none: the tasks' plain answers.
        meteor: whether to score texts by METEOR too, which needs Java.
        tasks: tasks to ask of the test samples.
        criterion: criterion of the threshold, see `choose_threshold`.
    """

    stage: Literal["sweep"] = "sweep"
    init: str
    out: Path
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    only: list[str] | None = None
    repeat: int = Field(1, ge=1)
    seed: int = Field(0, ge=0)
    test: Path | None = None
    dev: Path | None = None
    references: Paths = Field(default_factory=list)
    meteor: bool = False
    tasks: tuple[str, ...] = tuple(TASKS)
    criterion: str = "eer"

    @field_validator("variants", mode="before")
    @classmethod
    def _without_changes(cls, value: Any) -> Any:
        return {name: changes or {} for name, changes in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _belongs(self) -> SweepConfig:
        if wrong := [name for name in (*self.stages, *self.all_variants()) if "/" in name or name.startswith(".")]:
            raise ValueError(f"name {wrong[0]!r} — expected one that a folder can have — leave out '/' and a leading '.'")
        if unknown := sorted(set(self.only or ()) - set(self.all_variants())):
            raise ValueError(f"only {unknown[0]!r} — expected some of {', '.join(self.all_variants())}")
        told = [*self.stages.values(), self.settings, self.grid, *self.variants.values()]
        if own := sorted({key for changes in told for key in changes} & {"init", "out", "seed"}):
            raise ValueError(
                f"{', '.join(own)} set in a stage or a variant — expected none: every run has its own folder, its seed and "
                "the stage before it — use the sweep's own init, out, seed and repeat"
            )
        if self.dev is not None and self.test is None:
            raise ValueError("dev without test — expected samples to score too — give test=FILE")
        return self

    def all_variants(self) -> dict[str, dict[str, Any]]:
        """Name -> settings of the grid's variants and the named ones; `{"": {}}` if nothing varies."""
        points = itertools.product(*([(key, value) for value in values] for key, values in self.grid.items()))
        found = {",".join(f"{key.rsplit('.', 1)[-1]}={_said(value)}" for key, value in point): dict(point) for point in points}
        if not self.grid:
            found = {} if self.variants else {"": {}}
        return {**found, **self.variants}


@dataclass(frozen=True)
class Run:
    """One training of a variant: its folder and its stages, in order."""

    variant: str
    seed: int
    folder: Path
    stages: dict[str, StageConfig]

    @property
    def checkpoint(self) -> Path:
        return list(self.stages.values())[-1].out


@dataclass
class Results:
    """The results of a sweep.

    Attributes:
        runs: one row per run: variant, seed, checkpoint, and loss (mean of the last tenth of its log) or error.
        variants: name -> collected metrics, if a test set was given.
        failed: how many runs ended in an error.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum("error" in row for row in self.runs)


def plan(config: SweepConfig) -> Iterator[Run]:
    """All runs, variant after variant.

    Raises:
        ConfigError: a stage's settings do not fit.
    """
    for variant, changes in config.all_variants().items():
        if config.only is not None and variant not in config.only:
            continue
        for seed in range(config.seed, config.seed + config.repeat):
            folder, init, stages = config.out / variant / f"seed-{seed}", config.init.replace("{seed}", str(seed)), {}
            for name, told in config.stages.items():
                own = {key: value for key, value in told.items() if key != "config"}
                values = {"cache": config.out / "cache", **own, **config.settings, **changes}
                values |= {"init": init, "out": folder / name, "seed": seed}
                stages[name] = StageConfig.load(told.get("config"), [write_override(*item) for item in values.items()])
                init = str(stages[name].out)
            yield Run(variant, seed, folder, stages)


def _said(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, list)) else str(value)


def run_sweep(config: SweepConfig, *, report: Report | None = None) -> Results:
    """Trains and scores every run that is not done, and collects the results of all.

    A run whose loss is not finite is recorded as failed, and the sweep continues.

    Args:
        config: the sweep.
        report: called with every row of the stages' logs, and with a row with the event "run" before each run.

    Raises:
        ValueError: a run's folder was begun with other settings, or a picture is in both sets.
        RecordError, FileNotFoundError: a set cannot be read.
    """
    tell = report or (lambda row: None)
    if config.meteor:
        meteor_is_there()
    if config.test is not None:  # report faults in the sets now, not after the first training
        dialogues_of(config.references)
        tested = read_jsonl(config.test, Sample)
        if config.dev is not None:
            check_apart(read_jsonl(config.dev, Sample), config.dev, tested, config.test)
    results = Results()
    runs = list(plan(config))
    scored: dict[str, list[dict[str, Any]]] = {}
    for number, run in enumerate(runs, start=1):
        named = {"variant": run.variant, "seed": run.seed} if run.variant else {"seed": run.seed}
        tell({"event": "run", **named, "number": number, "of": len(runs)})
        row: dict[str, Any] = {**named, "checkpoint": str(run.checkpoint)}
        results.runs.append(row)
        try:
            _train(run, tell)
        except FloatingPointError as error:
            row["error"] = str(error)
            tell({"event": "failed", **named, "error": str(error)})
            continue
        row["loss"] = _last_loss(run.checkpoint)
        if config.test is not None:
            scored.setdefault(run.variant, []).append(_metrics(config, run, tell))
    for variant, metrics in scored.items():
        results.variants[variant] = collected(metrics)
        write_json_atomic(config.out / variant / METRICS_FILE, results.variants[variant])
    _write(config, results)
    return results


def _train(run: Run, tell: Report) -> None:
    for number, stage in enumerate(run.stages.values()):
        content: dict[str, Any] = {"content": [file_sha256(file) for file in (*stage.dialogues, *stage.samples)]}
        if number == 0:  # later stages start from the one before
            content["weights"] = checkpoint_hash(resolve_model(stage.init))
        begun(stage.out, "sweep", stage.model_dump(mode="json", exclude=MACHINE) | content)
        if not (stage.out / RUN_FILE).is_file():  # written after the weights
            train_stage(stage, questions=QUESTIONS, report=tell)


def _metrics(config: SweepConfig, run: Run, tell: Report) -> dict[str, Any]:
    assert config.test is not None
    scores = run.folder / "scores"
    sets = [file_sha256(file) for file in (config.dev, config.test, *config.references) if file is not None]
    told = config.model_dump(mode="json", include={"test", "dev", "tasks", "criterion"})
    told |= {"references": list(map(str, config.references))} if config.references else {}
    begun(scores, "sweep", {**told, "sets": sets})
    file = scores / METRICS_FILE
    if file.is_file():
        found: dict[str, Any] = read_json(file)
        if not config.meteor or "meteor" in found["overall"].get(REASONING.name, {}):
            return found  # otherwise scored again, from the same predictions

    def progress(name: str, done: int, total: int) -> None:
        if done == total:
            tell({"event": "predicted", "set": name, "pictures": total})

    return measure(
        run.checkpoint, scores, test=config.test, dev=config.dev, tasks=config.tasks, criterion=config.criterion,
        references=config.references, meteor=config.meteor, system=f"{run.variant}/seed-{run.seed}", store=True,
        progress=progress,
    )  # fmt: skip


def _last_loss(checkpoint: Path) -> float | None:
    log = checkpoint / LOG_FILE
    if not log.is_file():  # written by an older version, with fewer steps than `log_every`
        return None
    losses = [row["loss"] for row in read_log(log) if "loss" in row]
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last) if last else None


def _write(config: SweepConfig, results: Results) -> None:
    variants = list(dict.fromkeys(row.get("variant", "") for row in results.runs))
    losses = {
        name: mean_std([row["loss"] for row in results.runs if row.get("variant", "") == name and row.get("loss") is not None])
        for name in variants
    }
    target = write_json_atomic(config.out / RESULTS_FILE, {"loss": losses, "runs": results.runs})
    if results.variants:
        named = {name or config.out.name: metrics for name, metrics in results.variants.items()}
        write_text_atomic(config.out / TABLE_FILE, table(named, form="markdown"))
    write_run(target, config=config, seed=config.seed, inputs=[file for file in (config.dev, config.test) if file is not None])
