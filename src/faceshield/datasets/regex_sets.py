"""Data sets whose files say everything by their path: one pattern each.

A pattern's named groups fill the sample: `label` (joined from `label`, `label2`), `subject`, `split`, and the rest goes to
`meta`. What only looks like the data set's (a video or picture that no pattern fits) is a problem, not ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Unit, gathered
from faceshield.datasets.folder import PICTURES, VIDEOS


class PatternSet(DataSet):
    """A data set of videos or pictures with telling paths.

    Attributes:
        pattern: of the end of a path without its suffix.
        splits: the data set's word for a split -> ours.
        expected: the pattern in words, for problems.
    """

    pattern: ClassVar[re.Pattern[str]]
    splits: ClassVar[Mapping[str, str]] = {"train": "train", "devel": "dev", "dev": "dev", "test": "test"}
    suffixes: ClassVar[tuple[str, ...]] = VIDEOS
    expected: ClassVar[str]

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() not in self.suffixes:
            return None
        match = self.pattern.search(str(path.with_suffix("")))
        if match is None:
            return Problem("name", str(path), f"expected {self.expected}")
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        label = self.label(groups)
        split = groups.pop("split", None)
        subject = groups.pop("subject", None)
        is_video = path.suffix.lower() in VIDEOS
        name = match[0].lstrip("/")
        splits = self.lists.of(self.listed_as(name, subject))
        return Unit(
            id=name,
            path=str(path),
            reader="video" if is_video else "picture",
            label=label,
            subject=subject,
            split=splits.get("own") if split is None else self.splits.get(split.lower(), split.lower()),
            splits=splits,
            video=name if is_video else None,
            meta=groups,
        )

    def listed_as(self, name: str, subject: str | None) -> str:
        """What the data set's lists call a sample."""
        return PurePosixPath(name).name

    def label(self, groups: dict[str, str]) -> str:
        """The data set's own label out of the groups; takes it out."""
        return groups.pop("label")


class OuluNpu(PatternSet):
    """OULU-NPU (Boulkenafet et al., FG 2017): `<Train,Dev,Test>_files/<phone>_<session>_<user>_<file>.avi`.

    Its protocols 1, 2, 3_1 … 3_6, 4_1 … 4_6 are read from `Protocol_<k>[_<i>]/<Train,Dev,Test>[_<i>].txt`.
    """

    name = "oulu-npu"
    types = {"1": "Bonafide", "2": "Print", "3": "Print", "4": "Replay", "5": "Replay"}
    pattern = re.compile(
        r"(?P<split>Train|Dev|Test)_files/(?P<phone>[1-6])_(?P<session>[1-3])_(?P<subject>\d{1,2})_(?P<label>[1-5])$"
    )
    expected = "Train_files/<phone 1-6>_<session 1-3>_<user>_<file 1-5>"
    _list = re.compile(
        r"^(?:.*/)?Protocol_(?P<protocol>\d)(?:[/_](?P<fold>\d))?/(?P<split>Train|Dev|Test)(?:_(?P<part>\d))?\.txt$"
    )
    _file = re.compile(r"[1-6]_[1-3]_\d{2}_[1-5]")

    def read_lists(self) -> Lists:
        lists = Lists()
        for file in self.list_files("*.txt"):
            match = self._list.search(file.as_posix())
            if match is None:
                continue
            fold = match["part"] or match["fold"]
            protocol = match["protocol"] + (f"_{fold}" if fold else "")
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                sign, _, name = line.replace(" ", "").partition(",")
                if self._file.fullmatch(name) and (sign == "+1") == name.endswith("_1"):
                    lists.add(name, protocol, self.splits[match["split"].lower()])
                elif line.strip():
                    lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected +1 or another number, a comma, a name")
        return lists


class CasiaFasd(PatternSet):
    """CASIA-FASD (Zhang et al., ICB 2012): `train_release/<subject>/<1-8, HR_1-4>.avi`."""

    name = "casia-fasd"
    types = {
        **dict.fromkeys(("1", "2", "HR_1"), "Bonafide"),
        **dict.fromkeys(("3", "4", "HR_2"), "Print"),
        **dict.fromkeys(("5", "6", "HR_3"), "Print"),
        **dict.fromkeys(("7", "8", "HR_4"), "Replay"),
    }
    pattern = re.compile(r"(?P<split>train|test)_release/(?P<number>\d+)/(?P<label>[1-8]|HR_[1-4])$")
    expected = "train_release/<subject>/<1-8 or HR_1-4>"

    def label(self, groups: dict[str, str]) -> str:
        # Subjects are numbered from 1 in both halves; they are other people.
        groups["subject"] = f"{groups['split']}-{groups.pop('number')}"
        return groups.pop("label")


