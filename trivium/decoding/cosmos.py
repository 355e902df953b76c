"""COS(M+O)S: a tree search over the steps of a story, guided by a value that likes moderate surprise.

Source
    Materzok 2025, "COS(M+O)S: Curiosity and RL-Enhanced MCTS for Exploring Story Space via Language Models",
    arXiv:2501.17104, abstract.
Equation
    select:  argmax over actions a of  Q(s, a) + c P(s, a) sqrt(sum_b N(s, b)) / (1 + N(s, a))
    U = mean over the tokens of a step of  - log p_ref(y_i | s, y_<i)
    value:  exp(-(U - centre)^2 / (2 spread^2)), or a trained head on the reference's states and surprisals
    back up, once per simulation:  N += 1,  Q += (value - Q) / N  along the way
Shapes
    prompt (batch, time) -> new tokens (batch, at most limit); ``search`` gives a tree per row
Cost
    Per expansion one pass over the way down, one per token of the longest of the siblings, which are written side by
    side, and one over them (two more where the reference is another model); at most ``simulations`` expansions a round.
Caveats
    Made from the paper's abstract and summaries, no code of the authors was found: how surprisal enters the value
    model, all settings, and how reasoning begins and ends are our choices. A step ends with a sentence where the
    tokenizer is known, else at ``step`` tokens. Siblings are evaluated when they are made; a simulation ends at, and
    backs up, one of them, and the others keep their evaluation for Q until they are visited, so root visits equal
    simulations. ``centre`` and ``spread`` belong to a reference and a kind of text: the defaults are those of
    SmolLM2-135M on seven English stories that people wrote, and ``fit`` finds others. A value can be hacked: trees tell
    the mean surprisal and the share of repeated n-grams. The search of ADED has another rule, and roll-outs in place of
    evaluations, so the two share no code.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Generation, Loss, Stop, Trace
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.data.pairs import Pairs
from trivium.data.sentences import ends_sentence
from trivium.decoding._beams import ends
from trivium.decoding._loop import Prompts, Writer, checked_normaliser, prepare
from trivium.decoding._pair import check_room, small_of
from trivium.decoding._pipeline import Pipeline, draw
from trivium.decoding._plots import Step, Tree
from trivium.decoding._puct import By, Node, search
from trivium.decoding._worth import (
    Place,
    Reader,
    Reading,
    ValueHead,
    fitted_to,
    head_loss,
    kappa,
    open_head,
    save_head,
    told,
)

Value = Literal["curve", "model"]
Prior = Literal["uniform", "likelihood"]


@method(title="COS(M+O)S", source="arXiv:2501.17104", year=2025, needs=["causal", "state"])
@dataclass(frozen=True)
class Cosmos:
    """Writes a story step by step along the best way that a tree search finds."""

    siblings: int = 3
    """Steps that are tried at each place (A)."""
    depth: int = 5
    """Steps that a round looks ahead."""
    simulations: int = 50
    """Of a round (I)."""
    exploration: float = 1.0
    """How much a step counts that was taken seldom (c); 0 is greedy."""
    temperature: float = 1.0
    """At which steps are drawn."""
    step: int = 48
    """Tokens of a step at most."""
    reasoning: int = 0
    """Tokens at most that are written before a step and then dropped; 0 for none."""
    cues: tuple[str, str] = ("\n(What could happen next? ", ")\n")
    """Texts before and behind the reasoning."""
    prior: Prior = "uniform"
    """P: alike for all siblings, or by their likelihood per token."""
    best: By = "value"
    """What the best trajectory follows: the highest Q, or most visits."""
    value: Value = "curve"
    """A curve over mean surprisal, or a trained head."""
    centre: float = 3.15
    """Mean surprisal in nats per token that the curve likes best."""
    spread: float = 0.56
    """How far from the centre it still likes."""
    reference: LanguageModel | str | None = None
    """The frozen model that is surprised: a model, a name or folder to load, or None for the one that writes."""
    folder: str = ""
    """Of the trained head, made by ``trivium stories value``."""
    tokenizer: Tokenizer | None = None
    """Says where sentences end; a system fills it in where it is left out."""

    def __post_init__(self) -> None:
        for name in ("siblings", "depth", "simulations", "step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reasoning < 0:
            raise ValueError(f"reasoning must be at least 0 tokens, got {self.reasoning}; 0 is none")
        if not 0 <= self.exploration < math.inf:
            raise ValueError(f"exploration must be at least 0 and finite, got {self.exploration}; 0 is greedy")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}; siblings must differ")
        if not 0 < self.spread < math.inf:
            raise ValueError(f"spread must be positive and finite, got {self.spread}; fit it to stories")
        if not 0 <= self.centre < math.inf:
            raise ValueError(f"centre is a mean surprisal, so at least 0 and finite; got {self.centre}")
        for name, kind in (("value", Value), ("prior", Prior), ("best", By)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {' or '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if (self.value == "model") != bool(self.folder):
            raise ValueError("value='model' and the folder of its head go together: give both or neither")

    def fitted(self, tokenizer: Tokenizer) -> "Cosmos":
        """The same with a tokenizer where none was given."""
        return replace(self, tokenizer=tokenizer) if self.tokenizer is None else self

    def __call__(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        generator: torch.Generator,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
    ) -> Generation:
        prompts, about = self._begin(model, prompt, limit, mask, stop)
        writer, trace = Writer(len(prompt), limit, stop), Trace()
        draws = _streams(generator, len(prompt))
        with torch.inference_mode():
            for row in range(len(prompt)):
                while row in writer.live:
                    growing = _Growing(about, prompts.rows[row], writer.ids[row], writer.room(row), row, draws[row])
                    found, before = growing.tree(), len(writer.ids[row])
                    for step in found.best.steps:
                        if row in writer.live:
                            writer.commit(row, step.tokens, step.logprobs)
                    trace.note(
                        rows=growing.policy.passes,
                        committed=len(writer.ids[row]) - before,
                        target_positions=growing.policy.positions,
                        steps=sum(1 for _ in found.root.below()) - 1,
                    )
        return writer.generation(model, trace)

    def search(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        generator: torch.Generator,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
    ) -> list[Tree]:
        """The whole tree of the first round, for each row: what a call with the same arguments searches first."""
        prompts, about = self._begin(model, prompt, limit, mask, stop)
        draws = _streams(generator, len(prompt))
        with torch.inference_mode():
            return [_Growing(about, text, (), limit, row, draws[row]).tree() for row, text in enumerate(prompts.rows)]

    def fit(self, model: LanguageModel, stories: Iterable[str]) -> "Cosmos":
        """The same with the curve fitted to the sentences of stories that people wrote. ``model``: the reference, where
        the decoder names none."""
        if self.tokenizer is None:
            raise ValueError("the curve is fitted to sentences, so it must know the tokenizer: give tokenizer=...")
        reference = small_of("cosmos", self.reference, model, ["causal", "state"])
        centre, spread = fitted_to(told(reference, self.tokenizer, stories))
        return replace(self, centre=centre, spread=spread)

    # The value head ---------------------------------------------------------------------------------------------

    def build(self, model: LanguageModel, *, seed: int = 0) -> ValueHead:
        """A new head that reads this model."""
        return ValueHead(model.width, seed)

    def loss(self, head: ValueHead, model: LanguageModel, pairs: Pairs, by: Literal["pairwise", "binary"]) -> Loss:
        """Of a head on preferred and other steps, as the frozen ``model`` reads them."""
        return head_loss(head, model, pairs, by)

    def save(self, head: ValueHead, folder: str | Path, model: LanguageModel, *, base: str, facts: dict) -> None:
        """Write a head; ``cosmos(value="model", folder=...)`` reads it with this model as its reference only."""
        save_head(head, folder, model, base=base, facts=facts)

    # ------------------------------------------------------------------------------------------------------------

    def _begin(
        self, model: LanguageModel, prompt: Tensor, limit: int, mask: Tensor | None, stop: Stop
    ) -> tuple[Prompts, "_Search"]:
        """Everything that can be checked before any work."""
        prompts = prepare(self, model, prompt, mask, limit, stop, structured=False)
        if self.reasoning and self.tokenizer is None:
            raise ValueError("reasoning is written between two cues, so it needs the tokenizer: give tokenizer=...")
        if self.reasoning and not all(self.cues):
            raise ValueError(f"cues are the texts before and behind the reasoning, neither may be empty: {self.cues}")
        cues = self._cues if self.reasoning else ((), ())
        longest = max(prompts.lengths) + limit + self.reasoning + sum(map(len, cues))
        if model.max_positions is not None and longest > model.max_positions:
            raise ValueError(
                f"text and reasoning may take {longest} of the {model.max_positions} positions of this model; lower "
                "reasoning or the limit"
            )
        reference = small_of("cosmos", self.reference, model, ["causal", "state"])
        check_room(reference, max(prompts.lengths) + limit)
        head = open_head(self.folder, reference) if self.value == "model" else None
        return prompts, _Search(self, model, reference, head, cues, self._sentence_ends, stop)

    @cached_property
    def _sentence_ends(self) -> frozenset[int]:
        """Tokens that end a step."""
        if self.tokenizer is None:
            return frozenset()
        known = range(self.tokenizer.vocab_size)
        return frozenset(token for token in known if ends_sentence(self.tokenizer.bytes_of(token)))

    @cached_property
    def _cues(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        assert self.tokenizer is not None
        before, behind = (tuple(self.tokenizer.encode(cue)) for cue in self.cues)
        return before, behind

    def normalised(self, tokens: tuple[int, ...]) -> Any:
        """What two siblings must not share: their text but for case and white space; tokens without a tokenizer."""
        if self.tokenizer is None:
            return tokens
        return " ".join(self.tokenizer.decode(tokens).casefold().split())


@dataclass(frozen=True)
class _Search:
    """What all searches of a call share."""

    settings: Cosmos
    model: LanguageModel
    reference: LanguageModel
    head: ValueHead | None
    cues: tuple[tuple[int, ...], tuple[int, ...]]
    sentence_ends: frozenset[int]
    stop: Stop


@dataclass
class _Growing:
    """One round's search behind a prompt and what was written after it."""

    about: _Search
    prompt: Tensor
    written: Sequence[int]
    room: int
    row: int
    draws: torch.Generator
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        model, settings = self.about.model, self.about.settings
        self.text = torch.cat([self.prompt, torch.tensor(list(self.written), dtype=torch.int64).to(self.prompt)])
        self.pipeline = Pipeline(temperature=settings.temperature)
        self.policy = Reader(model, self.text, self.row)
        self.other = None if self.about.reference is model else Reader(self.about.reference, self.text, self.row)

    def tree(self) -> Tree:
        settings, root = self.about.settings, Node(Step())
        search(
            root,
            self._expand,
            simulations=settings.simulations,
            exploration=settings.exploration,
            depth=settings.depth,
        )
        return Tree(tuple(self.text.tolist()), root, settings.best)

    def _expand(self, node: Node[Step]) -> list[tuple[Step, float, float]]:
        """The actions at a node with their values and priors; none where the text has ended."""
        settings = self.about.settings
        path = [token for above in node.path for token in above.step.tokens]
        if len(path) >= self.room or (path and ends((*self.written, *path), self.about.stop)):
            return []
        place = self.policy.after(path)
        made = self._siblings(place, path)
        tokens = [step for step, _ in made]
        own = self.policy.read(place, tokens)
        judged = own if self.other is None else self.other.read(self.other.after(path), tokens)
        values = self._values(judged)
        means = torch.stack([logprobs.mean() for logprobs in own.logprobs])
        uniform = settings.prior == "uniform"
        priors = [1 / len(made)] * len(made) if uniform else means.double().softmax(0).tolist()
        return [
            (Step(step, tuple(logprobs.tolist()), -float(said.mean()), thought), value, prior)
            for (step, thought), logprobs, said, value, prior in zip(
                made, own.logprobs, judged.logprobs, values, priors, strict=True
            )
        ]

    def _values(self, reading: Reading) -> list[float]:
        settings = self.about.settings
        if self.about.head is not None:
            return self.about.head(reading).double().sigmoid().tolist()
        return [kappa(-float(said.mean()), settings.centre, settings.spread) for said in reading.logprobs]

    def _siblings(self, place: Place, path: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Steps and their reasoning, drawn side by side; no two of one text, and empty ones only where all are."""
        settings, about = self.about.settings, self.about
        count, most = settings.siblings, min(settings.step, self.room - len(path))
        thoughts: list[tuple[int, ...]] = [()] * count
        logits, state = place.logits.expand(count, -1), place.state.select(torch.zeros(count, dtype=torch.int64))
        if settings.reasoning:
            before, behind = about.cues
            cued = self.policy.step(torch.tensor([before] * count, device=place.logits.device), state)
            thoughts = self._draw(cued.logits[:, -1], cued.state, settings.reasoning, place.length + len(before), ())
            ids = [(*before, *thought, *behind) for thought in thoughts]
            width = max(map(len, ids))
            padded = torch.tensor([[0] * (width - len(one)) + list(one) for one in ids], device=place.logits.device)
            real = torch.arange(width) >= width - torch.tensor([[len(one)] for one in ids])
            out = self.policy.step(padded, state, None if bool(real.all()) else real.to(padded.device))
            logits, state = out.logits[:, -1], out.state
        steps = self._draw(logits, state, most, place.length, (*self.written, *path))
        kept: dict[Any, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for step, thought in zip(steps, thoughts, strict=True):
            kept.setdefault(settings.normalised(step), (step, thought))
        return [made for text, made in kept.items() if text] or [(steps[0], thoughts[0])]

    def _draw(self, logits: Tensor, state: Any, most: int, length: int, text: tuple[int, ...]) -> list[tuple[int, ...]]:
        """So many texts from a place, each up to the end of a sentence, of the whole text, or ``most`` tokens. A
        sibling's draws do not depend on when the others end."""
        rows = list(range(len(logits)))
        points = torch.rand(len(rows), most, generator=self.draws, dtype=torch.float64).to(logits.device)
        made: list[list[int]] = [[] for _ in rows]
        for at in range(most):
            checked_normaliser(logits, [self.row] * len(rows), [length + at] * len(rows))
            tokens = draw(self.pipeline.probabilities(logits), points[rows, at])
            for row, token in zip(rows, tokens.tolist(), strict=True):
                made[row].append(token)
            left = [
                here
                for here, row in enumerate(rows)
                if made[row][-1] not in self.about.sentence_ends and not ends((*text, *made[row]), self.about.stop)
            ]
            if not left or at + 1 == most:
                break
            if len(left) < len(rows):
                state, tokens = state.select(torch.tensor(left)), tokens[left]
                rows = [rows[here] for here in left]
            out = self.policy.step(tokens[:, None], state)
            logits, state = out.logits[:, -1], out.state
        return [tuple(tokens) for tokens in made]


def _streams(generator: torch.Generator, rows: int) -> list[torch.Generator]:
    """A stream of random numbers per row."""
    base = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return [seeds.generator(base, "story", row) for row in range(rows)]
