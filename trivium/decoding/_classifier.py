"""A trained classifier of beginnings: how likely a text comes to have an attribute, read off the model's hidden state.

    c(prefix v) = sigmoid(MLP([h ; E(v)])),  h the state behind the prefix, E the model's embedding
    for lengths  softmax(MLP([h ; E(v)])) over buckets of how many tokens are still to come

It learns from prefixes of the model's own texts, labelled by the attribute of the whole text. Of a text that its limit
cut off only a least length is known, and that is what its loss says.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, layer_norm

from trivium.core import seeds
from trivium.core.nouns import Loss, Stop
from trivium.core.protocols import LanguageModel
from trivium.data.lessons import Lesson
from trivium.decoding._attributes import Attribute, Judge, Length, NonDegenerate, Step, Text, checked
from trivium.decoding._loop import Prompts
from trivium.models.skeleton import Linear
from trivium.models.trained import Module, TrainedFolder

EDGES = (0, 1, 2, 3, 5, 8, 12, 18, 26, 38, 56, 80, 116, 168, 242)
"""Where buckets of tokens still to come begin; the last one has no end."""
PLACES = 512
"""Prefixes of a lesson that one step of training looks at."""


@dataclass(frozen=True)
class Learned(Attribute):
    """An attribute with a classifier, as `trivium decoder train` writes it."""

    folder: str | None = None
    """The classifier; None for an untrained one."""
    of: Length | NonDegenerate | None = None
    """The attribute. None: the one that the folder was trained for; a classifier of lengths serves any length."""
    hidden: int = 64
    """Width inside a new classifier; a folder says its own."""

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")

    @property
    def attribute(self) -> Length | NonDegenerate:
        """What is asked for. Raises ValueError where the folder is of another attribute."""
        if self.folder is None:
            return self.of or NonDegenerate()
        learned = dict(_home(self.folder).card()["attribute"])
        name = learned.pop("name")
        if name == "length":
            if not isinstance(self.of, Length):
                raise ValueError(f"{self.folder} tells lengths; say which: of=length(at_least=12, at_most=12)")
            return self.of
        trained = NonDegenerate(**learned)
        if self.of not in (None, trained):
            raise ValueError(f"{self.folder} was trained for {trained}, not for {self.of}; train one for that")
        return trained

    def holds(self, text: Text) -> bool:
        return self.attribute.holds(text)

    def impossible(self, limit: int, ends: bool) -> str | None:
        return self.attribute.impossible(limit, ends)

    def build(self, model: LanguageModel, *, seed: int = 0) -> "Head":
        """A new classifier for this model, in float32, or float64 where the model is."""
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        outputs = len(EDGES) if isinstance(self.of, Length) else 1
        return Head(model.width, self.hidden, outputs, seed).to(wide)

    def opened(self, model: LanguageModel) -> "Head":
        """The classifier of the folder. Raises ValueError for one of another model."""
        if self.folder is None:
            return self.build(model).to(model.device).eval()
        home = _home(self.folder)
        card = home.card()
        home.check(card, model)
        recipe = replace(self, of=self.attribute, hidden=card["module"]["hidden"])
        return home.fill(recipe.build(model)).to(model.device).eval()

    def judge(self, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop) -> Judge:
        return _Reading(self.attribute, self.opened(model), model, bool(stop.tokens or stop.texts))

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator, stop: Stop) -> Loss:
        """Cross-entropy at some prefixes of the lesson."""
        logits, labels = self._guesses(module, model, lesson, stop, generator)
        if isinstance(self.of, Length):
            inside = logits.log_softmax(-1).masked_fill(labels == 0, float("-inf"))
            total = -inside.logsumexp(-1).sum()
        else:
            total = binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")
        return Loss(total, torch.tensor(float(len(logits))))

    @torch.no_grad()
    def judged(self, module: Any, model: LanguageModel, lesson: Lesson, stop: Stop) -> tuple[Tensor, Tensor]:
        """(n,) probabilities that the classifier gives, and (n,) bool, what came. For lengths one for each bucket that
        ends before the limit that texts were cut at: of these it is known of every text whether it came."""
        logits, labels = self._guesses(module, model, lesson, stop, None)
        if not isinstance(self.of, Length):
            return logits.sigmoid().flatten(), labels.bool().flatten()
        written, own, (rows, columns) = self._prefixes(lesson, stop)
        known = torch.ones_like(labels, dtype=torch.bool)
        if not (written & ~own).any(1)[written.any(1)].all():  # some were cut, and those are the longest
            room = own.sum(1).max() - own.cumsum(1)[rows, columns + 1]
            ends = torch.tensor([*EDGES[1:], 2**31], device=room.device)
            known = ends <= room[:, None]
        return logits.softmax(-1)[known], labels[known].bool()

    @staticmethod
    def _prefixes(lesson: Lesson, stop: Stop) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """What was written, that without stop tokens, and rows and columns (n,) of the tokens before each of those."""
        assert lesson.written is not None
        ends = torch.tensor(stop.tokens, dtype=torch.int64, device=lesson.ids.device)
        own = lesson.written & ~torch.isin(lesson.ids, ends)
        rows, columns = own[:, 1:].nonzero().unbind(1)
        return lesson.written, own, (rows, columns)

    def _guesses(
        self, module: Any, model: LanguageModel, lesson: Lesson, stop: Stop, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs and labels (n, outputs) of prefixes with the token that went on from them, stop tokens apart."""
        assert lesson.hidden is not None
        ids = lesson.ids
        written, own, (rows, columns) = self._prefixes(lesson, stop)
        if generator is not None and len(rows) > PLACES:
            picked = torch.randperm(len(rows), generator=generator)[:PLACES].to(rows.device)
            rows, columns = rows[picked], columns[picked]
        with torch.no_grad():
            embeds = model.embed(ids[rows, columns + 1][:, None])[:, 0]
        logits = module(lesson.hidden[rows, columns], embeds)
        if isinstance(self.of, Length):
            lengths, ended = own.sum(1), (written & ~own).any(1)
            labels = bucketed(lengths[rows] - own.cumsum(1)[rows, columns + 1], ended[rows])
        else:
            good = [float(self.attribute.holds(tuple(row[one].tolist()))) for row, one in zip(ids, own, strict=True)]
            labels = torch.tensor(good, device=ids.device)[rows][:, None]
        return logits, labels

    def save(self, module: nn.Module, folder: Path, model: LanguageModel, *, base: str, **facts: Any) -> None:
        """Write tensors and card."""
        attribute = self.attribute
        said: dict[str, Any] = {"name": "length"} if isinstance(attribute, Length) else {"name": "non_degenerate"}
        if isinstance(attribute, NonDegenerate):
            said |= asdict(attribute)
        _home(folder).write(module, model, base=base, attribute=said, module={"hidden": self.hidden}, **facts)


