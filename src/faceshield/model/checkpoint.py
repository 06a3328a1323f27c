"""Checkpoints: save and load a model with its processor and threshold, find one by name.

A checkpoint is a folder with config.json, *.safetensors, the processor's files, faceshield.json (its info), and optionally a
table of likely answer continuations (`drafts`). A folder with an adapter's safetensors instead of the model's names its base,
see `adapter`.
Use: `checkpoint = load(resolve_model("tiny"))`, then `checkpoint.model`, `.processor`, `.info`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils import logging as transformers_logging

from .adapter import ADAPTER_CONFIG, ADAPTER_STEM, PROJECTOR, read_adapter, read_settings, write_adapter
from .configuration_faceshield import FaceShieldConfig
from .drafts import DRAFTS_FILE, Drafts
from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor
from .tensor_files import TensorFolder, read_json

if TYPE_CHECKING:
    from peft import PeftModel

INFO_FILE = "faceshield.json"
SMALL = 100_000_000  # parameters; a model with fewer, like faceshield-tiny, understands only what it was taught here
_IN_FULL_PRECISION = 500_000_000  # parameters
TINY_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "faceshield-tiny"
_SAVING = ".saving-"
_LEFT_BEHIND = 3600.0  # seconds: an older folder with this prefix was left by a killed process
_WEIGHT_FILES = ("model*.safetensors", "model.safetensors.index.json", f"{ADAPTER_STEM}.safetensors", ADAPTER_CONFIG)
# Files beside the weights that record how these were trained, used or scored.
_RECORDS = (INFO_FILE, "run.json", "begun.json", "metrics.json", "state.safetensors")
_TOKENIZERS = ("prompt_tokenizer", "tokenizer")
FETCHED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.md"]


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint records besides its weights.

    Attributes:
        threshold: A picture is an attack if its `bonafide_score` is below this (0..1); None = not chosen.
        threshold_source: Its origin: dataset, n, criterion, and the rates there.
        calibration: `scale` and `offset` that turn the model's log-odds into a probability, fitted on a development set (Platt
            1999), with their origin; empty: the log-odds are used unchanged.
        questions: The exact fixed question per task that scores were trained and chosen with.
        extra: Anything else worth recording: training data, PVTM's direction, date.
    """

    threshold: float | None = None
    threshold_source: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold {self.threshold} — expected a score between 0 and 1 — choose it on dev data")
        if self.threshold is not None and not self.threshold_source:
            raise ValueError(f"threshold {self.threshold} without threshold_source — expected dataset, n, criterion")
        scale, offset = self.score_map
        if not (0 < scale < math.inf and math.isfinite(offset)):
            raise ValueError(f"calibration scale {scale}, offset {offset} — expected finite, the scale above 0 — fit it again")

    @property
    def score_map(self) -> tuple[float, float]:
        """(scale, offset): `bonafide_score` = sigmoid(scale * log-odds + offset)."""
        return float(self.calibration.get("scale", 1.0)), float(self.calibration.get("offset", 0.0))

    @property
    def crop_side(self) -> int | None:
        """Longer side in pixels to which face crops are resized, as in training; None: they are not."""
        side: int | None = self.extra.get("crop_side")
        return side

    @property
    def surroundings(self) -> bool:
        """Whether faces are looked at twice, the second time with much around them, as in training."""
        return bool(self.extra.get("surroundings"))


class ThresholdError(ValueError):
    """A checkpoint has no threshold, or one chosen for scores computed differently."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with everything needed to use it."""

    model: FaceShieldForConditionalGeneration
    processor: FaceShieldProcessor
    info: CheckpointInfo
    path: Path
    drafts: Drafts = field(default_factory=Drafts)

    def threshold_for(self, questions: Mapping[str, str], looks: str) -> float:
        """The stored threshold, if it holds for these fixed questions and these looks (`looks.how_looked`).

        Raises:
            ThresholdError: none is stored, or it was chosen with other questions or looks.
        """
        info, again = self.info, "choose one with this version (faceshield calibrate), or pass threshold="
        for name, question in info.questions.items():
            if questions.get(name, question) != question:
                raise ThresholdError(
                    f"{self.path}: threshold chosen with the question {question!r} — expected {questions[name]!r} — {again}"
                )
        chosen = info.threshold_source.get("looks")
        if info.threshold_source.get("face") == "detect" and chosen != looks:
            told = f"the looks (crop margins) {chosen!r}" if chosen else "looks (crop margins) that it does not name"
            raise ThresholdError(f"{self.path}: threshold chosen with {told} — expected {looks!r} — {again}")
        if info.threshold is None:
            raise ThresholdError(
                f"{self.path}: no threshold stored — expected one in {INFO_FILE}, chosen on a development set — {again}"
            )
        return info.threshold


