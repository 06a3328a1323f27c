"""Where an output came from: atomic writing, hashes, the `run.json` beside every stage's output, and its starting settings.

Use: `write_run("dialogues.jsonl", config=config, seed=0, inputs=["samples.jsonl"])`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pydantic import BaseModel

RUN_FILE, BEGUN_FILE = "run.json", "begun.json"


def write_text_atomic(path: str | Path, text: str | Iterable[str]) -> Path:
    """Writes a text file so that readers see either the old or the complete new content, never a part; creates its folder. If
    `path` is a link, the file that it points to is written."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.writelines([text] if isinstance(text, str) else text)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are private, outputs follow the user's umask
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def write_json_atomic(path: str | Path, content: Any, *, default: Callable[[Any], Any] | None = None) -> Path:
    """Writes one JSON value with `write_text_atomic`; `default` is that of `json.dumps`.

    Raises ValueError for non-finite numbers (such as nan), which standard JSON does not have.
    """
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=default)
    except ValueError as error:
        raise ValueError(f"{path}: {error} — expected finite numbers — correct the NaN or infinity") from error
    return write_text_atomic(path, text + "\n")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a hidden file beside `path` to write into; it replaces `path` at the end, or is deleted on an error.

    If the process is killed, it remains as `.NAME.PID.part`.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: str | Path) -> Any:
    """Reads a JSON file that this package wrote.

    Raises:
        ValueError: truncated, or not JSON; the message names the file.
        FileNotFoundError: no such file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error} — expected whole JSON — remove it and repeat the command that wrote it") from None


@cache
def _umask() -> int:
    """The process's umask, read only once, because reading means setting it for all threads."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file; for a folder, of the sorted relative names and sizes of its files (their bytes are not read).

    Hidden files, such as those of a desktop or a file system, are left out, as they are no input.
    """
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for name in files_below(path):
            with suppress(FileNotFoundError):  # deleted meanwhile, or a broken link
                size = (path / name).stat().st_size
                digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def files_below(
    root: Path, inside: str = "", skip: Callable[[Path], bool] = lambda folder: False, above: tuple[str, ...] = ()
) -> Iterator[PurePosixPath]:
    """Relative paths of all files, including those in linked folders, sorted by name within each folder.

    There may be millions, so folders are listed one by one. Left out are hidden entries, `__MACOSX` (left behind by zip
    programs), folders for which `skip` is true, and links to a folder that contains them (`above`: the real paths of those).
    """
    here = os.path.realpath(root / inside)
    if here in above:
        return
    with os.scandir(root / inside) as entries:
        listed = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_folder in listed:
        if name.startswith(".") or name == "__MACOSX":
            continue
        if is_folder:
            if not skip(root / inside / name):
                yield from files_below(root, f"{inside}/{name}" if inside else name, skip, (*above, here))
        else:
            yield PurePosixPath(inside, name)


@cache
def _git_commit() -> str | None:
    """The commit of this code, "+changes" if modified; read once, as the process keeps running the code that it has loaded."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # or an environment inside another project's repository would count
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in (
        "faceshield",
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "numpy",
        "pillow",
        "scikit-image",
    ):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def check_not_read(outputs: Iterable[str | Path], inputs: Iterable[str | Path | None]) -> None:
    """Raises ValueError if an output would overwrite one of the inputs or a record (`run.json`, `begun.json`), or is a
    folder."""
    read = {Path(path).resolve() for path in inputs if path is not None}
    for output in map(Path, outputs):
        if output.resolve() in read:
            raise ValueError(f"{output} is read too and would be overwritten — expected another file — choose another --out")
        if output.name in (RUN_FILE, BEGUN_FILE):
            raise ValueError(f"{output} is where a run's record is written — expected another name — choose another --out")
        if output.is_dir():
            raise ValueError(f"{output} is a folder — expected a file in it — choose another --out")


