"""YAML as sctd reads and writes it: every value is text until its type is known; no aliases, no tags, each key once."""

from __future__ import annotations

from typing import Any

import yaml

from sctd.errors import UserError


class _Loader(yaml.BaseLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            problem = "a recipe has no aliases (*name) and no tags (!name)"
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(None, None, f'the key "{key.value}" stands twice', key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, name: str) -> Any:
    """What YAML text holds, each value as text; raises UserError that names the file and the line."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}, line {mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or "it holds control characters, or is nested too deeply"
        raise UserError(f"{place}: {problem}; mend the YAML there") from None


def as_written(value: Any) -> str:
    """A value as YAML and every error message write it, on one line."""
    if isinstance(value, float) and value.is_integer():  # 10000 steps of warm-up, not 10000.0
        value = int(value)
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    # quoted, or a line break of any kind (U+0085 too) would be folded to a space
    style = '"' if not all(map(str.isprintable, texts)) else None
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, default_style=style, allow_unicode=True, width=float("inf")
    )
    return text[1:-2]
