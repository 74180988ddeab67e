"""What an arm's name means."""

from pathlib import Path

import pytest

from sctd.check import check
from sctd.cli import main
from sctd.compare.ablations import ablations
from sctd.compare.arms import parse_arm, parse_arms
from sctd.errors import UserError
from sctd.recipe import build_config, load_recipe


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("dense", {"method": "dense"}),
        ("sctd@interval=5", {"method": "sctd", "consistency.interval": 5}),
        ("sctd@interval=null", {"method": "sctd", "consistency.interval": None}),
        ("random@keep_ratio=0.25", {"method": "drop", "dropping.keep_rule": "random", "dropping.keep_ratio": 0.25}),
        ("dense@steps=200@optimizer.lr=1e-3", {"method": "dense", "schedule.steps": 200, "optimizer.lr": 1e-3}),
    ],
)
def test_a_method_or_a_keep_rule_with_overrides(text, settings):
    arm = parse_arm(text)
    assert (arm.name, arm.settings) == (text, settings)


def test_a_recipe_is_an_arm_too():
    assert "schedule.steps" not in parse_arm("mini").settings  # its own length is not the comparison's
    arm = parse_arm("paper/hou-base@steps=10")
    assert arm.settings["method"] == "drop"
    assert arm.settings["schedule.steps"] == 10
    assert arm.folder == "paper+hou-base@steps=10"


def test_a_recipes_path_may_hold_the_sign_that_separates_overrides(tmp_path):
    path = tmp_path / "by@me" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("method: drop\n")
    assert parse_arm(f"{path}@keep_ratio=0.25").settings == {"method": "drop", "dropping.keep_ratio": 0.25}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drob", 'there is no "drob"; did you mean "drop"'),
        ("sctd@interval", 'has "interval" without a value: write it as interval=value'),
        ("sctd@intervall=5", 'there is no setting "intervall"; did you mean "interval"'),
        ("sctd@interval=often", "consistency.interval: expected int or null"),
        ("drop@seed=3", "sets the seed: give seeds by --seeds"),
        ("drop@every=3", "may be eval.every or checkpoint.every or log.every"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_with_its_name(text, said):
    with pytest.raises(UserError, match="--arms") as error:
        parse_arm(text)
    assert said in str(error.value)


def test_arms_are_two_or_more_and_differ():
    with pytest.raises(UserError, match="two arms or more"):
        parse_arms(["dense"])
    with pytest.raises(UserError, match='"drop" and "drop@method=drop" are the same settings'):
        parse_arms(["dense", "drop", "drop@method=drop"])
    with pytest.raises(UserError, match=r'"dense" and "dense@keep_ratio=0\.2" are the same settings, in all that'):
        parse_arms(["dense", "dense@keep_ratio=0.2"])
    with pytest.raises(UserError, match='"drop" and "drop@interval=5" are the same settings, in all that'):
        parse_arms(["dense", "drop", "drop@interval=5"])
    with pytest.raises(UserError, match="would have one folder: leave one out"):
        parse_arms(["dense", "dense"])
    assert [arm.name for arm in parse_arms(["dense", "drop"])] == ["dense", "drop"]


@pytest.mark.parametrize("name", ablations())
def test_a_shipped_ablation_is_made_of_arms_that_run(name):
    arms = parse_arms(ablations()[name].arms)
    for arm in arms:
        check(build_config({**load_recipe("cpu-6x256"), **arm.settings}))


def test_the_docs_show_the_shipped_ablations():
    shown = (Path(__file__).parents[1] / "docs/compare.md").read_text(encoding="utf-8")
    for name, each in ablations().items():
        arms = ", ".join(f"`{arm}`" for arm in each.arms)
        assert f"| `{name}` | {each.asks} | {arms} |" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ablation", "intervals"], 'there is no "intervals"; did you mean "interval"'),
        ([], "Give --arms, such as --arms dense drop sctd, or --ablation"),
        (["--ablation", "beta", "--arms", "dense", "drop"], "one of the two"),
    ],
)
def test_an_ablation_that_there_is_not_and_one_too_many_are_said(tmp_path, capsys, words, sentence):
    out = str(tmp_path / "out")
    assert main(["compare", "--data", "nowhere", "--out", out, "--schedule.steps", "5", *words]) == 2
    assert sentence in capsys.readouterr().err
