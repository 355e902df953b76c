"""What a run writes down: the records, one line each, and the report that is made from them.

A **record** is one line of ``records.jsonl``: one unit of work that was done, or failed with a reason.

    {"contender": "min_p(floor=0.1)",    canonical text, the identity of a contender within its run
     "config": "min_p(floor=0.05)",      what ran; differs from "contender" where tuning chose another
     "phase": "score",                   or "tune", then "trial" is the point of the grid, else null
     "trial": null,
     "seed": 0, "example": "chat-03",    example is "" for a training, whose examples have records of their own
     "values": {"logprob": -1.21},       what the task measured
     "spent": {"new_tokens": 64, ...},   every unit of core.budget
     "output": {"text": "...", ...},     what to show: see ``examples`` below
     "vectors": {"own": [...], ...},     only where a measure is pooled: what it is made of, see ``pooled`` and
                                         ``pooled_rows``
     "drew": true,                       whether a random number was asked for, or time is what is measured; false
                                         lets other seeds repeat it
     "repeats": 0,                       only there: the seed whose record this repeats
     "error": null}                      or {"type": "BudgetExceeded", "message": "..."}

The **report** is a plain dict, ``report.json``, from which the page and the Markdown are drawn:

    title, kind, question        strings; kind is the open arrow, "decoding"
    once                         true where a contender works once per seed, so that costs are those of a seed
    task, system                 {"name": str, "config": str, ...facts}
    budget                       {"unit": "new_tokens", "amount": 64.0, "tolerance": 0.02, "text": "64 new_tokens"}
    baseline                     name of the contender that the pairs are compared with
    smoke                        true where there is too little to judge; then no pair has a verdict
    measures                     [{"name", "title", "higher_is_better": true|false|null, "unit", "binary", "ratio",
                                   "pooled": "" or the statistic of all outputs that it is}], the leading one first;
                                  where "ratio" is true, means are geometric and differences are quotients
    units                        {unit: meaning} of every key that appears under "spent"
    contenders                   [{"name": short label, unique; "config": canonical text; "lossless": bool;
                                   "note": "" | "untuned" | "not applicable, needs state" | "3 of 24 failed: ...";
                                   "baseline": bool,
                                   "measures": {measure: {"mean", "low", "high", "n", "clusters"}},
                                   "by_group": {group: {measure: mean}},
                                   "spent": {unit: {"median", "total", "low", "high"}},
                                   "failed": [{"example", "seed", "type", "message", "count"}],
                                   "tuned": [{"config", "value", "chosen": bool}]}]     low/high may be null
    pairs                        [{"a": contender, "b": baseline, "measure", "difference", "low", "high", "p", "p_holm",
                                   "verdict": "supported"|"contradicted"|"not visible at this scale"|"",
                                   "n", "clusters", "fewest": clusters that a verdict needs, "method", "detectable",
                                   "correlation"}]
    by_group                     [{"group", "against": [contender], "columns": [measure], "bound": measure,
                                   "levels": measure, "rows": [{"name", "ratios": {contender: speed over its},
                                             "efficiency": ratio over bound, "values": {measure: mean},
                                             "levels": [mean at depth 1, 2, ...]}]}];
                                 empty where no suite asks for it; every number may be null
    examples                     [{"id", "group", "seed", "prompt",
                                   "outputs": {contender: {"text", "spans": [{"text", "kind":
                                   "plain"|"accepted"|"drafted"}], "values": {...}, "html": fragment or null,
                                   "error": "" or message}}}]
                                 "html" is a trusted fragment made by this package (an attribution), all else is text;
                                 of several tasks as many as fit, the first of each
    curves                       {contender: {seed as text: [{"step", "flops", "tokens", "seconds", "loss",
                                 "bits_per_byte"}]}}; empty where nothing was trained
    tuning                       {"trials": n, "split": "validation", "counted": text}
    statistics                   {"interval": how it was made, "family": what Holm covers, "seed", "confidence"}
    provenance                   core.provenance.provenance(...)
    command                      what to type to repeat it

Where contenders were trained, besides (``scaling`` makes the last two):

    positions                    {contender: {seed as text: [{"position", "bits"}]}}: bits per held-out token
    rankings                     [{"axis": "flops"|"tokens"|"seconds", "at": amount, "order": [contender], "values"}]
    scaling                      {} where there was one budget, else
                                 {"points": {contender: [{"budget", "spent", "mean", "low", "high", "n"}]},
                                  "slopes": {contender: {"mean", "low", "high", "n", "intercept"}},
                                  "pairs": [{"a", "b", "difference", "low", "high", "p", "p_holm", "n", "verdict"}],
                                  "orders": [{"budget", "order": [contender]}]}

Where the contenders are models, put to several tasks, besides (``evaluated`` and ``checklist`` make it):

    systems                      true
    leading                      [measure]: the mean win rate, then the first measure of each task, which is the family
    tasks                        {label: {"config", "title", "source", "examples": n, "said": {topic: text},
                                          "measures": [measure]}}
    calibration                  {label: {contender: {"groups": [{"confidence", "accuracy", "low", "high", "n"}], "n",
                                                      "ece_mass", "ece_width"}}}
    spreads                      {label: {contender and way: {"name": contender, "rates": [accuracy of each format],
                                                              "observed": [spread], "null": [count per bin], "p": []}}}
    checklist                    [{"topic", "question", "answer": "" where the run does not say}]

and of each contender "facts" of the model, and "absent": {measure: {"word": "not applicable"|"failed", "why"}}. Outputs
of examples may hold "choices": [{"text", "tokens": [[text, log-probability]], "right", "taken"}], "tokens" of what was
written, "copies": [[perturbation, text]], and "spread": {way: {"rates", "observed", "null", "p"}} of formats.

Contenders that are not applicable have no measures and no spent, only a note. Strings come from models: they may hold
anything, markup and lone surrogates included.
"""