class ReplayAttack(PatternSet):
    """Replay-Attack (Chingovska et al., BIOSIG 2012): `<train,devel,test>/real/…` and `…/attack/<fixed,hand>/attack_…`."""

    name = "replay-attack"
    types = {"real": "Bonafide", "print": "Print", "mobile": "Replay", "highdef": "Replay"}
    pattern = re.compile(
        r"(?P<split>train|devel|test)/(?:real|attack/(?P<support>fixed|hand))/(?:attack_(?P<label>print|mobile|highdef)_)?"
        r"client(?P<subject>\d{3})_session(?P<session>\d\d)_[a-z0-9_]+$"
    )
    expected = "<train,devel,test>/real/client001_session01_… or …/attack/<fixed,hand>/attack_<print,mobile,highdef>_client…"

    def look(self, path: PurePosixPath) -> Found | None:
        return None if "enroll" in path.parts else super().look(path)  # for recognition, not for attacks

    def label(self, groups: dict[str, str]) -> str:
        return groups.pop("label", "real")


class MsuMfsd(PatternSet):
    """MSU-MFSD (Wen et al., TIFS 2015): `scene01/{real,attack}/{real,attack}_client001_<camera>_SD[_<medium>]_scene01`.

    `{train,test}_sub_list.txt` name the clients of each half, a number a line.
    """

    name = "msu-mfsd"
    types = {"real": "Bonafide", "printed_photo": "Print", "ipad_video": "Replay", "iphone_video": "Replay"}
    pattern = re.compile(
        r"(?:real|attack)_client(?P<subject>\d{3})_(?P<camera>android|laptop)_SD(?:_(?P<label>[a-z]+_[a-z]+))?_scene(?P<scene>\d\d)$"
    )
    expected = "{real,attack}_client001_<android,laptop>_SD[_<medium>]_scene01"

    def listed_as(self, name: str, subject: str | None) -> str:
        return f"client{int(subject or 0):03}"

    def read_lists(self) -> Lists:
        lists = Lists()
        for split in ("train", "test"):
            for file in self.list_files(f"{split}_sub_list.txt"):
                for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                    if line.strip().isdigit():
                        lists.add(f"client{int(line):03}", "own", split)
                    elif line.strip():
                        lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected a client's number")
        return lists

    def label(self, groups: dict[str, str]) -> str:
        return groups.pop("label", "real")


class Siw(PatternSet):
    """SiW (Liu et al., CVPR 2018): `{Train,Test}/{live,spoof}/<subject>/<subject>-<sensor>-<type>-<medium>-<session>`."""

    name = "siw"
    types = {"1": "Bonafide", "2": "Print", "3": "Replay"}
    pattern = re.compile(
        r"(?P<split>Train|Test)/(?:live|spoof)/\d+/(?P<subject>\d+)-(?P<sensor>\d+)-(?P<label>[123])-(?P<medium>\d+)-(?P<session>\d+)(?:\.m)?$"
    )
    expected = "{Train,Test}/{live,spoof}/<subject>/<subject>-<sensor>-<1 live, 2 print, 3 replay>-<medium>-<session>"


class LccFasd(PatternSet):
    """LCC-FASD (Timoshenko et al., 2019): `LCC_FASD_<split>/{real,spoof}/*.png`; its spoofs are re-captured screens."""

    name = "lcc-fasd"
    types = {"real": "Bonafide", "spoof": "Replay"}
    pattern = re.compile(r"LCC_FASD_(?P<split>training|development|evaluation)/(?P<label>real|spoof)/[^/]+$")
    splits = {"training": "train", "development": "dev", "evaluation": "test"}
    suffixes = PICTURES
    expected = "LCC_FASD_<training,development,evaluation>/{real,spoof}/*.png"


