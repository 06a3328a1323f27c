"""Configs: one frozen pydantic class per stage, read from YAML plus `key=value` overrides, all errors reported at once.

A YAML file need only hold what differs from the defaults.
Use: `class TowersConfig(Config): batch_size: int = 32` and `TowersConfig.load("tiny-towers.yaml", ["batch_size=16"])`.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

KeyPath = tuple[str | int, ...]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (str, Path)) else value


Paths = Annotated[list[Path], BeforeValidator(_listed)]
"""A list of files; a single one may be given without brackets."""


class ConfigError(ValueError):
    """An invalid config; the message lists every fault with its file:line or the override it came from."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Config(BaseModel):
    """Base of all configs: immutable; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    _origin: dict[str, str] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__  # regardless of where the values came from

    def where(self, name: str) -> str:
        """Where a value came from: "file:line", the override, "given" (in Python), or "default"."""
        return self._origin.get(name, "given" if name in self.model_fields_set else "default")

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Reads a YAML file (None: defaults only), applies the overrides and validates.

        Args:
            path: the file; an empty file means the defaults.
            overrides: "a.b=c"; the value is read as YAML, later overrides win.

        Raises:
            ConfigError: once, with all faults; for an unknown key it suggests the nearest known one.
            FileNotFoundError: no such file.
        """
        faults: list[str] = []
        origin: dict[KeyPath, str] = {}
        name = str(path) if path is not None else "config"
        values: dict[str, Any] = {}
        if path is not None:
            values = read_yaml(path)
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            _note_lines(root, (), str(path), origin, faults)
        for override in overrides:
            _apply_override(values, override, origin, faults)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            faults += _explain(cls, error, origin, name)
            raise ConfigError(faults) from None
        if faults:
            raise ConfigError(faults)
        config._origin = {str(key[0]): place for key, place in origin.items() if len(key) == 1}
        return config

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Builds a config from keyword values, such as a command's options.

        Raises:
            ConfigError: once, with all faults, as in `load`.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(list(_explain(cls, error, {}, "options"))) from None


def read_yaml(path: str | Path, loader: Any = yaml.SafeLoader) -> dict[str, Any]:
    """The keys and values of a YAML file; an empty file gives an empty dict.

    Raises:
        ConfigError: not UTF-8, not YAML, or no `key: value` lines at the top level.
        FileNotFoundError: no such file.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=loader)
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8 — expected a text file — save it as UTF-8"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError([f"{path}{line}: not YAML ({problem}) — expected `key: value` lines — correct the line"]) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError([f"{path}:1: a {type(values).__name__} — expected `key: value` lines at the top level"])
    return values


def read_override(override: str) -> tuple[str, Any]:
    """Splits "a.b=c" into the key "a.b" and its value, which is read as YAML.

    Raises:
        ConfigError: not a key=value pair, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise ConfigError([f"override {override!r} — expected key=value or a.b=value — correct it"])
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError([f"override {override!r} — its value is not YAML — quote it"]) from None


def write_override(key: str, value: Any) -> str:
    """The text `key=value`, as `read_override` reads it."""
    value = str(value) if isinstance(value, Path) else value
    return f"{key}={yaml.safe_dump(value, default_flow_style=True, width=2**20).removesuffix('...' + chr(10)).strip()}"


def _note_lines(node: yaml.Node | None, prefix: KeyPath, name: str, origin: dict[KeyPath, str], faults: list[str]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            where = f"{name}:{key_node.start_mark.line + 1}"
            key = (*prefix, str(key_node.value))
            if key in origin:
                faults.append(f"{where}: key {_dotted(key)!r} twice — first at {origin[key]} — remove one of them")
            origin[key] = where
            _note_lines(value_node, key, name, origin, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            place = (*prefix, index)
            origin[place] = f"{name}:{item.start_mark.line + 1}"
            _note_lines(item, place, name, origin, faults)


def _apply_override(values: dict[str, Any], override: str, origin: dict[KeyPath, str], faults: list[str]) -> None:
    try:
        key, value = read_override(override)
    except ConfigError as error:
        faults += error.faults
        return
    parts, place = key.split("."), values
    for depth, part in enumerate(parts[:-1], start=1):
        inner = place.setdefault(part, {})
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            faults.append(f"override {override!r} — {'.'.join(parts[:depth])} is a value, not a group of keys")
            return
        place = inner
        origin.setdefault(tuple(parts[:depth]), f"override {override!r}")
    place[parts[-1]] = value
    origin[tuple(parts)] = f"override {override!r}"


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        if part in current.model_fields:
            current = _model_in(current.model_fields[part].annotation)
    return current


def near(name: str, known: Iterable[str], otherwise: str = "use one of them") -> str:
    """The last part of an error message about an unknown name: the closest known name, or `otherwise` if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else otherwise


def _all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield f"{prefix}{key}"
        inner = _model_in(field.annotation)
        if inner is not None and inner is not model:
            yield from _all_keys(inner, f"{prefix}{key}.")


def _near(model: type[BaseModel], location: KeyPath) -> str:
    """The hint for an unknown key: the closest sibling, else the same key elsewhere in the model, else all siblings."""
    parent = _model_at(model, location[:-1])
    siblings = list(parent.model_fields) if parent is not None else []
    key = str(location[-1])
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.5)
    if close:
        return f"did you mean {_dotted((*location[:-1], close[0]))!r}?"
    elsewhere = [name for name in _all_keys(model) if name.rsplit(".", 1)[-1] == key]
    if elsewhere:
        return f"did you mean {elsewhere[0]!r}?"
    return f"expected one of {', '.join(siblings)}"


def _explain(model: type[BaseModel], error: ValidationError, origin: dict[KeyPath, str], name: str) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        location: KeyPath = fault["loc"]
        where = next((origin[location[:n]] for n in range(len(location), 0, -1) if location[:n] in origin), name)
        key = _dotted(location)
        if fault["type"] == "extra_forbidden":
            yield f"{where}: unknown key {key!r} — {_near(model, location)}"
        elif fault["type"] == "missing":
            yield f"{where}: {key} is missing — expected a value — add it"
        else:
            given = "" if isinstance(fault["input"], dict) else f" = {fault['input']!r}"
            message = fault["msg"].removeprefix("Value error, ")
            yield f"{where}: {key}{given} — {message}" if key else f"{where}: {message}"
