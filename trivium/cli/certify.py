"""``trivium certify``."""

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated

from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.compare.contender import build, describe, parse
from trivium.core.files import write
from trivium.core.progress import progress
from trivium.core.provenance import provenance
from trivium.decoding._certificate import certify
from trivium.models.sources import load


@dataclass(frozen=True)
class Command:
    """Prove on your own model that a lossless decoder is lossless.

    Example: trivium certify decoding/speculative --model smollm2-135m

    Exact greedy equality in float64, and the law of the draws by a chi-square test that a wrong control must fail.
    Exit code 0 for "exact", 1 otherwise.
    """

    method: Positional[str]
    """A lossless decoder written like a call, such as "speculative(drafter=draft_model)"."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier."""
    prompt: tuple[str, ...] = ()
    """Texts for the greedy test; by default made from the vocabulary."""
    limit: int = 32
    """New tokens of each greedy test."""
    draws: int = 50_000
    """Continuations drawn for each chi-square test."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    out: Path | None = None
    """Also write the certificate, with its provenance, as JSON."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        call = parse(self.method.strip().removeprefix("decoding/"))
        method = build("decoding", call)
        system = load(self.model, device=self.device)
        prompts = [system.prompt(text)[0] for text in self.prompt] or None
        with progress(f"certifying {call.name}", 1) as bar:
            found = certify(method, system.model, prompts, limit=self.limit, draws=self.draws, bar=bar)
        document = {
            "method": describe(method),
            "model": system.name,
            "fingerprint": system.fingerprint,
            **found.to_dict(),
            "provenance": provenance(),
        }
        if self.out is not None:
            write(self.out, dumps(document, indent=1) + "\n")
        if self.json:
            print_json(document)
        else:
            out = console()
            out.print(f"[bold]{escape(describe(method))}[/bold] on {escape(system.name)}")
            for line in found.lines():
                out.print(escape(line), style="bold" if line.startswith("verdict") else "")
        return 0 if found.exact else 1
