"""Speculative decoding: a drafter guesses several tokens ahead, one pass of the target checks them all.

Source
    Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192,
    algorithm 1; Chen et al. 2023, "Accelerating Large Language Model Decoding with Speculative Sampling",
    arXiv:2302.01318. Trees and their multi-round rejection: Miao et al. 2024, "SpecInfer", arXiv:2305.09781.
Equation
    y_i ~ q(. | x, y_<i);   accept y_i  iff  u q(y_i) < p(y_i),   else emit  z ~ max(p - q, 0), renormalised
    match:  z ~ p at each node;   go down where a child is z,   else emit z
    acceptance per token  beta = sum_v min(p(v), q(v)) = 1 - TV(p, q)
    tokens per target pass, for i.i.d. acceptance of mean A and g drafts:  (1 - A^(g+1)) / (1 - A)
Shapes
    tree of n nodes: ids (batch, n), mask (batch, 1, n, slots + n) -> logits (batch, n, vocab) -> path, extra token
Cost
    One target pass of 1 + drafts positions for every accepted path and its extra token, and the drafter's own work.
Caveats
    The output follows the law of the plain decoder ``of``: equal greedy text, equal distribution when sampling; with
    matching even the same tokens for the same seed. Half precision breaks ties differently for different numbers of
    positions per pass, so equality is exact in float64 only. The published rejection rule needs drafts drawn
    independently; matching suits every drafter and is the default. Rows of a batch keep their own lengths. Trees need a
    model that honours 4-D masks. Faster only where a pass over several positions costs little more than over one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.method import card_of, find, method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import (
    Accompanying,
    Drafter,
    DraftSession,
    LanguageModel,
    Observing,
    Reading,
    Sharing,
    State,
)
from trivium.core.tree import TokenTree
from trivium.decoding._loop import Clock, Prompts, Streams, Writer, checked_normaliser, prefill, prepare
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sampler import Sampler
from trivium.decoding._trees import NodeLaws, is_chain, pack, shared_work
from trivium.decoding._verify import VERIFIERS, Careless, Typical, Verifier, check_suited
from trivium.decoding.greedy import Greedy


@method(
    title="Speculative decoding",
    source="arXiv:2211.17192",
    year=2023,
    needs=["causal", "state", "truncate"],
    lossless=True,
)
@dataclass(frozen=True)
class Speculative:
    """Any drafter with any verifier that suits it, speeding up a plain decoder without changing its output."""

    drafter: Drafter = field(default_factory=lambda: find("drafting", "prompt_lookup")(), metadata={"kind": "drafting"})  # noqa: PLW0108
    """Proposes a tree of tokens for each row."""
    verifier: str | Typical | Verifier = "match"
    """'match' for any drafter, 'rejection' for independent draws, 'recursive' for draws without replacement, 'greedy'
    for temperature 0; lossy: 'typical' or typical(eps=0.09, delta=0.3); or one of your own."""
    of: Sampler = field(default_factory=Greedy, metadata={"kind": "decoding"})
    """The plain decoder to speed up: greedy, sampling, top_k, top_p or min_p."""
    positions: int | None = None
    """Of a pass over all rows, at most: the rows that still write share them, so that the slow ones draft more once
    the others are done. A tree that is too large keeps its first nodes. For drafts that are fixed or independent."""

    def __post_init__(self) -> None:
        if not isinstance(self.of, Sampler):
            name = card_of(self.of).name
            raise TypeError(
                f"'of' must draw each token from one distribution (greedy, sampling, top_p ...), got {name}"
            )
        if isinstance(self.verifier, str) and self.verifier not in VERIFIERS:
            raise ValueError(f"verifier must be one of {', '.join(VERIFIERS)} or an object, got {self.verifier!r}")
        if self.verifier == "greedy" and not self.of.pipeline.greedy:
            raise ValueError("verifier 'greedy' would make the output greedy although 'of' samples; use 'match'")
        check_suited(str(self.verifier), self._verifier, self.drafter.draws)
        if self.positions is not None and self.positions < 1:
            raise ValueError(f"positions must be at least 1 in a pass, got {self.positions}")
        if self.positions is not None and self.drafter.draws == "without_replacement":
            raise ValueError(
                f"positions={self.positions} cuts trees, and whether a draft without replacement is cut could depend "
                "on what was drawn; leave positions out, or take a drafter of fixed or independent drafts"
            )

    @property
    def _verifier(self) -> Verifier:
        return VERIFIERS[self.verifier] if isinstance(self.verifier, str) else self.verifier

    @property
    def lossless(self) -> bool:
        """Whether this setting keeps the law of ``of``."""
        return self._verifier.lossless

    def control(self) -> "Speculative":
        """The same with a verifier that is wrong on purpose; a test of losslessness must reject it."""
        return replace(self, verifier=Careless())

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
        prompts = prepare(self, model, prompt, mask, limit, stop)
        if getattr(self.drafter, "branches", False):
            require_offers("speculative with draft trees", model, ["tree", "gather"])
        self.of.pipeline.check(model.vocab_size)
        with torch.inference_mode():
            run = _Run(self.of.pipeline, self._verifier, model, prompts, limit, stop, generator)
            return run.run(self.drafter, self.positions)


class _Run:
    """One batch on its way. Rows of ``state`` and ``fed`` correspond; the state of a row holds all its tokens but the
    last, which is pending."""

    def __init__(
        self,
        pipeline: Pipeline,
        verifier: Verifier,
        model: LanguageModel,
        prompts: Prompts,
        limit: int,
        stop: Stop,
        generator: torch.Generator,
    ) -> None:
        self.pipeline, self.verifier, self.model, self.prompts = pipeline, verifier, model, prompts
        self.generator, self.stop = generator, stop
        batch = len(prompts.ids)
        self.writer, self.streams, self.trace = Writer(batch, limit, stop), Streams(generator, batch), Trace()
        self.committed = torch.zeros(batch, max(prompts.lengths) + limit, dtype=torch.int64)
        self.lengths = list(prompts.lengths)
        for row, ids in enumerate(prompts.rows):
            self.committed[row, : len(ids)] = ids
        self.fed = list(range(batch))

    def context(self, row: int) -> Tensor:
        return self.committed[row, : self.lengths[row]]

    def run(self, drafter: Drafter, positions: int | None) -> Generation:
        clock = Clock(self.trace)
        session = drafter.start(self.model, generator=self.generator, logits=self._draft_logits)
        observing = session if isinstance(session, Observing) else None
        accompanying = session if isinstance(session, Accompanying) else None
        reading = session if isinstance(session, Reading) else None
        sharing = session if isinstance(session, Sharing) else None
        clock.lap("draft")
        out = prefill(self.model, self.prompts, whole=observing is not None and observing.reads_prompt)
        state = out.state
        assert state is not None
        roots = [TokenTree(self.context(row)[-1:], torch.tensor([-1])) for row in self.fed]
        self._verify(roots, out.logits[:, -1:], [len(self.context(row)) - 1 for row in self.fed])
        if observing is not None:
            read = torch.ones(out.hidden.shape[:2], dtype=torch.bool)
            if observing.reads_prompt and self.prompts.mask is not None:
                read = self.prompts.mask.cpu()
            self._tell(observing, read, out.hidden)
        clock.lap("prefill")
        del out
        while self.writer.live:
            state = self._drop_finished(state)
            live = set(self.writer.live)
            room = [self.writer.room(row) - 1 if row in live else 0 for row in range(len(self.lengths))]
            nodes = None if positions is None else max(positions // len(self.fed), 1)
            before = _fed(session)
            if sharing is not None:
                sharing.share(self.fed, state)
            proposed = session.propose([self.context(row) for row in range(len(self.lengths))], room)
            trees = [_within(proposed[row], room[row], nodes) for row in self.fed]
            self._check(trees)
            clock.lap("draft")
            if accompanying is not None:
                out = accompanying.accompany(self.fed, trees, state)
            else:
                out = self.model(**pack(trees, state, self.model.device), state=state, keep_state=True)
            logits, hidden, longer = out.logits, out.hidden, out.state
            assert longer is not None
            del out
            kept, counts, depths = self._verify(trees, logits, [self.lengths[row] - 1 for row in self.fed])
            if observing is not None:
                self._tell(observing, kept, hidden)
            if reading is not None:
                reading.read(self.fed, trees, logits)
            beside = longer.slots - state.slots - kept.shape[1]
            state = self._keep(state, longer, torch.nn.functional.pad(kept, (0, beside)) if beside else kept)
            del longer  # a longer state that is still held would force a copy of the cache
            self.trace.note(
                depths,
                rows=len(live),
                target_passes=1,
                drafted=sum(len(proposed[row]) - 1 for row in live),
                target_positions=sum(len(tree) for tree in trees) + beside * len(trees),
                draft_passes=_fed(session)[0] - before[0],
                draft_positions=_fed(session)[1] - before[1],
                **counts,
            )
            clock.lap("verify")
        return self.writer.generation(self.model, self.trace, drafts=True)

    def _tell(self, session: Observing, kept: Tensor, hidden: Tensor) -> None:
        """Show the session the hidden states (rows, nodes, width) of what was kept of the rows that go on."""
        live = set(self.writer.live)
        ats = [at for at, row in enumerate(self.fed) if row in live]
        if ats:
            nodes = [kept[at].nonzero()[:, 0] for at in ats]
            states = [hidden[at, of.to(hidden.device)] for at, of in zip(ats, nodes, strict=True)]
            session.observe([self.fed[at] for at in ats], nodes, states)

    def _verify(
        self, trees: Sequence[TokenTree], logits: Tensor, before: Sequence[int]
    ) -> tuple[Tensor, dict[str, int], dict[str, list[int]]]:
        """Let the verifier choose in every live row and commit. Returns the kept nodes (rows, nodes), and counts in all
        and by depth."""
        kept = torch.zeros(logits.shape[:2], dtype=torch.bool)
        kept[:, 0] = True
        shared = shared_work(self.pipeline, logits)
        live, committed = set(self.writer.live), 0
        deepest = max(len(tree.sizes) for tree in trees) - 1
        depths = {name: [0] * deepest for name in ("verified", "accepted", "rejected")}
        chosen: list[
            tuple[int, list[int], list[int]]
        ] = []  # row of the pass, nodes from the root down, tokens after them
        for at, (row, tree) in enumerate(zip(self.fed, trees, strict=True)):
            if row in live:
                generated = len(self.writer.ids[row])
                laws = NodeLaws(
                    self.pipeline, logits[at], tree, self.context(row), generated, self.stop.tokens, shared(at)
                )
                found = self.verifier(tree, laws, lambda row=row: self.streams(row))
                drafted = [int(tree.tokens[node]) for node in found.path]
                chosen.append((at, [0, *found.path], [*drafted, found.token]))
        logprobs = iter(self._own_logprobs(logits, chosen, before))
        for at, path, tokens in chosen:
            row, size = self.fed[at], len(path)
            taken = self.writer.commit(row, tokens, [next(logprobs) for _ in path], drafted=size - 1)
            length = self.lengths[row]
            self.committed[row, length : length + taken] = torch.tensor(tokens[:taken])
            self.lengths[row] += taken
            kept[at, path] = True
            committed += taken
            for depth, nodes in enumerate(trees[at].sizes[1:]):
                depths["verified"][depth] += nodes
            for depth in range(min(taken, size - 1)):
                depths["accepted"][depth] += 1
            if taken == size and trees[at].children[path[-1]]:
                depths["rejected"][size - 1] += 1
        return kept, {name: sum(found) for name, found in depths.items()} | {"committed": committed}, depths

    def _own_logprobs(
        self, logits: Tensor, chosen: list[tuple[int, list[int], list[int]]], before: Sequence[int]
    ) -> list[float]:
        """The model's log-probability of every chosen token, in order; a normaliser for used nodes only."""
        ats = [at for at, path, _ in chosen for _ in path]
        depths = [depth for _, path, _ in chosen for depth in range(len(path))]
        used = logits[ats, [node for _, path, _ in chosen for node in path]]  # (tokens, vocab)
        lengths = [before[at] + 1 + depth for at, depth in zip(ats, depths, strict=True)]
        normaliser = checked_normaliser(used, [self.fed[at] for at in ats], lengths)
        tokens = torch.tensor([token for _, _, tokens in chosen for token in tokens], device=used.device)
        return (used.gather(1, tokens[:, None])[:, 0].to(normaliser.dtype) - normaliser).tolist()

    def _keep(self, before: State, after: State, kept: Tensor) -> State:
        """The state with the accepted nodes only, so that the pending token is again the one not yet fed."""
        if kept.all():
            return after
        if "gather" in self.model.offers:
            return after.gather(kept)
        return after.truncate(before.lengths + kept.sum(1))  # chains only, as was checked: what is kept comes first

    def _drop_finished(self, state: State) -> State:
        """Leave finished rows out of the state once enough of them make the copy worth while."""
        if len(self.writer.live) > 0.75 * len(self.fed):
            return state
        live = set(self.writer.live)
        left = [at for at, row in enumerate(self.fed) if row in live]
        self.fed = [self.fed[at] for at in left]
        return state.select(torch.tensor(left))

    def _check(self, trees: Sequence[TokenTree]) -> None:
        if not {"tree", "gather"} <= self.model.offers and not all(is_chain(tree) for tree in trees):
            require_offers("speculative with draft trees", self.model, ["tree", "gather"])
        for tree in trees:
            low, high = int(tree.tokens.min()), int(tree.tokens.max())
            if low < 0 or high >= self.model.vocab_size:
                raise ValueError(
                    f"the drafter proposed token {low if low < 0 else high}, outside the target's vocabulary of "
                    f"{self.model.vocab_size}; target and draft must share one"
                )

    def _draft_logits(self, logits: Tensor, histories: Sequence[Tensor]) -> Tensor:
        """The pipeline as drafters see it. They do not say which row a history belongs to, so the count of new tokens
        is a lower bound in a ragged batch; that can cost acceptance before ``min_length``, never correctness."""
        generated = [max(len(history) - max(self.prompts.lengths), 0) for history in histories]
        return self.pipeline.logits(logits, histories, generated, self.stop.tokens)


def _fed(session: DraftSession) -> tuple[int, int]:
    """Passes and positions of a draft model so far; none where a session counts none."""
    return getattr(session, "passes", 0), getattr(session, "positions", 0)


def _within(tree: TokenTree, room: int, nodes: int | None) -> TokenTree:
    """The tree, no deeper than there is room for and with at most so many nodes."""
    fits = len(tree) - 1 <= room and (nodes is None or len(tree) <= nodes)
    return tree if fits else tree.truncate(nodes, room)