class RoseYoutu(PatternSet):
    """Rose-Youtu (Li et al., TIFS 2018): `{train,test}/<subject>/<code>_….mp4`; the first letters say what it is."""

    name = "rose-youtu"
    types = {
        "G": "Bonafide",
        **dict.fromkeys(("Ps", "Pq"), "Print"),
        **dict.fromkeys(("Vl", "Vm"), "Replay"),
        **dict.fromkeys(("Mc", "Mf", "Mu"), "Paper mask"),
    }
    pattern = re.compile(r"(?:(?P<split>train|test)/)?_?(?P<subject>\d+)/(?P<label>G|Ps|Pq|Vl|Vm|Mc|Mf|Mu)_[^/]+$")
    expected = "<subject>/<G,Ps,Pq,Vl,Vm,Mc,Mf,Mu>_…"


class FrameSet(PatternSet):
    """A data set whose videos lie as folders of numbered frames; the pattern is the folder's."""

    suffixes = PICTURES

    def walk(self) -> Iterator[Found]:
        return gathered(super().walk())

    def look(self, path: PurePosixPath) -> Found | None:
        number = re.search(r"\d+$", path.stem)
        if path.suffix.lower() not in self.suffixes or number is None:
            return None
        # The pattern sees the folder, with a suffix to take off again.
        found = super().look(path.parent.with_name(path.parent.name + path.suffix))
        if isinstance(found, Unit):
            return replace(found, path=str(path), video=found.id, options={"frame": int(number[0])})
        return found if found is None else replace(found, path=str(path))


class HiFiMask(FrameSet):
    """HiFiMask (Liu et al., TIFS 2022): folders `<complexion>_<subject>_<type>_<scene>_<light>_<sensor>` of frames."""

    name = "hifimask"
    types = {"0": "Bonafide", "1": "Rigid mask", "2": "Rigid mask", "3": "Rigid mask"}
    pattern = re.compile(r"(?P<complexion>\d)_(?P<subject>\d+)_(?P<label>[0-3])_(?P<scene>\d)_(?P<light>\d)_(?P<sensor>\d)$")
    expected = "<complexion>_<subject>_<type 0 live, 1 transparent, 2 plaster, 3 resin>_<scene>_<light>_<sensor>/<frame>"


class Cefa(FrameSet):
    """CASIA-SURF CeFA (Liu et al., WACV 2021): `<race>_<subject>_<n>_<n>_<kind>/profile/<frame>.jpg`; colour alone is read."""

    name = "cefa"
    types = {"1": "Bonafide", "2": "Flexible mask", "3": "Print", "4": "Replay"}
    pattern = re.compile(r"(?P<race>\d)_(?P<subject>\d+)_(?P<acquisition>\d)_(?P<session>\d)_(?P<label>[1-4])/profile$")
    expected = "<race>_<subject>_<n>_<n>_<1 live, 2 cloth mask, 3 photo, 4 screen>/profile/<frame>.jpg"

    def look(self, path: PurePosixPath) -> Found | None:
        return None if path.parent.name in ("depth", "ir") else super().look(path)

    def label(self, groups: dict[str, str]) -> str:
        groups["subject"] = f"{groups['race']}_{groups['subject']}"
        return groups.pop("label")


class CasiaSurf(FrameSet):
    """CASIA-SURF (Zhang et al., CVPR 2019); colour alone is read, and all its attacks are printed faces with parts cut out.

    The training part says what is real by its folders: `Training/{real,fake}_part/CLKJ_<subject>/<clip>.rssdk/color/<n>.jpg`.
    The other parts are single pictures, `{Val,Testing}/<n>/<n>-color.jpg`, of which only the lists (`*list*.txt`: the paths of
    three channels in any order, then a number) say it; which number means real is taken from the training part's own lines.
    """

    name = "casia-surf"
    types = {"real": "Bonafide", "fake": "Print"}
    pattern = re.compile(r"(?P<label>real|fake)_part/(?P<subject>CLKJ_\w+)/(?P<clip>[\w.]+)\.rssdk/color$")
    expected = "{real,fake}_part/CLKJ_<subject>/<clip>.rssdk/color/<n>.jpg or {Val,Testing}/<n>/<n>-color.jpg"
    _single = re.compile(r"(?P<split>Val|Testing)/\d+/\d+-color$")

    def look(self, path: PurePosixPath) -> Found | None:
        if path.parent.name in ("depth", "ir") or path.stem.endswith(("-depth", "-ir")):
            return None
        single = self._single.search(str(path.with_suffix("")))
        if single is None or path.suffix.lower() not in self.suffixes:
            found = super().look(path)
            return replace(found, split="train") if isinstance(found, Unit) else found
        label = self.labels.get(single[0])
        if label is None:
            return Problem("unlisted", str(path), "in no *list*.txt that says what it is, or the training list is missing")
        split = {"Val": "dev", "Testing": "test"}[single["split"]]
        return Unit(single[0], str(path), "picture", label, split=split)

    def read_lists(self) -> Lists:
        numbers: dict[str, str] = {}
        real: set[str] = set()
        for file in self.list_files("*list*.txt"):
            for line in file.read_text(encoding="utf-8").splitlines():
                *paths, number = line.split() or [""]
                colour = next((path for path in paths if re.search(r"(/color/|-color\.)", path)), "")
                if "_part/" in colour:
                    real |= {number} if "real_part/" in colour else set()
                elif match := self._single.search(str(PurePosixPath(colour).with_suffix("")) if colour else ""):
                    numbers[match[0]] = number
        known = len(real) == 1
        self.labels = {name: "real" if number in real else "fake" for name, number in numbers.items() if known}
        return Lists()


