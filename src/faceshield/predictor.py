"""The main entry point: a picture in, an `InspectionReport` out (paper §4, Eq. 2; the four tasks of §3.2).

In one line: `FaceShieldPredictor.from_pretrained("tiny").inspect("photo.jpg").is_attack`.

The verdict is the model's probability of one fixed answer against another, given one fixed question. No user question, file
name, metadata or generated word can change which answers are compared; generated text explains and locates, but never decides.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from faceshield.face import BuiltInDetector, FaceDetector
from faceshield.findings import Findings
from faceshield.images import ImageError, open_picture, source_name
from faceshield.inspection import ALL_TASKS, NOT_A_NUMBER, FaceMode, InspectionReport, check_face, check_tasks
from faceshield.looks import NO_FACE, Look, how_looked, look_at, made_otherwise
from faceshield.tasks import COARSE, FINE, LOCALIZATION, QUESTIONS, REASONING
from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE
from faceshield.whole import WholePictures, batches

if TYPE_CHECKING:
    from faceshield.model import FaceShieldForConditionalGeneration, FaceShieldProcessor
    from faceshield.model.drafts import Drafts
    from faceshield.model.importance import ImportanceMaps
    from faceshield.model.reading import Words

__all__ = ["FaceShieldPredictor", "InspectionReport"]

_VERDICT = (COARSE.name,)


class FaceShieldPredictor(WholePictures):
    """A model with its processor, threshold and face detector, ready to inspect pictures.

    On one machine, a picture always gives a bit-identical report when alone, and also within the same batch. A predictor serves
    one thread at a time.

    Args:
        model: as returned by `faceshield.model.load`.
        processor: the one saved with the model.
        threshold: `bonafide_score < threshold` is an attack; 0..1, chosen on a development set.
        surroundings: whether scores average two looks at a detected face, one close and one, mirrored, with its surroundings;
            for models that were trained on both kinds of pictures.
        detector: finds the faces; None: `face.BuiltInDetector`.
        chosen_with: how the threshold was chosen; reports carry a note when scores are computed differently here.
        score_map, name, model_hash, crop_side, keep_tokens, drafts: see `WholePictures`.
    """

    def __init__(
        self,
        model: FaceShieldForConditionalGeneration,
        processor: FaceShieldProcessor,
        *,
        threshold: float,
        score_map: tuple[float, float] = (1.0, 0.0),
        name: str = "",
        model_hash: str = "",
        crop_side: int | None = None,
        surroundings: bool = False,
        detector: FaceDetector | None = None,
        keep_tokens: int | None = None,
        drafts: Drafts | None = None,
        chosen_with: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            fits = 0.0 <= float(threshold) <= 1.0
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"threshold {threshold!r} — expected 0..1, the unit of bonafide_score — correct it")
        super().__init__(
            model,
            processor,
            score_map=score_map,
            name=name,
            model_hash=model_hash,
            crop_side=crop_side,
            keep_tokens=keep_tokens,
            drafts=drafts,
        )
        self.chosen_with = dict(chosen_with or {})
        self.threshold = float(threshold)
        self.surroundings = surroundings
        self.detector = BuiltInDetector() if detector is None else detector

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "tiny",
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        threshold: float | None = None,
        pvtm: Literal["off", "paper"] | None = None,
        pvtm_seed: int | None = None,
        detector: FaceDetector | None = None,
        keep_tokens: int | None = None,
    ) -> FaceShieldPredictor:
        """Load a checkpoint.

        Args:
            model: "tiny" (shipped with the package), a checkpoint folder, or a hub id (which alone needs a network).
            device: "cpu", "cuda", …; None: a GPU if there is one.
            dtype: of the weights; None: float32, or bfloat16 from half a billion parameters on.
            threshold: replaces the one stored with the checkpoint.
            pvtm: "off", or "paper": tokens are masked at inference too (§4.2), always the same ones for a given picture.
            pvtm_seed: seed of that draw. For both, None: as the checkpoint says (`pvtm_inference`, `pvtm_seed`).
            detector, keep_tokens: see `FaceShieldPredictor` and `WholePictures`.

        Raises:
            FileNotFoundError: no such checkpoint; the message says what to run.
            ValueError: no threshold stored or given, one chosen with other questions or looks, broken weights, or invalid PVTM
                settings.
        """
        from faceshield.model import checkpoint_hash, count_parameters, load, resolve_model, working_dtype

        if pvtm not in (None, "off", "paper"):
            raise ValueError(f"pvtm {pvtm!r} — expected 'off' or 'paper' — or leave it out")
        if pvtm_seed is not None and pvtm_seed < 0:
            raise ValueError(f"pvtm_seed {pvtm_seed} — expected 0 or more — correct it")
        folder = resolve_model(model)
        loaded = load(
            folder,
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            dtype=dtype or working_dtype(count_parameters(folder)),
        )
        surroundings = loaded.info.surroundings
        chosen_with = loaded.info.threshold_source if threshold is None else None
        if threshold is None:
            threshold = loaded.threshold_for(QUESTIONS, how_looked("detect", surroundings)["looks"])
        config = loaded.model.config
        if pvtm is not None:
            type(config).checked(**{**config.to_dict(), "pvtm_inference": pvtm})  # refuses what inference cannot do
        config.pvtm_inference = config.pvtm_inference if pvtm is None else pvtm
        config.pvtm_seed = config.pvtm_seed if pvtm_seed is None else pvtm_seed
        if pvtm_seed is not None and config.pvtm_inference == "off":
            raise ValueError(
                f"pvtm_seed {pvtm_seed} with PVTM off at inference — expected it on — give pvtm='paper' (--pvtm paper)"
            )
        return cls(
            loaded.model,
            loaded.processor,
            threshold=threshold,
            score_map=loaded.info.score_map,
            name=str(model),
            model_hash=checkpoint_hash(folder),
            crop_side=loaded.info.crop_side,
            surroundings=surroundings,
            detector=detector,
            keep_tokens=keep_tokens,
            drafts=loaded.drafts,
            chosen_with=chosen_with,
        )

    # -- one picture, or several ---------------------------------------------------------------------------

    def inspect(self, image: object, *, face: FaceMode = "detect", tasks: Collection[str] = ALL_TASKS) -> InspectionReport:
        """Runs all four tasks, or a choice of them, on one picture.

        Args:
            image: a path, the bytes of a file, a PIL image, or an (H, W, 3) uint8 RGB array.
            face: "detect": the largest detected face, with a margin. With a model trained for it (as faceshield-tiny is),
                scores average the log-odds of two views: the face crop, and a mirrored crop with more surroundings; text and
                boxes come from the first. "whole": the picture is already a face crop.
            tasks: some of "coarse", "fine", "reasoning", "localization"; the verdict (coarse) is always given. The last two
                generate text, which takes up to two fifths of the shipped model's time.

        Returns:
            The report; its status is "error" if the picture cannot be read, "no_face" if there is no face in it.

        Raises:
            TypeError: `image` is of none of these kinds.
            ValueError: unknown `face` or task.
        """
        return self._report(image, face, tasks)

    def inspect_many(
        self,
        images: Iterable[object],
        *,
        face: FaceMode = "detect",
        tasks: Collection[str] = ALL_TASKS,
        batch_size: int = 8,
    ) -> Iterator[InspectionReport]:
        """Reports in the pictures' order; a problem with one picture is stated in its report and never raised.

        Args:
            images: see `inspect`; consumed lazily, `batch_size` at a time.
            face, tasks: see `inspect`.
            batch_size: pictures that go through the model together; affects speed, not verdicts.

        Raises:
            TypeError: `images` is a single path or file.
            ValueError: an unknown `face` or task, or a `batch_size` below one.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} — expected at least 1 — raise it")
        check_face(face)
        if isinstance(images, str | bytes | Path):
            raise TypeError(f"images {images!r} is one picture — expected a list — use inspect() for one")
        tasks = check_tasks(tasks)
        return itertools.chain.from_iterable(self._reports(batch, face, tasks) for batch in batches(images, batch_size))

    def detect(self, image: object, *, face: FaceMode = "detect") -> InspectionReport:
        """The verdict alone: `is_attack`, `bonafide_score`; see `inspect`."""
        return self._report(image, face, _VERDICT)

    def classify(self, image: object, *, face: FaceMode = "detect") -> InspectionReport:
        """Verdict and `presentation_type`, `type_scores`; see `inspect`."""
        return self._report(image, face, (FINE.name,))

    def explain(self, image: object, *, face: FaceMode = "detect") -> InspectionReport:
        """Verdict and `reasoning`; see `inspect`."""
        return self._report(image, face, (REASONING.name,))

    def locate(self, image: object, *, face: FaceMode = "detect") -> InspectionReport:
        """Verdict and `boxes`; see `inspect`."""
        return self._report(image, face, (LOCALIZATION.name,))

    def ask(self, image: object, prompt: str, *, face: FaceMode = "detect", max_new_tokens: int | None = None) -> Words:
        """The model's answer to a free question about one picture: only words, never a verdict.

        The answer stops after `max_new_tokens` (None: the model's `answer_tokens`, which is also the maximum); its `cut` tells
        whether it was cut off.

        Raises:
            ImageError: the picture cannot be read, or no face was found in it.
            TypeError: `image` is of no known kind.
            QuestionError: an empty or over-long question.
            ValueError: unknown `face`, or a `max_new_tokens` below one.
        """
        limit = self._answer_tokens if max_new_tokens is None else min(max_new_tokens, self._answer_tokens)
        if limit < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} — expected 1 or more — or leave it out")
        crop = self._face_to_ask_about(image, prompt, face)
        with torch.inference_mode():
            return self._read([crop]).answer([prompt], max_new_tokens=limit)[0][0]

    def importance(self, image: object, prompt: str, *, face: FaceMode = "detect") -> ImportanceMaps:
        """What PVTM finds important in the picture for a question, and the tower's two input streams; raises as `ask`."""
        from faceshield.model.importance import importance_maps

        crop = self._face_to_ask_about(image, prompt, face)
        return importance_maps(self.model, self.processor, self._resized(crop), prompt)

    def failed(self, error: ImageError) -> InspectionReport:
        """The report on a picture that could not be inspected."""
        return InspectionReport(error.name, "error", error=error.problem, model=dict(self.model_info))

    def export_onnx(self, file: str | Path) -> Path:
        """Export the fixed questions' scores as one ONNX graph: outputs "coarse" (B, 2), bona fide first, and "fine" (B, 12).

        The file's metadata holds the threshold and its origin, the looks it was chosen with, the type names, and picture and
        crop sides; docs/onnx.md describes the inputs.

        Raises:
            ValueError: PVTM masks tokens at inference or not all tokens are read, or the threshold was chosen that way.
            ModuleNotFoundError: without the extra `onnx`.
        """
        from faceshield.model.onnx import export_scorer

        if self.model.model.pvtm_is_on():
            raise ValueError("PVTM's masks are on at inference — expected off: the graph has none — load with pvtm='off'")
        if self.keep_tokens is not None:
            raise ValueError(f"keep_tokens {self.keep_tokens} — expected None: the graph reads every token — load without it")
        others = made_otherwise(self.settings, self.chosen_with, ("keep_tokens", "pvtm"))
        if others:
            chosen = ", ".join(f"{name} {wanted}" for name, (_, wanted) in others.items())
            raise ValueError(
                f"the threshold was chosen with {chosen}, but the graph scores every token, unmasked — "
                "expected one of its scores — choose one (faceshield calibrate, or train threshold), or load with threshold=…"
            )
        metadata = {
            "threshold": repr(self.threshold),
            "threshold_source": json.dumps(dict(self.chosen_with)),
            "types": ", ".join(FINE.templates),
            "image_size": str(self.processor.image_size),
            "crop_side": str(self.crop_side or ""),
            "looks": "whole" if self.chosen_with.get("face") == "whole" else how_looked("detect", self.surroundings)["looks"],
            **self.model_info,
        }
        names = (COARSE.name, FINE.name)
        return export_scorer(self.model, self.processor, self._templates, Path(file), names, metadata, score_map=self.score_map)

    def threshold_notes(self, face: FaceMode = "detect") -> list[str]:
        """How the scores' settings differ from those that the threshold was chosen with, as far as its record says."""
        if not self.chosen_with:
            return []
        now, then = {**self.settings, "face": face}, self.chosen_with
        others = made_otherwise(now, then, ("face", "keep_tokens", "pvtm", "pvtm_seed"))
        changed = ", ".join(f"{name} {wanted}" for name, (_, wanted) in others.items())
        return (
            [f"the threshold was chosen with {changed}: with the present settings its error rates do not hold"]
            if changed
            else []
        )

    # -- internals -----------------------------------------------------------------------------------------

    def _report(self, image: object, face: FaceMode, tasks: Collection[str]) -> InspectionReport:
        check_face(face)
        tasks = check_tasks(tasks)
        try:
            picture = open_picture(image)
        except ImageError as error:
            return self.failed(error)
        return self._reports([picture], face, tasks)[0]

    def _reports(self, images: Sequence[object], face: FaceMode, tasks: Collection[str]) -> list[InspectionReport]:
        """One report per picture, in order; pictures with a face go through the model together."""
        reports: list[InspectionReport | None] = []
        waiting: list[tuple[int, Look, dict[str, Any]]] = []
        for image in images:
            try:
                picture = open_picture(image)
            except ImageError as error:
                reports.append(self.failed(error))
                continue
            except TypeError as error:
                reports.append(self.failed(ImageError(source_name(image), str(error))))
                continue
            look = look_at(picture, face, self.detector, twice=self.surroundings)
            common: dict[str, Any] = {"image": picture.name, "model": dict(self.model_info), "meta": look.meta()}
            if look.quality is None:
                reports.append(InspectionReport(status="no_face", **common))
                continue
            common["quality_reasons"] = list(look.quality.reasons)
            common["meta"]["notes"] += self.threshold_notes(face)
            waiting.append((len(reports), look, common))
            reports.append(None)
        with torch.inference_mode():
            judged = self._judge([look for _, look, _ in waiting], tasks) if waiting else []
        for (place, look, common), findings in zip(waiting, judged, strict=True):
            assert look.crop is not None
            if not findings.finite:
                reports[place] = InspectionReport(status="error", error=NOT_A_NUMBER, **common)
                continue
            common["meta"]["notes"] += findings.notes()
            if findings.located is not None:
                common["meta"]["localization"] = findings.located.text
            reports[place] = InspectionReport(
                status="ok",
                threshold=self.threshold,
                is_attack=findings.is_attack,
                bonafide_score=findings.bonafide_score,
                presentation_type=findings.presentation_type,
                type_scores=findings.type_scores,
                boxes=findings.boxes(look.crop),
                reasoning=findings.reasoning,
                face=look.face,
                **common,
            )
        return [report for report in reports if report is not None]

    def _judge(self, looks: Sequence[Look], tasks: Collection[str]) -> list[Findings]:
        """What the model finds in each crop; scores also use the surroundings, if this predictor looks at them."""
        crops = [look.close for look in looks if look.close is not None]
        reading = self._read(crops)
        odds, types_odds = self._evidence(reading)
        around = [look.around for look in looks if look.around is not None]
        if around:  # all or none of them: the number of looks is the same for all pictures
            assert len(around) == len(crops)
            beside, types_beside = self._evidence(self._read(around))
            odds, types_odds = (odds + beside) / 2, (types_odds + types_beside) / 2
        rows: list[Findings] = []
        for score, types in self._scores(odds, types_odds):
            row = Findings(score, score < self.threshold)
            if FINE.name in tasks:
                row.type_scores = types
                row.presentation_type = max(ATTACK_TYPES, key=types.__getitem__) if row.is_attack else BONAFIDE
            rows.append(row)
        asked = [task for task in (REASONING, LOCALIZATION) if task.name in tasks]
        answers = reading.answer([task.question for task in asked], max_new_tokens=self._answer_tokens)
        for row, crop, words in zip(rows, crops, answers, strict=True):
            for task, answer in zip(asked, words, strict=True):
                if answer.cut:
                    row.cut.append(task.name)
                if task is REASONING:
                    row.reasoning = answer
                else:
                    row.located = task.read(answer, (crop.shape[1], crop.shape[0]))
        return rows

    def _face_to_ask_about(self, image: object, prompt: str, face: FaceMode) -> NDArray[np.uint8]:
        self._check_question(prompt)
        look = look_at(open_picture(image), face, self.detector)
        if look.close is None:
            raise ImageError(look.picture.name, NO_FACE)
        return look.close
