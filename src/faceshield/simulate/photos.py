"""Bona fide portraits from photographs (a folder or a samples file): landmarks given or found, a matte on plain grounds.

Faces are found with scikit-image's bundled cascade. A photograph without landmarks gets the mean shape, placed on the detected
face. If at least 40 photographs of the folder's train split have landmarks (`landmarks.csv` in the 189-point template of the
Face Research Lab), a ridge regression fitted to those adapts the mean shape to the face.

    portraits = load_portraits(Path("faces"), split="train")
"""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from faceshield.images import SUFFIXES, load_rgb
from faceshield.provenance import files_below
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.simulate.mean_shape import MEAN_SHAPE
from faceshield.simulate.portrait import N_LANDMARKS, OUTLINE, Points, Portrait
from faceshield.simulate.processes import in_order

WORKING_HEIGHT = 400
"""Taller photographs are shrunk to this height in pixels; the canvas of a scene is smaller still."""
SPLIT_SHARES = {"train": 0.70, "dev": 0.10, "test": 0.20}
FRL_TEMPLATE: tuple[int, ...] = (
    *range(134, 145), 112, 113, 114, *range(133, 124, -1), 111, 110, 109,  # closed outline
    18, 19, 20, 21, 22, 30, 29, 28,  # left eye
    23, 24, 25, 26, 27, 33, 32, 31,  # right eye
    *range(71, 77), *range(77, 83),  # brows
    *range(50, 61),  # nose
    *range(87, 94), *range(108, 103, -1),  # mouth
    0, 1,  # pupils
)  # fmt: skip
"""The template point (of 189) at each of our 79 places."""


@dataclass(frozen=True)
class Photo:
    """One listed photograph: its path, its subject and, if known, its landmarks."""

    path: Path
    subject: str
    landmarks: Points | None


def split_of(subject: str) -> str:
    """Split of a person, from a hash of the name alone: the same in every run and for all files of that person."""
    share = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") / 2**32
    for name, size in SPLIT_SHARES.items():
        if share < size:
            return name
        share -= size
    return "test"


def list_photos(folder: Path, landmarks_csv: Path | None = None) -> list[Photo]:
    """Lists a folder's photographs with their subjects, or the bona fide pictures of a samples file.

    Subjects come from the folder's `faces.csv` (columns file, subject; file relative to the table), in the folder or beside it;
    rows for files elsewhere are ignored. Without a table, every picture below the folder is listed except hidden ones: the
    subject is the path of the subfolder that holds the picture, or the picture's own name if it lies loose in the folder. In a
    samples file, a picture belongs to its subject, else to its recording, else to a person of its own.

    Raises:
        FileNotFoundError: the folder is missing or holds no picture, or `landmarks_csv` is missing.
        ValueError: a table lacks a column or has an incomplete row, the landmarks are of no photograph in the folder or come
            with a samples file, or a samples file has no bona fide picture.
    """
    if folder.is_file():
        if landmarks_csv is not None:
            raise ValueError(f"landmarks {landmarks_csv} with {folder} — expected them only with a folder — leave them out")
        bona_fides = _bona_fides(folder)
        several = len({row.dataset for row in bona_fides}) > 1  # in which the same name means different people
        people = [(f"{row.dataset}/" if several else "") + (row.subject or row.video or row.id) for row in bona_fides]
        return [Photo(image_path(row, folder), who, None) for row, who in zip(bona_fides, people, strict=True)]
    if folder.name in ("", ".."):  # their `parent` is not the real one, where the table may lie
        folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is neither a folder nor a file — expected bona fide photographs, or a samples.jsonl with some — "
            "check the path"
        )
    own, beside = folder / "faces.csv", folder.parent / "faces.csv"
    table: Path | None = own if own.is_file() else beside
    rows = _listed(table, folder)
    if not rows and table is beside:  # there is none beside it, or it belongs to another folder
        table = None
        below = (Path(path) for path in files_below(folder) if path.suffix.lower() in SUFFIXES)
        rows = [(folder / path, _person(path)) for path in below]
    if not rows:
        raise FileNotFoundError(f"{folder} holds no picture — expected {', '.join(sorted(SUFFIXES))} files")
    if landmarks_csv is None and table is not None and (table.parent / "landmarks.csv").is_file():
        landmarks_csv = table.parent / "landmarks.csv"
    known = _read_landmarks(landmarks_csv) if landmarks_csv else {}
    base = landmarks_csv.parent if landmarks_csv else folder
    if known and not any(path.is_relative_to(base) and path.relative_to(base).as_posix() in known for path, _ in rows):
        raise ValueError(
            f"{landmarks_csv} names no photograph in {folder} — expected paths relative to {base} — put it beside "
            "their faces.csv, or leave it out"
        )
    return [Photo(path, subject, known.get(path.relative_to(base).as_posix())) if path.is_relative_to(base)
            else Photo(path, subject, None) for path, subject in rows]  # fmt: skip