from typing import Any


def example_report() -> dict[str, Any]:
    """A small report with every part of the data model, for tests and for looking at the page."""
    text = "The cat sat on the mat. The cat sat on the mat."
    spans = [
        {"text": text[:24], "kind": "plain"},
        {"text": text[24:40], "kind": "accepted"},
        {"text": text[40:], "kind": "drafted"},
    ]
    return {
        "title": "Decoding on tiny",
        "kind": "decoding",
        "question": "Which decoding is best by continuation, at 64 new_tokens per example?",
        "once": False,
        "task": {"name": "continuation", "config": "continuation", "examples": 2},
        "system": {"name": "tiny", "config": "tiny", "fingerprint": "ab12"},
        "budget": {"unit": "new_tokens", "amount": 64.0, "tolerance": 0.02, "text": "64 new_tokens"},
        "baseline": "greedy",
        "smoke": False,
        "measures": [
            {"name": "logprob", "title": "mean log-probability", "higher_is_better": True, "unit": "nats/token"},
            {"name": "repetition", "title": "repeated 4-grams", "higher_is_better": False, "unit": ""},
        ],
        "units": {
            "new_tokens": "tokens generated",
            "seconds": "wall-clock seconds",
            "calls": "forward passes of a model",
        },
        "contenders": [
            _contender("greedy", "greedy", -1.0, 0.4, 2.0, lossless=True, baseline=True),
            _contender("contrastive_search", "contrastive_search(k=8)", -1.4, 0.05, 2.9, note="untuned"),
            {
                "name": "speculative",
                "config": "speculative",
                "lossless": True,
                "baseline": False,
                "note": "not applicable, needs truncate",
                "measures": {},
                "by_group": {},
                "spent": {},
                "failed": [],
                "tuned": [],
            },
        ],
        "pairs": [
            {
                "a": "contrastive_search",
                "b": "greedy",
                "measure": "repetition",
                "difference": -0.35,
                "low": -0.5,
                "high": -0.2,
                "p": 0.001,
                "p_holm": 0.002,
                "verdict": "supported",
                "n": 24,
                "clusters": 12,
                "method": "cluster bootstrap",
                "detectable": 0.1,
                "correlation": 0.3,
            },
            {
                "a": "contrastive_search",
                "b": "greedy",
                "measure": "logprob",
                "difference": -0.4,
                "low": -0.9,
                "high": 0.1,
                "p": 0.11,
                "p_holm": 0.11,
                "verdict": "not visible at this scale",
                "n": 24,
                "clusters": 12,
                "method": "cluster bootstrap",
                "detectable": 0.7,
                "correlation": 0.1,
            },
        ],
        "by_group": [],
        "examples": [
            {
                "id": "chat-1",
                "group": "chat",
                "seed": 0,
                "prompt": "Tell me about <b>cats</b>",
                "outputs": {
                    "greedy": {"text": text, "spans": spans, "values": {"logprob": -1.0}, "html": None, "error": ""},
                    "contrastive_search": {
                        "text": "\u202egnihtyna\u202c \ud83d <script>alert(1)</script>",
                        "spans": [],
                        "values": {},
                        "html": None,
                        "error": "",
                    },
                },
            },
            {
                "id": "code-1",
                "group": "code",
                "seed": 0,
                "prompt": "def add(a, b):",
                "outputs": {
                    "greedy": {
                        "text": "",
                        "spans": [],
                        "values": {},
                        "html": None,
                        "error": "BudgetExceeded: spent 80 of 64",
                    }
                },
            },
        ],
        "curves": {
            "greedy": {
                "0": [
                    {"step": s, "flops": s * 1e9, "tokens": s * 512, "loss": 5 / (s + 1), "bits_per_byte": 7 / (s + 1)}
                    for s in range(5)
                ]
            }
        },
        "tuning": {"trials": 0, "split": "validation", "counted": "not tuned"},
        "statistics": {
            "interval": "cluster bootstrap, 10000 resamples",
            "family": "2 pairs",
            "seed": 0,
            "confidence": 0.95,
        },
        "provenance": {"made": "2026-01-01T00:00:00+00:00", "versions": {"trivium": "0.1.0"}, "seeds": [0, 1]},
        "command": "trivium compare --again runs/decoding",
    }


def _contender(
    name: str,
    config: str,
    logprob: float,
    repetition: float,
    seconds: float,
    *,
    lossless: bool = False,
    baseline: bool = False,
    note: str = "",
) -> dict[str, Any]:
    around = lambda mean, half: {"mean": mean, "low": mean - half, "high": mean + half, "n": 24, "clusters": 12}  # noqa: E731
    spread = lambda middle: {"median": middle, "total": 24 * middle, "low": middle * 0.9, "high": middle * 1.2}  # noqa: E731
    return {
        "name": name, "config": config, "lossless": lossless, "baseline": baseline, "note": note,
        "measures": {"logprob": around(logprob, 0.2), "repetition": around(repetition, 0.03)},
        "by_group": {"chat": {"logprob": logprob, "repetition": repetition}},
        "spent": {"new_tokens": spread(64.0), "seconds": spread(seconds), "calls": spread(64.0)},
        "failed": [], "tuned": [],
    }  # fmt: skip
