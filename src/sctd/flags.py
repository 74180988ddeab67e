"""The words of a command line to the arguments of a function, and the help that says which words there are.

Everything comes from the function's signature and Google-style docstring; a parameter of type PretrainConfig
is `--NAME RECIPE`, followed by a flag for every setting.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

from sctd import recipe
from sctd.config import PretrainConfig
from sctd.errors import UserError
from sctd.signature import did_you_mean, explanations, is_list, options, summary, takes_text, typed
from sctd.yaml_text import as_written, parse_yaml

_EMPTY = inspect.Parameter.empty
_METAVARS = {
    str: "TEXT",
    int: "INT",
    float: "NUMBER",
    bool: "true|false",
    NoneType: "null",
    PretrainConfig: "RECIPE",
}


@dataclass(frozen=True)
class Parameter:
    """One thing that a verb takes, on its command line a flag or a word at its place.

    Args:
        name: as in the signature, or a setting's dotted key.
        hint: its type.
        default: inspect.Parameter.empty where it is required.
        explanation: from the docstring.
        group: the heading of its part of the help.
        positional: given by its place.
    """

    name: str
    hint: Any
    default: Any
    explanation: str
    group: str
    positional: bool = False

    @property
    def shown(self) -> str:
        """`RUN`, `--init-from`, `--schedule.steps`: a setting in a section is spelt as in a recipe."""
        if self.positional:
            return self.name.upper()
        return "--" + (self.name if "." in self.name else self.name.replace("_", "-"))


def parameters_of(function: Callable[..., Any], positional: Collection[str] = ()) -> list[Parameter]:
    """What a function takes: its own parameters in order, then every setting if one is a PretrainConfig."""
    signature = inspect.signature(function).parameters
    # not the return type: its name may be one that only a type checker imports
    annotations = SimpleNamespace(__annotations__={name: p.annotation for name, p in signature.items()})
    hints = get_type_hints(annotations, vars(sys.modules[function.__module__]))
    told = explanations(function)
    own = [
        Parameter(name, hints[name], p.default, told.get(name, ""), "", name in positional)
        for name, p in signature.items()
    ]
    configs = [i for i, parameter in enumerate(own) if PretrainConfig in options(parameter.hint)]
    if not configs:
        return own
    text = "a recipe: a YAML file, or a name that `sctd recipes` lists; the flags below win over it."
    own[configs[0]] = Parameter(own[configs[0]].name, PretrainConfig, None, text, "")
    defaults = PretrainConfig()
    for section, kind in recipe.sections().items():
        for name, text in explanations(kind).items():
            key = f"{section}.{name}" if section else name
            hint, default = recipe.setting_types()[key], recipe.setting(defaults, key)
            own.append(Parameter(key, hint, default, text, f"{section or 'run'}: {summary(kind)}"))
    return own


def parse(verb: str, parameters: Sequence[Parameter], words: Sequence[str], bare: Mapping[str, str]) -> dict[str, Any]:
    """Parameter name -> value, for what the words give.

    A flag is `--name value` or `--name=value`, with dashes or underscores. A list takes all words up to the
    next flag, and more when it is repeated; a bool may stand alone, and so may a flag in `bare`, which says
    what it means then. After `--` there are no flags. Raises UserError for everything else, and for what is
    required and absent.
    """
    hint_at_help = f"see `sctd {verb} --help`"
    flags = {p.name: p for p in parameters}
    texts: dict[str, list[str]] = {}
    placed: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or " " in word.partition("=")[0]:
            placed.append(word)
            continue
        if word == "--":
            placed += rest
            break
        name, equals, value = word.partition("=")
        parameter = flags.get(name[2:].replace("-", "_"))
        if parameter is None:
            known = [p.shown for p in parameters if not p.positional]
            raise UserError(f"there is no flag {name}; {did_you_mean(name, known, hint_at_help)}")
        following = next((i for i, text in enumerate(rest) if text.startswith("--")), len(rest))
        if equals:
            found = [value]
        elif is_list(parameter.hint):
            found, rest = rest[:following], rest[following:]
        elif bool in options(parameter.hint) and rest[:1] not in (["true"], ["false"], ["null"]):
            found = ["true"]
        elif following:
            found = [rest.pop(0)]
        else:
            found = [bare[parameter.name]] if parameter.name in bare else []
        if not found:
            raise UserError(f"{name} needs a value; {hint_at_help}")
        texts[parameter.name] = (texts.get(parameter.name, []) if is_list(parameter.hint) else []) + found
    by_place = [p for p in parameters if p.positional and p.name not in texts]
    for left, parameter in enumerate(by_place, start=1 - len(by_place)):
        count = len(placed) + left if is_list(parameter.hint) else 1
        if found := placed[: max(count, 0)]:
            texts[parameter.name], placed = found, placed[len(found) :]
    if placed:
        raise UserError(f'sctd {verb} has no place for "{placed[0]}"; {hint_at_help}')
    if missing := [p.shown for p in parameters if p.default is _EMPTY and p.name not in texts]:
        raise UserError(f"sctd {verb} needs {' and '.join(missing)}; {hint_at_help}")
    return {name: _value(flags[name], found, hint_at_help) for name, found in texts.items()}


def _value(parameter: Parameter, texts: list[str], hint_at_help: str) -> Any:
    """The words after a flag as a value of its type."""
    hint, text = parameter.hint, ",".join(texts)
    if hint is PretrainConfig:
        return text
    try:
        if text == "null" and NoneType in options(hint):
            return None
        if is_list(hint):
            of_text = any(takes_text(argument) for option in options(hint) for argument in get_args(option))
            return typed(texts if of_text else parse_yaml(text if text.startswith("[") else f"[{text}]"), hint)
        value = text if takes_text(hint) else parse_yaml(text)
        if value is None:  # of text such as "" or "# 5"; null was above
            raise ValueError
        return typed(value, hint)
    except ValueError:
        complaint = recipe.complaint(parameter.shown, " ".join(texts), hint)
        raise UserError(f"{complaint}; {hint_at_help}") from None


def arguments_of(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The function's keyword arguments. The settings become a PretrainConfig: defaults < recipe < flags.

    Raises UserError for a recipe that cannot be read.
    """
    arguments = {}
    settings = {key: value for key, value in given.items() if key in recipe.setting_types()}
    configs = [p.name for p in parameters if p.hint is PretrainConfig]
    for name in configs:
        base = recipe.load_recipe(given[name]) if name in given else {}
        arguments[name] = recipe.build_config(base | settings)
    own = [p.name for p in parameters if not p.group and p.name not in configs]
    return arguments | {name: given[name] for name in own if name in given}


