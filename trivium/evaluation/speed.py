"""Speed: how fast a decoder writes, and which of its passes, drafts and bytes say why.

Source
    tau, acceptance and the bound: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding",
    arXiv:2211.17192, sections 3.3 and 3.4; for trees tau as the block efficiency of Jeon et al. 2024, "Recursive
    Speculative Decoding", arXiv:2402.14160. The protocol is ours.
Equation
    speed = (tokens - those of the first pass) / (seconds - seconds up to the first pass, the prompt's)
    tau = committed tokens / (target passes x rows),   acceptance = accepted / verified drafts
    bound on the ratio to plain decoding = tau / (v(N) + drafting / t(1)),   v(N) = t(N) / t(1)
    reference, were acceptance independent and of one mean A over g drafts:  (1 - A^(g+1)) / (1 - A)
    reference by depth:  1 + a_1 + a_1 a_2 + ...,   a_d = accepted / (accepted + rejected) at depth d
    in both, where passes differ in g, the term of depth d counts by the share of passes that draft so deep
Shapes
    prompts of one kind (rows, longest), padded on the left -> an Observation with one number per measure
Cost
    Per example and contender, once in a process: the warm-ups, plain greedy, and pass times of each width. Per repeat:
    one timed run, and one to the natural end where the text has one within its limit.
Caveats
    N is the mean width of a pass, the pending token included, and t is taken in the middle of the text. Drafts whose
    time hides in the target's own pass (hidden transfer) are in t(N) only by their width. The text runs on to the
    limit past its end, so that all write equally much. Batches share prompts with each other: an example's cluster is
    its first prompt, which leaves a little dependence between clusters. Half precision flips near-ties, so that a
    lossless decoder may leave the plain text: where, and by what gap between the two likeliest tokens there, is
    reported. The prompts are the built-in validation ones, because defaults of drafters were chosen on the test ones.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from trivium.core import meter, seeds
from trivium.core.method import find, method
from trivium.core.nouns import Example, Generation, Measure, Observation, Stop, Trace
from trivium.core.protocols import Decoder, LanguageModel
from trivium.data import prompts as built_in
from trivium.data import splits
from trivium.evaluation._watched import Seen, parameters_beside, watched
from trivium.models.system import System

DEPTHS = 8
"""Depths whose acceptance is noted one by one."""
PASSES = 5
"""Passes of each width that are timed."""


@dataclass(frozen=True)
class Run:
    """One timed run, with what was found out about it before."""

    made: Generation
    seconds: float
    seen: Seen
    plain: Generation
    natural: tuple[int, float] | None = None
    """Tokens and seconds of decoding where each row may end by itself."""
    gaps: Sequence[float] = ()
    """Between the two likeliest tokens where a row leaves the plain text."""
    one: float = 0.0
    """Seconds of a target pass over 1 position a row."""
    wide: float = 0.0
    """Seconds of one over as many as the run's passes have."""
    parameters: int = 0


