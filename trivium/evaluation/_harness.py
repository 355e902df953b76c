"""What answers to the items of a harness task come to: metrics per item, and one number of many."""

import math
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trivium.core.nouns import Measure
from trivium.core.text import size
from trivium.data import overlaps
from trivium.data.harness import Declared, Item
from trivium.data.harness_measuring import Filtering
from trivium.data.harness_measuring import options as options_of
from trivium.evaluation import _choices
from trivium.evaluation.multiple_choice import ALIKE, Ties, brier, credit
from trivium.models.scoring import Scored

MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("acc", "Accuracy", True, binary=True),
        Measure("acc_norm", "Accuracy, per character", True, binary=True),
        Measure("acc_bytes", "Accuracy, per byte", True, binary=True),
        Measure("acc_mutual_info", "Accuracy, mutual information", True, binary=True),
        Measure("exact_match", "Exact match", True, binary=True),
        Measure("bleu", "BLEU", True, pooled="bleu"),
        Measure("chrf", "chrF", True, pooled="chrf"),
        Measure("chrf++", "chrF++", True, pooled="chrf++"),
        Measure("ter", "Translation edit rate", False, pooled="ter"),
        Measure("rouge1", "ROUGE-1", True),
        Measure("rouge2", "ROUGE-2", True),
        Measure("rougeL", "ROUGE-L", True),
        Measure("rougeLsum", "ROUGE-L, line by line", True),
        Measure("brier_score", "Brier score", False),
        Measure("perplexity", "Perplexity of the target", False, ratio=True),
        Measure("word_perplexity", "Perplexity per word", False, ratio=True),
        Measure("byte_perplexity", "Perplexity per byte", False, ratio=True),
        Measure("bits_per_byte", "Bits per byte", False, "bits/byte"),
        Measure("tied", "Ties for the first place", None, binary=True),
        *_choices.COUNTED,
        Measure("unfinished", "Answers cut at the limit", None, binary=True),
    )
}
COUNTED: Mapping[str, tuple[str, ...]] = {
    "multiple_choice": ("tied", "identical", "truncated", "merged", "altered"),
    "loglikelihood": ("truncated", "merged", "altered"),
    "loglikelihood_rolling": ("altered",),
    "generate_until": ("truncated", "unfinished"),
}
"""What is counted beside the metrics of each sort of task."""
WEIGHTS = {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}
"""Metric -> the value by which texts weigh in."""

OPTIONS = {"ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"}
"""What a file may say of exact match."""

Numbers = dict[str, float]
Raw = dict[str, Any]
"""Metrics as the harness writes them down: what its own aggregation is made of."""


def of_choices(task: Declared, item: Item, found: Sequence[Scored], ties: Ties) -> tuple[Numbers, Raw]:
    """Of a multiple-choice item, from the scores of its requests."""
    asked = len(item.requests) - item.free
    mine, free = found[:asked], found[asked:]
    sums = [each.total for each in mine]
    golds = item.gold if isinstance(item.gold, list) else [item.gold]
    alike = len({request for request in item.requests[:asked]}) < asked
    ties = "shared" if alike and ties == "first" else ties
    right = lambda numbers: sum(credit(numbers, gold, ties) for gold in dict.fromkeys(golds))  # noqa: E731
    best = sums.index(max(sums))
    peak = max(sums)
    weights = [math.exp(x - peak) for x in sums]
    values: Numbers = {}
    raw: Raw = {}
    for metric in task.metrics:
        if metric == "acc":
            values[metric] = right(sums)
        elif metric == "acc_norm":
            values[metric] = right([x / len(choice) for x, choice in zip(sums, item.choices, strict=True)])
        elif metric == "acc_bytes":
            values[metric] = right([x / size(choice) for x, choice in zip(sums, item.choices, strict=True)])
        elif metric == "acc_mutual_info":
            values[metric] = right([x - each.total for x, each in zip(sums, free, strict=True)])
        elif metric == "exact_match":
            values[metric] = float(any(mine[gold].greedy for gold in golds))
        elif len(golds) > 1:
            raise ValueError(f"task {task.name}, document {item.number}: {metric} needs one right answer, got {golds}")
        elif metric == "brier_score":
            values[metric] = brier(sums, golds[0])
            raw[metric] = (golds[0], [weight / sum(weights) for weight in weights])
        elif metric == "f1":
            if len(sums) != 2:
                raise ValueError(f"task {task.name}, document {item.number}: f1 is of two choices, got {len(sums)}")
            raw[metric] = (golds[0], best)
    raw = {metric: raw.get(metric, values.get(metric)) for metric in task.metrics}
    counted = {
        "tied": sum(peak - x < ALIKE for x in sums) > 1,
        "identical": alike,
        "truncated": any(each.cut for each in mine),
        "merged": any(each.merged for each in found),
        "altered": any(each.altered for each in found),
    }
    return {**values, **{name: float(value) for name, value in counted.items()}}, raw


