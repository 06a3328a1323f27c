"""The systems that `faceshield predict --model` can load: our own model and the paper's other rows (§5.3, Tables 1-5).

Use: ``predict("samples.jsonl", load_model("tiny"), "predictions.jsonl", system="tiny")``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceshield.config import write_override

__all__ = ["foreign_type", "load_model"]

BASELINE_FILE = "baseline.json"
"""The file that marks a folder as a trained baseline and names its method, {"name": "resnet", …}."""
MLLM_DEFAULTS = ("temperature=0", "max_tokens=256")
"""For general models: greedy decoding, and room for a reason; `chat.ChatConfig` has the other defaults."""


def load_model(
    name: str | Path,
    *,
    pvtm: str | None = None,
    pvtm_seed: int | None = None,
    endpoint: str | None = None,
    prompt: str | None = None,
    settings: Sequence[str] = (),
    face: str = "whole",
    keep_tokens: int | None = None,
) -> Any:
    """Load the system that a name stands for; the only place that decides what a ``--model`` is.

    With ``endpoint``, the name is that endpoint's name for a model. Otherwise it is "tiny", a folder or a hub id, and the
    folder's contents decide: a ``baseline.json`` makes it a trained baseline; a ``config.json`` of one of transformers'
    image-text-to-text models makes it such a model; anything else is a model of our own.

    All arguments are plain values, so that a worker process can load the system for itself. Heavy packages are imported
    only for the kinds that need them.

    Args:
        pvtm, pvtm_seed, keep_tokens: for our own model only, see `FaceShieldPredictor.from_pretrained`.
        endpoint: address of an endpoint with OpenAI's protocol; pictures are sent there and nowhere else.
        prompt: "zero-shot": the prompt names the types, see `mllm`; "plain": the tasks' own questions. None: "zero-shot" for
            general models, "plain" for ours.
        settings: for general models only: fields of `chat.ChatConfig` as "key=value", such as "max_tokens=400".
        face: "whole", or "detect": the system finds the face first and only gives scores, see `looking.Looking`.

    Returns:
        An object for ``evaluation.predict``. It takes whole pictures as (H, W, 3) uint8 RGB arrays, upright, and has

        - for words ``ask_many(images, question) -> list[str]`` or ``ask(image, question) -> str``; each str may instead
          be a pair (str, bonafide_score | None),
        - for scores ``score_many(images) -> list[(bonafide_score, type_scores | None)]`` or ``score(image) ->
          bonafide_score``; 0..1, high = bona fide; type_scores by the names of ``taxonomy.PRESENTATION_TYPES``,
        - ``settings``: everything besides its name that decides its answers, as JSON values, without secrets. It goes
          into ``run.json``, and a file begun with other settings is not continued,
        - optionally ``question(task) -> str``, its own words for a task, ``workers``, see `evaluation.predict.Asker`, and
          ``close()``, if it holds connections.

        Words or scores may be missing: a classifier only scores, and is then asked the coarse task alone. A system that
        can answer more or fewer tasks lists their names in ``tasks``.

    Raises:
        FileNotFoundError: no such model; the message says what was expected.
        ValueError: a folder of none of these kinds, or an option that its kind does not have.
    """
    if face != "whole":
        from faceshield.baselines.looking import Looking

        system = load_model(
            name, pvtm=pvtm, pvtm_seed=pvtm_seed, endpoint=endpoint, prompt=prompt, settings=settings, keep_tokens=keep_tokens
        )
        return Looking(system, face)  # type: ignore[arg-type]
    given = {"pvtm": pvtm, "pvtm_seed": pvtm_seed, "keep_tokens": keep_tokens}
    of_ours = {option: value is not None for option, value in given.items()}
    if endpoint is not None:
        _refuse(name, "an endpoint's model", **of_ours)
        return _mllm(str(name), prompt, [write_override("base_url", endpoint), *settings])
    from faceshield.model import is_adapter, resolve_model

    folder = resolve_model(name)
    if (folder / BASELINE_FILE).is_file():
        _refuse(name, "a trained baseline", **of_ours, prompt=prompt is not None, settings=bool(settings))
        from faceshield.baselines.classifier import BaselineClassifier

        return BaselineClassifier.from_folder(folder)
    if not is_adapter(folder) and (kind := foreign_type(folder)):
        _refuse(name, f"a {kind} model", **of_ours)
        return _mllm(str(folder), prompt, settings)
    from faceshield.predictor import FaceShieldPredictor

    _refuse(name, "our own model", settings=bool(settings))
    if prompt not in (None, "plain", "zero-shot"):
        raise ValueError(f"prompt {prompt!r} — expected 'zero-shot' or 'plain'")
    # Predictions hold scores, not verdicts: a model without a threshold must run too, so that one can be chosen.
    shield = FaceShieldPredictor.from_pretrained(name, threshold=0.5, **given)  # type: ignore[arg-type]
    if prompt == "zero-shot":
        from faceshield.baselines.mllm import ZeroShot

        return ZeroShot(shield)
    return shield


def _refuse(name: str | Path, kind: str, **given: bool) -> None:
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} for {name} — expected none: {kind} has no such option — leave it out")


def foreign_type(folder: Path) -> str | None:
    """The transformers model type of a folder; None for our own, and for folders whose faults our own loader reports.

    Raises:
        ValueError: a model that cannot be asked about pictures.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    if kind is None or kind == "faceshield":
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    if kind not in KNOWN:
        raise ValueError(
            f"{folder}: model_type {kind!r} — expected 'faceshield', or an image-text-to-text model that transformers knows by "
            "itself — serve it and give --endpoint, or put Bunny's weights together with faceshield assemble"
        )
    return str(kind)


def _mllm(model: str, prompt: str | None, settings: Sequence[str]) -> Any:
    from faceshield.baselines.mllm import Mllm
    from faceshield.chat import ChatConfig, make_chat
    from faceshield.chat.local import LocalModel

    chat = make_chat(ChatConfig.load(None, [*MLLM_DEFAULTS, *settings, write_override("model", model)]))
    if isinstance(chat, LocalModel):
        chat.load()  # now, rather than on the first of many pictures
    return Mllm(chat, prompt or "zero-shot")  # type: ignore[arg-type]
