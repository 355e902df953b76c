"""``trivium generate``."""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from trivium.cli._print import print_json
from trivium.compare.contender import build, describe
from trivium.core.meter import Meter
from trivium.core.seeds import generator
from trivium.core.text import printable
from trivium.models.sources import load


@dataclass(frozen=True)
class Command:
    """Continue a prompt with any decoder.

    Example: trivium generate "Once upon a time" --model tiny --decoder "min_p(floor=0.05)"

    The prompt is read from standard input where none is given.
    """

    prompt: Positional[str | None] = None
    """Text to continue; '-' or nothing reads standard input."""
    model: str = "smollm2-135m"
    """A folder, a known name (tiny, smollm2-135m, gemma3-270m) or a hub identifier."""
    decoder: str = "greedy"
    """A method of the kind decoding, written like a call."""
    limit: int = 128
    """New tokens at most."""
    seed: int = 0
    """Seed of the draws; the same seed gives the same text."""
    chat: bool = False
    """Put the prompt into the model's chat template first."""
    dtype: Literal["float32", "bfloat16", "float64", "int8"] = "float32"
    """Precision of the weights; int8 halves what a token reads of bfloat16 weights, at a small cost in quality."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    compile: bool = False
    """Compile the decoding step: slow to start, faster for long texts."""
    json: Annotated[bool, arg(name="json")] = False
    """Print text, ids, log-probabilities, costs and acceptance as JSON."""

    def run(self) -> int:
        decoder = build("decoding", self.decoder)
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1 new token, got {self.limit}")
        text = self.prompt if self.prompt not in (None, "-") else sys.stdin.read()
        if not text:
            raise ValueError("the prompt is empty; give some text to continue")
        system = load(self.model, dtype=self.dtype, compile=self.compile, device=self.device)
        prompt = system.prompt(system.chat(text) if self.chat else text)
        with Meter() as meter, system.shown(None if self.json else _print):
            made = system.fit(decoder)(
                system.model,
                prompt,
                limit=self.limit,
                generator=generator(self.seed, "generate"),
                stop=system.stop,
            )
        new = made.row(0).tolist()
        if not self.json:
            print()
        else:
            print_json(
                {
                    **({"reason": made.reasons[0]} if 0 in made.reasons else {}),
                    "text": system.tokenizer.decode(new[:-1] if new and new[-1] in system.stop.tokens else new),
                    "ids": new,
                    "logprobs": made.logprobs[0, : len(new)].tolist(),
                    "decoder": describe(decoder),
                    "model": system.name,
                    "spent": meter.spent.to_dict(),
                    "mean_accepted_length": made.trace.mean_accepted_length,
                    "acceptance_rate": made.trace.acceptance_rate,
                }
            )
        if 0 in made.reasons:
            print(f"trivium: nothing was written: {made.reasons[0]}", file=sys.stderr)
            return 1
        return 0


def _print(text: str) -> None:
    """Show a piece of text. A terminal would obey escape sequences that the model wrote; a file is to hold them."""
    raw = text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    print(printable(text) if sys.stdout.isatty() else raw, end="", flush=True)
