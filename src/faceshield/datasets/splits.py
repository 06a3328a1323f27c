"""Divide samples of one or more data sets into `train.jsonl`, `dev.jsonl` and `test.jsonl`.

A protocol is a rule that assigns rows to splits. `subject-disjoint`, the default, keeps all pictures of a person in one split,
or all pictures of a video if a data set does not name people. `paper` is what the paper did (§5.1): one picture in ten is
tested, whatever its person and recording; the report says how many test pictures share these with training. The rows and a seed
alone decide the splits: neither the order of the files nor the machine matters.
Use: `report = split(["wmca.jsonl", "padisi.jsonl"], SplitConfig(out="splits"))`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from faceshield.config import Config
from faceshield.provenance import check_not_read, write_json_atomic, write_run
from faceshield.records import Sample, iter_jsonl, rebase_image, write_jsonl
from faceshield.taxonomy import BONAFIDE, UNTYPED, resolve

SPLITS = ("train", "dev", "test")
FEW = 10  # of a class: even without an error among so many, the 95% interval of its rate reaches 30%

ProtocolName = Literal["subject-disjoint", "video-disjoint", "paper", "official", "cross-dataset", "leave-one-attack-out"]


class SplitConfig(Config):
    """How samples are divided.

    Attributes:
        out: folder of `train.jsonl`, `dev.jsonl`, `test.jsonl` and the report `splits.json`; a split without a row has no file.
        protocol: "subject-disjoint", "video-disjoint" and "paper" divide every data set by shares. "official": the data set's
            own lists, as `prepare` found them. "cross-dataset": some data sets are trained on, others tested.
            "leave-one-attack-out": subject-disjoint, with the attack in the test split only, and no other attack there.
        name: name of an official protocol ("grandtest", "3folds_part0", "P2_Replay", …); None = the data set's own split.
        train: data sets to train on; empty = all that are not tested (cross-dataset).
        test: data sets to test on (cross-dataset).
        attack: presentation types, or own labels, to leave out of training (leave-one-attack-out).
        test_share: share of the pictures of each data set and type.
        dev_share: the same; None = 0.1, but 0 for "paper", which has none. If an official protocol has no development
            split, one is taken from its training split.
        seed: a different seed gives a different division.
    """

    out: Path
    protocol: ProtocolName = "subject-disjoint"
    name: str | None = None
    train: list[str] = Field(default_factory=list)
    test: list[str] = Field(default_factory=list)
    attack: list[str] = Field(default_factory=list)
    test_share: float = Field(0.1, gt=0, lt=1)
    dev_share: float | None = Field(None, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _belongs(self) -> SplitConfig:
        needs = {"cross-dataset": "test", "leave-one-attack-out": "attack"}.get(self.protocol)
        if needs is not None and not getattr(self, needs):
            raise ValueError(f"protocol={self.protocol} without {needs} — expected at least one — name it with --{needs}")
        for option, protocol in (("name", "official"), ("train", "cross-dataset"), ("test", "cross-dataset"),
                                 ("attack", "leave-one-attack-out")):  # fmt: skip
            if getattr(self, option) and self.protocol != protocol:
                raise ValueError(f"{option} with protocol={self.protocol} — expected it with {protocol} alone — leave it out")
        if both := set(self.train) & set(self.test):
            raise ValueError(f"{', '.join(sorted(both))} in train and in test — expected each once — leave it out of one")
        return self

    @property
    def dev(self) -> float:
        """The development share, with the default filled in."""
        return (0.0 if self.protocol == "paper" else 0.1) if self.dev_share is None else self.dev_share


class Row(NamedTuple):
    """What is needed of a sample to assign it to a split."""

    id: str
    dataset: str
    people: str
    kind: str
    label: str
    subject: str | None
    video: str | None
    split: str | None
    splits: Mapping[str, str]
    digest: str | None

    @property
    def person(self) -> str:
        """The person shown; if unknown, each recording counts as a person."""
        return f"{self.people}/subject/{self.subject}" if self.subject is not None else self.recording

    @property
    def recording(self) -> str:
        """The video; a picture without one is a recording of its own."""
        return f"{self.dataset}/video/{self.video}" if self.video is not None else f"{self.dataset}/picture/{self.id}"

    @classmethod
    def of(cls, sample: Sample) -> Row:
        own: Any = sample.meta.get("splits")
        digest, source = sample.meta.get("sha256"), sample.meta.get("source")
        # Two simulated sets may show the same portraits, or the same drawn people.
        people = f"simulated {source}" if source and sample.dataset.startswith("sim") else sample.dataset
        return cls(
            sample.id, sample.dataset, people, sample.presentation_type or UNTYPED, sample.original_label, sample.subject,
            sample.video, sample.split, own if isinstance(own, dict) else {}, None if digest is None else str(digest),
        )  # fmt: skip


@dataclass
class SplitReport:
    """What a division gave.

    Attributes:
        counts: split -> presentation type -> pictures.
        left_out: pictures that are in no split.
        shared: "train+test" and so on -> numbers of "subjects", "videos" and "pictures" (by content) that are in both, and
            "affected": how many pictures of the second are of one of these subjects or videos, or are such a picture.
        namesakes: names of subjects that occur in more than one data set.
        unknown: split -> pictures of unknown person and recording, whose overlap with other splits cannot be determined.
    """

    protocol: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: int = 0
    shared: dict[str, dict[str, int]] = field(default_factory=dict)
    namesakes: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """A table of the counts, and what each two splits share."""
        names = list(self.counts)
        kinds = sorted({kind for counts in self.counts.values() for kind in counts}, key=lambda kind: (kind != BONAFIDE, kind))
        width = max(map(len, [*kinds, "type"]))
        yield f"{'type':{width}}" + "".join(f"{name:>10}" for name in names)
        for kind in kinds:
            yield f"{kind:{width}}" + "".join(f"{self.counts[name].get(kind, 0):10,}" for name in names)
        yield f"{'all':{width}}" + "".join(f"{sum(self.counts[name].values()):10,}" for name in names)
        if self.left_out:
            yield f"in no split: {self.left_out:,}"
        for pair, found in self.shared.items():
            first, second = pair.split("+")
            total = sum(self.counts[second].values())
            words = ", ".join(f"{found[what]:,} {what}" for what in ("subjects", "videos", "pictures"))
            share = f"{found['affected']:,} of {total:,} ({found['affected'] / total:.1%})"
            yield f"{first} and {second} share {words}; {second} pictures that this touches: {share}"
        if unknown := sum(self.unknown.values()):
            total = sum(sum(counts.values()) for counts in self.counts.values())
            yield (
                f"{unknown:,} of {total:,} pictures name neither person nor recording: each is taken for somebody else, and "
                "what splits share of them cannot be known"
            )
        if self.namesakes:
            told = ", ".join(self.namesakes[:3]) + (", …" if len(self.namesakes) > 3 else "")
            yield f"{len(self.namesakes):,} subjects of one name in several data sets ({told}) are taken for different people"

    def warnings(self, config: SplitConfig) -> Iterator[str]:
        """A line for dev and for test if a class is missing there, or too rare for a threshold or an error rate."""
        for name in ("dev", "test"):
            counts = self.counts.get(name, {})
            bonafides = counts.get(BONAFIDE, 0)
            attacks = sum(counts.values()) - bonafides
            if min(bonafides, attacks) < FEW and (counts or config.dev):
                yield (
                    f"{name} has {bonafides} bona fide and {attacks} attack pictures — expected at least {FEW} of each, for a "
                    "threshold or an error rate — give pictures of more people, or larger shares"
                )


def split(files: Sequence[str | Path], config: SplitConfig) -> SplitReport:
    """Divide the rows of samples files; see `SplitConfig` for what is written.

    Raises:
        ValueError: a repeated id, an unknown protocol, data set or attack, an empty test split, an empty train split (allowed
            for "official"), or an output that would overwrite an input.
    """
    check_not_read([config.out / f"{name}.jsonl" for name in SPLITS], files)
    rows: dict[str, Row] = {}
    for file in files:
        for sample in iter_jsonl(file, Sample):
            if sample.id in rows:
                raise ValueError(
                    f"{file}: id {sample.id!r} is there twice — expected every sample once — leave a file out, or, of two "
                    "folders of your own, prepare one with another --name"
                )
            rows[sample.id] = Row.of(sample)
    splits = assign(list(rows.values()), config)
    report = _report(rows.values(), splits, config.protocol)
    # A list may be only for testing, such as PADISI's all_test.
    for wanted in ("test",) if config.protocol == "official" else ("train", "test"):
        if wanted not in report.counts:
            people = len({row.people for row in rows.values()})
            raise ValueError(
                f"{config.protocol}: no sample in {wanted}, of {len(rows)} samples of {people} people or recordings — expected "
                "some — check the shares and names, or give more"
            )
    config.out.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        target = config.out / f"{name}.jsonl"
        if name in report.counts:
            write_jsonl(target, _written(files, splits, name, target))
        else:
            target.unlink(missing_ok=True)
    write_json_atomic(config.out / "splits.json", asdict(report))
    write_run(config.out / "splits.json", config=config, seed=config.seed, inputs=[Path(file) for file in files])
    return report


def _written(files: Iterable[str | Path], splits: Mapping[str, str], name: str, target: Path) -> Iterator[Sample]:
    for file in files:
        for sample in iter_jsonl(file, Sample):
            if splits.get(sample.id) == name:
                yield sample.model_copy(update={"split": name, "image": rebase_image(sample.image, file, target)})


# -- the protocols ---------------------------------------------------------------------------------------------------------

Splits = dict[str, str]
"""Sample id -> split; a missing id is in none."""


def assign(rows: Sequence[Row], config: SplitConfig) -> Splits:
    """Assign each row to a split.

    Raises:
        ValueError: the protocol does not work with these rows.
    """
    return _PROTOCOLS[config.protocol](rows, config)


def _by_subject(rows: Sequence[Row], config: SplitConfig) -> Splits:
    return _by_shares(rows, config, group=lambda row: row.person)


def _by_video(rows: Sequence[Row], config: SplitConfig) -> Splits:
    return _by_shares(rows, config, group=lambda row: row.recording)


def _paper(rows: Sequence[Row], config: SplitConfig) -> Splits:
    return _by_shares(rows, config, group=lambda row: row.id, stratum=lambda row: row.dataset)


def _official(rows: Sequence[Row], config: SplitConfig) -> Splits:
    own = {row.id: row.split if config.name is None else row.splits.get(config.name) for row in rows}
    splits = {name: found for name, found in own.items() if found in SPLITS}
    if not splits:
        known = sorted({name for row in rows for name in row.splits})
        raise ValueError(
            f"official protocol {config.name or '(of the folders)'}: no sample has it — expected one of "
            f"{', '.join(known) or '(none: the copy had no lists)'} — put the lists below the data set's root, prepare it again"
        )
    if "dev" not in splits.values() and config.dev:
        trained = [row for row in rows if splits.get(row.id) == "train"]
        splits |= _only_dev(trained, config)
    return splits


def _cross_dataset(rows: Sequence[Row], config: SplitConfig) -> Splits:
    there = {row.dataset for row in rows}
    if unknown := ({*config.train, *config.test} - there):
        raise ValueError(f"no sample of {', '.join(sorted(unknown))} — expected some of {', '.join(sorted(there))}")
    trained_on = set(config.train) or there - set(config.test)
    trained = [row for row in rows if row.dataset in trained_on]
    return _only_dev(trained, config) | {row.id: "test" for row in rows if row.dataset in config.test}


def _leave_one_attack_out(rows: Sequence[Row], config: SplitConfig) -> Splits:
    there = {row.kind for row in rows} | {row.label for row in rows}
    unknown = {name if name in there else resolve(name) for name in config.attack}
    if missing := unknown - there:
        raise ValueError(f"no sample of {', '.join(sorted(missing))} — expected some of {', '.join(sorted(there))}")
    left_out = {row.id for row in rows if row.kind in unknown or row.label in unknown}
    if BONAFIDE in {row.kind for row in rows if row.id in left_out}:
        raise ValueError(f"attack {', '.join(config.attack)} includes bona fide pictures — expected attacks alone")
    splits = _by_subject([row for row in rows if row.id not in left_out], config)
    people = {row.person: splits[row.id] for row in rows if row.id in splits}
    # Of the unknown attack, test everybody who is not in train or dev, also people seen only in it; of the rest, bona fide.
    tested = {row.id: "test" for row in rows if row.id in left_out and people.get(row.person, "test") == "test"}
    bonafide = {row.id for row in rows if row.kind == BONAFIDE}
    return {name: found for name, found in splits.items() if found != "test" or name in bonafide} | tested


_PROTOCOLS: dict[str, Callable[[Sequence[Row], SplitConfig], Splits]] = {
    "subject-disjoint": _by_subject,
    "video-disjoint": _by_video,
    "paper": _paper,
    "official": _official,
    "cross-dataset": _cross_dataset,
    "leave-one-attack-out": _leave_one_attack_out,
}


def _only_dev(rows: Sequence[Row], config: SplitConfig) -> Splits:
    """Training rows, with the development share of their people moved to dev."""
    return _divided(rows, {"dev": config.dev}, config.seed, group=lambda row: row.person)


def _by_shares(
    rows: Sequence[Row], config: SplitConfig, *, group: Callable[[Row], str], stratum: Callable[[Row], str] | None = None
) -> Splits:
    return _divided(rows, {"test": config.test_share, "dev": config.dev}, config.seed, group=group, stratum=stratum)


def _divided(
    rows: Sequence[Row],
    shares: Mapping[str, float],
    seed: int,
    *,
    group: Callable[[Row], str],
    stratum: Callable[[Row], str] | None = None,
) -> Splits:
    """Assign whole groups to the splits of `shares`, and the rest to train.

    Each stratum is divided by itself. By default a stratum is a data set's groups with the same rarest type, so that every type
    is in every split if there are enough groups. Groups of a stratum are ordered by a hash of seed and name; each split takes
    them until it is as near to its share as possible, but at least one if there are more groups than such splits.
    """
    counts = Counter((row.dataset, row.kind) for row in rows)
    members: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        members[group(row)].append(row)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, own in members.items():
        if stratum is not None:
            strata[(stratum(own[0]),)].append(name)
        else:
            strata[min((counts[row.dataset, row.kind], row.dataset, row.kind) for row in own)[1:]].append(name)
    splits: Splits = {}
    for names in strata.values():
        names.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        total = sum(len(members[name]) for name in names)
        enough = len(names) > len(shares)
        rest = iter(names)
        left = len(names)
        for place, (wanted, share) in enumerate(shares.items()):
            taken, reserved = 0, len(shares) - place if enough else 0
            while left > reserved and share:
                name = next(rest)
                size = len(members[name])
                if taken + size / 2 > share * total and (taken or not enough):
                    rest = iter([name, *rest])
                    break
                splits |= {row.id: wanted for row in members[name]}
                taken, left = taken + size, left - 1
        splits |= {row.id: "train" for name in rest for row in members[name]}
    return splits


# -- what two splits share -------------------------------------------------------------------------------------------------


def _report(rows: Iterable[Row], splits: Splits, protocol: str) -> SplitReport:
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    held: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in SPLITS}
    by_split: dict[str, list[Row]] = {name: [] for name in SPLITS}
    known: dict[str, set[str]] = defaultdict(set)
    report = SplitReport(protocol)
    for row in rows:
        name = splits.get(row.id)
        if name is None:
            report.left_out += 1
            continue
        counts[name][row.kind] += 1
        by_split[name].append(row)
        if row.subject is None and row.video is None:
            report.unknown[name] = report.unknown.get(name, 0) + 1
        for what, value in _marks(row):
            held[name][what][value] += 1
        if row.subject is not None:
            known[row.subject].add(row.people)
    report.namesakes = sorted(name for name, sets in known.items() if len(sets) > 1)
    report.counts = {name: dict(counts[name]) for name in SPLITS if counts[name]}
    for first, second in combinations(report.counts, 2):
        common = {what: held[first][what].keys() & held[second][what].keys() for what in ("subjects", "videos", "pictures")}
        touched = sum(any(value in common[what] for what, value in _marks(row)) for row in by_split[second])
        report.shared[f"{first}+{second}"] = {**{what: len(values) for what, values in common.items()}, "affected": touched}
    return report


def _marks(row: Row) -> Iterator[tuple[str, str]]:
    if row.subject is not None:
        yield "subjects", row.person
    if row.video is not None:
        yield "videos", row.recording
    if row.digest is not None:
        yield "pictures", row.digest