def save(
    model: FaceShieldForConditionalGeneration | PeftModel,
    processor: FaceShieldProcessor,
    directory: str | Path,
    info: CheckpointInfo | None = None,
    *,
    dtype: torch.dtype | None = None,
    base: str | Path | None = None,
) -> Path:
    """Write a checkpoint folder; each file replaces an old one only once it is complete.

    Args:
        model: A whole model, or one with an adapter, of which only the adapter is written.
        processor: Its processor.
        directory: Created if missing. Weights in another layout there (shards, an adapter) are deleted, or they would be loaded
            instead of these; other files are left alone.
        info: None keeps the existing faceshield.json, or writes an empty one.
        dtype: Type of a whole model's stored weights, for instance `torch.bfloat16`; the model itself is not changed.
        base: For an adapter: its base, as `resolve_model` takes it.

    Raises:
        ValueError: An adapter without `base` or to be saved in its base's own folder, or a processor of another model.
    """
    adapted = None if isinstance(model, FaceShieldForConditionalGeneration) else model
    if adapted is not None and base is None:
        raise ValueError(
            f"{type(model).__name__} without its base — expected the model it adapts — give base=, or merge_and_unload()"
        )
    whole: Any = model if adapted is None else adapted.get_base_model()
    _check_pair(whole.config, processor)
    directory = Path(directory)
    if adapted is not None and Path(str(base)).expanduser().resolve() == directory.resolve():
        raise ValueError(f"{directory}: the adapter would replace the base that it belongs on — expected another folder")
    directory.mkdir(parents=True, exist_ok=True)
    for left in directory.glob(f"{_SAVING}*"):
        if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
            shutil.rmtree(left, ignore_errors=True)
    if info is None:
        info = read_info(directory)
    state = None
    if dtype is not None and adapted is None:
        state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in whole.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=directory, prefix=_SAVING) as name:
        fresh = Path(name)
        with quiet():
            if adapted is None:
                whole.save_pretrained(fresh, state_dict=state)
            else:
                whole.config.save_pretrained(fresh)
                write_adapter(adapted, fresh, _findable(str(base)))
        processor.save_pretrained(fresh)
        text = json.dumps(asdict(info), indent=2, ensure_ascii=False)
        (fresh / INFO_FILE).write_text(text + "\n", encoding="utf-8")
        for weights in fresh.glob("*.safetensors"):  # safetensors makes them private, unlike other files
            weights.chmod(stat.S_IMODE((fresh / INFO_FILE).stat().st_mode))
        written = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
        for file in written:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh / file, directory / file)
    for pattern in _WEIGHT_FILES:
        for path in directory.glob(pattern):
            if path.relative_to(directory) not in written:
                path.unlink()
    return directory