def of_target(task: Declared, item: Item, found: Scored) -> tuple[Numbers, Raw]:
    """Of one continuation."""
    raw: Raw = {"perplexity": found.total, "acc": int(found.greedy)}
    values = {
        "perplexity": _exp(-found.total, task, item),
        "acc": float(found.greedy),
        "truncated": float(found.cut > 0),
        "merged": float(found.merged),
        "altered": float(found.altered),
    }
    return (
        {name: value for name, value in values.items() if name in (*task.metrics, *COUNTED["loglikelihood"])},
        {metric: raw[metric] for metric in task.metrics},
    )


def of_text(task: Declared, item: Item, total: float, altered: bool = False) -> tuple[Numbers, Raw]:
    """Of a whole text. Words are what spaces part, an empty one before or after them included, as in the harness."""
    words, length = len(re.split(r"\s+", item.gold)), size(item.gold)
    raw = {
        "word_perplexity": (total, words),
        "byte_perplexity": (total, length),
        "bits_per_byte": (total, length),
    }
    values = {
        "word_perplexity": _exp(-total / words, task, item),
        "byte_perplexity": _exp(-total / length, task, item),
        "bits_per_byte": -total / length / math.log(2),
    }
    kept = {metric: values[metric] for metric in task.metrics}
    counted = {"words": float(words), "bytes": float(length), "altered": float(altered)}
    return {**kept, **counted}, {metric: raw[metric] for metric in task.metrics}


def _exp(nats: float, task: Declared, item: Item) -> float:
    if nats > 700:
        raise ValueError(
            f"task {task.name}, document {item.number}: a perplexity of e^{nats:.0f} is beyond what numbers hold; "
            "measure bits_per_byte in its place"
        )
    return math.exp(nats)


def of_writing(task: Declared, item: Item, text: str) -> tuple[Numbers, Raw, dict[str, list[float]]]:
    """Of a written text behind its filter; and what it adds to scores of all texts together."""
    golds = [str(gold) for gold in (item.gold if isinstance(item.gold, list) else [item.gold])]
    values: Numbers = {}
    raw: Raw = {}
    vectors: dict[str, list[float]] = {}
    for metric in task.metrics:
        options = options_of(task.config, metric)
        strange = set(options) - (OPTIONS if metric == "exact_match" else set())
        if strange:
            raise ValueError(f"task {task.name}: {metric} has no option {', '.join(sorted(strange))}")
        if metric == "exact_match":
            said = plainer(text, **options)
            values[metric] = raw[metric] = float(any(plainer(gold, **options) == said for gold in golds))
        elif metric in overlaps.TOGETHER:
            vectors[metric] = overlaps.counts(metric, text, golds)
            raw[metric] = (golds if isinstance(item.gold, list) else golds[0], text)
        else:
            values[metric] = raw[metric] = overlaps.rouge(metric, text, golds)
    return values, raw, vectors


def plainer(
    text: str,
    *,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
    regexes_to_ignore: Sequence[str] = (),
) -> str:
    """A text without what does not count."""
    for pattern in regexes_to_ignore or ():
        text = re.sub(pattern, "", text)
    text = text.lower() if ignore_case else text
    dropped = (string.punctuation if ignore_punctuation else "") + (string.digits if ignore_numbers else "")
    return text.translate(str.maketrans("", "", dropped))


def filtered(filtering: Filtering, text: str) -> Any:
    """A written answer behind the steps of a filter: a text once the first is taken, else a list of one."""
    found: Any = [text]
    for step, settings in filtering.steps:
        if step == "take_first":
            found = found[0]
            continue
        change = {"regex": _extracted, "remove_whitespace": lambda x: x.strip(), "lowercase": lambda x: x.lower()}[step]
        # behind take_first the harness goes through a text letter by letter; that is never meant
        found = [change(one, **settings) for one in found] if isinstance(found, list) else change(found, **settings)
    return found


def _extracted(
    text: str,
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)",
    group_select: int = 0,
    fallback: str = "[invalid]",
) -> str:
    matches = re.findall(regex_pattern, text)
    if not matches:
        return fallback
    match = matches[group_select]
    if isinstance(match, tuple):
        match = next((one for one in match if one), fallback)
    return match.strip()


# One number of many ---------------------------------------------------------------------------------------------------


def together(metric: str, values: Sequence[Any]) -> float:
    """What the harness makes of a metric's raw values over all items."""
    if metric == "perplexity":
        return math.exp(-sum(values) / len(values))
    if metric in WEIGHTS:
        mean = sum(total for total, _ in values) / sum(count for _, count in values)
        return -mean / math.log(2) if metric == "bits_per_byte" else math.exp(-mean)
    if metric == "brier_score":
        parts = [sum((p - (at == gold)) ** 2 for at, p in enumerate(shares)) for gold, shares in values]
        return sum(parts) / len(parts)
    if metric in overlaps.TOGETHER:
        rows = [overlaps.counts(metric, text, gold if isinstance(gold, list) else [gold]) for gold, text in values]
        return overlaps.score(metric, np.array(rows))
    if metric == "f1":
        hits = sum(gold == 1 and said == 1 for gold, said in values)
        wrong = sum(gold != said for gold, said in values)
        return 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0
    return sum(values) / len(values)
