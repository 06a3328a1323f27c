"""The pictures of a reproduction, FaceShield-Sim or one's own samples, by domain and split; its protocols and scales.

Protocol "W+S>P" trains on the train splits of W and S and tests on the test split of P (paper §5.1); its threshold, which the
paper does not have, comes from the development splits of W and S.
Use: `bench = simulated(Path("out/data"), SCALES["toy"], reproduction.step, seed=0, workers=2, foundation=True)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from faceshield.data_engine.backends.base import BackendConfig
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.datasets.splits import SplitConfig, split
from faceshield.provenance import read_run
from faceshield.records import Sample, read_jsonl, rebase_image, write_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.simulate.domains import DOMAINS
from faceshield.tasks import REASONING

FOUNDATION = "D"
DATASETS = {"wmca": "W", "siw-mv2": "S", "padisi": "P"}
"""Name of a data set, as `prepare` gives it -> its letter in the protocols."""
Wording = Literal["plain", "rich"]
Step = Callable[[str, Path, Callable[[], Any]], None]
"""Called with a step's name, the file whose existence says that it is done, and the work."""


@dataclass(frozen=True)
class Scale:
    """How much data and training a reproduction takes.

    Attributes:
        share: share of each domain's pictures in the full benchmark, but at least `least` pictures; `foundation_share`: that
            of D, None = `share`.
        size: longer side of the simulated pictures in pixels.
        towers, adapt, language, pretrain, sft, baseline: settings that replace those in configs/.
        sft_on_d: settings of the foundation's stage 2, on top of `sft`; longer: of a baseline's start on D, on top of
            `baseline`; methods: of single baselines, by the method's name, on top of both.
        wording: wording of the dialogues that a small model learns, see `BackendConfig`; a published one learns "rich".
    """

    share: float
    least: int
    size: int = 224
    foundation_share: float | None = None
    towers: Mapping[str, Any] = field(default_factory=dict)
    adapt: Mapping[str, Any] = field(default_factory=dict)
    language: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    sft: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, Any] = field(default_factory=dict)
    sft_on_d: Mapping[str, Any] = field(default_factory=dict)
    longer: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    wording: Wording = "plain"

    def pictures(self, domain: str) -> int:
        share = self.foundation_share if domain == FOUNDATION and self.foundation_share is not None else self.share
        return max(self.least, round(share * DOMAINS[domain].pictures))