class HqWmca(PatternSet):
    """HQ-WMCA (Mostaani et al., 2020): `<site>_<session>_<client>_<presenter>_<type>_<subtype>_<instrument>-<hash>.h5`.

    Colour is the stack `BASLER_BGR`, (frames, 3, height, width), blue first. What the numbers of types mean is in the
    documentation that comes with the data and was not at hand: the label is `<type>_<subtype>`, and `--types` must map it.
    """

    name = "hq-wmca"
    types: ClassVar[Mapping[str, str | None]] = {}
    pattern = re.compile(
        r"(?P<site>\d+)_(?P<session>\d+)_(?P<subject>\d+)_(?P<presenter>\d+)_(?P<label>\d+_\d+)_(?P<instrument>\d+)-\w+$"
    )
    suffixes = (".h5", ".hdf5")
    expected = "<site>_<session>_<client>_<presenter>_<type>_<subtype>_<instrument>-<hash>.h5"

    def look(self, path: PurePosixPath) -> Found | None:
        found = super().look(path)
        if not isinstance(found, Unit):
            return found
        return replace(found, reader="stack", video=found.id, options={"member": "BASLER_BGR", "order": "bgr"})


class UniAttack(PatternSet):
    """UniAttackData (Fang et al., 2024), as a whole: `Data/{live,spoof,…}/…`, or the challenge's folders and labels.

    Attacks that are no picture of a thing held up or worn (adversarial, generated, swapped faces) are of none of the twelve
    types and are left out. `spoof` does not say which instrument it was, and the meaning of the challenge's numbers
    (`<train,dev,test>_label.txt`: path and number) was not at hand: `--types` must map them.
    """

    name = "uniattack"
    types: ClassVar[Mapping[str, str | None]] = {
        "live": "Bonafide",
        **dict.fromkeys(("adv-attacks", "DaGAN", "FaceDancer", "InsightFace", "OneShotTH", "SAFA", "simswap"), None),
    }
    pattern = re.compile(r"(?:^|/)(?:Data/(?P<label>[\w-]+)/.+|p\d(?:\.\d)?/(?P<split>train|dev|test)/[^/]+)$")
    suffixes = (*PICTURES, *VIDEOS)
    expected = "Data/<live, spoof, …>/… or p<1, 2.1, 2.2>/<train,dev,test>/<name>.png"

    def label(self, groups: dict[str, str]) -> str:
        return groups.pop("label", "")

    def look(self, path: PurePosixPath) -> Found | None:
        found = super().look(path)
        if not isinstance(found, Unit) or found.label:
            return found
        number = self.labels.get("/".join(path.parts[-3:]))
        if number is None:
            return Problem("unlisted", str(path), "in no label file — expected <train,dev,test>_label.txt beside the folders")
        return replace(found, label=number)

    def read_lists(self) -> Lists:
        self.labels = {}
        for file in self.list_files("*_label.txt"):
            for line in file.read_text(encoding="utf-8").splitlines():
                name, _, number = line.strip().rpartition(" ")
                if name:
                    parts = (file.parent.name, *PurePosixPath(name.strip()).parts)
                    self.labels["/".join(parts[-3:])] = number
        return Lists()
