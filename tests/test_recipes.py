"""Recipes: what they may hold, what is said of wrong ones, there and back, and those that ship with sctd."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sctd.check import check
from sctd.config import PretrainConfig, resolve_shape
from sctd.errors import UserError
from sctd.recipe import (
    SETTINGS,
    SettingsParser,
    build_config,
    explain,
    load_recipe,
    parse_recipe,
    recipes,
    shipped_recipes,
    to_yaml,
)


def read(text: str) -> dict:
    return parse_recipe(text, "recipe.yaml")


def test_sections_and_dotted_keys_are_the_same() -> None:
    assert read("schedule:\n  steps: 100\n") == read("schedule.steps: 100\n") == {"schedule.steps": 100}
    assert build_config({"schedule": {"steps": 100}}) == build_config({"schedule.steps": 100})
    assert read("") == read("schedule:\n") == read("# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optimizer.lr: 1e-3", 1e-3),
        ("optimizer.lr: 5E-4", 5e-4),
        ("optimizer.lr: 1", 1.0),
        ("optimizer.lr: null", None),
        ("schedule.steps: 1_000", 1000),
        ("optimizer.betas: [0.9, 1]", (0.9, 1.0)),
        ("compile: true", True),
        ("compile: yes", True),
        ("model.preset: 6", "6"),
        ("device: 'cuda'", "cuda"),
        ("device: no", "no"),
        ("init_from: 12:30", "12:30"),
        ("init_from: 2024-01-01", "2024-01-01"),
    ],
)
def test_values(text: str, value: object) -> None:
    [found] = read(text).values()
    assert found == value
    assert type(found) is type(value)


LOOK = "; `sctd recipes --show default` explains every key"
MEND = "; mend the YAML there"
UNREADABLE = "it holds control characters, or is nested too deeply"
BAD_RECIPES = {
    "schedule:\n  step: 5": 'recipe.yaml: unknown key "schedule.step"; did you mean "schedule.steps"?',
    "shedule:\n  steps: 5": 'recipe.yaml: unknown key "shedule.steps"; did you mean "schedule.steps"?',
    "steps: 5": 'recipe.yaml: unknown key "steps"; did you mean "schedule.steps"?',
    "zzz: 5": 'recipe.yaml: unknown key "zzz"' + LOOK,
    "schedule:\n  steps:\n    a: 1": ('recipe.yaml: unknown key "schedule.steps.a"; did you mean "schedule.steps"?'),
    "schedule:\n  steps: many": 'recipe.yaml: schedule.steps: expected int or null, got "many"',
    "schedule.steps: 1.5": 'recipe.yaml: schedule.steps: expected int or null, got "1.5"',
    "schedule.steps: 1e5": 'recipe.yaml: schedule.steps: expected int or null, got "1e5"',
    "seed: true": 'recipe.yaml: seed: expected int, got "True"',
    "seed: {}": 'recipe.yaml: seed: expected int, got "{}"',
    "seed:": 'recipe.yaml: seed: expected int, got ""',
    "seed: null": 'recipe.yaml: seed: expected int, got "None"',
    "compile: maybe": 'recipe.yaml: compile: expected bool, got "maybe"',
    "optimizer.lr: 1" + 309 * "0": f'recipe.yaml: optimizer.lr: expected float or null, got "1{76 * "0"}..."',
    "optimizer.lr: .inf": 'recipe.yaml: optimizer.lr: expected float or null, got ".inf"',
    "optimizer.betas: [0.9]": "recipe.yaml: optimizer.betas: expected tuple[float, float], got \"['0.9']\"",
    "optimizer.betas: 0.9": 'recipe.yaml: optimizer.betas: expected tuple[float, float], got "0.9"',
    "method: drap": "recipe.yaml: method: expected one of 'dense', 'drop', 'sctd', got \"drap\"",
    "schedule: 5": "recipe.yaml: schedule: expected settings (\"name: value\" lines below it), got '5'",
    "schedule: {steps: 5}\nschedule.steps: 6": 'recipe.yaml: the key "schedule.steps" stands twice; keep one of them',
    "schedule:\n  steps: 5\n  steps: 6": ('recipe.yaml, line 3: the key "steps" stands twice' + MEND),
    "seed: 1\nmodel: [": ("recipe.yaml, line 2: expected the node content, but found '<stream end>'" + MEND),
    "seed: 1\nmodel:\n\tpreset: mini": (
        "recipe.yaml, line 3: found character '\\t' that cannot start any token" + MEND
    ),
    "a: &a [1]\nb: *a": "recipe.yaml, line 2: a recipe has no aliases (*name) and no tags (!name)" + MEND,
    "seed: !!python/object/apply:os.getcwd []": (
        "recipe.yaml, line 1: a recipe has no aliases (*name) and no tags (!name)" + MEND
    ),
    "seed: " + "[" * 5000: ("recipe.yaml: " + UNREADABLE + MEND),
    "seed: 1\0": ("recipe.yaml: " + UNREADABLE + MEND),
    "- 1": 'recipe.yaml: expected "key: value" lines' + LOOK,
    "just words": 'recipe.yaml: expected "key: value" lines' + LOOK,
}


@pytest.mark.parametrize("text", BAD_RECIPES, ids=lambda text: text[:30])
def test_a_wrong_recipe_is_answered_with_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as caught:
        read(text)
    assert str(caught.value) == BAD_RECIPES[text]


def test_a_number_of_too_many_digits_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"recipe\.yaml"):
        read("seed: " + "9" * 5000)
    with pytest.raises(UserError, match=r"optimizer\.lr: expected float"):
        read("optimizer.lr: " + "9" * 400)


def test_files_that_are_no_recipes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("photo.yaml").write_bytes(b"\x89PNG\xff\xfe")
    Path("huge.yaml").write_bytes(b"#" * (1 << 21))
    sentences = {
        "mini.yaml": 'mini.yaml: there is no such file and no such recipe; did you mean "mini"?',
        "run/none.yaml": "run/none.yaml: there is no such file and no such recipe; "
        "`sctd recipes` lists those that ship with sctd",
        "run": "run is a folder, not a recipe; the settings of a run are in run/config.yaml",
        "photo.yaml": "photo.yaml is not UTF-8 text, so it is no recipe" + LOOK,
        "huge.yaml": "Cannot read huge.yaml: it is larger than 1 MiB; give a recipe that can be read",
        "a\0b": "Cannot read a\0b: embedded null byte; give a recipe that can be read",
    }
    for name, sentence in sentences.items():
        with pytest.raises(UserError) as caught:
            load_recipe(name)
        assert str(caught.value) == sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["huge.yaml", "photo.yaml", "run"]


def test_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\nschedule:\r\n  steps: 4\r\n")
    assert load_recipe(path) == {"seed": 3, "schedule.steps": 4}


def test_build_config_leaves_the_defaults_alone() -> None:
    build_config({"schedule.steps": 3})
    assert PretrainConfig().schedule.steps is None
    with pytest.raises(UserError, match=r'^unknown key "sede"; did you mean "seed"\?$'):
        build_config({"sede": 3})
    with pytest.raises(UserError, match=r'^seed: expected int, got "None"$'):
        build_config({"seed": None})
    assert build_config({"schedule.steps": None}).schedule.steps is None


@pytest.mark.parametrize("text", ["\x85", "a\x85b", "\n", "\u2028", "\ud800", "\ufeff"])
def test_unprintable_text_in_a_list_is_written_on_one_line_and_read_back(text: str) -> None:
    config = build_config({"eval.probes": [text, "blimp"]})
    written = to_yaml(config)
    assert build_config(parse_recipe(written, "config.yaml")) == config
    [line] = [line for line in written.split("\n") if line.startswith("  probes: ")]
    assert line.endswith('"blimp"]')


numbers = st.floats(-1e290, 1e290)
VALUES = {
    int: st.integers(-(10**18), 10**18),
    float: numbers,
    bool: st.booleans(),
    str: st.text(max_size=30),
    tuple[float, float]: st.tuples(numbers, numbers),
    list[str]: st.lists(st.text(max_size=10) | st.sampled_from(["blimp", "null", "1", "- a", "a: b", ""]), max_size=3),
    int | None: st.none() | st.integers(-5, 10**12),
    float | None: st.none() | numbers,
    str | None: st.none()
    | st.sampled_from(["null", "true", "1e-3", "~", "", "- a", "a: b # c", "C:\\x", "é\x7f\ud800"]),
}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_config_is_written_and_read_back_exactly(data: st.DataObject) -> None:
    chosen = {}
    for key, hint in SETTINGS.items():
        values = VALUES[hint] if hint in VALUES else st.sampled_from(hint.__args__)
        chosen[key] = data.draw(values, label=key)
    config = build_config(chosen)
    text = to_yaml(config)
    assert build_config(parse_recipe(text, "config.yaml")) == config
    assert explain(text, "config.yaml") == text


def test_plain_yaml_readers_see_the_same_values() -> None:
    text = to_yaml(build_config({"optimizer.lr": 1e-3, "optimizer.eps": 1e-12, "init_from": "no"}))
    plain = yaml.safe_load(text)
    assert (plain["optimizer"]["lr"], plain["optimizer"]["eps"], plain["init_from"]) == (1e-3, 1e-12, "no")


def test_every_setting_has_an_explanation() -> None:
    parser = SettingsParser(add_help=False)
    parser.add_settings()
    assert {action.dest for action in parser._actions if action.help} == set(SETTINGS)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_builds_works_and_explains_each_of_its_keys(name: str) -> None:
    check(build_config(load_recipe(name)))
    text = shipped_recipes()[name].read_text(encoding="utf-8")
    # after an edit of a value or a docstring: `sctd recipes --show FILE` prints what the file has to be
    assert explain(text, name) == text
    assert text.startswith("# ")
    assert "\n# Cost: " in text or name == "default"


def test_the_default_recipe_holds_every_setting_at_its_default() -> None:
    found = load_recipe("default")
    assert list(found) == list(SETTINGS)
    found.pop("schedule.steps")
    assert build_config(found) == PretrainConfig()


@pytest.mark.parametrize(
    ("name", "published"),
    {
        "paper/hou-base": {
            "method": "drop",
            "model.preset": "base",
            "batch.size": 512,
            "model.max_position_embeddings": 512,
            "optimizer.lr": 1e-4,
            "optimizer.weight_decay": 0.01,
            "schedule.name": "linear",
            "schedule.warmup": 10_000,
            "schedule.steps": 1_000_000,
            "dropping.keep_ratio": 0.5,
            "dropping.beta": 0.995,
            "model.dropout": 0.1,
            "model.attention_dropout": 0.1,
            "model.starting_values": "normal",
        },
        "paper/sctd-large": {
            "method": "sctd",
            "model.preset": "large",
            "optimizer.lr": 2e-4,
            "optimizer.betas": (0.9, 0.999),
            "optimizer.eps": 1e-6,
            "optimizer.weight_decay": 0.01,
            "optimizer.grad_clip": None,
            "schedule.name": "linear",
            "schedule.warmup": 25_000,
            "schedule.steps": 250_000,
            "dropping.beta": 0.95,
            "consistency.interval": 10,
            "consistency.weight": 0.05,
            "consistency.share_prefix": False,
            "model.dropout": 0.1,
            "model.attention_dropout": 0.1,
        },
    }.items(),
)
def test_paper_recipes_are_as_published(name: str, published: dict[str, object]) -> None:
    config = build_config(load_recipe(name))
    assert {key: attrgetter(key)(config) for key in published} == published


SHAPES = {
    "demo": (4, 256, 4),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
    "cpu-6x256": (6, 256, 4),
    "paper/hou-base": (12, 768, 12),
    "paper/sctd-large": (24, 1024, 16),
    "continue": (4, 256, 4),  # of a run without --init-from
    "default": (4, 256, 4),
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_has_its_model(name: str) -> None:
    import torch

    from sctd.model.bert import Bert, BertConfig

    config = build_config(load_recipe(name)).model
    layers, hidden, heads, intermediate = resolve_shape(config)
    assert (layers, hidden, heads) == SHAPES[name]
    with torch.device("meta"):
        model = Bert(
            BertConfig(
                vocab_size=30522,
                num_layers=layers,
                hidden_size=hidden,
                num_heads=heads,
                intermediate_size=intermediate,
                max_position_embeddings=512,
            )
        )
    layer = 4 * hidden * hidden + 2 * hidden * intermediate + 9 * hidden + intermediate
    embeddings = (30522 + 512 + 2) * hidden + 2 * hidden
    head = hidden * hidden + 3 * hidden + 30522
    assert sum(p.numel() for p in model.parameters()) == layers * layer + embeddings + head


def test_the_verb_lists_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    recipes()
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(shipped_recipes())
    assert all(len(line.split()) > 3 for line in listed)
    recipes(show="mini")
    assert capsys.readouterr().out == shipped_recipes()["mini"].read_text(encoding="utf-8")


def test_the_page_on_recipes_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in shipped_recipes():
        config = build_config(load_recipe(name))
        size, steps = config.batch.size, config.schedule.steps
        length = f"{size} x {steps:,}" if steps else f"{size}, "
        assert any(line.startswith(f"| `{name}` |") and f"| {length}" in line for line in page.splitlines()), name
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert read(example) == {"method": "drop", "schedule.steps": 20_000, "optimizer.lr": 5e-4}
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert "\n  steps: 100\n" in capsys.readouterr().out
