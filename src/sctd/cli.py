"""The command line: a table of verbs over plain functions. Only the verb that was asked for is imported."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sctd import __version__
from sctd.errors import UserError
from sctd.flags import arguments_of, help_of, parameters_of, parse
from sctd.signature import did_you_mean


@dataclass(frozen=True)
class Verb:
    """One line of the table.

    Args:
        target: `module:function`. Importing the module must be light, because `--help` does it.
        help: its line in `sctd --help`.
        positional: the parameters that are given by their place.
        bare: parameter -> what its flag means when it stands alone.
    """

    target: str
    help: str
    positional: tuple[str, ...] = ()
    bare: Mapping[str, str] = field(default_factory=dict)


VERBS = {
    "demo": Verb("sctd.demo:demo", "prepare, pretrain and fill masks, in about three minutes"),
    "prepare": Verb("sctd.tokens.prepare:prepare", "text to a data folder: tokenizer and packed sequences"),
    "pretrain": Verb("sctd.pretrain:pretrain", "a data folder to a model", bare={"resume": "auto"}),
    "export": Verb("sctd.hf.export:export", "a run to a Hugging Face folder", ("run",)),
    "fill": Verb("sctd.hf.fill:fill", "what a model puts in the place of [MASK]", ("model", "text")),
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
        parameters = parameters_of(function, verb.positional)
        if "-h" in rest or "--help" in rest:
            print(help_of(name, function, parameters, verb.bare))
        else:
            function(**arguments_of(parameters, parse(name, parameters, rest, verb.bare)))
    elif not name:
        raise UserError("sctd needs a verb; see `sctd --help`")
    else:
        kind = "flag" if name.startswith("-") else "verb"
        known = ["--help", "--version"] if kind == "flag" else VERBS
        raise UserError(f'there is no {kind} "{name}"; {did_you_mean(name, known, "see `sctd --help`")}')


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
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
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
