"""Trains and scores an entry's rows, each step once: the foundation on D, baselines pre-trained on the same pictures, ours.

Nothing of a test domain leaks: the foundation (ours after both stages, and every baseline's start) has seen D alone, and the
stages the training splits of the protocol's sources; towers and baselines that are trained on the sources see D's pictures
among them. A step is skipped once its output is complete, and a stopped step is resumed.
Use: `Reproduction(...).rows(ENTRIES["table2"], repeat=3)`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceshield.baselines import foreign_type
from faceshield.config import read_yaml, write_override
from faceshield.model import SMALL, checkpoint_hash, count_parameters, resolve_model
from faceshield.provenance import RUN_FILE, begun, file_sha256, read_json
from faceshield.recipes.measure import METRICS_FILE, measure
from faceshield.recipes.reproduce.bench import FOUNDATION, Bench, Protocol, Scale, Wording
from faceshield.recipes.reproduce.paper import SYSTEMS, Entry, Row, System
from faceshield.recipes.sweep import SweepConfig, run_sweep
from faceshield.tasks import COARSE, FINE, REASONING, TASKS
from faceshield.training import augment
from faceshield.training.tower_config import TowersConfig
from faceshield.training.watch import LOG_FILE, read_log

TIMES_FILE = "times.jsonl"
WEIGHTS = "weights"  # name of the note of what a step starts from
PUBLISHED = {"image_size": 224}
"""Input size for a baseline that starts from published weights: what ResNet and CLIP expect."""
Train = Callable[[Path, list[str]], object]
"""`faceshield train CONFIG key=value …`."""


class NotAvailable(Exception):
    """A row has no number; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """A row and its results.

    Attributes:
        runs: metrics of its trainings, one per seed.
        reason: why there are none.
    """

    row: Row
    runs: tuple[dict[str, Any], ...] = ()
    reason: str = ""


