"""Writes a simulated data set: pictures, and a `samples.jsonl` with true types, boxes and cues.

Picture i depends only on the settings and on i: the number of workers, an interruption or a second run changes nothing. All
classes share the same portraits and the same camera model. A domain of FaceShield-Sim (`domains`) narrows the distributions and
divides its people into splits.

    simulate(Path("out"), SimulateConfig(faces="drawn", count=1000, seed=1))
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.provenance import begun, write_run
from faceshield.records import Sample, write_jsonl
from faceshield.simulate.attacks import VARIANTS, attack, typical_first
from faceshield.simulate.attacks.places import resolved_cues, seen_cues, seen_phrases
from faceshield.simulate.camera import capture, draw_settings, draw_severity, sensor_pixels
from faceshield.simulate.domains import VERSION, Domain, domain_named, domain_schedule
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.photos import SPLIT_SHARES, list_photos, load_portraits, portrait_of, split_of_samples
from faceshield.simulate.portrait import CANVAS, OUTLINE, WHOLE_CANVAS, Attacked, Box, Portrait, Scene
from faceshield.simulate.processes import write_rows
from faceshield.simulate.scene import ANYWHERE, compose_scene
from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES, resolve

PICTURE_SIZE = 224
REJECTS_FILE = "rejects.jsonl"
SHOTS_PER_DRAWN_SUBJECT = 4
SPLITS = tuple(SPLIT_SHARES)
_GREY_BESIDES = 0.05
"""Share of bona fide pictures made colourless in addition to the camera's own: as many as grey prints and paper add to the
attacks; otherwise grey would indicate an attack."""


@dataclass(frozen=True)
class SimulateConfig:
    """What to simulate.

    Attributes:
        faces: "drawn", a folder of bona fide photographs, or a samples file, which supplies bona fide pictures, their people
            and the split.
        count: number of pictures.
        seed: source of all randomness.
        types: presentation types in equal shares; empty: all twelve, with a quarter of the pictures bona fide.
        split: written into every sample. Nobody is in two splits: of a folder of photographs only the people of this split are
            used, and drawn people depend on the seed and the split (without one, as for "train").
        landmarks: CSV of landmarks for the photographs (default: `landmarks.csv` beside their `faces.csv`).
        size: longer side of the pictures in pixels.
        without_variants: variants of the attack renderers that are left out, such as "print/laser"; each type's remaining ones
            are then drawn in equal shares.
        domain: domain of FaceShield-Sim, "W", "S", "P" or "D": faces are drawn, and types and splits are the domain's own.

    Raises:
        ValueError: an unknown domain or variant, no variant left of a type, landmarks with drawn faces, or a domain together
            with faces, types, a split or `without_variants`.
    """

    faces: str
    count: int
    seed: int
    types: tuple[str, ...] = ()
    split: str | None = None
    landmarks: str | None = None
    size: int = PICTURE_SIZE
    domain: str | None = None
    without_variants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        left_variants(self.without_variants)
        if self.faces == "drawn" and self.landmarks is not None:
            raise ValueError(
                f"landmarks {self.landmarks} given with drawn faces — expected them only with a folder — leave them out"
            )
        if self.domain is None:
            return
        domain_named(self.domain)
        own = {
            "faces": self.faces != "drawn", "types": bool(self.types), "split": self.split is not None,
            "without_variants": bool(self.without_variants),
        }  # fmt: skip
        if any(own.values()):
            raise ValueError(
                f"domain {self.domain} together with {', '.join(name for name, given in own.items() if given)} — expected it "
                "alone: its faces are drawn, and its types and splits are its own — leave them out"
            )


def left_variants(without: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The variants left of each attack type; empty if none are taken away.

    Raises:
        ValueError: an unknown variant, or all variants of a type.
    """
    known = [name for names in VARIANTS.values() for name in names]
    unknown = [name for name in without if name not in known]
    if unknown:
        raise ValueError(f"unknown variant {', '.join(unknown)} — expected some of {', '.join(known)} — use their names")
    left = {kind: tuple(name for name in names if name not in without) for kind, names in VARIANTS.items()}
    gone = [kind for kind, names in left.items() if not names]
    if gone:
        raise ValueError(f"no variant of {', '.join(gone)} is left — expected at least one — exclude fewer variants")
    return left if without else {}


