"""Superposed decoding: several drafts for the passes of one, by feeding a blend of their last tokens.

Source
    Shen, Fan, Pratt, Park, Wallingford, Kakade, Holtzman, Krishna, Farhadi, Kusupati 2024, "Superposed Decoding:
    Multiple Generations from a Single Autoregressive Inference Pass", arXiv:2405.18400; settings of the authors' 2- to
    6-gram parameter file for three drafts.
Equation
    g = softmax(S_1 .. S_k);   input of the next pass  e = sum_i g_i E[z_i],  z_i the last token of draft i
    p = softmax(logits / temperature) on its likeliest candidates, shared by all drafts
    r_i(v) = sum_n w_n count(ctx v) / count(ctx),  ctx the last n - 1 tokens of draft i
    f_i(v) = (1 - mix) log p(v) + mix log r_i(v);   (1 - mix) log p(v) - penalty  where r_i is 0 for all candidates
    the best 2 k of  S_i + f_i(v):  texts that end go to the finished ones, the best k others live on
Shapes
    blend (rows, 1, width) -> logits (rows, 1, vocab) -> scores (drafts, candidates) per row
Cost
    One pass per new token and row for all drafts, over one cache; n-gram look-ups of drafts x orders. The generation's
    log-probabilities take one more pass over the best draft.
Caveats
    The cache holds blends, so no draft's score is the model's probability of its text. Weights soon become nearly
    one-hot and drafts variations of one another: ``effective`` counts them. Scores are sums, which favours drafts that
    end early. A generation holds the best draft of each row, ``all_drafts`` gives the others. Without tables the mix is
    0: then all drafts share one distribution and differ by their choices only. The n-gram weights do not sum to 1, as
    in the authors' file. The reset that the authors mention against repetition is left out. Scaled embeddings (Gemma)
    are blended after scaling, which is the same since scaling is linear. That a model reads blends as if they were
    words is what the method lives on, and was shown for Llama-2-7B.
"""

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from trivium.core import meter, streaming
from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel, State, Tokenizer
from trivium.decoding._beams import ends
from trivium.decoding._loop import Prompts, checked_normaliser, prefill, prepare
from trivium.decoding._ngrams import NGrams, vocabulary_hash
from trivium.decoding._pipeline import top_ids

ORDERS = (2, 3, 4, 5, 6)
MIX = 0.54
"""The authors' weight of the n-grams."""


def build_tables(
    documents: Iterable[Sequence[int]],
    tokenizer: Tokenizer,
    folder: str,
    *,
    orders: Sequence[int] = ORDERS,
    least: int = 1,
) -> None:
    """Count the n-grams of documents of token ids and save them for ``Superposed(tables=folder)``. N-grams seen fewer
    than ``least`` times are left out."""
    NGrams.build(documents, tokenizer, orders, least).save(folder)


