"""Every page's shell blocks use verbs and options that exist, its links lead somewhere; the README's python blocks run.

A block that only shows something (output, a file) has another language or none. A python block that needs
what a reader has and we have not (a data set, a GPU) starts with the comment `# not run`.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from faceshield.cli import VERBS, app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TINY = ROOT / "src" / "faceshield" / "assets" / "faceshield-tiny"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), TINY / "README.md"])


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """(place, language, body) of a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        (f"{name}:{text[: match.start()].count(chr(10)) + 1}", match["language"], match["body"])
        for match in re.finditer(r"^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


SHELL = [
    (name, body) for page in PAGES for name, language, body in blocks(page) if language in ("bash", "sh", "shell", "console")
]
PYTHON = [(name, body) for name, language, body in blocks(README) if language == "python"]


@cache
def options_of(verb: str) -> frozenset[str]:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output
    return frozenset(re.findall(r"(?<!\w)--?[a-z][a-z-]*", result.stdout))


def commands(body: str) -> list[list[str]]:
    """The simple commands of a shell block, words split; continuation lines joined, comments left out."""
    joined = body.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        current: list[str] = []
        for word in [*words, ";"]:
            if word in (";", "&&", "||", "|"):
                if current:
                    found.append(current)
                current = []
            else:
                current.append(word)
    return found


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check(words: list[str]) -> None:
    """Fails if a command names a verb, an option, a make target or a file of ours that does not exist."""
    if words[0] == "make":
        asked = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
        assert asked <= targets(), f"{words}: no such target"
    if words[0] in ("bash", "sh", "python", "python3") and len(words) > 1 and words[1].endswith((".py", ".sh")):
        assert (ROOT / words[1]).is_file(), f"{words}: no such file"
    program = words[0].rsplit("/", 1)[-1]
    if program != "faceshield" or len(words) < 2 or words[1].startswith("-"):
        return
    assert words[1] in VERBS, f"{words}: no such verb"
    for word in words[2:]:
        if re.match(r"--?[a-z]", word):
            assert word.split("=")[0] in options_of(words[1]), f"{words}: no such option"
        if word.startswith("configs/"):
            assert (ROOT / word).is_file(), f"{words}: no such config"


def test_the_readme_is_there_and_shows_the_two_commands() -> None:
    shown = [command for name, body in SHELL if name.startswith("README.md") for command in commands(body)]
    assert ["make", "demo"] in shown and ["make", "test"] in shown


@pytest.mark.parametrize(("name", "body"), SHELL, ids=[name for name, _ in SHELL])
def test_shell_blocks_use_what_exists(name: str, body: str) -> None:
    for words in commands(body):
        check(words)


@pytest.mark.parametrize(("name", "body"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python_blocks_run(name: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile(body, name, "exec")
    if body.startswith("# not run"):
        return
    monkeypatch.chdir(tmp_path)
    for picture in ("photo.jpg", "a.jpg", "b.jpg"):
        Image.fromarray(astronaut()).save(tmp_path / picture)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, {"__name__": "__main__"})


def anchors(page: Path) -> set[str]:
    """Where a link into a page may lead: its headings, as they are spelt in addresses."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pictures_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", text)
    links += [(target, "") for target in re.findall(r'src="(?!http)([^"]+)"', text)]
    for target, anchor in links:
        led = page.parent / target if target else page
        assert led.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(led), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize(
    "line",
    [
        "make dmeo",
        "faceshield inspct a.jpg",
        "faceshield inspect a.jpg --jsn",
        "faceshield train configs/no.yaml",
    ],
)
def test_the_check_sees(line: str) -> None:
    with pytest.raises(AssertionError, match="no such"):
        check(commands(line)[0])


def test_the_check_splits_commands() -> None:
    body = "$ make demo && faceshield ask a.jpg \\\n  'Why?'  # comment\nfaceshield inspect a.jpg | head -1"
    assert commands(body) == [
        ["make", "demo"],
        ["faceshield", "ask", "a.jpg", "Why?"],
        ["faceshield", "inspect", "a.jpg"],
        ["head", "-1"],
    ]
