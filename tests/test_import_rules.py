"""Who may import whom (this is the list of layers), and what nobody may import or call; read from the syntax trees."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "faceshield"
SOURCES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = [path for folder in ("src", "tests", "examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]

BASE = {"records", "taxonomy", "config", "provenance", "engines", "extras"}
# What shows or prepares pictures for the predictor; light, and free of tasks and model.
PICTURES = {"images", "face", "inspection", "quality", "looks", "annotate", "html_report"}

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"inspection", "predictor"},
    "__main__": {"cli"},
    "taxonomy": set(),
    "config": set(),
    "provenance": set(),
    "extras": set(),
    "engines": {"extras"},
    "records": {"taxonomy", "provenance"},
    "tasks": BASE,
    "datasets": BASE | {"face", "images"},  # a crop for training is the crop that is judged, of the same pixels
    "simulate": BASE | {"images"},  # portraits are read as every picture is
    "model": set(),
    "chat": BASE | {"images"},
    "data_engine": BASE | {"tasks", "datasets", "images", "chat"},  # of datasets, the coordinates of annotation tools
    "training": BASE | {"model", "images"},
    "evaluation": BASE | {"tasks", "chat", "images"},  # of chat, how it fails
    "baselines": BASE | {"tasks", "model", "training", "predictor", "whole", "chat"} | PICTURES,
    **{name: PICTURES for name in PICTURES},
    "findings": BASE | {"tasks"} | PICTURES,
    "whole": BASE | {"tasks", "model"} | PICTURES,
    "predictor": BASE | {"tasks", "model", "findings", "whole"} | PICTURES,
    "doctor": BASE | {"__init__", "tasks", "model", "predictor"} | PICTURES,
    "serving": BASE | {"model", "predictor"} | PICTURES,
}
MAY_IMPORT["recipes"] = set(MAY_IMPORT) - {"__main__", "doctor", "serving"}  # the stages, one after another
MAY_IMPORT["cli"] = set(MAY_IMPORT) | {"cli"}

# Parts that a machine without torch can use.
WITHOUT_TORCH = BASE | PICTURES | {"tasks", "datasets", "simulate", "chat", "data_engine", "evaluation", "__init__", "__main__"}
HEAVY = {"torch", "transformers", "peft", "accelerate"}
# Files of those parts that serve users who have torch: they import it inside functions, and nobody imports them at the top.
TORCH_WHEN_CALLED = {"chat/local.py", "data_engine/similarity.py"}

NEVER = {"torchvision", "timm", "open_clip", "torchmetrics", "cv2"}
RUNS_CODE_FROM_FILES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# One release is a joblib dump; it is opened behind --trust-pickle alone (tests/datasets/test_padisi.py).
WHEN_TOLD_TO = {("padisi.py", "joblib")}


def part_of(path: Path) -> str:
    """The layer a file belongs to: the first folder or file below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a file of the package or beside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = ("faceshield", *path.relative_to(PACKAGE).parent.parts)
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, *([base] if base else [])])
            yield node.lineno, base
            if base == "faceshield":
                yield from ((node.lineno, f"faceshield.{alias.name}") for alias in node.names)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def at_import_time(tree: ast.Module) -> ast.Module:
    """The statements that run when a module is imported: without function bodies and `if TYPE_CHECKING`."""

    class Cut(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    cut = Cut().visit(tree)
    assert isinstance(cut, ast.Module)
    return cut


def layer_faults(path: Path, source: str) -> list[str]:
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part}
    faults = []
    excused: set[int] = set()
    if path.relative_to(PACKAGE).as_posix() in TORCH_WHEN_CALLED:
        at_top = {line for line, _ in imports(path, at_import_time(ast.parse(source)))}
        excused = {line for line, _ in imports(path, ast.parse(source))} - at_top
    for line, name in imports(path, ast.parse(source)):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        is_part = target in MAY_IMPORT or (PACKAGE / target).exists() or (PACKAGE / f"{target}.py").exists()
        if top == "faceshield" and target and is_part and target not in allowed:
            faults.append(f"{path}:{line}: {part} imports {target} — allowed: {', '.join(sorted(allowed))}")
        if part in WITHOUT_TORCH and top in HEAVY and line not in excused:
            faults.append(f"{path}:{line}: {part} imports {top} — expected to work without it")
    return faults


