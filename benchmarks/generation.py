"""Plain generation against ``transformers.generate`` on the same weights: greedy one row at a time in float32,
bfloat16 and compiled bfloat16, and 32 rows of unequal length together.

Both sides run the same module in the same process, greedily, to the same number of new tokens.

What holds the 32 rows back (torch profiler, two cores with AVX2): four fifths of a step are products with the weights
and a tenth is attention, the same kernels on both sides. What is saved is the common beginning of the prompts, which is
passed once for all rows. In bfloat16 these processors have no instructions, so that most of the gain is that products
with several positions are made in float32.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.pairs import interleaved
from trivium.core.seeds import generator
from trivium.data.prompts import prompts
from trivium.decoding.greedy import Greedy
from trivium.models.huggingface import HuggingFaceModel, wrap
from trivium.models.sources import load
from trivium.models.system import System

NEW = 64


def run(model_name: str = "smollm2-135m", *, new: int = NEW, repeats: int = 3, rows: int = 32) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for dtype in ("float32", "bfloat16"):
        system = load(model_name, dtype=dtype)
        model = _adapter(system)
        one = [system.prompt(system.chat(prompts()[0].text))]
        chats = [item for item in prompts() if item.fields["kind"] == "chat"]
        many = [system.prompt(system.chat(item.text)) for item in _cycle(chats, rows)]
        cases = [(f"greedy / generate, one row, {dtype}", model, one, 1.0)]
        if dtype == "bfloat16":
            cases.append(("greedy / generate, one row, bfloat16, compiled", wrap(model.inner, compile=True), one, 1.4))
        else:
            cases.append((f"greedy / generate, {rows} rows, {dtype}", model, many, 1.3))
        for what, ours, asked, target in cases:
            ids, mask = _padded(asked)
            ratio = interleaved(
                what,
                _ours(ours, ids, mask, new),
                _transformers(model, ids, mask, new),
                repeats=repeats,
                warmup=1,
                target=target,
            )
            found.append(ratio.to_dict())
            speed = len(asked) * new
            notes.append(
                f"{what}: {speed / ratio.ours_seconds:.1f} tokens/s against {speed / ratio.peer_seconds:.1f}"
                f" ({torch.get_num_threads()} threads)"
            )
    return {"rows": found, "notes": notes}


def _adapter(system: System) -> HuggingFaceModel:
    if not isinstance(system.model, HuggingFaceModel):
        raise TypeError(f"{system.name} is no Hugging Face model, so there is nothing of transformers to compare with")
    return system.model


def _cycle(items: Any, count: int) -> list[Any]:
    """``count`` items, beginning again after the last."""
    items = list(items)
    return [items[index % len(items)] for index in range(count)]


def _padded(asked: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Prompts (1, time) as (rows, time) with padding on the left, and the mask of real tokens."""
    width = max(prompt.shape[1] for prompt in asked)
    ids = torch.zeros(len(asked), width, dtype=torch.int64)
    mask = torch.zeros(len(asked), width, dtype=torch.bool)
    for row, prompt in enumerate(asked):
        ids[row, width - prompt.shape[1] :] = prompt[0]
        mask[row, width - prompt.shape[1] :] = True
    return ids, mask


def _ours(model: HuggingFaceModel, ids: Tensor, mask: Tensor, new: int) -> Callable[[], Any]:
    return lambda: Greedy()(model, ids, limit=new, generator=generator(0, "benchmark"), mask=mask)


def _transformers(model: HuggingFaceModel, ids: Tensor, mask: Tensor, new: int) -> Callable[[], Any]:
    def generate() -> Any:
        never = model.vocab_size  # ``min_new_tokens`` would change the text where an end token is the likeliest
        return model.inner.generate(  # type: ignore[operator]
            ids, attention_mask=mask.long(), do_sample=False, max_new_tokens=new, eos_token_id=never, pad_token_id=0
        )

    return generate
