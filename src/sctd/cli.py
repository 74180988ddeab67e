"""The command line: a table of verbs over plain functions. Only the verb that was asked for is imported."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import time
import traceback
from argparse import Action
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType, SimpleNamespace
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from sctd import __version__
from sctd.errors import UserError, printable
from sctd.recipe import SETTINGS, SettingsParser, build_config, did_you_mean, load_recipe

ECHO = 2.0  # seconds
LONGEST = 2000  # characters of an error


@dataclass(frozen=True)
class Verb:
    """One line of the table.

    Args:
        target: `module:function`. Importing the module must be light, because `--help` does it. If the function
            has a parameter `config`, a PretrainConfig, that is `--config RECIPE` and a flag for every setting.
        help: its line in `sctd --help`.
        positional: the parameters that are given by their place.
        bare: parameter -> what its flag means when it stands alone.
        stopped: what Ctrl-C leaves behind, where the verb itself does not say it.
    """

    target: str
    help: str
    positional: tuple[str, ...] = ()
    bare: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""


KEPT = "What is finished is kept: the same command goes on from there."
KEPT_WITH_OUT = "With --out, what is finished is kept, and the same command goes on from there."

VERBS = {
    "demo": Verb("sctd.demo:demo", "prepare, pretrain and fill masks, in about three minutes"),
    "prepare": Verb(
        "sctd.tokens.prepare:prepare", "text to a data folder: tokenizer and packed sequences", stopped=KEPT
    ),
    "pretrain": Verb("sctd.pretrain:pretrain", "a data folder to a model", bare={"resume": "auto"}),
    "watch": Verb("sctd.watch:watch", "running and finished runs at a glance", ("runs",), bare={"once": "true"}),
    "export": Verb("sctd.hf.export:export", "a run to a Hugging Face folder", ("run",)),
    "fill": Verb("sctd.hf.fill:fill", "what a model puts in the place of [MASK]", ("model", "text")),
    "evaluate": Verb(
        "sctd.scores.evaluate:evaluate", "fine-tune on downstream tasks and score", ("model",), stopped=KEPT
    ),
    "probe": Verb(
        "sctd.scores.probe:probe",
        "what each layer of the frozen encoder knows of a sentence",
        ("model",),
        stopped=KEPT_WITH_OUT,
    ),
    "blimp": Verb(
        "sctd.scores.blimp:blimp",
        "grammar: which sentence of a minimal pair is likelier",
        ("model",),
        stopped=KEPT_WITH_OUT,
    ),
    "drift": Verb("sctd.scores.drift:drift", "how far the pass with dropping is from the full one", ("run",)),
    "overlap": Verb("sctd.scores.overlap:overlap", "evaluation text that stands in the pretraining text"),
    "compare": Verb(
        "sctd.compare.compare:compare",
        "several methods and seeds, scored, with how sure the differences are",
        stopped=KEPT,
    ),
    "bench": Verb("sctd.bench.bench:bench", "how fast the methods train here, beside what a user would run instead"),
    "plan": Verb("sctd.plan.plan:plan", "parameters, memory, speed and days of a run, on machines that are not here"),
    "recipes": Verb("sctd.recipe:recipes", "the recipes that ship with sctd"),
}


def overview() -> str:
    """The answer to `sctd --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: sctd VERB [--FLAG VALUE ...]\n\n"
        "Pretrain BERT-style encoders in less time: token dropping with semantic-consistent learning.\n\n"
        f"{verbs}\n\n"
        "`sctd VERB --help` explains a verb and its flags; `sctd --version` names the version."
    )


class VerbParser(SettingsParser):
    """jsonargparse for one verb: what is wrong with a command line is a UserError of one sentence."""

    def shown(self, key: str) -> str:
        """`RUN`, `--init-from`, `--schedule.steps`: a setting in a section is spelt as in a recipe."""
        [action] = [action for action in self._actions if action.dest == key]
        return action.option_strings[0] if action.option_strings else key.upper()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Called by argparse and jsonargparse."""
        see = f"see `{self.prog} --help`"
        kind, _, rest = message.partition(": ")
        if kind == "the following arguments are required":
            raise UserError(f"{self.prog} needs {' and '.join(map(self.shown, rest.split(', ')))}; {see}")
        if kind == "unrecognized arguments":
            flag = rest.split()[0].partition("=")[0]
            if not flag.startswith("--"):
                raise UserError(f'{self.prog} has no place for "{rest}"; {see}')
            flags = [spelling for action in self._actions for spelling in action.option_strings]
            raise UserError(f"there is no flag {flag}; {did_you_mean(flag, flags, see)}")
        try:
            super().error(message.removeprefix("argument "), ex)
        except UserError as error:
            raise UserError(f"{error}; {see}") from None

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        values = super()._get_values(action, arg_strings)
        if action.nargs == "+":  # a list flag that is repeated goes on
            values = action.const = [*(action.const or []), *values]
        return values


def parser_of(name: str, verb: Verb, function: Callable[..., Any]) -> VerbParser:
    """The parser of a verb, from its function's signature and docstring."""
    description = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    parser = VerbParser(prog=f"sctd {name}", description=description, allow_abbrev=False)
    # jsonargparse would execute the imports that stand there for type checkers only, torch among them
    written = {key: hint for key, hint in function.__annotations__.items() if key != "return"}
    hints = get_type_hints(SimpleNamespace(__annotations__=written), vars(sys.modules[function.__module__]))
    function.__annotations__ = hints
    parser.hints = hints | SETTINGS
    by_flag: set[str | int] = {key for key in hints if key not in verb.positional}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=by_flag)
    parser.add_function_arguments(function, as_group=False, skip={*verb.positional, "config"})
    if "config" in hints:
        parser.add_argument("--config", metavar="RECIPE", help="a YAML file, or a name that `sctd recipes` lists")
        parser.add_settings()
    for action in parser._actions:
        hint = _without_null(parser.hints.get(action.dest))
        if get_origin(hint) in (list, tuple):  # several words, each of the first's type
            action.nargs = "+" if get_origin(hint) is list else len(get_args(hint))
            action.metavar = action.dest.rpartition(".")[2].upper()
            action._typehint = get_args(hint)[0]  # type: ignore[attr-defined]
        elif hint is bool or action.dest in verb.bare:
            action.nargs, action.const = "?", verb.bare.get(action.dest, True)
        for spelling in action.option_strings:
            parser._option_string_actions[spelling.replace("_", "-")] = action
        if action.dest in parser.hints and "." not in action.dest and action.option_strings:
            action.option_strings = ["--" + action.dest.replace("_", "-")]
    needed = [f"{parser.shown(a.dest)} {a.dest.upper()}" for a in parser._actions if a.required and a.option_strings]
    parser.usage = " ".join([parser.prog, *map(str.upper, verb.positional), *needed, "[--FLAG VALUE ...]"])
    return parser


def _without_null(hint: Any) -> Any:
    """`list[str]` of `list[str] | None`; any other hint as it is."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and len(get_args(hint)) == 2 else hint


def run(words: Sequence[str]) -> None:
    """Do what the words after `sctd` say; raises UserError for what they cannot mean."""
    name, *rest = words or [""]
    if name in ("-h", "--help"):
        print(overview())
    elif name == "--version":
        print(f"sctd {__version__}")
    elif name in VERBS:
        verb = VERBS[name]
        module, _, attribute = verb.target.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        parser = parser_of(name, verb, function)
        if {"-h", "--help"} & {*rest}:
            print(parser.format_help(), end="")
            return
        pairs = parser.parse_args(rest, defaults=False).items()
        given: dict[str, Any] = {
            key: tuple(value) if get_origin(_without_null(parser.hints.get(key))) is tuple else value
            for key, value in pairs
        }
        if "config" in inspect.signature(function).parameters:
            recipe = load_recipe(given["config"]) if "config" in given else {}
            settings = {key: given.pop(key) for key in SETTINGS if key in given}
            given["config"] = build_config(recipe | settings)
        try:
            function(**given)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(str(interrupt) or verb.stopped) from interrupt
    elif not name:
        raise UserError("sctd needs a verb; see `sctd --help`")
    else:
        kind = "flag" if name.startswith("-") else "verb"
        known = ["--help", "--version"] if kind == "flag" else VERBS
        raise UserError(f'there is no {kind} "{name}"; {did_you_mean(name, known, "see `sctd --help`")}')


def _one_line(error: UserError) -> str:
    """Its sentence, without what would steer a terminal; of one that quotes a whole file, both ends."""
    text = printable(" ".join(str(error).splitlines()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def _rank() -> int:
    """The number of this process among those that torchrun started; 0 where there is but one."""
    rank = os.environ.get("RANK", "0")
    return int(rank) if rank.isdigit() else 0


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, or 2 for a user's error, 130 for Ctrl-C, 141 when nobody reads standard output any more. Any other
    exception keeps its traceback; SCTD_DEBUG=1 shows that of a user's error too.
    """
    try:
        run(sys.argv[1:] if words is None else words)
        print(end="", flush=True)
        return 0
    except UserError as error:
        if os.environ.get("SCTD_DEBUG"):
            traceback.print_exc()
        rank = _rank()
        if rank:  # what process 0 finds too, it says; by then torchrun has ended this one
            try:
                time.sleep(ECHO)
            except KeyboardInterrupt:
                return 2
        print(f"error{(rank and f' in process {rank}') or ''}:", _one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        if not _rank():
            print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        try:
            print(flush=True)  # fails again only if it is standard output that nobody reads any more
        except BrokenPipeError:
            # so that the flush at the interpreter's end finds somewhere to write
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        raise
