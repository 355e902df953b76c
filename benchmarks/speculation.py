"""Prompt lookup on copy-heavy prompts, in bfloat16: against our own plain greedy, and against transformers' own.

Beside the ratios it prints the mean accepted length tau and the bound that tau implies: a pass over several positions
costs v times a pass over one, so that the ratio to plain greedy is bound by about tau / v (passes differ in width, and
wide ones are accepted at greater length).

What holds it back where v is large: a processor without bfloat16 instructions multiplies one vector at the speed of
memory, while several need every weight in float32, which doubles what is moved. With such instructions 8 positions cost
1.1 to 1.2 passes over one, and the same drafts would be worth about tau.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.pairs import interleaved, seconds
from trivium.core.nouns import Generation
from trivium.core.protocols import Decoder
from trivium.core.seeds import generator
from trivium.data.prompts import prompts
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.models.sources import load
from trivium.models.system import System

NEW = 96


def run(*, new: int = NEW, repeats: int = 3, count: int = 3) -> dict[str, Any]:
    system = load("smollm2-135m", dtype="bfloat16")
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for kind, plain_target, peer_target in (("copy", 3.0, 1.1), ("chat", None, None)):
        items = [item for item in prompts("validation") if item.fields["kind"] == kind][:count]
        asked = [system.prompt(system.chat(item.text)) for item in items]
        fast = Speculative(PromptLookup())
        plain = _ours(system, asked, Greedy(), new)
        ours = _ours(system, asked, fast, new)
        peer = _transformers(system, asked, new)
        against_plain = interleaved(
            f"prompt lookup / own greedy, {kind}, bfloat16", ours, plain, repeats=repeats, warmup=1, target=plain_target
        )
        against_peer = interleaved(
            f"prompt lookup / transformers' prompt lookup, {kind}, bfloat16",
            ours,
            peer,
            repeats=repeats,
            warmup=1,
            target=peer_target,
        )
        rows += [against_plain.to_dict(), against_peer.to_dict()]
        made = ours()
        passes = sum(entry["rows"] for one in made for entry in one.trace.iterations)
        positions = sum(one.trace.total("target_positions") for one in made) / passes
        tau = sum(one.trace.total("committed") for one in made) / passes
        cost = pass_cost(system, asked[0], round(positions))
        verified = sum(one.trace.total("verified") for one in made)
        rate = sum(one.trace.total("accepted") for one in made) / verified if verified else 0.0
        notes.append(
            f"{kind}: mean accepted length {tau:.2f} (the extra token included), {rate:.0%} of drafts accepted, "
            f"{positions:.1f} positions a pass at {cost:.2f} times the time of one; bound {tau / cost:.2f}, "
            f"reached {against_plain.ratio / (tau / cost):.0%} of it"
        )
    return {"rows": rows, "notes": notes}


def pass_cost(system: System, prompt: Tensor, positions: int, repeats: int = 9) -> float:
    """Time of a pass over so many positions after the prompt, in passes over one."""
    with torch.inference_mode():
        state = system.model(prompt, keep_state=True, logits_to_keep=1).state
        feed = lambda width: system.model(prompt[:, :1].repeat(1, width), state=state)  # noqa: E731
        pairs = [(seconds(lambda: feed(positions)), seconds(lambda: feed(1))) for _ in range(repeats + 2)][2:]
    return statistics.median(many / one for many, one in pairs)


def _ours(system: System, asked: list[Tensor], decoder: Decoder, new: int) -> Callable[[], list[Generation]]:
    return lambda: [decoder(system.model, prompt, limit=new, generator=generator(0)) for prompt in asked]


def _transformers(system: System, asked: list[Tensor], new: int) -> Callable[[], object]:
    """The same number of tokens, the end of the text ignored, as ours."""
    inner: Any = getattr(system.model, "inner")  # noqa: B009
    settings = {"do_sample": False, "min_new_tokens": new, "max_new_tokens": new, "prompt_lookup_num_tokens": 10}
    return lambda: [
        inner.generate(prompt, attention_mask=torch.ones_like(prompt), pad_token_id=0, **settings) for prompt in asked
    ]