def split_of_samples(file: Path) -> str | None:
    """The split of a samples file's bona fide pictures; None if they have none.

    Raises:
        ValueError: they are from several splits, so that test people would be trained on; or there are none.
    """
    splits = {row.split for row in _bona_fides(file)}
    if len(splits) > 1:
        found = ", ".join(sorted(name or "none" for name in splits))
        raise ValueError(f"{file}: bona fide pictures of several splits ({found}) — expected one — give splits/train.jsonl")
    return splits.pop()


def _bona_fides(file: Path) -> list[Sample]:
    if file.suffix.lower() in SUFFIXES:
        raise ValueError(f"{file} is a picture — expected a folder of pictures, or a samples.jsonl — give its folder")
    rows = [row for row in read_jsonl(file, Sample) if not row.is_attack]
    if not rows:
        raise ValueError(f"{file}: no bona fide pictures — expected some to simulate attacks on — use another file")
    return rows


def _person(inside: Path) -> str:
    """Subject of a picture from its path, normalised so that file systems' different spellings of an accent are one name."""
    name = inside.with_suffix("") if inside.parent == Path() else inside.parent
    return unicodedata.normalize("NFC", name.as_posix())


def _listed(table: Path, folder: Path) -> list[tuple[Path, str]]:
    """The pictures of a table that exist below the folder, each with its subject."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        if missing := {"file", "subject"} - set(reader.fieldnames or ()):
            raise ValueError(f"{table}: no column {', '.join(sorted(missing))} — expected file and subject — add them")
        rows = []
        for row in reader:
            if not row["file"] or not row["subject"]:
                raise ValueError(f"{table}:{reader.line_num}: file or subject is empty — expected both — complete the row")
            rows.append((table.parent / row["file"], row["subject"]))
    return [(path, subject) for path, subject in rows if path.is_relative_to(folder) and path.is_file()]


def load_portraits(
    folder: Path, *, split: str | None = None, landmarks_csv: Path | None = None, workers: int = 1
) -> tuple[list[Portrait], list[Path]]:
    """Loads a folder's photographs as portraits; returns them, and the paths of photographs in which no face is found.

    Args:
        folder: as for `list_photos`.
        split: only people of this split ("train", "dev" or "test", see `split_of`); None: everybody. The people of a samples
            file are already split, and all of them are taken.
        landmarks_csv: columns file, point, x, y in the 189-point template; default: the one beside `faces.csv`.

    Raises:
        FileNotFoundError: no picture, or nobody in this split.
        ImageError: a picture cannot be read; it is named.
        ChildProcessError: a worker process died.
    """
    photos = list_photos(folder, landmarks_csv)
    chosen = [photo for photo in photos if split is None or folder.is_file() or split_of(photo.subject) == split]
    if not chosen:
        people = len({photo.subject for photo in photos})
        raise FileNotFoundError(
            f"{folder}: none of its {people} people is in the split {split!r}, which a hash of the name decides — expected at "
            "least one — add people, or leave the split out"
        )
    # Shapes are no labels, but to be strict the regression is fitted to the train split's landmarks alone.
    teachers = [p for p in photos if p.landmarks is not None and split_of(p.subject) == "train"]
    regression = _fit_regression([e for found in in_order(_shape_examples, teachers, workers) for e in found])
    loaded = list(in_order(_Load(regression), chosen, workers))
    faceless = [photo.path for photo, portrait in zip(chosen, loaded, strict=True) if portrait is None]
    return [portrait for portrait in loaded if portrait is not None], faceless


def portrait_of(rgb: NDArray[np.uint8], subject: str) -> Portrait | None:
    """A portrait from one (H, W, 3) uint8 RGB photograph, or None where no face is found."""
    return _portrait(rgb, subject, None, None)


# ---------------------------------------------------------------------------------------------------- finding a face


@lru_cache(maxsize=1)
def _cascade():  # type: ignore[no-untyped-def]  # scikit-image has no types
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def find_face(rgb: NDArray[np.uint8]) -> tuple[float, float, float] | None:
    """Largest frontal face of an (H, W, 3) picture as (x0, y0, side) in pixels, or None."""
    scale = min(1.0, 240 / max(rgb.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    small = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    found = _cascade().detect_multi_scale(img=small, scale_factor=1.15, step_ratio=1.3, min_size=(48, 48), max_size=(240, 240))
    if not found:
        return None
    best = max(found, key=lambda face: (face["width"], -face["r"], -face["c"]))
    return best["c"] / scale, best["r"] / scale, best["width"] / scale


def _place_mean_shape(face: tuple[float, float, float]) -> Points:
    x0, y0, side = face
    return (MEAN_SHAPE * side + (x0, y0)).astype(np.float32)


# ------------------------------------------------------------------------- from the mean shape to this face's own shape

_Regression = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights (features + 1, 2 N_LANDMARKS) and the features' mean (features,)."""


