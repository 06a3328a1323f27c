"""Base of all trained baselines: a network with a loss on labelled pictures and a probability for each class.

A baseline's folder holds `baseline.json` (its `Design`, from which the network is rebuilt), `model.safetensors` and, once
chosen, the threshold in `faceshield.json`, like any of our checkpoints. Baselines see only RGB squares, no SAVP.
Use: `model = load_baseline("resnet"); model.probabilities(pixels)[:, 0]` is the bonafide_score.
B = batch, C = classes (0 = bona fide), S = side of the square.
"""

from __future__ import annotations

import importlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from faceshield.baselines import BASELINE_FILE
from faceshield.config import Config
from faceshield.provenance import write_json_atomic, written_whole
from faceshield.taxonomy import PRESENTATION_TYPES

WEIGHTS_FILE = "model.safetensors"
COARSE_TYPES = ("Bonafide", "Attack")
"""Classes of a baseline that is trained on coarse labels only."""
METHODS = {
    "resnet": "faceshield.baselines.resnet:ResNet",
    "patchnet": "faceshield.baselines.patchnet:PatchNet",
    "coop": "faceshield.baselines.coop:Coop",
    "iadg": "faceshield.baselines.iadg:Iadg",
    "cdcn": "faceshield.baselines.cdcn:Cdcn",
}
"""Name -> module and class."""


@dataclass(frozen=True)
class Design:
    """Everything needed to rebuild a baseline's network.

    Attributes:
        name: one of `METHODS`.
        types: (C) names of the classes, bona fide first: `PRESENTATION_TYPES` or `COARSE_TYPES`.
        domains: names of the sources of the training pictures.
        image_size: S.
        settings: values of the method's own `Settings`.
        parts: configs of the transformers models inside, by name.
        mean, std: per channel, of pixels in 0..1: the normalisation that the weights expect.
    """

    name: str
    types: tuple[str, ...]
    domains: tuple[str, ...]
    image_size: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Batch:
    """Labelled pictures.

    Attributes:
        pixels: (B, 3, S, S) in -1..1.
        types: (B,) class of each, 0 = bona fide.
        domains: (B,) index into the design's `domains`.
        type_weights: (C,) make bona fide count as much as all attacks together, and all attack types equally.
        domain_weights: (D,) make all domains count equally; the mean over pictures is 1.
    """

    pixels: Tensor
    types: Tensor
    domains: Tensor
    type_weights: Tensor
    domain_weights: Tensor

    @property
    def weights(self) -> Tensor:
        """(B,) weight of each picture by its type."""
        return self.type_weights[self.types]

    @property
    def is_bonafide(self) -> Tensor:
        """(B,) float, 1 = bona fide."""
        return (self.types == 0).float()


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """(B,), (B,) -> weighted mean of the losses; 0 if all weights are 0."""
    return (losses * weights).sum() / weights.sum().clamp(min=1e-8)


class Baseline(nn.Module):
    """Base of the trained baselines.

    Attributes:
        Settings: the method's own settings, beyond those of the run.
        heads: name prefixes of weights that keep their random start if their shape differs from that in `init`.
    """

    Settings: ClassVar[type[Config]] = Config
    heads: ClassVar[tuple[str, ...]] = ()

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design

    @classmethod
    def planned(cls, design: Design, init: Path | None) -> Design:
        """Complete the design: parts and normalisation come from `init`, and some settings follow from others."""
        if init is not None:
            return _with_parts_of(design, read_design(init))
        return design

    def start_from(self, init: Path) -> None:
        """Load the weights of a folder with a baseline of the same method.

        Raises:
            ValueError: a different method, or weights that do not fit.
        """
        theirs = read_design(init)
        if theirs.name != self.design.name:
            raise ValueError(f"init={init}: a {theirs.name} — expected a {self.design.name} — give the folder of one")
        self.take(read_weights(init), f"init={init}")

    def take(self, weights: Mapping[str, Tensor], what: str, beginning: str = "") -> None:
        """Copy the weights whose names start with `beginning`; a head of another shape keeps its random start.

        Raises:
            ValueError: any other difference in names or shapes; the message lists up to five.
        """
        own = {name: value for name, value in self.state_dict().items() if name.startswith(beginning)}
        given = {name: value for name, value in weights.items() if name.startswith(beginning)}
        faults = [f"missing {name}" for name in own if name not in given]
        faults += [f"unexpected {name}" for name in given if name not in own]
        with torch.no_grad():
            for name in own.keys() & given.keys():
                if own[name].shape == given[name].shape:
                    own[name].copy_(given[name])
                elif not name.startswith(self.heads):
                    faults.append(f"{name} is {list(given[name].shape)}, not {list(own[name].shape)}")
        if faults:
            raise ValueError(f"{what}: weights of another network — {'; '.join(sorted(faults)[:5])} — use the same settings")

    def normalised(self, pixels: Tensor) -> Tensor:
        """Convert pixels in -1..1 to the normalisation that the weights expect."""
        if set(self.design.mean) == set(self.design.std) == {0.5}:
            return pixels
        mean, std = (pixels.new_tensor(values).view(1, -1, 1, 1) for values in (self.design.mean, self.design.std))
        return ((pixels + 1) / 2 - mean) / std

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Terms of the loss by name; training minimises their sum."""
        raise NotImplementedError

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> (B, C) probabilities of the classes."""
        raise NotImplementedError