def load(
    directory: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    base: str | Path | None = None,
    merge: bool = True,
) -> Checkpoint:
    """Load a checkpoint folder in eval mode; every fault of the folder is reported.

    Args:
        directory: As `save` wrote it; see `resolve_model` for names.
        dtype: Type of the weights in memory.
        device: Where the model goes.
        base: For an adapter folder: where its base is now; None = where it was when the adapter was saved.
        merge: Whether to merge an adapter into its base; if not, `Checkpoint.model` is PEFT's model around it.

    Raises:
        FileNotFoundError: No such folder, or one of its files is missing.
        ValueError: An unavailable device; pickled weights, a truncated file, missing, unexpected or misshapen tensors (all
            listed), or a processor and a model that do not belong together.
    """
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} — expected cpu, cuda or cuda:N — correct it") from None
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}, and torch sees no GPU — expected cpu — leave it out, or install torch with CUDA")
    directory = Path(directory)
    weights = weights_folder(directory, base)
    _check_files(directory, weights)
    with quiet():
        loaded: Any = FaceShieldForConditionalGeneration.from_pretrained(
            weights,
            config=read_config(directory),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    model, found = loaded
    faults = [
        f"{kind} {name}"
        for kind, key in (("missing", "missing_keys"), ("unexpected", "unexpected_keys"))
        for name in sorted(found[key])
        if kind != "missing" or weights == directory or PROJECTOR not in name  # the adapter holds the whole projector
    ]
    faults += [
        f"wrong shape {name} {tuple(there)} (expected {tuple(wanted)})"
        for name, there, wanted in sorted(found["mismatched_keys"])
    ]
    if faults:
        raise ValueError(
            f"{weights}: the weights do not fit config.json — {'; '.join(faults)} — use the config.json "
            "that was saved with these weights"
        )
    processor = FaceShieldProcessor.from_pretrained(directory, local_files_only=True)
    _check_pair(model.config, processor)
    if weights != directory:
        model = read_adapter(model, directory, weights)
        model = model.merge_and_unload().requires_grad_(True) if merge else model  # a whole model like any other
    told = directory if (directory / DRAFTS_FILE).is_file() else weights
    drafts = Drafts.load(told)
    if drafts.largest_token() >= model.config.text_config.vocab_size:
        raise ValueError(
            f"{told / DRAFTS_FILE}: tokens beyond the vocabulary — expected those of this tokenizer — remove the file"
        )
    return Checkpoint(model.eval().to(device), processor, read_info(directory), directory, drafts)


def _findable(base: str) -> str:
    """A name of an adapter's base that is valid wherever it is loaded: for a folder, its absolute path."""
    folder = Path(base).expanduser()
    return str(folder.resolve()) if base != "tiny" and folder.is_dir() else base


def is_adapter(directory: str | Path) -> bool:
    """Whether a checkpoint folder holds an adapter instead of a model's weights."""
    directory = Path(directory)
    return (directory / ADAPTER_CONFIG).is_file() and not any(directory.glob("model*.safetensors"))


def base_name(directory: str | Path) -> str:
    """The base that an adapter folder names."""
    return str(read_settings(Path(directory)).get("base_model_name_or_path") or "")


def weights_folder(directory: str | Path, base: str | Path | None = None) -> Path:
    """The folder of a checkpoint's full weights: its own, or that of an adapter's base."""
    directory = Path(directory)
    if not is_adapter(directory):
        return directory
    name = base or base_name(directory)
    try:
        folder = resolve_model(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{directory}: an adapter on {str(name)!r} — {error}; where its base lies elsewhere now, correct "
            f"base_model_name_or_path in {directory / ADAPTER_CONFIG}"
        ) from error
    if is_adapter(folder):
        raise ValueError(f"{directory}: an adapter on the adapter {folder} — expected a whole model — merge that and save it")
    return folder


def _check_files(directory: Path, base: Path) -> None:
    for folder in dict.fromkeys((directory, base)):
        if not folder.is_dir():
            raise FileNotFoundError(f"no checkpoint folder {folder} — expected config.json and *.safetensors in it")
    if is_adapter(directory) and not (directory / "config.json").is_file():
        raise ValueError(
            f"{directory}: an adapter alone — expected its config.json and processor too — save it with faceshield"
        )
    for name in ("config.json", "processor_config.json", "tokenizer.json"):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory}: no {name} — expected a folder that faceshield saved — copy the file in")
    kind = read_json(directory / "config.json").get("model_type")
    if kind != FaceShieldConfig.model_type:
        raise ValueError(f"{directory}: model_type {kind!r} — expected {FaceShieldConfig.model_type!r} — give its folder")
    TensorFolder(base)  # raises if a file is missing or broken


