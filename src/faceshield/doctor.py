"""Pre-flight checks: what is installed, whether a model loads, fits into memory and answers, whether data can be trained on.

Use: `for result in examine("tiny", ["dialogues.jsonl"]): print(result.line())`. `faceshield doctor` prints it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "warning", "failed", "skipped"]

_OPENED = 8  # about how many pictures of a data file are opened; all are checked to exist
_ENCODED = 16  # about how many dialogues of a data file are tokenised


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Attributes:
        number: from 1, in the order of the checks.
        name: what was checked.
        state: "failed" makes the command exit with code 2, "warning" does not; "skipped": an earlier check that this one needs
            failed or was skipped.
        found: what was found.
        remedy: the command to type or the action to take; "" if there is nothing to fix.
    """

    number: int
    name: str
    state: State
    found: str
    remedy: str = ""

    def line(self) -> str:
        """The result in one or two human-readable lines."""
        mark = {"ok": "ok", "warning": "WARN", "failed": "FAIL", "skipped": "-"}[self.state]
        return f"{self.number:2} {mark:4} {self.name:9} {self.found}" + (f"\n{'':18}→ {self.remedy}" if self.remedy else "")


class Trouble(Exception):
    """A problem that a check found, and its remedy."""

    def __init__(self, found: str, remedy: str, state: State = "failed") -> None:
        self.found, self.remedy, self.state = found, remedy, state
        super().__init__(found)


@dataclass
class Case:
    """State shared by the checks.

    Attributes:
        model: as the user gave it.
        memory: bytes available to a model; None: ask the machine.
        folder, shield, parameters: found by earlier checks: the model's folder, the loaded predictor, the parameter count.
    """

    model: str
    memory: int | None = None
    folder: Path | None = None
    shield: Any = None
    parameters: int = 0


def examine(model: str = "tiny", data: Sequence[str | Path] = (), *, memory: int | None = None) -> Iterator[Result]:
    """Runs the checks one by one.

    Args:
        model: "tiny", a checkpoint folder, or a hub id.
        data: samples or dialogues files to check too.
        memory: bytes to treat as free, instead of asking the machine.
    """
    case = Case(model, memory)
    checks: list[tuple[str, tuple[str, ...], Callable[[], str]]] = [
        ("packages", (), _packages),
        ("torch", (), _torch),
        ("GPU", ("torch",), _gpu),
        ("faces", (), _faces),
        ("files", ("torch",), lambda: _files(case)),
        ("memory", ("files",), lambda: _memory(case)),
        ("weights", ("files", "memory"), lambda: _weights(case)),
        ("tokens", ("weights",), lambda: _tokens(case)),
        ("answers", ("weights",), lambda: _answers(case)),
    ]
    checks += [(Path(file).name, ("weights",), lambda file=file: _data(case, Path(file))) for file in data]  # type: ignore[misc]
    bad: dict[str, int] = {}
    for number, (name, needs, check) in enumerate(checks, start=1):
        missing = [bad[need] for need in needs if need in bad]
        if missing:
            bad[name] = number
            yield Result(number, name, "skipped", f"needs check {missing[0]}")
            continue
        try:
            yield Result(number, name, "ok", check())
        except Trouble as trouble:
            if trouble.state == "failed":
                bad[name] = number
            yield Result(number, name, trouble.state, trouble.found, trouble.remedy)


# -- what is installed -----------------------------------------------------------------------------------------------------


