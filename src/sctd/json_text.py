"""JSON as sctd reads it: whatever is wrong with a file is a ValueError, another form than its reader relies on too."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

NUMBER = (int, float)
MAYBE_NUMBER = (int, float, type(None))
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a character that JSON writes as two


def parse_json(text: str | bytes) -> Any:
    """What JSON text holds; ValueError where it is none, is nested too deeply or holds half a character."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character that is written as two") from None
    return value


def read_json(path: Path, form: Any = object) -> Any:
    """What a JSON file holds; OSError where it cannot be read, ValueError where it is no JSON of this form."""
    value = parse_json(path.read_bytes())
    place = differs(value, form)
    if place is not None:
        raise ValueError(f"{place} is missing or of another kind" if place else "it is of another kind")
    return value


def differs(value: Any, form: Any, place: str = "") -> str | None:
    """Where a value is of another form, such as `splits.train.shards.0`, or null.

    Args:
        value: from JSON.
        form: a type or several, of which bool is no int, floats are finite and ints have no more than 64 bits; [FORM],
            a list of such; a set of texts, one of which it is; or a dict of forms by key, where `"key?"` may be absent
            and `"*"` stands for all other keys.
        place: of the value.
    """
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return place
        wanted = {key.removesuffix("?"): each for key, each in form.items() if key != "*"}
        if missing := [key for key in form if key not in value and not key.endswith("?") and key != "*"]:
            return f"{place}.{missing[0]}".lstrip(".")
        parts = {key: wanted.get(key, form.get("*", object)) for key in value}
    elif isinstance(form, list):
        if not isinstance(value, list):
            return place
        parts = dict.fromkeys(range(len(value)), form[0])
    elif isinstance(form, set):
        return None if isinstance(value, str) and value in form else place
    else:
        return None if _of(value, form if isinstance(form, tuple) else (form,)) else place
    found = (differs(value[key], each, f"{place}.{key}".lstrip(".")) for key, each in parts.items())
    return next((each for each in found if each is not None), None)


def _of(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool) and object not in kinds:
        return bool in kinds
    if isinstance(value, float) and float in kinds:
        return math.isfinite(value)
    if isinstance(value, int) and int in kinds:
        return abs(value) <= 2**64
    return isinstance(value, kinds)
