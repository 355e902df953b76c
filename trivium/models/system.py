"""A system: a model together with the tokenizer whose ids it speaks."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import card_of
from trivium.core.nouns import Stop
from trivium.core.prompt import PromptPlan, Segments
from trivium.core.protocols import Decoder, LanguageModel, Tokenizer
from trivium.core.streaming import TextStream, listening
from trivium.tokenization.huggingface import HuggingFaceTokenizer


@dataclass(frozen=True)
class System:
    """A language model and its tokenizer, with where they came from.

    ``fingerprint`` is the SHA-256 over the files of weights, configuration and tokenizer, "" for a model that was made
    in memory; ``source`` is the folder or hub identifier; ``ends`` are tokens that end a text besides the tokenizer's
    eos. Raises ValueError where the tokenizer has more ids than the model.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    name: str
    fingerprint: str = ""
    source: str = ""
    ends: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.tokenizer.vocab_size > self.model.vocab_size:
            raise ValueError(
                f"{self.name}: the tokenizer has {self.tokenizer.vocab_size} ids but the model only "
                f"{self.model.vocab_size}; they do not belong together"
            )

    @property
    def precision(self) -> str:
        """The number format of the weights, by the name that ``load`` takes."""
        return self.model.precision

    @property
    def serial(self) -> int:
        """Tells this model from every other of the process."""
        return self.model.serial

    @property
    def stop(self) -> Stop:
        """The tokens at which this model ends what it writes."""
        eos = () if self.tokenizer.eos is None else (self.tokenizer.eos,)
        return Stop(tokens=tuple(dict.fromkeys((*eos, *self.ends))))

    def prompt(self, text: str) -> Tensor:
        """(1, time) ids, with what the tokenizer wants before every text. Raises ValueError for an empty prompt."""
        ids, opening = self.tokenizer.encode(text), list(getattr(self.tokenizer, "opening", ()))
        if ids[: len(opening)] != opening:
            ids = opening + ids
        if not ids:
            raise ValueError(f"the prompt is empty and {self.name} has no token to begin with; give it some text")
        return torch.tensor([ids], device=self.model.device)

    def blocks(self, segments: Segments) -> list[list[int] | list[list[int]]]:
        """The ids of each segment of a structured prompt, a set as a list of its parts. Each text is cut into tokens by
        itself; before the first stands what the tokenizer wants before every text."""
        opening: list[int] = list(getattr(self.tokenizer, "opening", ()))

        def cut(text: str) -> list[int]:
            ids = self.tokenizer.encode(text)
            return ids[len(opening) :] if opening and ids[: len(opening)] == opening else ids

        made: list[list[int] | list[list[int]]] = []
        if opening:
            made.append(opening)
        for one in segments:
            made.append(cut(one) if isinstance(one, str) else [cut(text) for text in one.texts])
        return made

    def plan(self, segments: Segments, *, canonical: bool = True) -> PromptPlan:
        """A structured prompt laid out for this model, such as plan(["Which is red?", Parts(" sky", " blood")]):
        the parts of a set have no order. ``model.planned.prefill`` and every decoder take it (``prompt.pack``)."""
        return PromptPlan.of(self.blocks(segments), canonical=canonical).to(self.model.device)

    def chat(self, text: str) -> str:
        """The text as a user's message in the model's chat template; unchanged where there is none."""
        return self.tokenizer.chat(text) if isinstance(self.tokenizer, HuggingFaceTokenizer) else text

    def fit(self, method: Any) -> Any:
        """The method, with this system's tokenizer wherever it, or a method inside it, asks for one and has none."""
        if dataclasses.is_dataclass(method) and not isinstance(method, type):
            parts = {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.init}
            inner = {name: self.fit(part) for name, part in parts.items() if card_of(part).kind}
            if any(inner[name] is not parts[name] for name in inner):
                method = dataclasses.replace(method, **inner)  # type: ignore[type-var]
        fitted = getattr(method, "fitted", None)
        return method if fitted is None else fitted(self.tokenizer)

    def write(
        self, text: str, decoder: Decoder, *, limit: int, seed: int = 0, show: Callable[[str], None] | None = None
    ) -> str:
        """What the model writes after the text, at most ``limit`` tokens; ``show`` is given it piece by piece."""
        generator = seeds.generator(seed, "write", device=self.model.device)
        with torch.no_grad(), self.shown(show):
            made = self.fit(decoder)(self.model, self.prompt(text), limit=limit, generator=generator, stop=self.stop)
        return self.tokenizer.decode(made.row(0).tolist())

    @contextmanager
    def shown(self, show: Callable[[str], None] | None) -> Iterator[None]:
        """Within the block, text that a decoder makes is given to ``show`` as it is committed, stop tokens left out."""
        if show is None:
            yield
            return
        stream = TextStream(lambda ids: self.tokenizer.decode(list(ids)), show, self.stop.tokens)
        with listening(stream):
            yield
        stream.close()


def same_vocabulary(a: System, b: System) -> None:
    """Raise ValueError unless a token id means the same to both, as a draft model and its target need."""
    if a.model.vocab_size != b.model.vocab_size:
        raise ValueError(_mismatch(a, b, f"{a.model.vocab_size} and {b.model.vocab_size} tokens"))
    if a.tokenizer.vocab_size != b.tokenizer.vocab_size:
        raise ValueError(_mismatch(a, b, f"tokenizers of {a.tokenizer.vocab_size} and {b.tokenizer.vocab_size} ids"))
    for role in ("bos", "eos"):
        ours, theirs = getattr(a.tokenizer, role), getattr(b.tokenizer, role)
        if ours != theirs:
            raise ValueError(_mismatch(a, b, f"{role} tokens {ours} and {theirs}"))
    for id in range(a.tokenizer.vocab_size):
        ours, theirs = a.tokenizer.bytes_of(id), b.tokenizer.bytes_of(id)
        if ours != theirs:
            raise ValueError(_mismatch(a, b, f"token {id}, which is {ours!r} and {theirs!r}"))


def _mismatch(a: System, b: System, difference: str) -> str:
    return (
        f"{a.name} and {b.name} do not share a vocabulary: they differ in {difference}. "
        "Choose a draft model with the tokenizer of its target, or a drafter without a model, such as prompt_lookup"
    )
