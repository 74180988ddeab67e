"""What is compared: `sctd`, `drop@keep_ratio=0.25`, `random`, `paper/hou-base@steps=1000`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sctd.errors import UserError
from sctd.recipe import SETTINGS, check_settings, did_you_mean, load_recipe, shipped_recipes
from sctd.yaml_text import parse_yaml

METHODS = ("dense", "drop", "sctd")
# a keep rule's name alone means token dropping by that rule
RULES = ("random", "frequency")
FILES = (".yaml", ".yml")
_UNUSED = {"dense": ("dropping.", "consistency."), "drop": ("consistency.",)}  # method -> sections that it does without


@dataclass(frozen=True)
class Arm:
    """One way to pretrain.

    Args:
        name: as it was given; also in tables and folders.
        settings: dotted key -> value, over the common recipe.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Its name as the name of a folder."""
        return self.name.replace("/", "+")


def parse_arm(text: str) -> Arm:
    """An arm from its name and overrides, `NAME@key=value@key=value`.

    NAME is a method, a keep rule, or a recipe; a key is a setting's dotted name, or its last part where that is the
    only one of its kind. A recipe's own length is left out: `@steps=N` gives an arm one of its own.

    Raises:
        UserError: no such name or key, or a value of the wrong type.
    """
    name, *overrides = text.split("@")
    while overrides and not name.endswith(FILES) and any(each.endswith(FILES) for each in overrides):
        name = f"{name}@{overrides.pop(0)}"  # a path may hold one too
    settings = _base(name, text)
    given: set[str] = set()
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f'--arms: "{text}" has "{override}" without a value: write it as {key or "key"}=value.')
        full = _full(key, text)
        if full in given:
            raise UserError(f'--arms: "{text}" sets {full} twice: leave one out.')
        given.add(full)
        settings[full] = parse_yaml(value, f"--arms: {text}")
    if "schedule.minutes" in settings:
        raise UserError(f'--arms: "{text}" sets minutes: give an arm of its own length a number of steps, @steps=N.')
    if "seed" in settings:
        raise UserError(f'--arms: "{text}" sets the seed: give seeds by --seeds, to all arms alike.')
    try:
        return Arm(text, check_settings(settings))
    except UserError as error:
        raise UserError(f'--arms: "{text}": {error}') from None


def parse_arms(texts: list[str], common: Mapping[str, Any] | None = None) -> list[Arm]:
    """All arms, each once; the first is what the others are compared with. `common` are the settings below them."""
    if any("," in text for text in texts):
        raise UserError("--arms: separate arms by spaces, --arms dense drop sctd.")
    if len(texts) < 2:
        raise UserError("--arms: give two arms or more, the first being what the others are compared with.")
    arms = [parse_arm(text) for text in texts]
    whole = [_effective({**(common or {}), **arm.settings}) for arm in arms]
    for number, arm in enumerate(arms):
        for other in range(number):
            if arms[other].folder == arm.folder:
                way_out = "leave one out" if arms[other].name == arm.name else "rename one of the files"
                raise UserError(f'--arms: "{arms[other].name}" and "{arm.name}" would have one folder: {way_out}.')
            if whole[number] == whole[other]:
                raise UserError(
                    f'--arms: "{arms[other].name}" and "{arm.name}" are the same settings, in all that their method '
                    "uses; leave one out."
                )
    return arms


def _effective(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that their method does not use."""
    unused = _UNUSED.get(str(settings.get("method")), ())
    return {key: value for key, value in settings.items() if not key.startswith(unused)}


def _base(name: str, text: str) -> dict[str, Any]:
    if name in METHODS:
        return {"method": name}
    if name in RULES:
        return {"method": "drop", "dropping.keep_rule": name}
    known = [*METHODS, *RULES, *shipped_recipes()]
    if name not in known and not name.endswith(FILES):
        way_out = did_you_mean(name, known, f"there are {', '.join([*METHODS, *RULES])}, recipes, and files of them")
        raise UserError(f'--arms: "{text}": there is no "{name}"; {way_out}')
    length = ("schedule.steps", "schedule.minutes")
    return {key: value for key, value in load_recipe(name).items() if key not in length}


def _full(key: str, text: str) -> str:
    if key in SETTINGS:
        return key
    found = [each for each in SETTINGS if each.endswith(f".{key}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f'--arms: "{text}": "{key}" may be {" or ".join(found)}: write the whole name.')
    near = did_you_mean(key, [each.rpartition(".")[2] for each in SETTINGS], "see `sctd recipes --show default`")
    raise UserError(f'--arms: "{text}": there is no setting "{key}"; {near}')