@method(title="Speed of decoding", source="arXiv:2211.17192", year=2023, needs=["causal"])
@dataclass(frozen=True)
class Speed:
    """Equally many new tokens for every decoder, on prompts of three kinds, one by one and in batches, in turns."""

    prompts: Sequence[Example] = ()
    """What to go on from, the kind as 'kind' or 'group' of each; the built-in prompts where none are given."""
    rows: tuple[int, ...] = (1, 4)
    """Sizes of batches; a batch holds prompts of one kind that follow on each other."""
    count: int = 5
    """Examples of each kind and size of batch."""
    limit: int = 64
    """New tokens a row, where the budget is not in new tokens itself."""
    warmups: int = 2
    """Runs of each decoder on each example that are not timed; the first is watched."""

    timed: ClassVar[bool] = True
    measures: ClassVar[Sequence[Measure]] = (
        Measure("speed", "New tokens per second, after the prompt", True, ratio=True),
        Measure("tau", "Tokens per target pass and row", True),
        Measure("agreement", "Rows equal to plain greedy", True),
        Measure("first_difference", "Tokens before the first difference to plain greedy", None),
        Measure("gap", "Gap of the two likeliest tokens there", None, "nats"),
        Measure("whole_speed", "New tokens per second, prompt included", None, ratio=True),
        Measure("natural_speed", "New tokens per second to the natural end", None, ratio=True),
        Measure("natural_tokens", "New tokens a row to the natural end", None),
        Measure("prefill", "Seconds up to the first token", None, "s"),
        Measure("acceptance", "Accepted of verified drafts", None),
        Measure("bound", "Bound on the ratio to plain decoding", None),
        Measure("independent", "Tokens per pass, were acceptance independent", None),
        Measure("by_depth", "Tokens per pass by the acceptance at each depth", None),
        Measure("width", "Positions a row in a target pass", None),
        Measure("pass_cost", "v: time of such a pass over one of 1 position", None),
        Measure("draft_cost", "c: time of a draft pass over a target pass", None),
        Measure("target_passes", "Target passes per new token of a row", None),
        Measure("target_positions", "Target positions per new token", None),
        Measure("draft_passes", "Draft passes per new token of a row", None),
        Measure("draft_positions", "Draft positions per new token", None),
        Measure("cache_bytes", "Peak bytes of caches", None, "B"),
        Measure("parameters", "Parameters beside the target's", None),
    )

    def __post_init__(self) -> None:
        if not self.rows or min(self.rows) < 1 or len(set(self.rows)) < len(self.rows):
            raise ValueError(f"rows are different sizes of batches of at least 1, got {self.rows}")
        if self.count < 1 or self.limit < 2 or self.warmups < 1:
            raise ValueError(
                f"count and warmups must be at least 1, and limit at least 2 tokens to have a rate; got "
                f"count={self.count}, warmups={self.warmups}, limit={self.limit}"
            )
        for prompt in self.prompts:
            if not isinstance(prompt, Example) or not prompt.text:
                raise ValueError(f"a prompt is an Example(id, text) with some text, got {prompt!r}")

    def examples(self, split: str) -> Sequence[Example]:
        """Batches of the prompts of each kind; those for tuning are the built-in test ones, the wrong way round."""
        splits.check(split)
        if split == "validation" and self.prompts:
            return ()
        given = self.prompts or built_in.prompts("validation" if split == "test" else "test")
        kinds: dict[str, list[Example]] = {}
        for prompt in given:
            kinds.setdefault(str(prompt.fields.get("kind") or prompt.fields.get("group") or "prompts"), []).append(
                prompt
            )
        return [
            _batch(kind, [own[(start + row) % len(own)] for row in range(rows)])
            for kind, own in kinds.items()
            for rows in self.rows
            for start in range(min(self.count, len(own)))
        ]

    def prompt(self, system: System, example: Example) -> str:
        """The longest text of the batch, as the model is given it: what has to fit."""
        return max(_texts(system, example), key=lambda text: system.prompt(text).shape[1])

    def run(self, decoder: Decoder, system: System, example: Example, limit: int, generator: torch.Generator) -> Run:
        """Warm up where this process has not yet, time one run, and look at what it wrote."""
        if limit < 2:
            raise ValueError(f"a rate after the first token needs a limit of at least 2 new tokens, got {limit}")
        model, (ids, mask) = system.model, batch_of(system, example)
        known = _known.setdefault(model, {})

        def once(stop: Stop = Stop()) -> tuple[Generation, float]:
            _wait(model)
            started = time.perf_counter()
            made = decoder(model, ids, limit=limit, generator=generator, mask=mask, stop=stop)
            _wait(model)
            return made, time.perf_counter() - started

        here = (example.id, example.text, limit)
        plain = _at(known, (*here, "plain"), lambda: _plain(model, ids, mask, limit))

        def warm() -> tuple[object, Seen, int]:
            with watched(model) as seen:
                made, _ = once()
            for _ in range(self.warmups - 1):
                once()
            # The decoder is kept, so that no other one can come to have its id.
            return decoder, seen(made.trace), parameters_beside(decoder, model, seen)

        _, seen, parameters = _at(known, (*here, id(decoder)), warm)
        made, seconds = once()
        natural = None
        ends = set(system.stop.tokens)
        if any(ends.intersection(made.row(row).tolist()) for row in range(len(ids))):
            with meter.aside():
                ended, long = once(system.stop)
            natural = _after_first(ended, long)
        width = max(1, round(mean(seen.widths))) if seen.widths else 1
        middle = lambda: _middle(model, ids, mask, plain)  # noqa: E731
        cost = lambda n: _at(known, (*here, "pass", n), lambda: _pass_seconds(middle(), n))  # noqa: E731
        wide, one = cost(width)
        gaps = [
            _at(known, (*here, "gap", row, at), lambda r=row, t=at: _gap(model, ids, mask, plain, r, t))
            for row, at in enumerate(_differences(made, plain))
            if at is not None
        ]
        return Run(made, seconds, seen, plain, natural, gaps, one, wide, parameters)

    def score(self, system: System, example: Example, output: Run) -> Observation:
        made, trace, seen = output.made, output.made.trace, output.seen
        rows, tokens = len(made.ids), int(made.lengths.sum())
        counted, decoding = _after_first(made, output.seconds)
        if not counted:
            raise ValueError(
                f"only the first pass wrote anything for {example.id!r}: there is no rate; raise the limit"
            )
        each = tokens / rows
        apart = [
            len(output.plain.row(row)) if at is None else at for row, at in enumerate(_differences(made, output.plain))
        ]
        equal = [at is None for at in _differences(made, output.plain)]
        values: dict[str, float | None] = {
            "speed": counted / decoding,
            "tau": trace.mean_accepted_length or None,
            "agreement": sum(equal) / rows,
            "first_difference": mean(apart),
            "gap": mean(output.gaps) if output.gaps else None,
            "whole_speed": tokens / output.seconds,
            "prefill": output.seconds - decoding,
            "acceptance": trace.acceptance_rate,
            "target_passes": seen.passes / each,
            "target_positions": seen.positions / tokens,
            "draft_passes": seen.draft_passes / each,
            "draft_positions": seen.draft_positions / tokens,
            "cache_bytes": seen.cache_bytes or None,
            "parameters": output.parameters,
            "width": mean(seen.widths) if seen.widths else None,
        }
        natural = output.natural or (counted, decoding)
        if natural[0]:
            values |= {"natural_speed": natural[0] / natural[1], "natural_tokens": (natural[0] + rows) / rows}
        values |= explained(trace, output.one, output.wide)
        by_depth = {name: trace.by_depth(name) for name in ("verified", "accepted", "rejected")}
        for depth, (verified, accepted) in enumerate(
            zip(by_depth["verified"][:DEPTHS], by_depth["accepted"][:DEPTHS], strict=True), 1
        ):
            values[f"acceptance_{depth}"] = accepted / verified if verified else None
        texts = [system.tokenizer.decode(made.row(row).tolist()) for row in range(rows)]
        return Observation(
            {name: float(value) for name, value in values.items() if value is not None},
            {
                "text": "\n\n· · ·\n\n".join(texts),
                "by_depth": by_depth,
                "ids": [made.row(n).tolist() for n in range(rows)],
            },
        )


