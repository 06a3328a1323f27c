"""The public face: names, signatures and defaults that others rely on; a change here is a change for every user."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest
from typer.testing import CliRunner

import faceshield
from faceshield import FaceShieldPredictor, InspectionReport
from faceshield.cli import VERBS, app
from faceshield.data_engine import generate_dialogues
from faceshield.tasks import TASKS, Answer

REPORT_FIELDS = [
    "image",
    "status",
    "error",
    "is_attack",
    "bonafide_score",
    "threshold",
    "presentation_type",
    "type_scores",
    "boxes",
    "reasoning",
    "face",
    "quality_reasons",
    "model",
    "meta",
]

# name -> its parameters in order, "=" where there is a default, "*" before those by keyword alone
SIGNATURES: list[tuple[Any, str]] = [
    (FaceShieldPredictor.from_pretrained, "model= *device= *dtype= *threshold= *pvtm= *pvtm_seed= *detector= *keep_tokens="),
    (FaceShieldPredictor.inspect, "self image *face= *tasks="),
    (FaceShieldPredictor.inspect_many, "self images *face= *tasks= *batch_size="),
    (FaceShieldPredictor.detect, "self image *face="),
    (FaceShieldPredictor.classify, "self image *face="),
    (FaceShieldPredictor.explain, "self image *face="),
    (FaceShieldPredictor.locate, "self image *face="),
    (FaceShieldPredictor.ask, "self image prompt *face= *max_new_tokens="),
    (generate_dialogues, "samples *tasks *seed *per_task="),
]

OPTIONS = {
    "retake": ["--out", "--copies", "--seed", "--workers"],
    "simulate": ["--faces", "--count", "--seed", "--out", "--types", "--landmarks", "--audit"],
    "prepare": ["--out", "--frames-per-video", "--crop", "--workers", "--types", "--boxes", "--strict"],
    "split": ["--out", "--protocol", "--name", "--train", "--test", "--attack", "--seed"],
    "generate": ["--out", "--tasks", "--seed", "--per-task", "--count", "--backend", "--base-url", "--concurrency"],
    "filter": ["--out", "--similarity-model", "--judge", "--duplicates"],
    "augment": ["--out", "--pairs", "--backend"],
    "report": ["--out", "--pictures"],
    "build-dataset": [],
    "review": ["--out", "--queue", "--sample", "--overlap", "--reviewer", "--host", "--to-label-studio", "--from-label-studio"],
    "assemble": [],
    "train": ["--show-batch", "--cache-features", "--repeat", "--dev", "--test"],
    "finetune": ["--out", "--model", "--face", "--tasks", "--criterion", "--seed"],
    "predict": [
        "--model",
        "--out",
        "--tasks",
        "--pvtm",
        "--pvtm-seed",
        "--references",
        "--endpoint",
        "--api-key-env",
        "--prompt",
        "--retry-errors",
    ],
    "score": ["--out", "--model", "--threshold-from", "--criterion"],
    "faithfulness": ["--model", "--out", "--hide", "--controls", "--seed"],
    "calibrate": ["--out", "--model", "--criterion", "--face"],
    "table": ["--markdown", "--out"],
    "reproduce": ["--data", "--repeat", "--scale", "--out"],
    "inspect": ["--model", "--face", "--json", "--tasks", "--out"],
    "ask": ["--model", "--face"],
    "serve": ["--model", "--host", "--port", "--api-keys", "--queue", "--timeout", "--drain", "--offline"],
    "export": ["--model", "--out"],
    "doctor": ["--model", "--data", "--json"],
}


def shape(function: Any) -> str:
    parts = []
    for parameter in inspect.signature(function).parameters.values():
        star = "*" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
        default = "" if parameter.default is inspect.Parameter.empty else "="
        parts.append(f"{star}{parameter.name}{default}")
    return " ".join(parts)


def test_the_package_exports_what_it_always_did() -> None:
    assert faceshield.__all__ == ["FaceShieldPredictor", "InspectionReport", "__version__"]
    assert dir(faceshield) == sorted(faceshield.__all__)
    for name in faceshield.__all__:
        assert getattr(faceshield, name) is not None
    with pytest.raises(AttributeError, match="expected one of FaceShieldPredictor"):
        _ = faceshield.Predictor  # type: ignore[attr-defined]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_signatures_stay(function: Any, expected: str) -> None:
    assert shape(function) == expected


def test_the_defaults_that_docs_promise() -> None:
    defaults = inspect.signature(FaceShieldPredictor.from_pretrained).parameters
    assert defaults["model"].default == "tiny" and defaults["pvtm"].default is None  # as the checkpoint says
    assert inspect.signature(FaceShieldPredictor.inspect).parameters["face"].default == "detect"


def test_the_report_has_its_fields_in_order() -> None:
    assert [field.name for field in dataclasses.fields(InspectionReport)] == REPORT_FIELDS
    assert list(InspectionReport("a.jpg", "no_face").to_dict())[: len(REPORT_FIELDS)] == REPORT_FIELDS


def test_tasks_and_their_answers() -> None:
    assert list(TASKS) == ["coarse", "fine", "reasoning", "localization"]
    assert [field.name for field in dataclasses.fields(Answer)] == [
        "status",
        "is_attack",
        "presentation_type",
        "boxes",
        "text",
    ]
    for task in TASKS.values():
        assert shape(task.ask) == "rng="
        assert shape(task.answer) == "sample rng="
        assert shape(task.read) == "text size_wh="


def test_the_verbs() -> None:
    assert set(OPTIONS) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_and_its_options(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output
    found = set(re.findall(r"--[a-z][a-z-]*", result.stdout))
    assert set(OPTIONS[verb]) <= found
