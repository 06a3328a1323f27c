"""`faceshield train`: one stage of training, or a sweep over several, from a config; the same command goes on where it was
stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from faceshield.recipes.sweep import SweepConfig
    from faceshield.training.foundation_towers import TowerTexts
    from faceshield.training.settings import StageConfig

STAGES = ("foundation-towers", "foundation-lm", "pretrain", "sft", "baseline", "threshold", "average", "sweep")
_CORPUS_SAMPLES = 4000


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file with a stage, or a stage's name (all values from key=value).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value in the place of the file's, e.g. out=runs/tiny/sft.")
    ] = None,
    show_batch: Annotated[
        bool, typer.Option("--show-batch", help="Train nothing: show rows, supervised words marked, and check all answers.")
    ] = False,
    cache_features: Annotated[
        bool | None,
        typer.Option("--cache-features/--no-cache-features", help="Compute the frozen tower's features once (stages 1 and 2)."),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(min=1, help="Trainings, with the seeds seed, seed + 1, …; mean ± deviation is collected.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Samples that every repeat is scored on; or test=FILE of a sweep.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Samples that choose each repeat's threshold.")] = None,
    references: Annotated[
        list[Path] | None, typer.Option(help="Dialogues of the test samples that each repeat's texts are scored against.")
    ] = None,
) -> None:
    """Train a stage, or sweep, choose, average.

    Stages: foundation-towers, foundation-lm, pretrain, sft, baseline; a sweep of them; threshold: choose one; average models.
    """
    given = list(overrides or [])
    named = str(config) in STAGES and not config.exists()
    stage = str(config) if named else _stage(config, given)
    given += [f"stage={stage}"] if named else []
    source = None if named else config
    if cache_features is not None:
        given.append(f"{'settings.' if stage == 'sweep' else ''}cache_features={str(cache_features).lower()}")
    if stage != "sweep" and repeat is None and (test or dev or references):
        raise ValueError(
            "--test, --dev or --references without --repeat — expected it — add --repeat 1, or use `predict` and `score`"
        )
    if show_batch and (stage not in ("pretrain", "sft") or repeat is not None):
        what = stage if repeat is None else "a sweep"
        raise ValueError(
            f"--show-batch of {what} — expected one training of pretrain or sft — name its config, or leave it out"
        )
    if stage == "sweep" or repeat is not None:
        named_files = {"test": test, "dev": dev, "references": [str(file) for file in references or ()] or None}
        _sweep(_sweep_of(stage, source, given, repeat=repeat, **named_files))
        return
    if stage == "foundation-towers":
        from faceshield.training.foundation import train_towers
        from faceshield.training.foundation_towers import TowersConfig

        towers = TowersConfig.load(source, given)
        train_towers(towers, tower_texts(), _corpus(towers.data), print_row)
        out = towers.out
    elif stage == "foundation-lm":
        from faceshield.training.foundation_lm import LanguageConfig, train_language

        language = LanguageConfig.load(source, given)
        train_language(language, print_row)
        out = language.out
    elif stage == "baseline":
        from faceshield.baselines.stage import BaselineConfig, train_baseline

        rival = BaselineConfig.load(source, given)
        train_baseline(rival, print_row)
        out = rival.out
    elif stage == "threshold":
        from faceshield.recipes.threshold import ThresholdConfig, store_threshold

        wanted = ThresholdConfig.load(source, given)
        typer.echo(f"threshold {store_threshold(wanted).value:.6f}, stored in {wanted.out}/faceshield.json")
        out = wanted.out
    elif stage == "average":
        from faceshield.recipes.average import AverageConfig, average

        out = average(AverageConfig.load(source, given))
    else:
        from faceshield.tasks import QUESTIONS
        from faceshield.training.settings import StageConfig
        from faceshield.training.stages import train_stage

        settings = StageConfig.load(source, given)
        if show_batch:
            _show(settings)
            return
        train_stage(settings, questions=QUESTIONS, report=print_row)
        out = settings.out
    typer.echo(f"checkpoint: {out}")


def _stage(config: Path, overrides: list[str]) -> str:
    from faceshield.config import near, read_yaml

    stage = read_yaml(config).get("stage")
    for override in overrides:
        key, _, value = override.partition("=")
        if key.strip() == "stage":
            stage = value
    if stage not in STAGES:
        hint = near(str(stage), STAGES, "add the line `stage: …`")
        raise ValueError(f"{config}: stage {stage!r} — expected one of {', '.join(STAGES)} — {hint}")
    return str(stage)


def _sweep_of(stage: str, source: Path | None, given: list[str], **options: int | Path | list[str] | None) -> SweepConfig:
    """The sweep of a config: its own, or one stage repeated."""
    from faceshield.config import read_override, write_override
    from faceshield.recipes.sweep import SweepConfig
    from faceshield.training.settings import StageConfig

    told = [write_override(name, value) for name, value in options.items() if value is not None]
    if stage == "sweep":
        return SweepConfig.load(source, [*given, *told])
    if stage not in ("pretrain", "sft"):
        raise ValueError(f"--repeat of stage {stage} — expected pretrain or sft, or a sweep — repeat it with seed=1, seed=2, …")
    one = StageConfig.load(source, given)  # its faults are told with their file and line
    entry = {key: value for key, value in map(read_override, given) if key not in ("init", "out", "seed")}
    entry |= {} if source is None else {"config": str(source)}
    values = {"init": one.init, "out": one.out, "seed": one.seed, "stages": {stage: entry}}
    return SweepConfig.load(None, [*(write_override(name, value) for name, value in values.items()), *told])


def _sweep(config: SweepConfig) -> None:
    import os

    from faceshield.evaluation.table import table
    from faceshield.recipes.sweep import RESULTS_FILE, run_sweep

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("a sweep under torchrun — expected one process — start one a GPU, with only=[…] and a cache each")

    def show(row: Mapping[str, Any]) -> None:
        if row.get("event") != "setting":
            print_row(row)

    results = run_sweep(config, report=show)
    if results.variants:
        typer.echo(table({name or config.out.name: metrics for name, metrics in results.variants.items()}))
    failed = f" ({results.failed} failed)" if results.failed else ""
    typer.echo(f"{len(results.runs)} runs{failed}: {config.out / RESULTS_FILE}")
    if results.failed:
        raise typer.Exit(2)


def _show(settings: StageConfig) -> None:
    """Prints two rows as the model reads them, and whether every answer is learnt word for word."""
    from faceshield.model import FaceShieldProcessor, resolve_model
    from faceshield.training.settings import inherited
    from faceshield.training.show import check_answers, show_rows, supervised
    from faceshield.training.stages import read_rows

    settings, _ = inherited(settings)
    processor = FaceShieldProcessor.from_pretrained(resolve_model(settings.init), local_files_only=True)
    rows = read_rows(settings, processor, pvtm=False)
    for line in show_rows(rows, processor, count=2, mark=lambda text: typer.style(f"[[{text}]]", fg="green", bold=True)):
        typer.echo(line)
    wrong, empty = check_answers(rows, processor), sum(not supervised(row) for row in rows.rows)
    dialogues = sum(len(row.questions) for row in rows.rows)
    typer.echo(
        f"{dialogues:,} dialogues in {len(rows):,} rows: {empty} rows without a supervised token, {len(wrong)} whose "
        f"supervised text is not the answer{': ' + ', '.join(wrong[:5]) if wrong else ''}"
    )
    if wrong or empty:
        raise typer.Exit(2)


def tower_texts() -> TowerTexts:
    """Captions of the types and of the coarse verdicts, and the fixed questions."""
    from faceshield.tasks import COARSE, FINE, QUESTIONS
    from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES, TAXONOMY
    from faceshield.training.foundation_towers import TowerTexts

    captions: list[tuple[str, tuple[str, ...]]] = []
    for row in TAXONOMY:
        only = (row.name,)
        captions += [(row.sentence, only), (FINE.templates[row.name], only), (row.name, only)]
        captions.append((f"A face with {', '.join(row.cues)}.", only))
    captions += [(text, ATTACK_TYPES) for text in (COARSE.templates["attack"], "A presentation attack.")]
    # The coarse wording of bona fide may be the fine one's too; the same caption twice is harmless.
    captions += [(COARSE.templates["bonafide"], (BONAFIDE,)), ("A bona fide face.", (BONAFIDE,))]
    return TowerTexts(PRESENTATION_TYPES, tuple(captions), tuple(QUESTIONS.values()))


def _corpus(files: list[Path]) -> Iterator[str]:
    """Questions and answers about the samples, for the tokenizer."""
    from faceshield.data_engine import TASK_NAMES, generate_dialogues
    from faceshield.records import Sample, read_jsonl

    samples = [sample for file in files for sample in read_jsonl(file, Sample)]
    step = max(1, len(samples) // _CORPUS_SAMPLES)
    for dialogue in generate_dialogues(samples[::step], tasks=TASK_NAMES, seed=0):
        yield from dialogue.texts


def print_row(row: Mapping[str, Any]) -> None:
    event = row.get("event", "")
    parts = [f"{key} {value}" for key, value in row.items() if key != "event"]
    typer.echo(f"[{event}] {'  '.join(parts)}")