def _metavar(hint: Any) -> str:
    """A type in the left column of the help: INT, sdpa|eager, NUMBER|null."""

    def one(option: Any) -> str:
        arguments = get_args(option)
        if get_origin(option) is list:
            return _metavar(arguments[0]) + " ..."
        if get_origin(option) is tuple:
            return " ".join(map(_metavar, arguments))
        return "|".join(arguments) if arguments else _METAVARS[option]

    return "|".join(one(option) for option in options(hint))


def help_of(verb: str, function: Callable[..., Any], parameters: Sequence[Parameter], bare: Mapping[str, str]) -> str:
    """The answer to `sctd VERB --help`: the summary, then each parameter's type, explanation and default."""
    width = min(shutil.get_terminal_size().columns, 100)
    needed = [p.shown for p in parameters if p.positional]
    needed += [f"{p.shown} {_metavar(p.hint)}" for p in parameters if p.default is _EMPTY and not p.positional]
    lines = [" ".join(["usage: sctd", verb, *needed, "[--FLAG VALUE ...]"]), ""]
    lines += [textwrap.fill(summary(function), width), ""]
    heading = ""
    for parameter in parameters:
        if parameter.group != heading:
            heading = parameter.group
            lines += ["", textwrap.fill(heading, width), ""]
        lines.append(f"  {parameter.shown}" + ("" if parameter.positional else f" {_metavar(parameter.hint)}"))
        text = parameter.explanation
        if parameter.default is _EMPTY:
            text += " (required)"
        elif parameter.name in bare:
            text += f" (default: {as_written(parameter.default)}; the flag alone: {bare[parameter.name]})"
        elif parameter.group or parameter.default is not None:
            text += f" (default: {as_written(parameter.default)})"
        if text:
            lines.append(textwrap.indent(textwrap.fill(text.strip(), width - 6), " " * 6))
    return "\n".join(lines)