def banned_faults(path: Path, source: str) -> list[str]:
    tree = ast.parse(source)
    in_package = PACKAGE in path.parents
    faults = []
    for line, name in imports(path, tree) if in_package else absolute_imports(tree):
        top = name.split(".")[0]
        runs_code = in_package and top in RUNS_CODE_FROM_FILES and (path.name, top) not in WHEN_TOLD_TO
        if top in NEVER or runs_code:
            faults.append(f"{path}:{line}: imports {top}")
    if not in_package:
        return faults
    for node in ast.walk(tree):
        told = isinstance(node, ast.Attribute) and node.attr in ("load", "hub")  # to unparse them all takes long
        if told and ast.unparse(node) in ("torch.load", "torch.hub"):
            faults.append(f"{path}:{node.lineno}: {ast.unparse(node)}, which can run code from files")
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
            is_false = isinstance(node.value, ast.Constant) and node.value.value is False
            if not is_false:
                faults.append(f"{path}:{node.value.lineno}: {node.arg} that is not False")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec", "print"):
            inside_cli = part_of(path) == "cli"
            if node.func.id != "print" or not inside_cli:
                faults.append(f"{path}:{node.lineno}: calls {node.func.id}")
    return faults


def absolute_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 10
    assert {part_of(path) for path in SOURCES} <= set(MAY_IMPORT), "a new part — give it its rules here"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_part_imports_only_what_it_may(path: Path) -> None:
    assert not layer_faults(path, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_what_breaks_or_runs_foreign_code(path: Path) -> None:
    assert not banned_faults(path, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_a_verb_imports_heavy_things_only_when_it_runs(path: Path) -> None:
    light = {"typer", "faceshield", *sys.stdlib_module_names}
    for line, name in imports(path, at_import_time(parse(path))):
        top, _, rest = name.partition(".")
        assert top in light, f"{path}:{line}: imports {name} at the top — expected inside the function"
        part = rest.split(".")[0]
        assert top != "faceshield" or part in {"cli", "inspection", "taxonomy", ""}, f"{path}:{line}: {name}"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("tasks/new.py", "import torch"),
        ("data_engine/similarity.py", "import torch"),
        ("data_engine/new.py", "def f():\n    import torch"),
        ("tasks/new.py", "from faceshield.model import load"),
        ("tasks/new.py", "def f():\n    from faceshield import model"),
        ("model/new.py", "from ..records import Sample"),
        ("model/new.py", "from .. import records"),
        ("evaluation/new.py", "import faceshield.predictor"),
        ("records.py", "from .tasks import COARSE"),
    ],
)
def test_the_layer_rule_sees(file: str, source: str) -> None:
    assert layer_faults(PACKAGE / file, source)


@pytest.mark.parametrize(
    "source",
    [
        "import torchvision.ops",
        "from timm import create_model",
        "import pickle",
        "x = torch.load('a')",
        "from_pretrained(a, trust_remote_code=True)",
        "from_pretrained(a, trust_remote_code=flag)",
        "np.load(a, allow_pickle=True)",
        "eval('1')",
        "print(1)",
    ],
)
def test_the_ban_sees(source: str) -> None:
    assert banned_faults(PACKAGE / "model" / "new.py", source)


def python(code: str) -> str:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_light_parts_load_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'accelerate', 'matplotlib'}"
    lines = ["import sys"]
    for code in (
        "import faceshield",
        "import faceshield.cli",
        "from faceshield import InspectionReport",
        "import faceshield.records, faceshield.taxonomy, faceshield.config",
        "import faceshield.tasks, faceshield.data_engine, faceshield.evaluation",
    ):
        lines += [code, f"assert not {heavy} & set(sys.modules), {code!r}"]
    python("\n".join(lines))


def test_help_loads_neither_torch_nor_images() -> None:
    heavy = "{'torch', 'transformers', 'PIL', 'numpy', 'skimage', 'pydantic', 'ray'}"
    code = (
        "import sys\nsys.argv = ['faceshield', '--help']\nfrom faceshield.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('loaded', sorted({heavy} & set(sys.modules)))"
    )
    assert python(code).splitlines()[-1] == "loaded []"
