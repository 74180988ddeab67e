"""Recipes: a YAML file to a PretrainConfig and back with every key explained, and those that ship with sctd.

A recipe holds the settings that differ from the defaults, as sections (`schedule:` with `steps: 100` below
it) or as dotted keys (`schedule.steps: 100`). jsonargparse reads their types and explanations from the
dataclasses in `sctd.config`: there is no second list of settings.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser

from sctd.config import PretrainConfig, note_given
from sctd.errors import UserError
from sctd.yaml_text import as_written, parse_yaml

SHIPPED = Path(__file__).parent / "recipes"
LARGEST = 1 << 20  # bytes; every setting with its explanation is 6 kB
LOOK = "`sctd recipes --show default` explains every key"

# section -> its dataclass; the run's own settings are the section ""
SECTIONS = {"": PretrainConfig} | {k: hint for k, hint in get_type_hints(PretrainConfig).items() if is_dataclass(hint)}
# dotted key -> type
SETTINGS = {
    f"{section}.{name}".lstrip("."): hint
    for section, kind in SECTIONS.items()
    for name, hint in get_type_hints(kind).items()
    if not is_dataclass(hint)
}


class SettingsParser(ArgumentParser):
    """jsonargparse for settings; whatever is wrong is a UserError of one sentence."""

    hints = SETTINGS

    def add_settings(self) -> None:
        """An argument for each setting, of its dotted key, in a group for each section."""
        for section, kind in SECTIONS.items():
            group = self.add_argument_group(section or "run", description=_summary(kind))
            group.add_class_arguments(kind, section or None, as_group=False, skip=set(SECTIONS))

    def shown(self, key: str) -> str:
        """An argument's name as its user writes it."""
        return key

    def wrong_value(self, key: str, value: object) -> UserError:
        """`schedule.steps: expected int or null, got "many"`."""
        hint = re.sub(r"<class '(\w+)'>|typing\.", r"\1", str(self.hints[key]))
        hint = re.sub(r"Literal\[(.*?)\]", r"one of \1", hint).replace(" | None", " or null")
        hint = re.sub(r"list\[(.*?)\](.*)", r"\1\2 (of several, with spaces between)", hint)
        got = str(value) if len(str(value)) <= 80 else str(value)[:77] + "..."
        return UserError(f'{self.shown(key)}: expected {hint}, got "{got}"')

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Called by jsonargparse, with several lines."""
        if found := re.search(r'Parser key "(.+?)".*(?:Got|Given) value: (.*)', message, re.DOTALL):
            raise self.wrong_value(*found.groups()) from ex
        raise UserError(" ".join(message.split())) from ex


@cache
def _settings_parser() -> SettingsParser:
    parser = SettingsParser(add_help=False)
    parser.add_settings()
    return parser


def _summary(kind: Any) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of an error's sentence: `did you mean "schedule.steps"?`; `otherwise` where nothing is near.

    A dotted name may be meant by its last part alone: `steps` means `schedule.steps`.
    """
    bare, names = word.lstrip("-"), {name.lstrip("-"): name for name in known}
    near = [name for name in names if name.endswith("." + bare)] or get_close_matches(bare, names, n=1)
    return "did you mean " + " or ".join(f'"{names[name]}"' for name in near) + "?" if near else otherwise


def _leaves(mapping: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        key = f"{above}{name}"
        if key in SECTIONS and not value:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key + ".")
        else:
            yield key, value


def check_settings(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Dotted key -> value of its type, from sections or dotted keys.

    Raises UserError for an unknown key, naming the nearest, and for a value of the wrong type.
    """
    given: dict[str, Any] = {}
    for key, value in _leaves(mapping):
        if key in SECTIONS:
            raise UserError(f'{key}: expected settings ("name: value" lines below it), got {as_written(value)}')
        if key not in SETTINGS:
            raise UserError(f'unknown key "{key}"; {did_you_mean(key, SETTINGS, LOOK)}')
        if key in given:
            raise UserError(f'the key "{key}" stands twice; keep one of them')
        given[key] = value
    try:
        typed = _settings_parser().parse_object(given, defaults=False)
    except OverflowError:  # an int that no float can be: of all that is given, the one with the most digits
        key = max(given, key=lambda each: len(str(given[each])))
        raise _settings_parser().wrong_value(key, given[key]) from None
    for key in given:
        value = typed[key]
        lacking = value is None and type(None) not in get_args(SETTINGS[key])  # jsonargparse lets null pass
        if lacking or (isinstance(value, float) and not math.isfinite(value)):
            raise _settings_parser().wrong_value(key, given[key])
    return {key: typed[key] for key in given}


def build_config(mapping: Mapping[str, Any]) -> PretrainConfig:
    """The defaults with the given settings (sections or dotted keys) in their place.

    Raises UserError for an unknown key or a value of the wrong type. Whether the settings work together is
    for `sctd.config.check` to say.
    """
    config = PretrainConfig()
    given = check_settings(mapping)
    for key, value in given.items():
        section, _, name = key.rpartition(".")
        setattr(getattr(config, section) if section else config, name, value)
    note_given(config, given)
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
        if len(content) > LARGEST:
            raise ValueError("it is larger than 1 MiB")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        way_out = did_you_mean(re.sub(r"\.ya?ml$", "", name), shipped, "`sctd recipes` lists those that ship with sctd")
        raise UserError(f"{name}: there is no such file and no such recipe; {way_out}") from None
    except IsADirectoryError:
        inside = Path(name) / "config.yaml"
        raise UserError(f"{name} is a folder, not a recipe; the settings of a run are in {inside}") from None
    except UnicodeDecodeError:
        raise UserError(f"{name} is not UTF-8 text, so it is no recipe; {LOOK}") from None
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot read {name}: {cause}; give a recipe that can be read") from None


def parse_recipe(text: str, name: str) -> dict[str, Any]:
    """Dotted key -> value, of a recipe's text; raises UserError that names the file and the line or key."""
    mapping = parse_yaml(text, name)
    if not mapping:
        return {}
    if not isinstance(mapping, dict):
        raise UserError(f'{name}: expected "key: value" lines; {LOOK}')
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
    told = {action.dest: " ".join((action.help or "").split()) for action in _settings_parser()._actions}
    wanted = set(SETTINGS if keys is None else keys)
    blocks = []
    for section, kind in SECTIONS.items():
        indent = "  " if section else ""
        lines = []
        for key in SETTINGS:
            above, _, name = key.rpartition(".")
            if above == section and key in wanted:
                lines += [_comment(told[key], indent), f"{indent}{name}: {as_written(attrgetter(key)(config))}"]
        if lines:
            blocks.append("\n".join([_comment(_summary(kind), ""), f"{section}:", *lines] if section else lines))
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
