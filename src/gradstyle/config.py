"""Frozen dataclasses to JSON and back, with every wrong value named."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(config: Any) -> Any:
    """Nested dataclasses and tuples as plain dicts and lists."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_json(value) for value in config]
    return config


def from_json(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass; a missing value takes its default, an unknown name or a wrong type is an error."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected named values, got {_shown(values)}")
    hints = _hints(typing.cast(Any, kind))
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{where}: unknown {', '.join(map(repr, unknown[:10]))}; known are {', '.join(known)}")
    given = {}
    for name, field in known.items():
        if name in values:
            given[name] = _convert(hints[name], values[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: {name!r} is missing")
    try:
        return kind(**given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        for option in options[:-1]:
            try:
                return _convert(option, value, where)
            except ValueError:
                continue
        return _convert(options[-1], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, got {_shown(value)}")
        if arguments[1:] == (...,):
            arguments = (arguments[0],) * len(value)
        if len(value) != len(arguments):
            raise ValueError(f"{where}: expected {len(arguments)} values, got {_shown(value)}")
        return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value)))
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list, got {_shown(value)}")
        return [_convert(arguments[0], each, f"{where}[{i}]") for i, each in enumerate(value)]
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {_shown(value)}")
        return value
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected named values, got {_shown(value)}")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(Any, hint), value, where)
    if hint is float and type(value) is int:
        value = float(value)
    if hint is not Any and type(value) is not hint:
        raise ValueError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {_shown(value)}")
    if hint is int and abs(value) > 1 << 31:
        raise ValueError(f"{where}: {value} is out of any reasonable range")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