def schedule(config: SimulateConfig) -> list[str]:
    """Presentation type of every picture, in order: shuffled blocks, so that any prefix is balanced."""
    block = [resolve(name) for name in config.types] or [BONAFIDE] * 11 + list(ATTACK_TYPES) * 3
    rng = np.random.default_rng([config.seed, 1])
    order: list[str] = []
    while len(order) < config.count:
        order.extend(block[i] for i in rng.permutation(len(block)))
    return order[: config.count]


def simulate(
    out: Path, config: SimulateConfig, *, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes `out/samples.jsonl` and `out/images/`; resumes an interrupted run of the same configuration.

    Photographs in which no face is found are listed in `out/rejects.jsonl`.

    Args:
        progress: called with (done, total) after every picture.

    Returns:
        Path of the finished `samples.jsonl`.

    Raises:
        ValueError: `out` holds a set of another configuration, or something else; an unknown type; or a split other than the
            samples file's.
        FileNotFoundError: the folder of photographs is missing or empty, or no face is found in it.
        ChildProcessError: a worker process died; the same call resumes the run.
    """
    if config.faces != "drawn" and Path(config.faces).is_file():
        own = split_of_samples(Path(config.faces))
        if config.split not in (None, own):
            found = f"split {own}" if own else "no split"
            raise ValueError(f"split {config.split}, but {config.faces} has {found} — expected the same — leave the option out")
        config = replace(config, split=own)
    finished = out / "samples.jsonl"
    described = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(config).items()}
    if not config.without_variants:
        del described["without_variants"]
    if config.domain is None:
        del described["domain"]
    described["version"] = VERSION  # a run begun by another version is refused: its pictures differ
    if config.faces != "drawn":
        described |= {"faces": str(Path(config.faces).resolve()), "photos": _photos_hash(config)}
    begun(out, "simulate", described, note=False, results=(finished.name, "images"))
    if finished.is_file():
        return finished
    portraits, faceless = _portraits(config, workers)
    render = _Render(config, portraits, out)
    begun(out, "simulate", described)  # only now: a wrong folder of photographs leaves nothing behind
    if faceless:
        write_jsonl(out / REJECTS_FILE, [{"path": str(path), "reason": "no face"} for path in faceless])
    write_rows(out, render, config.count, workers, progress)
    write_run(finished, config=described, seed=config.seed, inputs=[] if config.faces == "drawn" else [config.faces])
    return finished


def attack_photo(rgb: NDArray[np.uint8], presentation_type: str, seed: int) -> tuple[NDArray[np.uint8], list[Box]]:
    """Attacks one photograph, for demonstrations: its face is found, attacked and photographed again.

    Args:
        rgb: (H, W, 3) uint8 RGB with a frontal face.

    Returns:
        (2 CANVAS, 2 CANVAS, 3) uint8 RGB around the face, and the attack's boxes in its pixels.

    Raises:
        ValueError: no face is found.
    """
    portrait = portrait_of(rgb, "photo")
    if portrait is None:
        shape = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise ValueError(f"no face found in a picture of {shape} — expected a frontal face — use another picture")
    rng = np.random.default_rng([seed, PRESENTATION_TYPES.index(resolve(presentation_type))])
    outline = portrait.landmarks[OUTLINE]
    height, width = portrait.image.shape[:2]
    side = min(float(np.ptp(outline[:, 1])) / 0.55, width, height)
    x, y = (outline.min(axis=0) + outline.max(axis=0)) / 2 - side / 2
    x, y = (float(np.clip(v, 0, limit - side)) for v, limit in ((x, width), (y, height)))
    square = Image.fromarray((portrait.image * 255).round().astype(np.uint8)).resize(
        (CANVAS, CANVAS), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side)
    )
    image = np.asarray(square, np.float32) / 255.0
    landmarks = ((portrait.landmarks - (x, y)) * CANVAS / side).astype(np.float32)
    scene = Scene(image, landmarks, np.ones(image.shape[:2], np.float32), portrait)
    attacked = attack(scene, presentation_type, rng)
    size = 2 * CANVAS
    picture = capture(attacked.image, rng, size=size, settings=draw_settings(rng, severity=0.3))
    return picture, [tuple(v * size / CANVAS for v in box) for box in attacked.boxes]  # type: ignore[misc]


# --------------------------------------------------------------------------------------------------------- one picture


def drawn_person(subject: str) -> np.random.Generator:
    """Generator of the drawn person "drawn-SEED-PERSON" or "drawn-SEED-SPLIT-PERSON": the identity for `draw_portrait`.

    Raises:
        ValueError: the name has neither form.
    """
    named = re.fullmatch(r"drawn-(\d+)-(?:(.+)-)?(\d+)", subject)
    if named is None:
        raise ValueError(f"subject {subject!r} — expected a drawn person: drawn-SEED-PERSON or drawn-SEED-SPLIT-PERSON")
    return np.random.default_rng([int(named[1]), 3, int(named[3]), _number_of(named[2])])


def _named(split: str | None) -> list[str]:
    return [] if split in (None, SPLITS[0]) else [str(split)]


def _number_of(split: str | None) -> int:
    """Seed component of a split: 0 for "train" or none, so that every other split has people and scenes of its own."""
    return int.from_bytes("".join(_named(split)).encode(), "big")


def _photos_hash(config: SimulateConfig) -> str:
    """Hash of the photographs' names, people, file sizes and landmarks: a run is not resumed with another set of people."""
    digest = hashlib.sha256()
    for photo in list_photos(Path(config.faces), Path(config.landmarks) if config.landmarks else None):
        digest.update(f"{os.path.relpath(photo.path, config.faces)}\0{photo.subject}\0{photo.path.stat().st_size}\n".encode())
        digest.update(b"" if photo.landmarks is None else photo.landmarks.tobytes())
    return digest.hexdigest()[:16]


def _portraits(config: SimulateConfig, workers: int) -> tuple[list[Portrait], list[Path]]:
    if config.faces == "drawn":
        return [], []
    landmarks = Path(config.landmarks) if config.landmarks else None
    found, faceless = load_portraits(Path(config.faces), split=config.split, landmarks_csv=landmarks, workers=workers)
    if not found:
        raise FileNotFoundError(f"no face found in any picture of {config.faces} — expected frontal bona fide portraits")
    return found, faceless


class _Render:
    """Makes and saves picture i; a class, not a closure, because it is passed to worker processes."""

    def __init__(self, config: SimulateConfig, portraits: list[Portrait], out: Path) -> None:
        self.config, self.portraits, self.out = config, portraits, out
        self.dataset = _dataset_name(config)
        self.domain: Domain | None = None
        self.left = left_variants(config.without_variants)
        if config.domain is None:
            self.plan: Sequence[tuple[str | None, str]] = [(config.split, name) for name in schedule(config)]
        else:
            self.domain = domain_named(config.domain)
            self.plan = domain_schedule(self.domain, config.count, config.seed)

    def __call__(self, index: int) -> Sample:
        split, name = self.plan[index]
        rng, domain = self._rng(2, index), self.domain
        setting = ANYWHERE if domain is None else domain.setting
        scene = compose_scene(self._portrait(index, rng), rng, setting)
        variant = None if domain is None else domain.draw_variant(name, rng)
        if self.left and name != BONAFIDE:
            variant = self.left[name][int(rng.integers(len(self.left[name])))]
        attacked = attack(scene, name, rng, variant=variant, setting=setting)
        camera = None if domain is None else domain.draw_camera(rng)
        settings = draw_settings(rng, draw_severity(rng)) if camera is None else camera.draw(rng)
        if camera is None and name == BONAFIDE and rng.random() < _GREY_BESIDES:
            settings = replace(settings, saturation=0.0)
        if name != BONAFIDE:
            attacked = replace(attacked, cues=typical_first(name, attacked.cues))
        attacked = replace(attacked, cues=resolved_cues(attacked, sensor_pixels(self.config.size, settings) / CANVAS))
        if settings.saturation == 0:
            attacked = replace(attacked, cues=without_colour(attacked.cues))
        x0, y0, x1, y1 = (int(value) for value in _seen(scene, attacked))
        if attacked.boxes:
            visible = np.zeros((CANVAS, CANVAS), bool)
            visible[y0:y1, x0:x1] = True
            attacked = replace(attacked, cues=seen_cues(attacked, visible))
        picture = capture(attacked.image[y0:y1, x0:x1], rng, size=self.config.size, settings=settings)
        boxes = [_scaled((a - x0, b - y0, c - x0, d - y0), picture) for a, b, c, d in attacked.boxes]
        attacked = replace(attacked, boxes=tuple(boxes))
        of_domain = {} if camera is None else {"domain": self.config.domain, "version": VERSION, "camera": camera.name}
        return self._save(index, name, scene, attacked, picture, split, of_domain)

    def _rng(self, *use: int) -> np.random.Generator:
        if self.domain is None:
            return np.random.default_rng([self.config.seed, *use, _number_of(self.config.split)])
        return np.random.default_rng([VERSION, self.domain.number, self.config.seed, *use])

    def _portrait(self, index: int, rng: np.random.Generator) -> Portrait:
        if self.portraits:
            return self.portraits[int(rng.integers(len(self.portraits)))]
        # The person is drawn independently of the type: identity must not reveal the class.
        if self.domain is None:
            people = max(1, self.config.count // SHOTS_PER_DRAWN_SUBJECT)
            person = int(rng.integers(people))
            subject = "-".join(["drawn", str(self.config.seed), *_named(self.config.split), str(person)])
            return draw_portrait(drawn_person(subject), rng, subject)
        split = self.plan[index][0]
        people = max(2, sum(own == split for own, _ in self.plan) // SHOTS_PER_DRAWN_SUBJECT)
        person = int(rng.integers(people))
        subject = f"{self.config.domain}-{self.config.seed}-{split}-{person}"
        return draw_portrait(self._rng(3, SPLITS.index(str(split)), person), rng, subject)

    def _save(
        self,
        index: int,
        name: str,
        scene: Scene,
        attacked: Attacked,
        picture: NDArray[np.uint8],
        split: str | None,
        of_domain: dict[str, Any],
    ) -> Sample:
        name_of_file = f"images/{index:06d}.jpg"
        Image.fromarray(picture).save(self.out / name_of_file, quality=95, subsampling=0)
        meta: dict[str, Any] = {
            "source": scene.portrait.source,
            "variant": attacked.variant,
            "cues": list(attacked.cues),
            "scene": [*seen_phrases(scene.phrases, attacked), *attacked.phrases],
            **of_domain,
        }
        return Sample(
            id=f"{self.dataset}-{index:06d}",
            image=name_of_file,
            dataset=self.dataset,
            is_attack=name != BONAFIDE,
            presentation_type=name,
            original_label=attacked.variant,
            subject=scene.portrait.subject,
            video=None,
            frame=None,
            split=split,
            boxes=list(attacked.boxes),
            size_wh=(picture.shape[1], picture.shape[0]),
            meta=meta,
        )


_COLOUR_CUES = {
    "a grey paper print", "faded print colours", "bluish screen colours", "clipped bright colours", "another skin colour",
    "strong cheek colour", "an odd rubber colour", "one even mask colour", "grey painted skin", "coloured ink marks",
    "painted colour blocks",
}  # fmt: skip


def without_colour(cues: tuple[str, ...]) -> tuple[str, ...]:
    """The cues that a picture without colour still shows; all of them if none would be left."""
    return tuple(cue for cue in cues if cue not in _COLOUR_CUES) or cues


def _seen(scene: Scene, attacked: Attacked) -> Box:
    """The part of the canvas that is photographed: the scene's window, or all of it if that would hide most of an attack."""
    window = scene.window
    for x0, y0, x1, y1 in attacked.boxes:
        width, height = min(x1, window[2]) - max(x0, window[0]), min(y1, window[3]) - max(y0, window[1])
        if max(width, 0) * max(height, 0) < 0.3 * (x1 - x0) * (y1 - y0):
            return WHOLE_CANVAS
    return window


def _scaled(box: Box, picture: NDArray[np.uint8]) -> Box:
    """A box in canvas pixels relative to the picture's corner, converted to the picture's pixels and clipped to it."""
    height, width = picture.shape[:2]
    factor = max(width, height) / CANVAS
    x0, y0, x1, y1 = (
        round(min(max(v * factor, 0.0), float(side)), 1) for v, side in zip(box, (width, height) * 2, strict=True)
    )
    return x0, y0, x1, y1


def _dataset_name(config: SimulateConfig) -> str:
    """Name of the data set: different sets have different ones, since samples of both may be in one file.

    Sets of photographs that differ only in length share a name: the shorter is the beginning of the longer. A domain's name
    holds only version and seed, since the domain has one length and size.
    """
    if config.domain is not None:
        return f"sim{VERSION}-{config.domain}-{config.seed}"
    source = "drawn" if config.faces == "drawn" else "photo"
    own: list[Any] = [config.types, config.split, config.size]
    own += [_photos_hash(config)] if source == "photo" else [config.count]  # which decides how many people are drawn
    own += [config.without_variants] if config.without_variants else []
    tag = hashlib.sha256(json.dumps(own).encode()).hexdigest()[:4]
    return f"sim-{source}-{config.seed}-{tag}"