_TOY_WIDTHS = {"hidden_size": 48, "intermediate_size": 64}
_TOY_STAGE = {"max_steps": 2, "batch_size": 4, "lora_r": 4, "lora_alpha": 8, "log_every": 1}
_UNRESIZED = {"patchnet": {"image_size": 224}}  # the pictures' own side: its patches are cropped, not resized
SCALES: dict[str, Scale] = {
    # No clock anywhere: the same command gives the same weights on any machine of the same kind.
    "toy": Scale(
        0.0, 60, 64,
        towers={
            "pictures": 64, "batch_size": 16, "eval_pictures": 6, "low_share": 0.0, "max_shift": 2, "crop_side": 64,
            "model": {
                "vision_config": {
                    "image_size": 64, "num_hidden_layers": 3, "stem": "resnet", "stem_channels": [8, 8, 16, 48],
                    "stem_blocks": [0, 1, 1, 1], **_TOY_WIDTHS,
                },
                "prompt_config": {"num_attention_heads": 3, "num_hidden_layers": 1, **_TOY_WIDTHS},
                "text_config": {"num_attention_heads": 3, "num_hidden_layers": 2, **_TOY_WIDTHS},
            },
        },
        adapt={"pictures": 32, "batch_size": 16, "eval_pictures": 6, "low_share": 0.0, "max_shift": 2},
        language={"steps": 60, "batch_size": 8, "block": 32},
        pretrain={**_TOY_STAGE, "crop_side": 64},
        sft={**_TOY_STAGE, "crop_side": 64},
        baseline={"pictures": 64, "batch_size": 16, "image_size": 64, "max_shift": 2, "eval_pictures": 6},
    ),
    # An hour or so of one idle core: small squares, few pictures; it shows that everything works, and large effects only.
    "mini": Scale(
        0.04, 150,
        towers={"pictures": 4_000, "eval_every": 4_000, "low_size": 64, "model": {"vision_config": {"image_size": 96}}},
        adapt={"pictures": 1_500, "eval_every": 1_500, "low_share": 0.0, "learning_rate": 3e-4},
        language={"steps": 150},
        pretrain={"epochs": 0.5},
        sft={"epochs": 2},
        baseline={"pictures": 1_500, "eval_every": 1_500, "image_size": 96},
        longer={"pictures": 4_000},
    ),
    # A few hours of two cores. Every row builds on the foundation, so most of the time goes into it; its towers have three
    # layers, not four, and so see more pictures in that time.
    "small": Scale(
        0.5, 400, foundation_share=0.75,
        towers={
            "pictures": 160_000, "eval_every": 20_000, "model": {"vision_config": {"num_hidden_layers": 3}},
        },
        adapt={"pictures": 24_000, "eval_every": 12_000, "low_share": 0.0, "learning_rate": 3e-4},
        language={"steps": 400},
        pretrain={"epochs": 0.5},
        sft={"epochs": 1, "lora_r": 32, "lora_alpha": 64},  # a quarter: the model it starts from can answer already
        sft_on_d={"lora_r": 128, "lora_alpha": 256},
        baseline={"pictures": 24_000, "eval_every": 12_000, "image_size": 192},  # the side that our towers see
        longer={"pictures": 160_000},  # as many as our towers
        methods=_UNRESIZED,
    ),
    "full": Scale(
        1.0, 1,
        adapt={"pictures": 60_000, "low_share": 0.0, "learning_rate": 3e-4},
        baseline={"pictures": 60_000, "image_size": 192},
        longer={"pictures": 300_000},
        methods=_UNRESIZED,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """Which domains are trained on and which are tested."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> Protocol:
        sources, _, targets = name.partition(">")
        return cls(name, tuple(sources.split("+")), tuple((targets or sources).split("+")))

    @property
    def folder(self) -> str:
        return self.name.replace("+", "").replace(">", "-to-")


@dataclass(frozen=True)
class Bench:
    """The domains' folders, each with `train.jsonl`, `dev.jsonl`, `test.jsonl` and the dialogues of its training pictures."""

    root: Path
    domains: tuple[str, ...]

    def file(self, domain: str, name: str) -> Path:
        return self.root / domain / f"{name}.jsonl"

    def files(self, protocol: Protocol, *names: str) -> list[Path]:
        """The named files of the domains that the protocol trains on."""
        return [self.file(domain, name) for domain in protocol.train for name in names]

    def references(self, protocol: Protocol) -> list[Path]:
        """Dialogues that the texts about the protocol's test pictures are scored against; none if the wording is plain."""
        files = [self.file(domain, "references") for domain in protocol.test]
        return [file for file in files if file.is_file()]

    def missing(self, protocol: Protocol) -> list[str]:
        return [domain for domain in dict.fromkeys((*protocol.train, *protocol.test)) if domain not in self.domains]

    def joined(self, protocol: Protocol, split_name: str) -> Path:
        """One file with all development pictures of the protocol, or all its test pictures."""
        target = self.root / "protocols" / protocol.folder / f"{split_name}.jsonl"
        if not target.is_file():
            domains = protocol.test if split_name == "test" else protocol.train
            sources = [self.file(domain, split_name) for domain in domains]
            rows = [
                row.model_copy(update={"image": rebase_image(row.image, source, target)})
                for source in sources
                for row in read_jsonl(source, Sample)
            ]
            target.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(target, rows)
        return target


def simulated(root: Path, scale: Scale, step: Step, *, seed: int, workers: int, wording: Wording, foundation: bool) -> Bench:
    """Makes FaceShield-Sim at a scale, with dialogues in this wording; D only if a foundation is to be trained on it."""
    domains = tuple(name for name in DOMAINS if name != FOUNDATION or foundation)
    for name in domains:
        config = SimulateConfig("drawn", scale.pictures(name), seed, size=scale.size, domain=name)
        samples = root / name / "samples.jsonl"

        def draw(folder: Path = samples.parent, config: SimulateConfig = config) -> None:
            simulate(folder, config, workers=workers)

        step(f"simulate {name}", samples, draw)
        _divided(samples, "official", seed)
        _written(root / name, step, name, wording, seed)
    return Bench(root, domains)


def own(
    root: Path,
    files: list[Path],
    step: Step,
    *,
    seed: int,
    wording: Wording,
    report: Callable[[str], None] = lambda line: None,
) -> Bench:
    """One's own samples of WMCA, SiW-Mv2 and PADISI-Face, as written by `prepare`; existing train and test splits are kept.

    Raises:
        ValueError: no sample is of these data sets.
    """
    rows: dict[str, list[Sample]] = {}
    others: Counter[str] = Counter()
    for file in files:
        for row in read_jsonl(file, Sample):
            letter = row.meta.get("domain") or DATASETS.get(row.dataset)
            if letter not in DOMAINS:
                others[row.dataset] += 1
                continue
            target = root / letter / "samples.jsonl"
            rows.setdefault(letter, []).append(row.model_copy(update={"image": rebase_image(row.image, file, target)}))
    if not set(rows) - {FOUNDATION}:
        raise ValueError(
            f"{', '.join(map(str, files))}: data sets {', '.join(sorted(others)) or '(none)'} — expected some of "
            f"{', '.join(DATASETS)} — read them with faceshield prepare"
        )
    if others:
        report(f"left out, for no protocol has them: {', '.join(f'{count} of {name}' for name, count in others.items())}")
    for letter, found in rows.items():
        samples = root / letter / "samples.jsonl"
        samples.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(samples, found)
        official = {"train", "test"} <= {row.split for row in found}
        _divided(samples, "official" if official else "subject-disjoint", seed, report)
        _written(samples.parent, step, letter, wording, seed, report)
    return Bench(root, tuple(name for name in DOMAINS if name in rows))


def _divided(samples: Path, protocol: str, seed: int, report: Callable[[str], None] = lambda line: None) -> None:
    if not (samples.parent / "splits.json").is_file():
        found = split([samples], SplitConfig.of(out=samples.parent, protocol=protocol, seed=seed))
        if found.left_out:
            report(f"{samples}: {found.left_out} pictures are in no split")


def _written(
    folder: Path, step: Step, name: str, wording: Wording, seed: int, report: Callable[[str], None] = lambda line: None
) -> None:
    """Writes dialogues about the training pictures, captions for stage 1, and references that rich wording is scored against.

    An existing file is used as it is: an assistant's dialogues and captions can be put where the grammar's would be.
    """
    backend = BackendConfig(kind="grammar", wording=wording)
    files: list[tuple[str, str, tuple[str, ...] | None]] = [("dialogues", "train", None), ("captions", "train", ("caption",))]
    if wording == "rich" and (folder / "test.jsonl").is_file():
        files.append(("references", "test", (REASONING.name,)))
    for file, part, tasks in files:
        config = GenerateConfig(tasks=tasks, backend=backend)
        target = folder / f"{file}.jsonl"
        before = read_run(target).get("config", {}).get("backend", {}).get("wording", wording)
        if target.is_file() and before != wording:
            raise ValueError(f"{target} has the {before} wording, now it is {wording} — expected the same — give another --out")

        def write(source: Path = folder / f"{part}.jsonl", target: Path = target, config: GenerateConfig = config) -> None:
            if note := generate(source, target, config, seed=seed).note:
                report(f"{target}: {note}; put them there and start again without what was trained on these")

        step(f"{file} {name}", target, write)