@dataclass
class Reproduction:
    """All steps of a reproduction, in one folder.

    Attributes:
        out: the folder.
        bench: the pictures.
        scale: how much is trained.
        configs: folder of the recipes, `configs` of the repository.
        train: see `Train`.
        seed: seed of the first repeat; the others count up from it.
        threads: number of torch's threads.
        init: checkpoint to use instead of a foundation trained on D; one of `SMALL` parameters or more is trained by the
            paper's recipes, unscaled, instead of the tiny model's.
        adapt: whether to train the foundation's towers further on each protocol's training pictures, afresh for each seed.
        starts: name of a baseline -> what it starts from instead of itself trained on D.
        models: general models by the row's name: a model as `predict --model` takes it, and its endpoint or None.
        api_key_env, settings: for general models, the former only for those behind an endpoint; see `load_model`.
        meteor: whether to score texts by METEOR too, which needs Java; applies to what is scored from now on.
        only: systems to run, None = all; of the others, results that are there already are shown.
        report: called with lines on the progress.
    """

    out: Path
    bench: Bench
    scale: Scale
    configs: Path
    train: Train
    seed: int = 0
    threads: int = 2
    init: str | None = None
    adapt: bool = False
    starts: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    api_key_env: str | None = None
    settings: Sequence[str] = ()
    meteor: bool = False
    only: Sequence[str] | None = None
    report: Callable[[str], None] = lambda line: None
    idle: bool = field(default=False, init=False)  # the current system is not in `only`: no new work is started

    @property
    def small(self) -> bool:
        """Whether our model is a small one, trained by the tiny model's recipes."""
        return self.init is None or count_parameters(resolve_model(self.init)) < SMALL

    @property
    def wording(self) -> Wording:
        """Wording of the dialogues."""
        return self.scale.wording if self.small else "rich"

    def rows(self, entry: Entry, repeat: int) -> Iterator[Outcome]:
        """Yields every row with its results, training and scoring what is missing."""
        for row in entry.rows:
            try:
                yield Outcome(row, tuple(self.metrics(row.system, Protocol.of(row.protocol), repeat)))
            except NotAvailable as error:
                yield Outcome(row, reason=str(error))

    def metrics(self, name: str, protocol: Protocol, repeat: int) -> list[dict[str, Any]]:
        """The metrics of a system's trainings under a protocol.

        Raises:
            NotAvailable: they cannot be had; the message says why.
        """
        system = SYSTEMS[name]
        self.idle = self.only is not None and name not in self.only
        if lacking := self.bench.missing(protocol):
            raise NotAvailable(f"no pictures of {', '.join(lacking)}")
        if system.general:
            return [self._general(name, protocol)]
        of = self._baseline if system.baseline else self._ours
        return of(name, system, protocol, repeat)

    def step(self, name: str, done: Path, work: Callable[[], Any], *, log: Path | None = None) -> None:
        """Does the work unless `done` exists, and records the seconds it took.

        Of a training that was stopped and resumed, the minutes in its own `log` tell more than this process knows.

        Raises:
            NotAvailable: `done` does not exist, and the system is not among those to run.
        """
        if done.exists():
            return
        if self.idle:
            raise NotAvailable("left out of this run")
        self.report(f"== {name}")
        started = time.monotonic()
        work()
        if not done.exists():
            raise RuntimeError(f"{name} wrote no {done} — expected it — see what it said above")
        took = max(time.monotonic() - started, 60 * _minutes(log))
        row = {"step": name, "seconds": round(took, 1), "ended": datetime.now(UTC).isoformat()}
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / TIMES_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def told(self, entry: Entry) -> list[str]:
        """What a table's reader has to know about the trainings."""
        protocols = [Protocol.of(row.protocol) for row in entry.rows]
        found = []
        rivals = dict.fromkeys(row.system for row in entry.rows if SYSTEMS[row.system].baseline)
        if rivals and self.init is None:
            later = f"{self._pictures(self.scale.adapt):,} before the stages" if self.adapt else "frozen"
            seen = [f"our towers {self._pictures(self.scale.towers):,}, then {later}"]
            of_sources = self.scale.baseline["pictures"]
            for name in rivals:
                start = self.starts.get(name, "our towers" if SYSTEMS[name].init == "towers" else None)
                first = f"those of {start}" if start else f"{self.scale.longer.get('pictures', of_sources):,}"
                seen.append(f"{name} {first}, then {of_sources:,}")
            among = f" with {FOUNDATION}'s among them" if FOUNDATION in self.bench.domains else ""
            found.append(f"Pictures seen on {FOUNDATION}, then on the sources{among}: {'; '.join(seen)}.")
        less = dict.fromkeys(row.system for row in entry.rows if SYSTEMS[row.system].changes)
        if less and self.init is None:
            found.append(f"{', '.join(less)}: switched off after the foundation, which was trained with SAVP and PVTM.")
        if self.init is not None and any(set(protocol.test) - set(protocol.train) for protocol in protocols):
            found.append(f"Ours starts from {self.init}: it is not known whether that has seen the tested domain.")
        return found

    def _pictures(self, scale: Mapping[str, Any]) -> int:
        given = [write_override(*item) for item in {"out": self.out, **scale}.items()]
        return TowersConfig.load(self.configs / "train/tiny-towers.yaml", given).pictures

    # -- the foundation: D, and nothing else

    def foundation(self, protocol: Protocol, seed: int) -> str:
        """The checkpoint that the paper's two stages start from."""
        begin = self.init or self._foundation_of_d()
        if not self.adapt:
            return begin
        out = self._adapted(protocol, str(seed))
        data = self._to_see(protocol)
        what = f"towers on {protocol.name}, seed {seed}"
        self._train(what, "train/tiny-towers", out, self.scale.adapt, init=begin, data=data, seed=seed)
        return str(out)

    def _to_see(self, protocol: Protocol) -> list[Path]:
        """What a protocol trains towers and baselines on: the sources' pictures, with D's training pictures among them.

        On the sources alone, a model forgets much of what it learnt on D, and refuses bona fide faces from unknown cameras.
        """
        again = [self.bench.file(FOUNDATION, "train")] if FOUNDATION in self.bench.domains else []
        return [*self.bench.files(protocol, "train", "dev"), *again]

    def _adapted(self, protocol: Protocol, seed: str) -> Path:
        return self.out / "runs" / protocol.folder / "towers" / f"seed-{seed}"

    def _foundation_of_d(self) -> str:
        if FOUNDATION not in self.bench.domains:
            raise NotAvailable(f"no pictures of {FOUNDATION} to train a foundation on; give a checkpoint with --init")
        data = [self.bench.file(FOUNDATION, name) for name in ("train", "dev")]
        dialogues, captions = (self.bench.file(FOUNDATION, name) for name in ("dialogues", "captions"))
        towers, language, first, both = (self.out / "foundation" / name for name in ("towers", "lm", "pretrain", "sft"))
        self._train("towers on D", "train/tiny-towers", towers, self.scale.towers, data=data)
        texts = [dialogues, captions]
        self._train("language model on D", "train/tiny-lm", language, self.scale.language, init=towers, dialogues=texts)
        # The paper starts from Bunny, which has learnt to read its tower on other pictures; ours learns that on D's.
        self._train("stage 1 on D", "train/tiny-pretrain", first, self.scale.pretrain, init=language, dialogues=[captions])
        settings = {**self.scale.sft, **self.scale.sft_on_d}
        self._train("stage 2 on D", "train/tiny-sft", both, settings, init=first, dialogues=[dialogues])
        return str(both)

    def _train(self, name: str, config: str, out: Path, scale: Mapping[str, Any], **values: Any) -> None:
        """Runs one training as a step, from its config; without a clock, so that it is reproducible."""
        recipe = self.configs / f"{config}.yaml"
        values = {"minutes": None, **scale, **values}
        note = {**values, **_weights(values.get("init")), "recipe": _left(read_yaml(recipe), {*values, "out", "threads"})}
        self._begun(out, note | {"augmentation": augment.VERSION})
        given = [write_override(key, value) for key, value in _plain(values | {"out": out, "threads": self.threads}).items()]
        if not config.startswith("train/tiny-lm"):
            given.append(write_override("cache", self.out / "cache"))
        self.step(name, out / RUN_FILE, lambda: self.train(recipe, given), log=out / LOG_FILE)

    def _begun(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Records the settings that a step is begun with; if the system is not run, results of other settings are not shown.

        Paths inside `out` are recorded relative to it, so that its spelling does not matter. Weights that it starts from are
        known by their content, where the folder's first run was by a version that recorded it.
        """
        written, here = (json.dumps(value, ensure_ascii=False) for value in (_plain(settings), f"{self.out}/"))
        told = json.loads(written.replace(here.strip('"'), ""))
        try:
            begun(folder, "reproduce", told, note=not self.idle, newer=(WEIGHTS,))
        except ValueError as error:
            if not self.idle:
                raise
            raise NotAvailable(f"left out of this run, and {error}") from None

    # -- the rows

    def checkpoint(self, name: str, protocol: Protocol) -> Path:
        """Our checkpoint of the first seed."""
        return self._folder_of_ours(protocol) / _trained_as(SYSTEMS[name]) / f"seed-{self.seed}" / "sft"

    def _folder_of_ours(self, protocol: Protocol) -> Path:
        return self.out / "runs" / protocol.folder / "ours"

    def _ours(self, name: str, system: System, protocol: Protocol, repeat: int) -> list[dict[str, Any]]:
        variant, out = _trained_as(system), self._folder_of_ours(protocol)
        seeds = [out / variant / f"seed-{seed}" for seed in range(self.seed, self.seed + repeat)]
        if self.idle:  # what there is of it is shown
            read = "scores" if system.stage == "sft" else f"{system.stage}-scores"
            seeds = [seed for seed in seeds if (seed / read / METRICS_FILE).is_file()] or seeds
        wanted = [seed / "scores" / METRICS_FILE for seed in seeds]
        missing = [file for file in wanted if not file.is_file()]
        # What they start from is needed only to train; once it is there, its weights are part of what is checked.
        begin = [self.foundation(protocol, seed) for seed in range(self.seed, self.seed + repeat)] if missing else []
        if not (self.idle and missing):
            self._check_ours(out / variant, system, protocol)
        if missing:
            dev, test = (self.bench.joined(protocol, part) for part in ("dev", "test"))
            config = SweepConfig(
                init=str(self._adapted(protocol, "{seed}")) if self.adapt else begin[0],
                out=out,
                stages={
                    "pretrain": self._stage("pretrain", self.scale.pretrain, self.bench.files(protocol, "captions")),
                    "sft": self._stage("sft", self.scale.sft, self.bench.files(protocol, "dialogues")),
                },
                settings={"cache": str(self.out / "cache"), "threads": self.threads},
                variants={variant: dict(system.changes)}, repeat=repeat, seed=self.seed, test=test, dev=dev,
                references=self.bench.references(protocol), meteor=self.meteor,
            )  # fmt: skip

            def work() -> None:
                if (results := run_sweep(config, report=self._heard)).failed:
                    errors = [row["error"] for row in results.runs if "error" in row]
                    raise NotAvailable(f"training failed: {errors[0]}")

            self.step(f"{variant} on {protocol.name}", missing[0], work)
        if system.stage == "sft":
            return [read_json(file) for file in wanted]
        what = f"{name} on {protocol.name}"
        return [self._scored(what, seed / "pretrain", seed / "pretrain-scores", protocol) for seed in seeds]

    def _check_ours(self, folder: Path, system: System, protocol: Protocol) -> None:
        """Refuses results of other recipes, dialogues or starts, even where nothing is left to train."""
        files = self.bench.files(protocol, "captions", "dialogues")
        stages = {stage: self._stage(stage, getattr(self.scale, stage), []) for stage in ("pretrain", "sft")}
        recipes = {stage: _left(read_yaml(told.pop("config")), told) for stage, told in stages.items()}
        start = self.init or self.out / "foundation" / "sft"
        content = {"dialogues": [file_sha256(file) for file in files], **_weights(start)}
        self._begun(folder, {"stages": stages, "recipes": recipes, "changes": dict(system.changes), **content})

    def _stage(self, stage: str, scale: Mapping[str, Any], dialogues: list[Path]) -> dict[str, Any]:
        config = self.configs / "train" / f"{'tiny-' if self.small else ''}{stage}.yaml"
        return _plain({"config": config, "minutes": None, **(scale if self.small else {}), "dialogues": dialogues})

    def _baseline(self, name: str, system: System, protocol: Protocol, repeat: int) -> list[dict[str, Any]]:
        config = f"baseline/{system.baseline}"
        if not (self.configs / f"{config}.yaml").is_file():
            raise NotAvailable(f"no recipe in {self.configs / 'baseline'}")
        found = []
        for seed in range(self.seed, self.seed + repeat):
            out = self.out / "runs" / protocol.folder / str(system.baseline) / f"seed-{seed}"
            what = f"{name} on {protocol.name}, seed {seed}"
            data = self._to_see(protocol)
            told = {**self._scale_of(system), **(PUBLISHED if name in self.starts else {})}
            try:
                begin = self._start(name, system, protocol, seed)
                self._train(what, config, out / "model", told, data=data, init=begin, seed=seed)
                found.append(self._scored(what, out / "model", out / "scores", protocol, tasks=(COARSE.name, FINE.name)))
            except NotAvailable:
                if not found:
                    raise
                break  # the system is not run: what there is of it is shown
        return found

    def _scale_of(self, system: System) -> dict[str, Any]:
        return {**self.scale.baseline, **self.scale.methods.get(str(system.baseline), {})}

    def _start(self, name: str, system: System, protocol: Protocol, seed: int) -> str:
        """What a baseline's training on the sources starts from."""
        if name in self.starts:
            return self.starts[name]
        if system.init == "towers":
            return self.foundation(protocol, seed)
        if FOUNDATION not in self.bench.domains:
            raise NotAvailable(f"no pictures of {FOUNDATION} to start it from, as ours started; give --start {name}=FOLDER")
        data = [self.bench.file(FOUNDATION, part) for part in ("train", "dev")]
        begin = self.out / "foundation" / str(system.baseline)
        longer = {**self._scale_of(system), **self.scale.longer}
        self._train(f"{name} on {FOUNDATION}", f"baseline/{system.baseline}", begin, longer, data=data)
        return str(begin)

    def _general(self, name: str, protocol: Protocol) -> dict[str, Any]:
        scores = self.out / "runs" / protocol.folder / name / "scores"
        if name not in self.models:
            if (scores / METRICS_FILE).is_file():
                return read_json(scores / METRICS_FILE)
            raise NotAvailable("its published weights were not given: --model NAME=FOLDER, or NAME=MODEL@ENDPOINT")
        model, endpoint = self.models[name]
        ours = endpoint is None and foreign_type(resolve_model(model)) is None  # an assembled Bunny, which takes no settings
        key = [write_override("api_key_env", self.api_key_env)] if endpoint and self.api_key_env else []
        asked = {"prompt": "zero-shot", "endpoint": endpoint, "settings": [] if ours else [*key, *self.settings]}
        told = {"model": model, "endpoint": endpoint, "settings": list(self.settings)}
        return self._scored(f"{name} on {protocol.name}", model, scores, protocol, asked=asked, begun_with=told)

    def _scored(
        self, what: str, model: str | Path, out: Path, protocol: Protocol, *, tasks: tuple[str, ...] = tuple(TASKS),
        asked: Mapping[str, Any] | None = None, begun_with: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        dev = None if asked else self.bench.joined(protocol, "dev")
        test = self.bench.joined(protocol, "test")
        references = self.bench.references(protocol) if REASONING.name in tasks else []
        of_words = {"references": [file_sha256(file) for file in references]} if references else {}
        self._begun(out, {**(begun_with or {}), **of_words, **_weights(model)})

        def work() -> None:
            measure(
                model, out, test=test, dev=dev, tasks=tasks, system=what, asked=asked,
                references=references, meteor=self.meteor,
            )  # fmt: skip

        self.step(f"score {what}", out / METRICS_FILE, work)
        return read_json(out / METRICS_FILE)

    def _heard(self, row: Mapping[str, Any]) -> None:
        if row.get("event") in ("run", "predicted", "failed", "end"):
            self.report("   " + "  ".join(f"{key} {value}" for key, value in row.items()))


def _trained_as(system: System) -> str:
    """The system whose training has these settings; one scored "before" is an earlier stage of the same training."""
    return next(
        name for name, other in SYSTEMS.items()
        if other.changes == system.changes and other.stage == "sft" and not (other.baseline or other.general)
    )  # fmt: skip


def _weights(start: str | Path | None) -> dict[str, str]:
    """What is recorded of the weights in a folder, {} if there are none (yet)."""
    there = start is not None and any(Path(start).glob("*.safetensors"))
    return {WEIGHTS: checkpoint_hash(start)} if start is not None and there else {}


def _left(recipe: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """What a recipe says beside the settings that are given anyway."""
    return {name: value for name, value in recipe.items() if name not in given}


def _minutes(log: Path | None) -> float:
    """The minutes that a training has taken in all, by its log."""
    return max((row.get("minutes") or 0.0 for row in read_log(log)), default=0.0) if log and log.is_file() else 0.0


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in types that YAML can express: paths as text."""
    return {
        key: [str(one) for one in value] if isinstance(value, list) else str(value) if isinstance(value, Path) else value
        for key, value in values.items()
    }
