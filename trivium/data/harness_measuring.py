"""What a task file says of answers: by which metrics they are measured, behind which filters, how they are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trivium.core.errors import did_you_mean
from trivium.data import overlaps
from trivium.data.harness_files import Config

Output = Literal["multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until"]
METRICS: Mapping[Output, tuple[str, ...]] = {
    "multiple_choice": ("acc", "f1", "acc_norm", "acc_bytes", "exact_match", "brier_score", "acc_mutual_info"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match", *overlaps.TOGETHER, *overlaps.ALONE),
}
"""What each sort of task can be measured by, in the order of the harness's own records."""
BY_DEFAULT: Mapping[Output, tuple[str, ...]] = {
    **METRICS,
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
AGGREGATIONS = {
    "brier_score": "brier_score",
    "f1": "f1",
    "perplexity": "perplexity",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "bits_per_byte": "bits_per_byte",
    **{name: name for name in overlaps.TOGETHER},
}
"""How the harness makes one number of a metric's, where it is not the mean."""
LIMIT = 256
"""New tokens of a written answer, where a file does not say."""
FILTERS = ("regex", "take_first", "remove_whitespace", "lowercase")


@dataclass(frozen=True)
class Filtering:
    """What is done to a written text before it is judged: steps with their settings, under a name."""

    name: str = "none"
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = (("take_first", {}),)


@dataclass(frozen=True)
class Writing:
    """Strings that end a written answer, tokens that it has at most, and the temperature, 0 for the likeliest."""

    until: tuple[str, ...]
    limit: int
    temperature: float


def metrics(config: Config, output: Output) -> tuple[str, ...]:
    """What the answers of a task are measured by: of written ones in the order of the file, else in that of METRICS, as
    the harness writes them down."""
    listed = config.get("metric_list")
    if listed is None:
        return BY_DEFAULT[output]
    found = []
    for entry in listed:
        metric = entry.get("metric") if isinstance(entry, Mapping) else None
        if metric not in METRICS[output] or entry.get("hf_evaluate"):
            raise ValueError(
                f"task {config.get('task')}: the metric {metric!r} of {output} is not known"
                f"{did_you_mean(str(metric), METRICS[output])}"
            )
        usual = AGGREGATIONS.get(metric, "mean")
        if entry.get("aggregation", usual) not in (usual, {"mean": "nanmean"}.get(usual)):
            raise ValueError(
                f"task {config.get('task')}: {metric} is put together by {usual}, not "
                f"{entry['aggregation']!r}; leave it out"
            )
        found.append(metric)
    if output == "generate_until":
        return tuple(dict.fromkeys(found))
    return tuple(metric for metric in METRICS[output] if metric in found)


def options(config: Config, metric: str) -> dict[str, Any]:
    """What the file says of a metric besides its name: ignore_case and the like."""
    for entry in config.get("metric_list") or ():
        if entry["metric"] == metric:
            return {k: v for k, v in entry.items() if k not in ("metric", "aggregation", "higher_is_better")}
    return {}


def filters(config: Config, output: Output) -> tuple[Filtering, ...]:
    """What is done to a written answer, by name."""
    found = []
    for one in config.get("filter_list") or ():
        steps = []
        for step in one["filter"]:
            if step.get("function") not in FILTERS:
                raise ValueError(
                    f"task {config.get('task')}: no filter is called {step.get('function')!r}"
                    f"{did_you_mean(str(step.get('function')), FILTERS)}"
                )
            steps.append((step["function"], {key: value for key, value in step.items() if key != "function"}))
        found.append(Filtering(str(one["name"]), tuple(steps)))
    if output != "generate_until" and any(step != "take_first" for one in found for step, _ in one.steps):
        raise ValueError(f"task {config.get('task')}: filters change what a model wrote, and {output} writes nothing")
    return tuple(found) or (Filtering(),)


def kwargs(config: Config) -> dict[str, Any]:
    """The settings of writing as the harness hands them on and writes them down."""
    said, delimiter = config.get("generation_kwargs"), config.get("fewshot_delimiter")
    until = ["\n\n" if delimiter is None else delimiter]
    if said is None:
        return {"temperature": 0.0, "do_sample": False, "max_gen_toks": LIMIT, "until": until}
    said = {key: float(value) if key == "temperature" else value for key, value in said.items()}
    return {**said, "until": said.get("until", until)}


def writing(config: Config) -> Writing:
    """How an answer is written. Raises ValueError for what the writing of answers does not know."""
    said = kwargs(config)
    until = said.pop("until")
    limits = [said.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "max_tokens")]
    limit = next((value for value in limits if value is not None), LIMIT)
    temperature = said.pop("temperature", 0.0)
    drawn = said.pop("do_sample", temperature > 0)
    if not drawn:  # what would narrow a draw changes nothing
        said = {name: value for name, value in said.items() if name not in ("top_p", "top_k")}
    if said:
        raise ValueError(
            f"task {config.get('task')}: generation_kwargs has {', '.join(said)}; until, max_gen_toks, do_sample and "
            "temperature are known"
        )
    ends = tuple(one for one in ([until] if isinstance(until, str) else until) if one)
    return Writing(ends, int(limit), temperature if drawn else 0.0)
