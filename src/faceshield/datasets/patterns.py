"""Data sets whose paths say everything about their files: one pattern each.

A pattern's named groups fill the sample: `label`, `subject`, `split`, and the rest goes to `meta`. A video or picture that the
pattern does not fit is a problem, not ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar

from faceshield.datasets.base import DataSet, Found, Problem, Unit
from faceshield.datasets.folder import PICTURES, VIDEOS


class PatternSet(DataSet):
    """A data set of videos or pictures that is described by its paths.

    Attributes:
        pattern: matches the end of a path without its suffix.
        splits: the data set's word for a split -> ours.
        expected: the pattern in words, for problems.
        unlabelled: the label if the pattern finds none in a path; None if it always finds one.
    """

    pattern: ClassVar[re.Pattern[str]]
    splits: ClassVar[Mapping[str, str]] = {"train": "train", "devel": "dev", "dev": "dev", "test": "test"}
    suffixes: ClassVar[tuple[str, ...]] = VIDEOS
    expected: ClassVar[str]
    unlabelled: ClassVar[str | None] = None

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() not in self.suffixes:
            return None
        match = self.pattern.search(str(path.with_suffix("")))
        if match is None:
            return Problem("name", str(path), f"expected {self.expected}")
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        label = groups.pop("label") if self.unlabelled is None else groups.pop("label", self.unlabelled)
        subject = self.subject(groups)
        split = groups.pop("split", None)
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
        """A sample's name in the data set's lists."""
        return PurePosixPath(name).name

    def subject(self, groups: dict[str, str]) -> str | None:
        """Remove the person shown from the groups, and return it."""
        return groups.pop("subject", None)


class FrameSet(PatternSet):
    """A data set whose videos are folders of numbered frames; the pattern matches the folder."""

    suffixes = PICTURES

    def look(self, path: PurePosixPath) -> Found | None:
        number = re.search(r"\d+$", path.stem)
        if path.suffix.lower() not in self.suffixes or number is None:
            return None
        # Match the folder's path, with a suffix appended for `super().look` to remove.
        found = super().look(path.parent.with_name(path.parent.name + path.suffix))
        if isinstance(found, Unit):
            return replace(found, path=str(path), video=found.id, options={"frame": int(number[0])})
        return found if found is None else replace(found, path=str(path))