def blend(model: LanguageModel, tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of token embeddings: (rows, k) and (rows, k) that sum to 1 -> (rows, 1, width)."""
    embeds = model.embed(tokens)
    return (weights.to(embeds)[..., None] * embeds).sum(1, keepdim=True)


@dataclass(frozen=True)
class Draft:
    """New tokens and their score, a sum of combined log scores."""

    tokens: tuple[int, ...] = ()
    score: float = 0.0

    @property
    def perplexity(self) -> float:
        """Per token, by the score."""
        return math.exp(-self.score / len(self.tokens))


@dataclass
class Drafts:
    """One prompt's drafts: those that live and those that ended. ``effective``: of each blend, how many drafts it
    stands for, 1 / sum g^2."""

    live: list[Draft] = field(default_factory=lambda: [Draft()])
    finished: list[Draft] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)

    def best(self, k: int) -> list[Draft]:
        """The k best of both, best first."""
        return sorted([*self.finished, *self.live], key=lambda draft: -draft.score)[:k]

    def settled(self, k: int) -> bool:
        """Whether no live draft can come among the k best any more: scores only fall."""
        return not self.live or (len(self.finished) == k and self.finished[-1].score > self.live[0].score)


@method(title="Superposed decoding", source="arXiv:2405.18400", year=2024, needs=["causal", "state", "embeds"])
@dataclass(frozen=True)
class Superposed:
    """Several drafts from one pass per token; deterministic."""

    drafts: int = 3
    """Drafts per prompt (k); 1 without tables is greedy."""
    candidates: int = 9
    """Likeliest tokens of a pass that drafts choose from."""
    temperature: float = 0.06
    """Divides the logits."""
    mix: float | None = None
    """Weight of the n-grams against the model; None for the authors' 0.54 with tables, and 0 without."""
    weights: tuple[float, ...] = (0.01, 0.04, 0.15, 0.18, 0.12)
    """Of the orders 2, 3, 4 and so on."""
    penalty: float = 200.0
    """Taken off a draft for whose candidates no n-gram is known."""
    tables: str = ""
    """Folder of n-gram tables, made by ``build_tables``."""

    def __post_init__(self) -> None:
        if self.drafts < 1:
            raise ValueError(f"drafts must be at least 1, got {self.drafts}")
        if self.candidates < self.drafts:
            raise ValueError(
                f"candidates is {self.candidates}, but the first step needs a token for each of {self.drafts} drafts"
            )
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")
        if self.mix is not None and not 0 <= self.mix <= 1:
            raise ValueError(f"mix weighs n-grams against the model, so 0 to 1; got {self.mix}")
        if self.mix and not self.tables:
            raise ValueError(f"mix is {self.mix}, but there are no n-gram tables; give tables=..., or leave mix out")
        if not self.weights or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(f"weights must be at least 0 and not all 0, got {self.weights}")
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(f"penalty must be at least 0 and finite, got {self.penalty}")

    def fitted(self, tokenizer: Tokenizer) -> "Superposed":
        """Itself. Raises ValueError where the tables were counted over another vocabulary."""
        if self.tables and NGrams.load(self.tables).vocabulary != vocabulary_hash(tokenizer):
            raise ValueError(
                f"the tables in {self.tables} were counted with another tokenizer; build them with this one"
            )
        return self

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
        prompts, search = self._prepared(model, prompt, mask, limit, stop)
        with torch.inference_mode():
            found, state, first = search.run()
            texts = [one.best(1)[0].tokens for one in found]
            logprobs = _own_logprobs(model, texts, prompts, state, first, search.trace)
        lengths = [len(text) for text in texts]
        ids = torch.zeros(len(texts), max(lengths), dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            streaming.tell(row, text)  # which draft is best is known at the end only
        meter.spend(new_tokens=sum(lengths))
        return Generation(ids.to(model.device), logprobs, torch.tensor(lengths), search.trace)

    def all_drafts(
        self, model: LanguageModel, prompt: Tensor, *, limit: int, mask: Tensor | None = None, stop: Stop = Stop()
    ) -> list[Drafts]:
        """Every draft of each row; the passes are those of one greedy generation."""
        _, search = self._prepared(model, prompt, mask, limit, stop)
        with torch.inference_mode():
            return search.run()[0]

    def _prepared(
        self, model: LanguageModel, prompt: Tensor, mask: Tensor | None, limit: int, stop: Stop
    ) -> tuple[Prompts, "_Search"]:
        prompts = prepare(self, model, prompt, mask, limit, stop)
        if self.candidates > model.vocab_size:
            raise ValueError(f"candidates is {self.candidates}, but the vocabulary has only {model.vocab_size} tokens")
        tables = NGrams.load(self.tables) if self.tables else None
        if tables is not None:
            if tables.vocab_size > model.vocab_size:
                raise ValueError(
                    f"the tables in {self.tables} are over {tables.vocab_size} ids, the model has {model.vocab_size}"
                )
            missing = {n for n, _ in enumerate(self.weights, 2)} - set(tables.orders)
            if missing:
                raise ValueError(f"the tables in {self.tables} have no order {min(missing)}; it has a weight")
        return prompts, _Search(self, model, prompts, limit, stop, tables)


class _Search:
    """One batch on its way; each row has its own drafts, and one column of the cache per step."""

    def __init__(
        self,
        recipe: Superposed,
        model: LanguageModel,
        prompts: Prompts,
        limit: int,
        stop: Stop,
        tables: NGrams | None,
    ) -> None:
        self.recipe, self.model, self.prompts, self.limit, self.stop = recipe, model, prompts, limit, stop
        self.mix = recipe.mix if recipe.mix is not None else MIX if tables is not None else 0.0
        self.tables, self.trace = tables, Trace()
        self.texts = [row.tolist() for row in prompts.rows]
        self.found = [Drafts() for _ in self.texts]

    def run(self) -> tuple[list[Drafts], State, Tensor]:
        """The drafts of all rows, the state behind the prompts, and the logits there (rows, vocab)."""
        started = time.perf_counter()
        out = prefill(self.model, self.prompts)
        self.trace.seconds["prefill"] = time.perf_counter() - started
        start, first = out.state, out.logits[:, -1]
        assert start is not None
        state, logits, rows = start, first, list(range(len(self.texts)))
        del out
        for step in itertools.count(1):
            checked_normaliser(logits, rows, [self.prompts.lengths[row] + step - 1 for row in rows])
            for at, row in enumerate(rows):
                self._grow(row, logits[at])
            self.trace.note(rows=len(rows), committed=len(rows), target_positions=len(rows))
            going = [at for at, row in enumerate(rows) if not self.found[row].settled(self.recipe.drafts)]
            if step == self.limit or not going:
                break
            if len(going) < len(rows):
                rows, state = [rows[at] for at in going], state.select(torch.tensor(going))
            after = self.model(embeds=self._blends(rows), state=state, keep_state=True)
            assert after.state is not None
            logits, state = after.logits[:, -1], after.state
            del after
        self.trace.seconds["choose"] = time.perf_counter() - started - self.trace.seconds["prefill"]
        return self.found, start, first

    def _grow(self, row: int, logits: Tensor) -> None:
        """Let every live draft of a row grow by a token: (vocab,) logits that they share."""
        k, found = self.recipe.drafts, self.found[row]
        ids = top_ids(logits[None], self.recipe.candidates)[0]
        logp = (logits[ids].double() / self.recipe.temperature).log_softmax(-1)
        gains = torch.stack([self._gain(self.texts[row] + list(draft.tokens), ids, logp) for draft in found.live])
        scores = torch.tensor([draft.score for draft in found.live], dtype=torch.float64, device=logp.device)
        sums = (scores[:, None] + gains).reshape(1, -1)
        tokens, grown = ids.tolist(), []
        for place in top_ids(sums, min(2 * k, sums.shape[1]))[0].tolist():
            score, draft = float(sums[0, place]), found.live[place // len(tokens)]
            if score > -math.inf:
                grown.append(Draft((*draft.tokens, tokens[place % len(tokens)]), score))
        ended = [draft for draft in grown if ends(draft.tokens, self.stop)]
        found.finished = sorted([*found.finished, *ended], key=lambda draft: -draft.score)[:k]
        found.live = [draft for draft in grown if not ends(draft.tokens, self.stop)][:k]

    def _gain(self, text: list[int], ids: Tensor, logp: Tensor) -> Tensor:
        """Combined log score of each candidate behind one draft."""
        if self.tables is None or not self.mix:
            return logp
        weights = dict(enumerate(self.recipe.weights, 2))
        ratios = torch.from_numpy(self.tables.mixed(weights, text, np.asarray(ids.tolist()))).to(logp)
        own = (1 - self.mix) * logp
        return own + self.mix * ratios.log() if bool((ratios > 0).any()) else own - self.recipe.penalty

    def _blends(self, rows: list[int]) -> Tensor:
        """(rows, 1, width): the last tokens of each row's live drafts, weighted by their scores."""
        k = self.recipe.drafts
        tokens, weights = torch.zeros(len(rows), k, dtype=torch.int64), torch.zeros(len(rows), k, dtype=torch.float64)
        for at, row in enumerate(rows):
            live = self.found[row].live
            tokens[at, : len(live)] = torch.tensor([draft.tokens[-1] for draft in live])
            weights[at, : len(live)] = torch.tensor([draft.score for draft in live], dtype=torch.float64).softmax(0)
            self.found[row].effective.append(1 / float(weights[at].square().sum()))
        return blend(self.model, tokens.to(self.model.device), weights.to(self.model.device))


def _own_logprobs(
    model: LanguageModel,
    texts: Sequence[tuple[int, ...]],
    prompts: Prompts,
    state: State,
    first: Tensor,
    trace: Trace,
) -> Tensor:
    """The model's log-probability of each text's tokens (rows, longest), by one plain pass behind the prompts."""
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    real = (torch.arange(ids.shape[1]) < lengths[:, None]).to(model.device)
    ids = ids.to(model.device)
    logits = first[:, None]
    if ids.shape[1] > 1:
        after = model(ids, mask=None if bool(real.all()) else real, state=state).logits
        logits = torch.cat([logits, after[:, :-1]], 1)
        trace.note(rows=len(texts), committed=0, target_positions=int(lengths.sum()))
    columns = [[row] * ids.shape[1] for row in range(len(texts))]
    where = [prompts.lengths[row] + column for row in range(len(texts)) for column in range(ids.shape[1])]
    flat = logits.flatten(0, 1)
    used = torch.where(real.flatten()[:, None], flat, 0.0)  # what padding says is of no matter
    normaliser = checked_normaliser(used, [row for rows in columns for row in rows], where).view_as(ids)
    own = logits.gather(2, ids[..., None])[..., 0].to(normaliser.dtype) - normaliser
    return torch.where(real, own, 0.0)
