"""What docs/security.md says of the source: nothing that is read is executed, what is data is shown as it is."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from sctd.cli import _one_line, main
from sctd.compare.blocks import Code, to_markdown
from sctd.compare.figures import by_layer, colours_of
from sctd.console import as_text, say
from sctd.errors import UserError, printable
from sctd.markdown import escaped, fenced

SOURCE = Path(__file__).parents[1] / "src" / "sctd"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
# modules that unpickle, unpack archives, or talk to a network themselves
NEVER = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "tarfile", "zipfile"}
NEVER |= {"urllib", "http", "requests", "httpx", "socket", "smtplib", "ftplib", "xmlrpc", "webbrowser"}
ALLOWED = {"train/pulse.py": {"socket", "urllib"}}  # SCTD_WEBHOOK, and the name of this machine
ESCAPE = "\x1b[31mred\x1b]0;title\x07\u202e"


def calls():
    """(file, dotted name, keywords) of every call."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name, ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}


def test_no_module_is_imported_that_unpickles_unpacks_or_talks_to_a_network():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found = {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").partition(".")[0]}
            else:
                continue
            assert not found & (NEVER - ALLOWED.get(name, set())), name


def test_nothing_that_is_read_is_executed():
    for name, function, given in calls():
        last = function.rpartition(".")[2]
        assert function not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), name
        assert last not in ("extractall", "unpack_archive", "read_pickle", "unsafe_load", "full_load"), name
        assert given.get("shell", "False") == "False", name
        assert given.get("allow_pickle", "False") == "False", name
        if last == "import_module":
            assert name == "cli.py"  # of the table of verbs
        if function == "torch.load":
            assert given["weights_only"] == "True", name
        if function == "yaml.load":
            assert name == "yaml_text.py"


def test_recipes_are_read_by_a_loader_that_makes_texts_alone():
    from sctd.yaml_text import _Loader, parse_yaml

    assert issubclass(_Loader, yaml.BaseLoader)
    with pytest.raises(UserError, match="no tags"):
        parse_yaml("a: !!python/object/apply:os.system ['true']", "x")


def test_no_models_own_code_is_run():
    loaders = [
        (name, given) for name, function, given in calls() if function.endswith(("from_pretrained", "from_config"))
    ]
    assert len(loaders) > 8
    for name, given in loaders:
        assert given["trust_remote_code"] == "False", name


def test_what_steers_a_terminal_is_shown_and_letters_of_all_kinds_stay(capsys):
    assert printable("Zwei: äöü, 漢字\u3000\xa0x\n\t🙂") == "Zwei: äöü, 漢字\u3000\xa0x\n\t🙂"
    assert printable(ESCAPE) == r"\x1b[31mred\x1b]0;title\x07\u202e"
    assert printable("\ud800") == r"\ud800"
    say(ESCAPE + "[bold]x[/bold] :smile:")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "[bold]x[/bold] :smile:" in said
    assert as_text(ESCAPE).plain == printable(ESCAPE)


def test_an_error_that_quotes_a_file_steers_no_terminal_and_has_an_end(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text('"\\e[31m": 1\n')
    assert main(["pretrain", "--data", "x", "--out", "y", "--config", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert r"\x1b[31m" in said
    assert "\x1b" not in said
    assert len(_one_line(UserError("x" * 10_000))) < 2100


@pytest.mark.parametrize("text", ["a\n```\n# b", "```````` \n````````````", "~~~", "```", ""])
def test_no_line_ends_the_block_that_it_stands_in(text):
    for page in (fenced(text), to_markdown("t", [Code(text)])):
        fence = re.search(r"^(`+)text\n", page, re.MULTILINE)[1]
        inside = page.partition(f"{fence}text\n")[2].rpartition(f"\n{fence}")[0]
        assert inside.rstrip() == text.rstrip()
        assert all(not re.match(rf" {{0,3}}`{{{len(fence)},}}", line) for line in inside.splitlines())


def test_markup_of_every_kind_is_escaped():
    text = escaped("<script>|`*_[a](b)#\n---\n")
    assert "\n" not in text
    assert re.findall(r"(?<!\\)[<>|`*_\[\]#]", text) == []


def test_a_hostile_name_draws_no_markup_in_a_figure():
    pytest.importorskip("matplotlib")
    name = "<script>alert(1)</script> --> $x$ &amp; ]]>"
    svg = by_layer(name, {name: [0.1, 0.2], "a": [0.2, 0.1]}, colours_of([name, "a"])).svg
    assert "<script>" not in svg
    import xml.etree.ElementTree as ElementTree

    texts = [each.text for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert name in texts


def test_json_is_refused_where_it_would_not_be_what_its_reader_takes_it_for(tmp_path):
    from sctd.json_text import NUMBER, differs, parse_json, read_json

    for text in ("[" * 100_000, "9" * 5000, '"\\ud800"', b"\xff", "{", "\ufeff{}"):
        with pytest.raises(ValueError):
            parse_json(text)
    assert parse_json('"\\ud83d\\ude42"') == "🙂"
    form = {"a": int, "b?": [NUMBER], "c?": {"x", "y"}, "*": str}
    assert differs({"a": 1, "b": [1, 2.5], "c": "x", "d": "e"}, form) is None
    wrong = [({}, "a"), ({"a": True}, "a"), ({"a": 1.0}, "a"), ({"a": 2**65}, "a"), ({"a": 1, "b": [1, None]}, "b.1")]
    wrong += [({"a": 1, "b": [float("inf")]}, "b.0"), ({"a": 1, "c": "z"}, "c"), ({"a": 1, "d": 1}, "d"), ([], "")]
    for value, place in wrong:
        assert differs(value, form) == place
    (tmp_path / "a.json").write_text(json.dumps({"a": "x"}))
    with pytest.raises(ValueError, match="a is missing or of another kind"):
        read_json(tmp_path / "a.json", form)