def begun(
    folder: str | Path,
    by: str,
    settings: Mapping[str, Any],
    *,
    note: bool = True,
    results: Iterable[str] = (),
    newer: Iterable[str] = (),
) -> None:
    """Records in `begun.json` the settings that a folder was started with; the same settings resume, others are refused.

    Args:
        folder: created if missing.
        by: the caller's name; a sweep and the stage within it each have their own entry.
        settings: everything that determines the result, as JSON values.
        note: False: only check, while it is not yet certain that there will be a run.
        results: names of results; if one is in the folder, there must be an entry of this caller.
        newer: names of settings that an earlier version did not record, or that cannot be told any more: they are compared
            where both know them, and recorded where the entry lacks them.

    Raises:
        ValueError: this caller started the folder with other settings (the message names them), or there are results without
            its entry.
    """
    file = Path(folder) / BEGUN_FILE
    notes: dict[str, Any] = read_json(file) if file.is_file() else {}
    now = json.loads(json.dumps(dict(settings), default=str))
    if not isinstance(before := notes.get(by), dict):
        if there := [name for name in results if (Path(folder) / name).exists()]:
            raise ValueError(f"{folder} holds {there[0]} of another run — expected a folder of its own — choose another --out")
        if note:
            write_json_atomic(file, {**notes, by: now})
        return
    added = {name: now[name] for name in newer if name in now and name not in before}
    before = {**before, **added}
    gone = {name for name in newer if name not in now}
    differs = [name for name in {**before, **now} if name not in gone and before.get(name) != now.get(name)]
    if differs:
        shown = ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in differs[:3])
        raise ValueError(f"{folder} was begun with {shown} — expected the same — choose another folder, or remove this one")
    if added and note:
        write_json_atomic(file, {**notes, by: before})


def read_run(path_of_output: str | Path) -> dict[str, Any]:
    """What `write_run` recorded about an output (a file or a folder); empty if there is no readable record."""
    output = Path(path_of_output)
    folder, name = (output, ".") if output.is_dir() else (output.parent, output.name)
    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        return dict(run if run.get("output") == name else run.get("earlier", {}).get(name, {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def run_options(path: str | Path) -> dict[str, Any]:
    """The options of a system that the record beside a file of answers holds; empty without such a record."""
    return dict(read_run(path).get("config", {}).get("options") or {})


def write_run(
    path_of_output: str | Path,
    *,
    config: BaseModel | dict[str, Any],
    seed: int | None,
    inputs: Iterable[str | Path],
) -> Path:
    """Writes `run.json`: how an output was made.

    It lies beside `path_of_output`, or inside it if that is a folder. If several stages write into one folder, the runs of the
    other outputs are kept under "earlier".

    Args:
        config: all settings; JSON-serialisable.
        seed: the run's seed, or None if nothing was drawn.
        inputs: files and folders that were read.
    """
    output = Path(path_of_output)
    folder = output if output.is_dir() else output.parent
    target = folder / RUN_FILE
    name = "." if output.is_dir() else output.name
    run = {
        "output": name,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json") if isinstance(config, BaseModel) else config,
        "seed": seed,
        "inputs": [{"path": str(path), "sha256": file_sha256(path)} for path in inputs],
        "versions": _versions(),
        "git_commit": _git_commit(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _turn_in(folder):  # two stages that end together must not lose each other's entry
        earlier: dict[str, Any] = {}
        if target.exists():
            try:
                previous = json.loads(target.read_text(encoding="utf-8"))
                earlier = previous.pop("earlier", {})
                earlier[previous["output"]] = previous
            except (ValueError, KeyError, TypeError, AttributeError):
                earlier = {}
            earlier.pop(name, None)
        if earlier:
            run["earlier"] = earlier
        return write_json_atomic(target, run, default=str)


@contextmanager
def _turn_in(folder: Path) -> Iterator[None]:
    """Waits until no other process or thread is in this block for the same folder, on systems with file locks."""
    if sys.platform == "win32":  # which cannot open folders
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _flock(handle, wait=True)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder, on systems with file locks; creates the folder.

    Raises:
        ValueError: another process is in this block for the same folder.
    """
    if sys.platform == "win32":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / ".running"
    with mark.open("a") as stream:
        lock(stream, mark, what=folder)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def lock(stream: IO[Any], path: Path, what: Path | None = None) -> None:
    """Locks an open file exclusively until it is closed, on systems with file locks; forked processes do not inherit the lock.

    Raises:
        ValueError: another process holds the lock, or has replaced the file since it was opened; names `what`, or else `path`.
    """
    try:
        _flock(stream.fileno(), wait=False)
        if not os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        raise ValueError(
            f"{what or path}: another run is writing it — expected one at a time — wait, or write to another place"
        ) from None
    _LOCKED.add(stream)


_LOCKED: weakref.WeakSet[IO[Any]] = weakref.WeakSet()


def _let_go() -> None:
    """In a forked process: its copies of locked files would keep the locks after the parent's end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in _LOCKED:
        if not stream.closed:
            os.dup2(nothing, stream.fileno())
    os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _flock(handle: int, *, wait: bool) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system has no locks
        return