def _appearance(rgb: NDArray[np.uint8], face: tuple[float, float, float]) -> NDArray[np.float32]:
    from skimage.feature import hog

    x0, y0, side = face
    grow = 0.2 * side
    area = (x0 - grow, y0 - grow, x0 + side + grow, y0 + side + grow)
    crop = Image.fromarray(rgb).transform((72, 72), Image.Transform.EXTENT, area, Image.Resampling.BILINEAR)
    grey = np.asarray(ImageOps.autocontrast(crop.convert("L")), dtype=np.float32) / 255.0
    return hog(grey, orientations=8, pixels_per_cell=(8, 8), cells_per_block=(2, 2)).astype(np.float32)


def _shape_examples(photo: Photo) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    rgb, scale = _read(photo.path)
    face = find_face(rgb)
    if face is None or photo.landmarks is None:
        return []
    truth = photo.landmarks * scale
    rng = np.random.default_rng(len(photo.subject))
    examples = []
    for _ in range(6):  # jittered like the detector's box, which is never quite the same
        x0, y0, side = face
        jitter = rng.normal(0, 0.04, 3)
        box = (x0 + jitter[0] * side, y0 + jitter[1] * side, side * (1 + jitter[2]))
        examples.append((_appearance(rgb, box), (truth - _place_mean_shape(box)).ravel() / box[2]))
    return examples


def _fit_regression(examples: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> _Regression | None:
    if len(examples) < 6 * 40:
        return None
    features = np.stack([f for f, _ in examples])
    offsets = np.stack([o for _, o in examples])
    mean = features.mean(axis=0)
    centred = features - mean
    # ridge in its dual form: far fewer examples than features
    gram = centred @ centred.T + 12.0 * np.eye(len(centred), dtype=np.float32)
    bias = offsets.mean(axis=0)
    weights = centred.T @ np.linalg.solve(gram, offsets - bias)
    return np.vstack([weights, bias[None]]).astype(np.float32), mean


# ------------------------------------------------------------------------------------------------- reading one picture


class _Load:
    """Reads one photograph as a portrait; a class, not a closure, because it is sent to worker processes."""

    def __init__(self, regression: _Regression | None) -> None:
        self.regression = regression

    def __call__(self, photo: Photo) -> Portrait | None:
        rgb, scale = _read(photo.path)
        landmarks = None if photo.landmarks is None else photo.landmarks * scale
        return _portrait(rgb, photo.subject, landmarks, self.regression)


def _read(path: Path) -> tuple[NDArray[np.uint8], float]:
    picture = load_rgb(path)
    scale = min(1.0, WORKING_HEIGHT / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS)), scale