def _home(folder: str | Path) -> TrainedFolder:
    return TrainedFolder(
        Path(folder),
        method="decoding/conditional_beam_search",
        what="classifier",
        command='trivium decoder train "conditional_beam_search(attribute=learned)"',
        weights="classifier.safetensors",
        entries=("attribute", "module"),
    )


def bucketed(left: Tensor, ended: Tensor) -> Tensor:
    """Tokens still to come (n,) -> (n, buckets): 1 for the bucket, and for all later ones too where a text was cut."""
    at = torch.bucketize(left, torch.tensor(EDGES, device=left.device), right=True) - 1
    buckets = torch.arange(len(EDGES), device=left.device)
    return ((buckets == at[:, None]) | (~ended[:, None] & (buckets > at[:, None]))).float()


def share(wanted: Length, so_far: int) -> Tensor:
    """(buckets,): the share of each bucket's lengths that make a text of ``so_far`` tokens one of the wanted length,
    lengths within a bucket being taken as equally likely. The last bucket counts whole."""
    low = wanted.at_least - so_far
    high = float("inf") if wanted.at_most is None else wanted.at_most - so_far
    shares = []
    for start, end in zip(EDGES, (*EDGES[1:], None), strict=True):
        if end is None:
            shares.append(float(high >= start))
        else:
            shares.append(max(0.0, min(high + 1, end) - max(low, start)) / (end - start))
    return torch.tensor(shares, dtype=torch.float64)


class Head(Module):
    """(..., width) state and (..., width) embedding -> (..., outputs), each normalised first."""

    def __init__(self, width: int, hidden: int, outputs: int, seed: int) -> None:
        super().__init__()
        self.state = Linear(width, hidden, bias=True)
        self.token = Linear(width, hidden)
        self.out = Linear(hidden, outputs, bias=True)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                noise = torch.randn(weight.shape, generator=seeds.generator(seed, "classifier", name))
                weight.copy_(noise / weight.shape[1] ** 0.5 if weight.ndim == 2 else torch.zeros(()))

    def forward(self, hidden: Tensor, embeds: Tensor) -> Tensor:
        normal = lambda x: layer_norm(x.to(self.dtype), x.shape[-1:])  # noqa: E731
        return self.out(nn.functional.gelu(self.state(normal(hidden)) + self.token(normal(embeds))))


class _Reading(Judge):
    def __init__(self, attribute: Length | NonDegenerate, head: Head, model: LanguageModel, ends: bool) -> None:
        self.attribute, self.head, self.model, self.ends = attribute, head, model, ends

    def chances(self, step: Step) -> Tensor:
        """The classifier's word, but for what is impossible."""
        logits = self.head(step.hidden[:, None], self.model.embed(step.tokens)).double().cpu()
        possible = [
            self.attribute.chances(prefix, own, step.room, self.ends) > 0
            for prefix, own in zip(step.prefixes, step.tokens.cpu(), strict=True)
        ]
        if isinstance(self.attribute, Length):
            wanted = torch.stack([share(self.attribute, len(prefix) + 1) for prefix in step.prefixes])
            chances = (logits.softmax(-1) * wanted[:, None]).sum(-1).clamp(max=1.0)
        else:
            chances = logits[..., 0].sigmoid()
        return checked(chances, tuple(step.tokens.shape)).where(torch.stack(possible), 0.0)

    def holds(self, row: int, text: Text) -> bool | None:
        return self.attribute.holds(text)