def _packages() -> str:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    from faceshield import __version__

    faults, found = [], []
    for requirement in map(Requirement, requires("faceshield") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            faults.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {there}")
        if not requirement.specifier.contains(there, prereleases=True):
            faults.append(f"{requirement.name} {there}, expected {requirement.specifier}")
    if faults:
        raise Trouble("; ".join(faults), "in a clone: pip install -e . -c constraints.txt")
    place = f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return f"faceshield {__version__}, {place}; {', '.join(found)}"


def _torch() -> str:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    text = f"torch {torch.__version__}, build for {build}, {torch.get_num_threads()} threads"
    if torch.version.cuda is None and (Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()):
        raise Trouble(f"{text}, but there is an NVIDIA GPU", "install torch's CUDA build", "warning")
    if torch.version.cuda is not None and not torch.cuda.is_available():
        raise Trouble(f"{text}, and no GPU that it can use", "nvidia-smi shows whether the driver works", "warning")
    return text


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the tiny model needs none"
    rows = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        rows.append(f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    return "; ".join(rows) + ("" if torch.cuda.is_bf16_supported() else "; without bfloat16")


def _faces() -> str:
    import numpy as np
    from skimage.data import astronaut

    from faceshield.face import BuiltInDetector

    found = len(BuiltInDetector().detect(np.asarray(astronaut())))
    if found != 1:
        raise Trouble(f"the detector found {found} faces where there is one", "pip install --force-reinstall scikit-image")
    return "the detector finds the one face in scikit-image's photograph"


# -- the model -------------------------------------------------------------------------------------------------------------


def _files(case: Case) -> str:
    from faceshield.model import count_parameters, read_info, resolve_model

    try:
        case.folder = resolve_model(case.model)
        parameters = count_parameters(case.folder)
        info = read_info(case.folder)
    except (OSError, ValueError) as error:
        raise Trouble(str(error), f"check --model {case.model}, or copy the folder again") from error
    case.parameters = parameters
    text = f"{case.folder}: {parameters / 1e6:,.1f} M parameters"
    if info.threshold is None:
        raise Trouble(f"{text}, no threshold stored", "faceshield train threshold out=… predictions=[…] chooses one", "warning")
    return f"{text}, threshold {info.threshold:.4f}"


def free_memory() -> int | None:
    """Bytes available to a model: on the first GPU if there is one, else in main memory; None if the system does not say."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info(0)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _memory(case: Case) -> str:
    from faceshield.model import read_config, working_dtype

    assert case.folder is not None
    text = read_config(case.folder).text_config
    size = working_dtype(case.parameters).itemsize
    weights = size * case.parameters
    width = text.hidden_size // text.num_attention_heads * (text.num_key_value_heads or text.num_attention_heads)
    # Key/value caches: one for the prefix with the picture, and two for answers that continue it.
    reading = 3 * 2 * size * text.num_hidden_layers * width * min(text.max_position_embeddings, 2048)
    needed, there = weights + reading, case.memory if case.memory is not None else free_memory()
    if there is None:
        return f"{needed / 2**30:.2f} GiB needed; this system does not say what is free"
    found = f"{needed / 2**30:.2f} GiB needed, {there / 2**30:.2f} GiB free"
    if needed > there:
        raise Trouble(found, "close other programs, take a larger machine, or a smaller model: --model tiny")
    return found


def _weights(case: Case) -> str:
    from faceshield.model import read_info
    from faceshield.model.checkpoint import ThresholdError
    from faceshield.predictor import FaceShieldPredictor

    start = time.perf_counter()
    try:
        # A model without a stored threshold can still be checked; `files` has already warned about it.
        assert case.folder is not None
        given = 0.5 if read_info(case.folder).threshold is None else None
        case.shield = FaceShieldPredictor.from_pretrained(case.model, threshold=given)
    except ThresholdError as error:
        raise Trouble(str(error), "faceshield calibrate chooses it again") from error
    except (OSError, ValueError) as error:
        raise Trouble(str(error), "copy or download the folder again, or train it anew") from error
    return f"every tensor there, loaded in {time.perf_counter() - start:.1f} s ({case.shield.model_info['hash']})"


def _tokens(case: Case) -> str:
    processor, config = case.shield.processor, case.shield.model.config
    plain = processor.encode_question("Where?")
    hostile = processor.encode_question(f"Where? {processor.image_token} {processor.tokenizer.eos_token}")
    faults = []
    if processor.image_token_id in (processor.eos_token_id, processor.pad_token_id):
        faults.append("the image token is the end or the padding token")
    if not 0 <= processor.image_token_id < config.text_config.vocab_size:
        faults.append(f"image token {processor.image_token_id} is outside the vocabulary of {config.text_config.vocab_size}")
    if plain.count(processor.image_token_id) != processor.image_seq_length:
        faults.append(f"{plain.count(processor.image_token_id)} placeholders, expected {processor.image_seq_length}")
    if hostile.count(processor.image_token_id) != processor.image_seq_length or processor.eos_token_id in hostile:
        faults.append("special tokens typed in a question are taken for real ones")
    if faults:
        raise Trouble("; ".join(faults), "use the tokenizer's files that were saved with this checkpoint")
    return (
        f"{len(processor.tokenizer)} pieces, {processor.image_token!r} is {processor.image_token_id}, "
        f"{processor.image_seq_length} a picture; a question cannot forge it"
    )


def _answers(case: Case) -> str:
    import numpy as np

    start = time.perf_counter()
    report = case.shield.inspect(np.full((224, 224, 3), 127, np.uint8), face="whole")
    if report.status != "ok":
        raise Trouble(f"a grey square gives status {report.status}: {report.error}", "get its files again, or another dtype")
    return f"all four tasks on a grey square in {time.perf_counter() - start:.2f} s"


# -- data ------------------------------------------------------------------------------------------------------------------


def _data(case: Case, file: Path) -> str:
    from faceshield.records import Dialogue, RecordError, Sample, image_path, read_jsonl

    try:
        with file.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip()), "")
        kind: type[Sample] | type[Dialogue] = Dialogue if '"conversations"' in first else Sample
        rows: list[Any] = read_jsonl(file, kind)
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"{file}: {error}", "give a samples.jsonl or a dialogues.jsonl") from error
    except RecordError as error:
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        raise Trouble(f"{error.faults[0]}{more}", "correct the line, or make the file again") from error
    if not rows:
        raise Trouble(f"{file}: no rows", "give a file with rows")
    told = [row.size_wh if isinstance(row, Sample) else row.meta.get("size_wh") for row in rows]
    _pictures(file, dict(zip((image_path(row, file) for row in rows), told, strict=True)))
    text = f"{len(rows)} {'dialogues' if kind is Dialogue else 'samples'}, every picture there"
    return f"{text}; {_supervision(case, file, rows)}" if kind is Dialogue else text


def _pictures(file: Path, sizes: Mapping[Path, Sequence[int] | None]) -> None:
    """Checks that all pictures exist, and that a sample of them can be read and has the size stated in its row."""
    from faceshield.images import ImageError, open_picture

    paths = list(sizes)
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise Trouble(
            f"{file}: {len(absent)} of {len(paths)} pictures are missing, the first is {absent[0]}",
            "put them where the rows say: paths are relative to the file",
        )
    for path in paths[:: max(1, len(paths) // _OPENED)]:
        try:
            size = open_picture(path).size_wh
        except ImageError as error:
            raise Trouble(f"{path}: {error.problem}", "repair the picture or drop its rows") from error
        if (told := sizes[path]) is not None and list(told) != list(size):
            raise Trouble(
                f"{path} has {size[0]} x {size[1]} pixels, its row says {list(told)}",
                "prepare the samples again: boxes are read against that size",
            )


def _supervision(case: Case, file: Path, rows: Sequence[Any]) -> str:
    """Tokenises some dialogues as training would: a row without a token to learn would otherwise go unnoticed."""
    processor, room = case.shield.processor, case.shield.model.config.text_config.max_position_embeddings
    learnt = total = too_long = 0
    chosen = rows[:: max(1, len(rows) // _ENCODED)]
    for row in chosen:
        try:
            ids, labels = processor.encode_dialogue(row.conversations)
        except ValueError as error:
            raise Trouble(f"{file}: dialogue {row.id!r}: {error}", "drop or repair the row") from error
        supervised = sum(label >= 0 for label in labels)
        learnt, total = learnt + supervised, total + len(ids)
        too_long += len(ids) > room
        if supervised == 0:
            raise Trouble(f"{file}: dialogue {row.id!r} has no token to learn", "give it an answer, or drop the row")
    found = f"{learnt} of {total} tokens to learn in {len(chosen)} dialogues"
    if too_long:
        raise Trouble(f"{found}, {too_long} longer than the model's {room}", "shorten them", "warning")
    return found
