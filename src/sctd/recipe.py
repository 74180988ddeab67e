"""Recipes: a YAML file to a PretrainConfig and back with every key explained, and those that ship with sctd.

A recipe holds the settings that differ from the defaults, as sections (`schedule:` with `steps: 100` below
it) or as dotted keys (`schedule.steps: 100`).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.signature import did_you_mean, expected, explanations, summary, typed
from sctd.yaml_text import as_written, parse_yaml

SHIPPED = Path(__file__).parent / "recipes"
LARGEST = 1 << 20  # bytes; every setting with its explanation is 6 kB
_LOOK = "`sctd recipes --show default` explains every key"


@cache
def setting_types() -> dict[str, Any]:
    """Every setting's dotted key -> its type, in the order of the dataclasses."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(PretrainConfig).items():
        if is_dataclass(hint):
            found |= {f"{name}.{key}": value for key, value in get_type_hints(hint).items()}
        else:
            found[name] = hint
    return found


@cache
def sections() -> dict[str, Any]:
    """Section name -> its dataclass; the run's own settings are the section ""."""
    return {"": PretrainConfig} | {
        name: hint for name, hint in get_type_hints(PretrainConfig).items() if is_dataclass(hint)
    }


def setting(config: PretrainConfig, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def complaint(name: str, value: Any, hint: Any) -> str:
    """`schedule.steps: expected an int or null, got "many"`."""
    got = f'"{value}"' if isinstance(value, str) else as_written(value)
    got = got if len(got) <= 80 else got[:77] + "..."
    return f"{name}: expected {expected(hint)}, got {got}"


def _flat(mapping: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        key = f"{above}{name}"
        if key in sections() and not isinstance(value, Mapping) and value is not None:
            raise UserError(f'{key}: expected settings ("name: value" lines below it), got {as_written(value)}')
        deeper = key in sections() or (isinstance(value, Mapping) and value)
        below = _flat(value or {}, key + ".") if deeper else {key: value}
        if twice := flat.keys() & below.keys():
            raise UserError(f'the key "{min(twice)}" stands twice; keep one of them')
        flat |= below
    return flat


def check_settings(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Dotted key -> value of its type, from sections or dotted keys.

    Raises UserError for an unknown key, naming the nearest, and for a value of the wrong type.
    """
    hints = setting_types()
    checked = {}
    for key, value in _flat(mapping).items():
        if key not in hints:
            raise UserError(f'unknown key "{key}"; {did_you_mean(key, hints, _LOOK)}')
        try:
            checked[key] = typed(value, hints[key])
        except ValueError:
            raise UserError(complaint(key, value, hints[key])) from None
    return checked


def build_config(mapping: Mapping[str, Any]) -> PretrainConfig:
    """The defaults with the given settings (sections or dotted keys) in their place.

    Raises UserError for an unknown key or a value of the wrong type. Whether the settings work together is
    for `sctd.config.check` to say.
    """
    config = PretrainConfig()
    for key, value in check_settings(mapping).items():
        section, _, name = key.rpartition(".")
        setattr(getattr(config, section) if section else config, name, value)
    return config


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of each recipe that ships with sctd, such as `mini` and `paper/hou-base`."""
    return {path.relative_to(SHIPPED).with_suffix("").as_posix(): path for path in sorted(SHIPPED.rglob("*.yaml"))}


def read_recipe(path_or_name: str | Path) -> str:
    """The text of a recipe: a shipped one by its name, else a file.

    Raises UserError where there is no such file, or where it is too large or is not UTF-8 text.
    """
    name = str(path_or_name)
    shipped = shipped_recipes()
    try:
        with shipped.get(name, Path(name)).open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        way_out = did_you_mean(re.sub(r"\.ya?ml$", "", name), shipped, "`sctd recipes` lists those that ship with sctd")
        raise UserError(f"{name}: there is no such file and no such recipe; {way_out}") from None
    except IsADirectoryError:
        inside = Path(name) / "config.yaml"
        raise UserError(f"{name} is a folder, not a recipe; the settings of a run are in {inside}") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot read {name}: {cause}; give a recipe that can be read") from None
    if len(content) > LARGEST:
        raise UserError(f"{name} is larger than 1 MiB, so it is no recipe; {_LOOK}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name} is not UTF-8 text, so it is no recipe; {_LOOK}") from None


def parse_recipe(text: str, name: str) -> dict[str, Any]:
    """Dotted key -> value, of a recipe's text; raises UserError that names the file and the line or key."""
    try:
        mapping = parse_yaml(text)
    except ValueError as error:
        line, problem = error.args
        place = name if line is None else f"{name}, line {line}"
        raise UserError(f"{place}: {problem}; mend the YAML there") from None
    if mapping is None:
        return {}
    if not isinstance(mapping, dict):
        raise UserError(f'{name}: expected "key: value" lines; {_LOOK}')
    try:
        return check_settings(mapping)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def load_recipe(path_or_name: str | Path) -> dict[str, Any]:
    """Dotted key -> value of a recipe, checked: a shipped one by its name, else a file. For `build_config`.

    Raises UserError, in one sentence that names the file, for one that is missing, huge, not UTF-8 or not
    YAML, for an unknown or doubled key and for a value of the wrong type.
    """
    return parse_recipe(read_recipe(path_or_name), str(path_or_name))


def _comment(text: str, indent: str) -> str:
    prefix = indent + "# "
    return textwrap.fill(text, 100, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def to_yaml(config: PretrainConfig, keys: Iterable[str] | None = None) -> str:
    """The settings as a recipe, each below its explanation; of all settings, or of some dotted keys.

    `build_config(parse_recipe(to_yaml(config), ""))` equals `config`.
    """
    wanted = set(setting_types() if keys is None else keys)
    blocks = []
    for section, kind in sections().items():
        prefix, indent = (section + ".", "  ") if section else ("", "")
        told = explanations(kind)
        lines = []
        for field in fields(kind):
            if prefix + field.name in wanted:
                value = as_written(setting(config, prefix + field.name))
                lines += [_comment(told[field.name], indent), f"{indent}{field.name}: {value}"]
        if lines:
            blocks.append("\n".join([_comment(summary(kind), ""), section + ":", *lines] if section else lines))
    return "\n\n".join(blocks) + "\n"


def explain(text: str, name: str) -> str:
    """A recipe's text with its opening comment kept and its keys in order, each below its explanation."""
    settings = parse_recipe(text, name)
    opening = re.match(r"((?:#.*\n)+)\n", text)
    return (opening[0] if opening else "") + to_yaml(build_config(settings), settings)


def recipes(show: str | None = None) -> None:
    """List the recipes that ship with sctd, or print one.

    Args:
        show: print this recipe (a shipped name or a file) with each of its settings explained.
    """
    if show is not None:
        print(explain(read_recipe(show), show), end="")
        return
    shipped = shipped_recipes()
    width = max(map(len, shipped))
    for name, path in shipped.items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:{width}}  {first.removeprefix('# ')}")
