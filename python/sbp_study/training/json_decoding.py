"""Convert JSON values to dataclasses and check every field."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def decode(hint: Any, value: Any, place: str = "the file") -> Any:
    """Convert `value` to the type `hint`; raise a ValueError that names the field if the types differ.

    Supported types: dataclass, list, dict with str keys, a type or None, numbers, str, bool.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        if value is None and NoneType in parts:
            return None
        (other,) = (part for part in parts if part is not NoneType)
        return decode(other, value, place)
    if is_dataclass(hint):
        return _decode_fields(hint, value, place)
    if origin is list:
        _require(value, list, place)
        return [decode(parts[0], item, f"{place}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        _require(value, dict, place)
        return {key: decode(parts[1], item, f"{place}.{key}") for key, item in value.items()}
    # Other languages write 1.0 as 1 in JSON, so accept an int as a float. `_require` rejects bools, which are ints.
    _require(value, (int, float) if hint is float else hint, place)
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{place} must be finite, got {value}")
    return value


def _decode_fields(kind: Any, value: Any, place: str) -> Any:
    _require(value, dict, place)
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    wrong = [name for name in names if name not in value] or [name for name in value if name not in names]
    if wrong:
        verb = "lacks" if wrong[0] in names else "has an unknown field,"
        raise ValueError(f"{place} {verb} {wrong[0]}")
    return kind(**{name: decode(hints[name], value[name], f"{place}.{name}") for name in names})


def _require(value: Any, kind: Any, place: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = "number" if isinstance(kind, tuple) else {dict: "object", list: "list"}.get(kind, kind.__name__)
        raise ValueError(f"{place} must be of type {name}, got {type(value).__name__}")
