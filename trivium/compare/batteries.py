"""Batteries that ship: what ``trivium evaluate --suite`` puts models to, from texts of our own or known sets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.method import find

Tasks = Iterator[tuple[str, Any]]
"""(label, task)."""


def battery(name: str, data: Path | None = None) -> list[tuple[str, Any]]:
    """The tasks of a suite by their labels. Raises UnknownName for no such suite, ValueError for a folder without any
    set that it knows."""
    if name not in SUITES:
        raise UnknownName(f"no suite of evaluation is called {name!r}{did_you_mean(name, SUITES)}")
    return list(SUITES[name](data))


def limited(task: Any, items: int | None, batch_size: int | None) -> Any:
    """The task on so many examples and in such batches, wherever it has settings for them."""
    if not is_dataclass(task) or isinstance(task, type):
        return task
    own = {field.name for field in fields(task) if field.init}
    few = next((name for name in ("items", "documents") if name in own), None)
    changed = {few: items} if few is not None and items is not None else {}
    if batch_size is not None and "batch_size" in own:
        changed["batch_size"] = batch_size
    return replace(task, **changed) if changed else task


SETS: Mapping[str, tuple[str, str]] = {
    "arc": ("arc", "arc_easy_validation.jsonl"),
    "openbookqa": ("openbookqa", "validation.jsonl"),
    "commonsense_qa": ("commonsense_qa", "validation.jsonl"),
    "piqa": ("piqa", "validation.jsonl"),
    "sciq": ("sciq", "validation.jsonl"),
    "hellaswag": ("hellaswag", "validation_part.jsonl"),
}
"""Folder of a set -> its form, and the file of questions where there are several."""


def known(data: Path) -> Iterator[tuple[str, str, Path]]:
    """(label, form, file) of the sets of questions in a folder, each in a folder of its own name."""
    found = [(label, form, data / label / name) for label, (form, name) in SETS.items()]
    found = [entry for entry in found if entry[2].is_file()]
    if not found:
        where = ", ".join(f"{label}/{name}" for label, (_, name) in SETS.items())
        raise ValueError(f"{data} holds none of the sets that are known: {where}")
    yield from found


def _choices(data: Path | None) -> Tasks:
    """Multiple choice of our own questions, or of every set in the folder."""
    multiple_choice = find("evaluation", "multiple_choice")
    if data is None:
        yield "kinds of words", multiple_choice()
        return
    for label, form, path in known(data):
        yield label, multiple_choice(path=str(path), form=form, items=200)


def _quick(data: Path | None) -> Tasks:
    """A first look, in minutes: choices, held-out text, recall."""
    yield from _choices(data)
    yield "stories", find("evaluation", "bits_per_byte")(documents=24)
    yield "needle", find("evaluation", "recall")(sort="needle", documents=24)


def _helm(data: Path | None) -> Tasks:
    """Scenarios by seven metrics: choices by three adapters, answers that are written, texts that are read, openings,
    passages to be ranked; with a folder, its sets of questions besides."""
    helm = find("evaluation", "helm")
    yield "scenes", helm()
    yield "scenes, joint", helm(adapter="joint")
    yield "scenes, calibrated", helm(adapter="calibrated")
    yield "scenes, written", helm(adapter="generation")
    yield "kinds of words", helm(scenario="kinds")
    yield "scenes, read", helm(adapter="language_modeling")
    yield "openings", helm(scenario="openings", adapter="generation", completions=2)
    yield "passages, ranked", helm(scenario="passages", adapter="ranking", shots=2)
    for label, form, path in known(data) if data is not None else ():
        yield label, helm(path=str(path), form=form, items=120)


def _taught(data: Path | None) -> Tasks:
    """Classes of texts that a model is taught first, each seed with the rate that suits it: of our own, or those sets
    of the folder that hold any, and the tasks in its folder ``glue``."""
    fine_tuning = partial(find("evaluation", "fine_tuning"), rates=(5e-5, 3e-4, 1e-3))
    if data is None:
        yield "intents", fine_tuning()
        yield "answers", fine_tuning(form="answers")
        return
    places = {
        "lines": data / "glue",
        "intents": data / "snips",
        "answers": data / "sciq" / "validation.jsonl",
        "acceptability": data / "ud" / f"{TREEBANKS['english']}-ud-dev.conllu",
    }
    found = {form: path for form, path in places.items() if path.exists()}
    if not found:
        raise ValueError(f"{data} holds none of {', '.join(str(path.relative_to(data)) for path in places.values())}")
    for form, path in found.items():
        yield "glue" if form == "lines" else form, fine_tuning(path=str(path), form=form, learnt=1000, items=400)


TREEBANKS: Mapping[str, str] = {
    "english": "en_ewt",
    "french": "fr_gsd",
    "spanish": "es_gsd",
    "norwegian": "no_bokmaal",
    "ancient_greek": "grc_proiel",
}
"""Language -> the treebank of Universal Dependencies whose development set stands for it."""


def _language(data: Path | None, name: str) -> Tasks:
    """Bits per character and byte, and tokens per word: of the treebank in the folder ``ud`` or of our sentences."""
    path = None if data is None or name not in TREEBANKS else data / "ud" / f"{TREEBANKS[name]}-ud-dev.conllu"
    if path is not None and not path.is_file():
        raise ValueError(f"{path} is not there; leave data out for sentences of our own, or get the treebank")
    yield name.replace("_", " "), find("evaluation", "languages")(name, "" if path is None else str(path))


def _languages(data: Path | None) -> Tasks:
    """Every language that has a treebank; without a folder, Arabic too."""
    for name in (*TREEBANKS, *(("arabic",) if data is None else ())):
        yield from _language(data, name)


ITEMS: Mapping[str, int | None] = {
    "arc": None,
    "openbookqa": None,
    "commonsense_qa": 500,
    "piqa": 400,
    "sciq": 300,
    "hellaswag": 200,
    "aqua": None,
    "blimp": 40,
    "mmlu_medical": 40,
    "gsm8k": 32,
    "crows_pairs": 600,
    "winogender": None,
    "natural_stories": None,
    "snips": 12,
    "wikitext2": 8,
    "ud": 100,
}
"""Folder of a set -> items of it that the suite of all sets takes: of each paradigm, subject or treebank where there
are several, utterances in each noise, articles."""
TASKS = Path(__file__).resolve().parents[1] / "data" / "tasks"
"""Declarations of tasks that ship."""


def _sets(data: Path | None) -> Tasks:
    """Every known set in the folder, so many items of each that a small model is through within the hour on two cores:
    questions, minimal pairs, sums, stereotypes, articles, stories with reading times, slots, treebanks."""
    if data is None:
        raise ValueError("the suite 'sets' is about known sets: give the folder that holds them as data")
    found = list(_every(data))
    if not found:
        raise ValueError(f"{data} holds none of the sets that are known: {', '.join(ITEMS)}")
    yield from found


def _every(data: Path) -> Tasks:
    make = lambda name, **settings: find("evaluation", name)(**settings)  # noqa: E731
    there = {name: data / name for name in ITEMS if (data / name).exists()}
    for label, (form, name) in {**SETS, "aqua": ("aqua", "dev.json")}.items():
        if label in there and (path := there[label] / name).is_file():
            yield label, make("multiple_choice", path=str(path), form=form, items=ITEMS[label])
    if "blimp" in there:
        yield "blimp", make("babylm", path=str(there["blimp"]), items=ITEMS["blimp"], alike="skip")
    if "mmlu_medical" in there:
        path = str(there["mmlu_medical"])
        yield "medicine", make("medical", path=path, items=ITEMS["mmlu_medical"])
        yield "medicine, by letter", make("medical", path=path, items=ITEMS["mmlu_medical"], by="letter", shots=3)
    if "gsm8k" in there:
        path = str(TASKS / "gsm8k.yaml")
        yield "gsm8k", make("harness_task", path=path, data=str(there["gsm8k"]), items=ITEMS["gsm8k"])
    if "crows_pairs" in there:
        path = str(there["crows_pairs"] / "crows_pairs_anonymized.csv")
        yield "crows_pairs", make("stereotypes", path=path, form="crows_pairs", items=ITEMS["crows_pairs"])
    if "winogender" in there:
        path = str(there["winogender"])
        yield "winogender", make("stereotypes", path=path, form="winogender", items=ITEMS["winogender"])
    if "wikitext2" in there:
        path = str(there["wikitext2"] / "valid.txt")
        yield "wikitext", make("perplexity", path=path, form="wikitext", items=ITEMS["wikitext2"], batch_size=1)
    if "natural_stories" in there:
        path = str(there["natural_stories"])
        yield "reading times", make("reading_times", path=path, items=ITEMS["natural_stories"])
    if "snips" in there:
        yield "slots", make("slot_noise", path=str(there["snips"]), items=ITEMS["snips"])
    if "ud" in there:
        for name, bank in TREEBANKS.items():
            if (path := there["ud"] / f"{bank}-ud-dev.conllu").is_file():
                task = make("languages", language=name, path=str(path), items=ITEMS["ud"])
                yield name.replace("_", " "), task


SUITES: Mapping[str, Callable[[Path | None], Tasks]] = {
    "quick": _quick,
    "choices": _choices,
    "helm": _helm,
    "fine_tuning": _taught,
    "languages": _languages,
    "sets": _sets,
    **{name: partial(_language, name=name) for name in TREEBANKS},
}
