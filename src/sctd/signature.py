"""What a parameter accepts and what it means, read from type hints and Google-style docstrings.

The command line, the recipes and their explanations are made from this: there is no second list of settings.
Type hints understood: str, int, float, bool, None, Literal, unions, list[X] and tuple[X, Y].
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

_NAMES = {str: "text", int: "an int", float: "a number", bool: "true or false", types.NoneType: "null"}


def summary(thing: Any) -> str:
    """The first sentence or paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def explanations(thing: Any) -> dict[str, str]:
    """Parameter name -> explanation, from the "Args:" section of a docstring."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else []:
        if line and not line.startswith(" "):  # the next section
            break
        start = re.match(r" {4}(\w+)(?: \([^)]*\))?: *(.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; any other hint is its own only one."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def is_list(hint: Any) -> bool:
    """Whether a value of this type is several words on the command line."""
    return any(get_origin(option) in (list, tuple) for option in options(hint))


def takes_text(hint: Any) -> bool:
    """Whether a word of the command line is such a value as it stands."""
    return any(option is str or get_origin(option) is Literal for option in options(hint))


def expected(hint: Any) -> str:
    """What a value of this type looks like, in words: "an int or null"."""

    def one(option: Any) -> str:
        arguments = get_args(option)
        if get_origin(option) is Literal:
            return "one of " + ", ".join(map(str, arguments))
        if get_origin(option) is list:
            return "a list, each " + expected(arguments[0])
        if get_origin(option) is tuple:
            return "[" + ", ".join(expected(argument) for argument in arguments) + "]"
        return _NAMES[option]

    return " or ".join(one(option) for option in options(hint))


def typed(value: Any, hint: Any) -> Any:
    """The value as its type wants it: 1 is 1.0 for a float, 1e5 is 100000 for an int, a list fills a tuple.

    Raises a bare ValueError where it does not fit: the caller knows the name, and `expected` the type.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
    for option in options(hint):
        origin, arguments = get_origin(option), get_args(option)
        if origin is Literal:
            if isinstance(value, str) and value in arguments:
                return value
        elif origin is list:
            if isinstance(value, list | tuple):
                return [typed(item, arguments[0]) for item in value]
        elif origin is tuple:
            if isinstance(value, list | tuple) and len(value) == len(arguments):
                return tuple(typed(item, of) for item, of in zip(value, arguments, strict=True))
        elif option is int:
            if number and value == int(value):
                return int(value)
        elif option is float:
            if number:
                return float(value)
        elif isinstance(value, option):  # str, bool, None
            return value
    raise ValueError


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The names that someone who typed `word` may have meant, best first.

    A dotted name may be meant by its last part alone: `steps` means `schedule.steps`.
    """
    known = list(known)

    def last(name: str) -> str:
        return name.lstrip("-").rpartition(".")[2]

    same_last = [name for name in known if last(name) == last(word)]
    if same_last:
        return (difflib.get_close_matches(word, same_last, n=1) if "." in word else []) or same_last
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.75):
        return close
    if loose := difflib.get_close_matches(last(word), {last(name) for name in known}, n=1, cutoff=0.75):
        return [name for name in known if last(name) == loose[0]]
    return difflib.get_close_matches(word, known, n=1)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of an error's sentence: `did you mean "schedule.steps"?`; `otherwise` where nothing is near."""
    near = [f'"{name}"' for name in nearest(word, known)]
    if not near:
        return otherwise
    return "did you mean " + " or ".join(filter(None, [", ".join(near[:-1]), near[-1]])) + "?"
