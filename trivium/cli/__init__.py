"""The command line: one file per command, options from its dataclass. ``trivium --help`` lists them.

Exit codes, for scripts: 0 done; 1 the answer is no (a certificate that fails, a run in which every contender failed);
2 bad input; 3 something outside is in the way (network, disk, a busy run folder, a broken file); 4 a budget was
overrun; 130 interrupted, and what was running can be resumed.
"""

import ast
import os
import sys
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

from trivium.core.errors import (
    BadAnswer,
    BrokenModel,
    BudgetExceeded,
    RunBusy,
    TriviumError,
    Unreachable,
    did_you_mean,
)
from trivium.core.method import options

OK, NO, BAD_INPUT, IN_THE_WAY, OVER_BUDGET, INTERRUPTED = 0, 1, 2, 3, 4, 130
ORDER = (
    "demo",
    "list",
    "show",
    "compare",
    "evaluate",
    "report",
    "claim",
    "certify",
    "generate",
    "train",
    "shards",
    "curate",
    "trace",
    "draft",
    "decoder",
    "stories",
    "attribute",
    "probe",
    "rate",
    "dsl",
)


def commands() -> dict[str, str]:
    """Every command and the first line of its help, read from the source so that nothing heavy is imported."""
    found = {}
    for path in Path(__file__).parent.glob("*.py"):
        if path.stem.startswith("_"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "Command":
                found[path.stem] = (ast.get_docstring(node) or "").split("\n", 1)[0]
    return {name: found[name] for name in [*ORDER, *sorted(found.keys() - set(ORDER))] if name in found}


def usage() -> str:
    """The text of ``trivium --help``."""
    known = commands()
    width = max(map(len, known))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in known.items())
    return (
        "trivium compares published methods of language modelling on your model and data, at an equal budget.\n\n"
        "usage: trivium COMMAND [OPTIONS]      (trivium COMMAND --help explains each option)\n\n"
        f"{lines}\n\n"
        "Methods are written like calls: greedy, min_p(floor=0.1), speculative(drafter=prompt_lookup(length=8)).\n"
        "Models are a folder, a known name (tiny, smollm2-135m, gemma3-270m) or a hub identifier;\n"
        "with a PEFT adapter MODEL+ADAPTER; behind a server, for scores and texts, server:http://HOST/v1?model=NAME.\n\n"
        "exit codes: 0 done, 1 the answer is no, 2 bad input, 3 something outside is in the way (network, disk,\n"
        "            a busy folder), 4 over budget, 130 interrupted (run the same command again to go on)"
    )


def run(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return OK
    if argv[0] in ("-V", "--version"):
        print(import_module("trivium").__version__)
        return OK
    name = argv[0]
    if name not in commands():
        print(f"trivium: no command is called {name!r}{did_you_mean(name, commands())}", file=sys.stderr)
        return BAD_INPUT
    try:
        import_tyro, module = import_module("tyro"), import_module(f"trivium.cli.{name}")
        _explain(module)
        return import_tyro.cli(
            module.Command, prog=f"trivium {name}", args=argv[1:], config=(import_tyro.conf.OmitArgPrefixes,)
        ).run()
    except KeyboardInterrupt:
        print("trivium: interrupted; run the same command again to go on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as under `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (TriviumError, ValueError, TypeError, OSError) as error:
        if os.environ.get("TRIVIUM_TRACEBACK"):
            raise
        print(f"trivium: {type(error).__name__}: {error}", file=sys.stderr)
        if not isinstance(error, (TriviumError, ValueError, OSError)):
            print("trivium: set TRIVIUM_TRACEBACK=1 to see where this happened", file=sys.stderr)
        return _code(error)


def _explain(module: ModuleType) -> None:
    """Give commands and options their docstrings as paragraphs: tyro would keep some of the line breaks within."""
    arg = import_module("tyro").conf.arg
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and is_dataclass(part := getattr(module, node.name)):
            part.__doc__ = _paragraphs(ast.get_docstring(node) or "")
            types = part.__annotations__
            for option in options(node):
                if option.text:
                    types[option.name] = Annotated[types[option.name], arg(help=_paragraphs(option.text))]


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _code(error: Exception) -> int:
    if isinstance(error, BudgetExceeded):
        return OVER_BUDGET
    if isinstance(error, (Unreachable, BadAnswer, RunBusy, BrokenModel, OSError)):
        return IN_THE_WAY
    return BAD_INPUT


def main() -> None:
    """Entry point of the ``trivium`` script."""
    sys.exit(run(sys.argv[1:]))