class AttackTypes(nn.Module):
    """Attack types for methods that only tell bona fide from attack: our addition, a linear layer beside theirs.

    It sends no gradient back to the features, so the method itself is unchanged.
    """

    def __init__(self, width: int, types: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, types - 1)

    def loss(self, features: Tensor, batch: Batch) -> Tensor:
        """(B, width) -> weighted cross-entropy on the attacks of the batch; 0 if there are none."""
        found = batch.types > 0
        if not found.any():
            return features.sum() * 0
        logits = self.linear(features.detach()[found]).float()
        losses = functional.cross_entropy(logits, batch.types[found] - 1, reduction="none")
        return weighted_mean(losses, batch.weights[found])

    def probabilities(self, bonafide: Tensor, features: Tensor) -> Tensor:
        """(B,) bonafide_score, (B, width) -> (B, C)."""
        attacks = self.linear(features).float().softmax(dim=1) * (1 - bonafide)[:, None]
        return torch.cat([bonafide[:, None], attacks], dim=1)


# -- folders


def method(name: str) -> type[Baseline]:
    """The class of a baseline.

    Raises:
        ValueError: no such method.
    """
    if name not in METHODS:
        raise ValueError(f"baseline {name!r} — expected one of {', '.join(METHODS)} — correct the name")
    module, _, wanted = METHODS[name].partition(":")
    found: type[Baseline] = getattr(importlib.import_module(module), wanted)
    return found


def is_baseline(folder: str | Path) -> bool:
    """Whether a folder holds a trained baseline."""
    return (Path(folder) / BASELINE_FILE).is_file()


def new_baseline(design: Design, *, init: Path | None, seed: int) -> Baseline:
    """Create a baseline with random weights, or those of `init` where it has them; the global generator is left unchanged.

    Raises:
        ValueError: `init` does not fit.
    """
    kind = method(design.name)
    planned = kind.planned(design, init)
    # Stores today's defaults, as a later version may change them. The backbone's values are in the parts.
    settings = kind.Settings.of(**planned.settings).model_dump(mode="json", exclude={"backbone"})
    planned = replace(planned, settings=settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(planned)
    if init is not None:
        model.start_from(init)
    return model


def save_baseline(model: Baseline, folder: str | Path) -> Path:
    """Write `baseline.json` and `model.safetensors`, each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    design = write_json_atomic(folder / BASELINE_FILE, asdict(model.design))
    with written_whole(folder / WEIGHTS_FILE) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, part)
        part.chmod(stat.S_IMODE(design.stat().st_mode))  # safetensors makes a private file
    return folder


def load_baseline(folder: str | Path, device: torch.device | str = "cpu") -> Baseline:
    """Load a saved baseline, ready to score.

    Raises:
        FileNotFoundError: no `baseline.json` or no weights.
        ValueError: a file that cannot be read, a method that this version lacks, or weights that do not fit.
    """
    design = read_design(folder)
    model = method(design.name)(design)
    weights = read_weights(folder)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{folder}: {WEIGHTS_FILE} is of another network ({error}) — train it again") from error
    return model.eval().to(device)


def read_design(folder: str | Path) -> Design:
    """The design in a folder's `baseline.json`; raises as `load_baseline`."""
    file = Path(folder) / BASELINE_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no {BASELINE_FILE} — expected a baseline's folder — train one: configs/baseline")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        method(values["name"])
        listed = {name: tuple(values[name]) for name in ("types", "domains", "mean", "std")}
        design = Design(**{**values, **listed})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file}: {error} — expected what this version's `faceshield train` wrote — train it again") from error
    if design.types not in (PRESENTATION_TYPES, COARSE_TYPES):
        raise ValueError(f"{file}: types {list(design.types)} — expected the twelve, or {list(COARSE_TYPES)} — train it again")
    return design


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a folder's `model.safetensors`; raises as `load_baseline`."""
    file = Path(folder) / WEIGHTS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no {WEIGHTS_FILE} — expected the weights beside {BASELINE_FILE} — train it again")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: {error} — expected a whole safetensors file — train it again") from error


def normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from the preprocessor settings of a folder in transformers' layout; 0.5 if it gives none.

    Raises:
        FileNotFoundError: the folder has no preprocessor settings.
    """
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} — expected how its pictures are normalised — fetch it beside the weights")
    told = json.loads(file.read_text(encoding="utf-8"))
    return tuple(told.get("image_mean", (0.5,) * 3)), tuple(told.get("image_std", (0.5,) * 3))


def _with_parts_of(design: Design, theirs: Design) -> Design:
    return replace(design, parts=theirs.parts, mean=theirs.mean, std=theirs.std)