def explained(trace: Trace, one: float, wide: float) -> dict[str, float | None]:
    """What the trace and the times of passes say about the speed: v, c, the bound, and the two references."""
    accepted, rejected, verified = (trace.by_depth(name) for name in ("accepted", "rejected", "verified"))
    passes = len(trace.iterations)
    drafting = trace.seconds.get("draft")
    values: dict[str, float | None] = {}
    if drafting is not None and passes and one:
        values["pass_cost"] = wide / one
        values["bound"] = trace.mean_accepted_length / (wide / one + drafting / passes / one)
        drafts = trace.total("draft_passes")
        values["draft_cost"] = drafting / drafts / one if drafts else None
    elif "choose" in trace.seconds:  # plain decoding
        values |= {"pass_cost": 1.0, "bound": 1.0}
    tested = sum(accepted) + sum(rejected)
    if tested:
        row_passes = trace.total("rows")
        shares = [min(1.0, count / row_passes) for count in verified]
        values["independent"] = _chained([sum(accepted) / tested] * len(verified), shares)
        rates = [a / (a + r) if a + r else 0.0 for a, r in zip(accepted, rejected, strict=True)]
        values["by_depth"] = _chained(rates, shares)
    return values


def _chained(rates: Sequence[float], shares: Sequence[float]) -> float:
    """1 + s_1 a_1 + s_2 a_1 a_2 + ..., where s_d is the share of rows and passes with drafts as deep as d."""
    total = taken = 1.0
    for rate, share in zip(rates, shares, strict=True):
        taken *= rate
        total += taken * share
    return total


# Made and timed -----------------------------------------------------------------------------------------------------

_known: WeakKeyDictionary[LanguageModel, dict[Any, Any]] = WeakKeyDictionary()
"""What is found out once per process: warm decoders, plain texts, times of passes."""