def _check_pair(config: FaceShieldConfig, processor: FaceShieldProcessor) -> None:
    faults = []
    if processor.image_token_id != config.image_token_id:
        faults.append(f"image token id {processor.image_token_id} against config's {config.image_token_id}")
    if processor.tokens_per_stream != config.tokens_per_stream:
        faults.append(f"{processor.tokens_per_stream} tokens a stream against the tower's {config.tokens_per_stream}")
    if processor.image_size != config.vision_config.image_size:
        faults.append(f"image_size {processor.image_size} against the tower's {config.vision_config.image_size}")
    if processor.use_savp != config.use_savp:
        faults.append(f"use_savp {processor.use_savp} against config's {config.use_savp}")
    if config.pvtm_space == "llm_embed" and processor.prompt_tokenizer.get_vocab() != processor.tokenizer.get_vocab():
        faults.append("pvtm_space 'llm_embed' with a prompt tokenizer of its own")
    if len(processor.tokenizer) > config.text_config.vocab_size:
        faults.append(f"{len(processor.tokenizer)} pieces against vocab_size {config.text_config.vocab_size}")
    if faults:
        raise ValueError(f"processor and model differ: {'; '.join(faults)} — expected a pair — save them together")


def read_config(directory: str | Path) -> FaceShieldConfig:
    """The configuration in the folder's `config.json`."""
    with quiet():  # transformers first builds the sub-configs with its defaults, and warns about them
        return FaceShieldConfig.from_pretrained(directory, local_files_only=True)


def count_parameters(directory: str | Path) -> int:
    """Parameters of a checkpoint, an adapter's base included, without loading them; raises as `load` for faulty files."""
    weights = weights_folder(directory)
    _check_files(Path(directory), weights)
    return sum(math.prod(shape) for shape in TensorFolder(weights).shapes.values())


def working_dtype(parameters: int) -> torch.dtype:
    """float32 below half a billion parameters, so that answers do not depend on the machine's half precision; else bfloat16."""
    return torch.float32 if parameters < _IN_FULL_PRECISION else torch.bfloat16


def read_info(directory: str | Path) -> CheckpointInfo:
    """The info in the folder's `faceshield.json`; an empty `CheckpointInfo` if there is none."""
    path = Path(directory) / INFO_FILE
    if not path.is_file():
        return CheckpointInfo()
    try:
        return CheckpointInfo(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: {error} — expected the keys of CheckpointInfo — correct the file") from error


def set_info_aside(directory: str | Path) -> Path | None:
    """Moves `faceshield.json` aside before new weights are saved, as its threshold and calibration hold only for the old ones.

    Returns:
        The file's new path; None if it holds neither of the two, and stays where it is.
    """
    path = Path(directory) / INFO_FILE
    try:
        info = read_info(directory)
        if info.threshold is None and not info.calibration:
            return None
    except ValueError:  # an unreadable file is moved too
        pass
    return path.replace(path.with_name(f"{INFO_FILE}.before"))


def resolve_model(name: str | Path) -> Path:
    """The folder of a model named by the user: "tiny" (shipped), a folder, or a hub id "owner/name" (downloaded).

    Raises:
        FileNotFoundError: It is none of the three.
    """
    if str(name) == "tiny":
        if not TINY_FOLDER.is_dir():
            raise FileNotFoundError(f"no shipped model in {TINY_FOLDER} — expected faceshield-tiny — train it: runs/tiny.sh")
        return TINY_FOLDER
    path = Path(name).expanduser()
    if str(name) and path.is_dir():
        return path
    if path.is_file():
        raise FileNotFoundError(f"model {str(name)!r} is a file — expected a checkpoint's folder — give that")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)) and not path.exists() and not path.parent.is_dir():
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(str(name), allow_patterns=FETCHED))
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"model {str(name)!r} — expected 'tiny', a folder or a hub id that can be reached ({error}) — check the name"
            ) from error
    raise FileNotFoundError(f"model {str(name)!r} — expected 'tiny', a folder or a hub id 'owner/name' — check the spelling")


def checkpoint_hash(directory: str | Path) -> str:
    """First 16 hex digits of the SHA-256 over everything that determines the answers: weights, settings and tokenizers.

    It does not cover threshold and calibration, records of runs, or files in other subfolders.
    """
    digest = hashlib.sha256()
    directory = Path(directory)
    folders = [directory, *(directory / name for name in _TOKENIZERS)]
    for path in sorted(p for folder in folders for p in folder.glob("*") if p.suffix in (".json", ".safetensors", ".jinja")):
        inside = path.relative_to(directory)
        if inside.name in _RECORDS:
            continue
        digest.update(inside.as_posix().encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Turns off transformers' progress bars and warnings; real problems are raised as errors by this package."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