def _portrait(
    rgb: NDArray[np.uint8], subject: str, landmarks: Points | None, regression: _Regression | None
) -> Portrait | None:
    if landmarks is None:
        face = find_face(rgb)
        if face is None:
            return None
        landmarks = _place_mean_shape(face)
        if regression is not None:
            weights, mean = regression
            offset = (_appearance(rgb, face) - mean) @ weights[:-1] + weights[-1]
            landmarks = landmarks + offset.reshape(N_LANDMARKS, 2) * face[2]
    trim = max(rgb.shape[:2]) // 40  # cuts off printed frames and rounded corners of official portraits
    image = rgb[trim : rgb.shape[0] - trim, trim : rgb.shape[1] - trim].astype(np.float32) / 255.0
    landmarks = (landmarks - trim).astype(np.float32)
    portrait = Portrait(image, landmarks, np.ones(image.shape[:2], np.float32), subject, "photo")
    return replace(portrait, matte=plain_background_matte(portrait))


def plain_background_matte(portrait: Portrait) -> NDArray[np.float32]:
    """Matte of a person in front of a plain background, (H, W) in 0..1; all ones if the background is not plain.

    The background's colour is fitted as a smooth surface to the picture's border; what differs from it and is connected to the
    face is the person.
    """
    image, points = portrait.image, portrait.landmarks
    height, width = image.shape[:2]
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    chin = float(points[18, 1])
    edge = max(3, width // 40)
    border = (yy < edge) | (((xx < edge) | (xx >= width - edge)) & (yy < (chin + height) / 2))
    u, v = xx / width, yy / height
    basis = np.stack([np.ones_like(u), u, v, u * u, v * v], axis=-1)
    samples, colours = basis[border], image[border]
    for _ in range(4):  # refit without outliers: hair and shoulders that touch the border
        surface, *_ = np.linalg.lstsq(samples, colours, rcond=None)
        residual = np.abs(samples @ surface - colours).max(axis=1)
        keep = residual < max(0.06, float(np.quantile(residual, 0.8)))
        samples, colours = samples[keep], colours[keep]
    spread = float(np.abs(samples @ surface - colours).mean())
    distance = np.abs(image - basis @ surface).max(axis=2)
    threshold = 0.07 + 2.5 * spread
    # morphology treats the outside as background: unpadded, shoulders would end at the picture's edge
    person = np.pad(distance > threshold, 6, mode="edge")
    person = ndimage.binary_opening(ndimage.binary_closing(person, iterations=2), iterations=2)[6:-6, 6:-6]
    outline = Image.new("L", (width, height))
    from PIL import ImageDraw

    ImageDraw.Draw(outline).polygon([(float(x), float(y)) for x, y in points[OUTLINE]], fill=255)
    person = ndimage.binary_fill_holes(person | (np.asarray(outline) > 0))
    labels, _ = ndimage.label(person)
    middle = points[54:65].mean(axis=0).round().astype(int)
    x, y = int(middle[0].clip(0, width - 1)), int(middle[1].clip(0, height - 1))
    person = labels == labels[y, x]
    below = yy > chin  # clothes may have the wall's colour, but a row of the body has no holes
    from_left = np.logical_or.accumulate(person, axis=1)
    from_right = np.logical_or.accumulate(person[:, ::-1], axis=1)[:, ::-1]
    person |= below & from_left & from_right
    upper = border & (yy < chin * 0.8)
    plain = person[upper].mean() < 0.12 and spread < 0.05
    if not plain:
        return np.ones((height, width), np.float32)
    soft = Image.fromarray((person * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.2))
    # a little inside the edge: the old background must not shine through as a halo
    return ((np.asarray(soft, dtype=np.float32) / 255.0 - 0.35) / 0.55).clip(0.0, 1.0)


def _read_landmarks(path: Path) -> dict[str, Points]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there — expected a CSV with columns file, point, x, y")
    points: dict[str, dict[int, tuple[float, float]]] = {}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        for row in reader:
            try:
                points.setdefault(row["file"], {})[int(row["point"])] = (float(row["x"]), float(row["y"]))
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"{path}:{reader.line_num}: not a landmark — expected file, point, x, y — correct the row"
                ) from None
    return {
        name: np.asarray([found[i] for i in FRL_TEMPLATE], dtype=np.float32)
        for name, found in points.items()
        if all(i in found for i in FRL_TEMPLATE)
    }