def _at(known: dict[Any, Any], key: Any, find_out: Callable[[], Any]) -> Any:
    if key not in known:
        with meter.aside():
            known[key] = find_out()
    return known[key]


def _batch(kind: str, prompts: Sequence[Example]) -> Example:
    size, first = len(prompts), prompts[0].id
    return Example(
        f"{first}, batch {size}",
        "\n\n· · ·\n\n".join(prompt.text for prompt in prompts),
        cluster=first,
        fields={
            "group": f"{kind}, batch {size}",
            "rows": size,
            "texts": [prompt.text for prompt in prompts],
            "chat": [bool(prompt.fields.get("chat")) for prompt in prompts],
        },
    )


def _texts(system: System, example: Example) -> list[str]:
    chat = example.fields["chat"]
    return [system.chat(text) if is_chat else text for text, is_chat in zip(example.fields["texts"], chat, strict=True)]


def batch_of(system: System, example: Example) -> tuple[Tensor, Tensor | None]:
    """(rows, longest) ids with padding on the left, and the mask where rows differ in length."""
    rows = [system.prompt(text)[0] for text in _texts(system, example)]
    longest = max(map(len, rows))
    ids = torch.stack([torch.cat([row.new_zeros(longest - len(row)), row]) for row in rows])
    if min(map(len, rows)) == longest:
        return ids, None
    padding = torch.tensor([longest - len(row) for row in rows], device=ids.device)
    return ids, torch.arange(longest, device=ids.device) >= padding[:, None]


def _plain(model: LanguageModel, ids: Tensor, mask: Tensor | None, limit: int) -> Generation:
    greedy = find("decoding", "greedy")()
    return greedy(model, ids, limit=limit, generator=seeds.generator(0, device=model.device), mask=mask)


def _after_first(made: Generation, seconds: float) -> tuple[int, float]:
    """Tokens that came after the first pass, and the seconds that they took. ``first`` in a trace's first iteration
    says how many tokens that pass gave, where it was not one a row."""
    entries = made.trace.iterations
    first = entries[0].get("first", len(made.ids)) if entries else len(made.ids)
    return int(made.lengths.sum()) - first, seconds - made.trace.seconds.get("prefill", 0.0)


def _differences(made: Generation, plain: Generation) -> list[int | None]:
    """Per row the place of the first token that is not the plain text's; None where there is none."""
    found: list[int | None] = []
    for row in range(len(made.ids)):
        ours, theirs = made.row(row).tolist(), plain.row(row).tolist()
        same = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        found.append(same if same is not None or len(ours) == len(theirs) else min(len(ours), len(theirs)))
    return found


def _middle(
    model: LanguageModel, ids: Tensor, mask: Tensor | None, plain: Generation
) -> Callable[[int], Callable[[], object]]:
    """Width -> a pass over so many positions, in the middle of the text."""
    half = max(1, plain.ids.shape[1] // 2)
    text = torch.cat([ids, plain.ids[:, :half]], 1)
    real = None if mask is None else torch.cat([mask, torch.ones_like(plain.ids[:, :half], dtype=torch.bool)], 1)
    with torch.inference_mode():
        state = model(text, mask=real, keep_state=True, logits_to_keep=1).state
    return lambda width: lambda: model(text[:, -1:].repeat(1, width), state=state, keep_state=True)


def _pass_seconds(feed: Callable[[int], Callable[[], object]], width: int) -> tuple[float, float]:
    """Median seconds of a pass over ``width`` positions and of one over 1, taken in turns."""

    def seconds(width: int) -> float:
        started = time.perf_counter()
        feed(width)()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with torch.inference_mode():
        pairs = [(seconds(width), seconds(1)) for _ in range(PASSES + 2)][2:]
    return median(wide for wide, _ in pairs), median(one for _, one in pairs)


def _gap(model: LanguageModel, ids: Tensor, mask: Tensor | None, plain: Generation, row: int, at: int) -> float:
    """Log-probability of the likeliest token minus that of the second, after so many tokens of a plain text."""
    prompt = ids[row] if mask is None else ids[row, mask[row]]
    with torch.inference_mode():
        out = model(torch.cat([prompt, plain.ids[row, :at]])[None], logits_to_keep=1)
    first, second = out.logits[0, -1].float().topk(2).values.tolist()
    return first - second


def _wait(model: LanguageModel) -> None:
    """For the device to finish what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
