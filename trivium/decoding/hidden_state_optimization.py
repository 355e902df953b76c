"""Hidden-state optimization: gradient steps on what the model remembers of the prompt, not on its weights.

Source
    Yoshida, Gimpel 2021, "Reconsidering the Past: Optimizing Hidden States in Language Models", arXiv:2112.08653, and
    Yoshida's thesis, arXiv:2408.16241. Defaults are ours; the way Adam is kept per position is the paper's.
Equation
    c: keys and values of every token so far, per layer, as the attention reads them (keys after their rotation)
    for each chunk of ``chunk`` tokens:  record log p(chunk | c);  loss = - mean log p(chunk | c);
        c <- Adam(c, d loss / d c; rate), of earlier tokens and of the chunk's own;  moments and age per token
Shapes
    prompt (batch, time) -> keys and values (batch, heads, time, width) per layer, moved -> new tokens
Cost
    A forward and a backward pass per chunk and step over the prompt; the moments take twice the memory of keys and
    values, in float32. Plain decoding after that.
Caveats
    Keys are moved after their rotation, which is not the same as moving them before: Adam does not commute with it. The
    last token of the prompt is fed after the last update, so the first prediction already reads what was moved. A
    chunk's first token is predicted by the last one of the chunk before, which is likewise fed after the update. With
    several steps the chunk is passed again each time, its own keys and values made anew and moved by all steps so far.
    No window slides: a text must fit the model's positions. The paper tested Transformer-XL and GPT-2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotOffered
from trivium.core.method import card_of, method
from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.decoding._loop import Prompts, checked_normaliser, step_by_step
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy
from trivium.models.state import SMALLEST, Buffers, KeyValueState
from trivium.nn.modes import evaluating

BETAS, EPSILON = (0.9, 0.999), 1e-8


@method(
    title="Hidden-state optimization",
    source="arXiv:2112.08653",
    year=2021,
    needs=["causal", "state", "truncate", "gradient", "embeds"],
)
@dataclass(frozen=True)
class HiddenStateOptimization:
    """Adam on the prompt's cached keys and values, then any sampler."""

    chunk: int = 25
    """Tokens between updates."""
    rate: float = 0.003
    """Adam's learning rate; 0 leaves the model as it is."""
    steps: int = 1
    """Updates per chunk."""
    of: Sampler = field(default_factory=Greedy)
    """How tokens are drawn after the prompt: greedy, sampling, top_k, top_p or min_p."""

    def __post_init__(self) -> None:
        for name in ("chunk", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.rate < float("inf"):
            raise ValueError(f"rate must be at least 0 and finite, got {self.rate}; 0 is the plain model")
        if not isinstance(self.of, Sampler):
            raise TypeError(f"'of' must draw each token from one distribution, got {card_of(self.of).name}")

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
        return step_by_step(
            self,
            model,
            prompt,
            self.of.pipeline,
            limit=limit,
            generator=generator,
            mask=mask,
            stop=stop,
            begin=lambda prompts: self._begin(model, prompts),
        )

    def _begin(self, model: LanguageModel, prompts: Prompts) -> LMOutput:
        """Optimise on the prompts, then feed the last token of each."""
        moved = Moved(self, model, len(prompts.ids))
        longest = max(prompts.lengths)
        rows = [torch.nn.functional.pad(row, (0, longest - len(row))) for row in prompts.rows]
        ids, lengths = torch.stack(rows), torch.tensor(prompts.lengths, device=model.device)
        # Padding goes to the right, so that the chunks of a row are those it has alone.
        real = torch.arange(longest - 1, device=model.device) < lengths[:, None] - 1
        moved.read(ids, real)
        last = ids.gather(1, lengths[:, None] - 1)
        return model(last, state=moved.state if longest > 1 else None, keep_state=True, logits_to_keep=1)

    def evaluate(self, model: LanguageModel, ids: Tensor) -> Tensor:
        """(batch, time) -> (batch, time - 1): log-probability of each token but the first, given those before it and
        the updates made on them; a chunk is scored before it is learned from."""
        self._check(model, ids)
        return Moved(self, model, len(ids)).read(ids, torch.ones_like(ids[:, 1:], dtype=torch.bool))

    def classify(
        self,
        model: LanguageModel,
        demonstrations: Tensor,
        query: Tensor,
        candidates: Sequence[Tensor],
        *,
        labels: Tensor | None = None,
    ) -> Tensor:
        """(candidates,): log-probability of each candidate (its time,) after the query (time,), with what is remembered
        of the demonstrations (time,) optimised. ``labels`` (time,) bool marks the tokens of the demonstrations whose
        loss counts; None counts all."""
        if not candidates or any(not len(one) for one in candidates):
            raise ValueError("give at least one candidate, each of at least one token")
        self._check(model, demonstrations[None])
        if labels is not None and labels.shape != demonstrations.shape:
            raise ValueError(f"labels must be {tuple(demonstrations.shape)} like the demonstrations, {labels.shape}")
        moved = Moved(self, model, 1)
        learned = None if labels is None else labels[None, 1:].to(model.device)
        ids = demonstrations[None]
        moved.read(ids, torch.ones_like(ids[:, 1:], dtype=torch.bool), learned)
        before = torch.cat([demonstrations[-1:], query])
        longest = max(map(len, candidates))
        rows = torch.stack([torch.nn.functional.pad(one, (0, longest - len(one))) for one in candidates])
        real = torch.arange(longest, device=model.device) < torch.tensor([[len(o)] for o in candidates]).to(
            model.device
        )
        text = torch.cat([before.expand(len(rows), -1), rows], 1)
        inside = torch.cat([torch.ones(len(rows), len(before), device=model.device).bool(), real], 1)
        state = None
        if len(demonstrations) > 1:
            state = moved.state.select(torch.zeros(len(rows), dtype=torch.int64))
        with torch.no_grad(), evaluating(model):
            logits = model(text[:, :-1], mask=inside[:, :-1], state=state, logits_to_keep=longest).logits
        logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        return logp.gather(2, rows[..., None])[..., 0].where(real, 0.0).sum(1)

    def law(self, model: LanguageModel, ids: Tensor, prompt: int) -> Tensor:
        """(batch, time, vocab): logits after each token from the last of the prompt's ``prompt`` columns on, given what
        is remembered of the prompt; zeros before."""
        moved = Moved(self, model, len(ids))
        moved.read(ids[:, :prompt], torch.ones_like(ids[:, 1:prompt], dtype=torch.bool))
        logits = model(ids[:, prompt - 1 :], state=moved.state if prompt > 1 else None).logits
        return torch.cat([logits.new_zeros(len(ids), prompt - 1, logits.shape[2]), logits], 1)

    def _check(self, model: LanguageModel, ids: Tensor) -> None:
        require_offers(card_of(self).name, model, card_of(self).needs)
        if ids.ndim != 2 or ids.dtype != torch.int64 or not ids.numel():
            raise ValueError(f"ids must be int64 with at least one token, got {tuple(ids.shape)} of {ids.dtype}")
        if model.max_positions is not None and ids.shape[1] > model.max_positions:
            raise ValueError(
                f"{ids.shape[1]} tokens exceed the {model.max_positions} positions of this model; cut them"
            )


class Moved:
    """Keys and values on the move: ``state`` holds them, with Adam's moments and age of each token beside it."""

    def __init__(self, settings: HiddenStateOptimization, model: LanguageModel, batch: int) -> None:
        if not model.dtype.is_floating_point:
            raise NotOffered(f"hidden-state optimization needs a model with float weights, this one has {model.dtype}")
        self.settings, self.model = settings, model
        self.state = KeyValueState(Buffers(SMALLEST), batch, 0)
        self.first: list[Tensor] = []
        self.second: list[Tensor] = []
        self.ages = torch.zeros(batch, 0, device=model.device)
        self.seen = [0] * batch

    def read(self, ids: Tensor, real: Tensor, learned: Tensor | None = None) -> Tensor:
        """Go through texts (batch, time): ``real`` (batch, time - 1) marks the tokens that predict a next one,
        ``learned`` alike those next ones whose loss counts. Log-probabilities before each update; 0 elsewhere."""
        found = []
        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.model):
            ids, real = ids.clone(), real.clone()  # neither may be an inference tensor
            learned = real if learned is None else real & learned.clone()
            for start in range(0, ids.shape[1] - 1, self.settings.chunk):
                inside = slice(start, min(start + self.settings.chunk, ids.shape[1] - 1))
                targets = ids[:, inside.start + 1 : inside.stop + 1]
                found.append(self._chunk(ids[:, inside], targets, real[:, inside], learned[:, inside]))
        return torch.cat(found, 1) if found else real.new_zeros(len(ids), 0, dtype=torch.float32)

    def _chunk(self, ids: Tensor, targets: Tensor, real: Tensor, learned: Tensor) -> Tensor:
        after = past = self.state
        tensors, moved, recorded = past.tensors(), past.tensors(), None
        shifts: list[Tensor] = []
        for step in range(self.settings.steps):
            # Embeddings that ask for gradients make keys and values do so, even where the weights are frozen.
            embeds = self.model.embed(ids).detach().requires_grad_()
            begun = past.holding(tensors, shifts)
            out = self.model(embeds=embeds, mask=None if real.all() else real, state=begun, keep_state=True)
            logp = self._logp(out.logits, targets, real)
            recorded = logp.detach() if recorded is None else recorded
            after = out.state
            if not isinstance(after, KeyValueState) or not all(one.requires_grad for one in after.tensors()):
                raise NotOffered("this model's cache takes no gradients: it is quantised, static or no list of tokens")
            loss = -(logp * learned).sum(1) / learned.sum(1).clamp(min=1)
            moves = self._adam(loss.sum(), after, learned.any(1), fresh=step == 0)
            with torch.no_grad():
                whole = [one[:, :, : after.slots].detach() for one in after.tensors()]
                tensors = [
                    one[:, :, : past.slots] + move[:, :, : past.slots] for one, move in zip(whole, moves, strict=True)
                ]
                own = [move[:, :, past.slots :] for move in moves]
                shifts = own if not shifts else [a + b for a, b in zip(shifts, own, strict=True)]
                moved = [one + move for one, move in zip(whole, moves, strict=True)]
            if not past.slots:
                tensors = []
        self.state = after.holding(moved)
        self.seen = [count + more for count, more in zip(self.seen, real.sum(1).tolist(), strict=True)]
        assert recorded is not None
        return recorded

    def _logp(self, logits: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        """(batch, time, vocab) -> (batch, time), 0 for padding. Raises NotFinite, naming row and position."""
        rows, columns = real.nonzero().unbind(1)
        lengths = [self.seen[row] + at + 1 for row, at in zip(rows.tolist(), columns.tolist(), strict=True)]
        normaliser = checked_normaliser(logits[rows, columns], rows.tolist(), lengths)
        own = logits[rows, columns].gather(1, targets[rows, columns][:, None])[:, 0].to(normaliser.dtype) - normaliser
        return own.new_zeros(targets.shape).index_put((rows, columns), own)

    def _adam(self, loss: Tensor, after: KeyValueState, rows: Tensor, *, fresh: bool) -> list[Tensor]:
        """What the update adds to each tensor; rows without a loss stay where they are. ``fresh``: the chunk's own
        tokens are new."""
        tensors, slots = after.tensors(), after.slots
        grads = meter.gradient(loss, tensors, rows=after.batch)
        pad = lambda x: torch.nn.functional.pad(x, (0, 0, 0, slots - x.shape[2]))  # noqa: E731
        if fresh:
            wide = torch.promote_types(tensors[0].dtype, torch.float32)
            if not self.first:
                self.first, self.second = ([x[:, :, :0].detach().to(wide) for x in tensors] for _ in range(2))
            self.first, self.second = [pad(x) for x in self.first], [pad(x) for x in self.second]
            self.ages = torch.nn.functional.pad(self.ages, (0, slots - self.ages.shape[1]))
        self.ages = self.ages + rows[:, None]
        active, age = rows[:, None, None, None], self.ages.clamp(min=1)[:, None, :, None]
        moves = []
        for at, (tensor, grad) in enumerate(zip(tensors, grads, strict=True)):
            if grad is None:
                raise NotOffered("the loss does not depend on this model's cache, so there is nothing to optimise")
            grad = grad[:, :, :slots].to(self.first[at].dtype)
            first = BETAS[0] * self.first[at] + (1 - BETAS[0]) * grad
            second = BETAS[1] * self.second[at] + (1 - BETAS[1]) * grad.square()
            self.first[at], self.second[at] = first.where(active, self.first[at]), second.where(active, self.second[at])
            age_ = age.to(first.dtype)
            step = (first / (1 - BETAS[0] ** age_)) / ((second / (1 - BETAS[1] ** age_)).sqrt() + EPSILON)
            moves.append((-self.settings.rate * step.where(active, 0.0)).to(tensor.dtype))
        return moves
