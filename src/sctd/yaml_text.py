"""YAML as sctd reads and writes it: by the rules of YAML 1.2, without aliases and tags, and with each key once.

1e-3 is a number (PyYAML's own rules make it text), `no` and `12:30` are text (they make them False and 750).
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2, without aliases and tags, and with each key once."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML fills it below)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="a recipe has no aliases (*name) and no tags (!name)", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f'the key "{key.value}" stands twice', problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", [*"nN~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), _first)


def parse_yaml(text: str) -> Any:
    """What YAML text holds; raises ValueError with `line` (or None) and what is wrong as its arguments."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(mark and mark.line + 1, error.problem or error.context) from error
    except yaml.YAMLError as error:  # bytes that no text has
        raise ValueError(None, "it holds control characters") from error
    except RecursionError as error:
        raise ValueError(None, "it is nested too deeply") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(None, str(error)) from error


def as_written(value: Any) -> str:
    """A value as YAML and every error message write it, on one line."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_written(item) for item in value) + "]"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:  # 10000 steps of warm-up, not 10000.0
            return str(int(value))
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # 1.0e-06: YAML 1.1 readers take 1e-06 for text
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    if re.fullmatch(r"[A-Za-z][\w./-]*", value, re.ASCII) and yaml.safe_load(value) == value:
        return value
    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=1 << 30)
    return quoted.rstrip("\n")
