"""What a wrapped model really honours, found out by nine passes over at most six tokens each.

Each check compares a way of running the model with the plain pass that everybody agrees on. A word that fails is not
offered; the reason is kept. Proofs in half precision are weaker, since there the tolerance must be wider.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trivium.core.capabilities import known
from trivium.core.protocols import State
from trivium.core.tree import TokenTree
from trivium.models.sitecheck import Look, near
from trivium.nn.finite import check_finite

if TYPE_CHECKING:
    from trivium.models.huggingface import HuggingFaceModel

LENGTH = 6
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of the logits of a token (root mean square), in units of their spread. Norms run in float32 even
in a float64 model."""

FAILURES = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a model may raise when it is run in a way that it does not know."""


def examine(model: "HuggingFaceModel") -> tuple[frozenset[str], dict[str, str]]:
    """The words that the model may offer, and why others are refused."""
    with torch.inference_mode(False):
        return _examine(model)


def _examine(model: "HuggingFaceModel") -> tuple[frozenset[str], dict[str, str]]:
    check = Examination(model)
    refused: dict[str, str] = {}
    words = ["causal", "padding", "tree", "state", "gather", "embeds", "gradient", "sites", "attention", "layers"]
    if model.recurrent:
        refused |= dict.fromkeys(
            ("tree", "gather", "attention", "layers"), "its memory is of fixed size, no list of tokens"
        )
    elif model.cache_name is None:
        refused |= dict.fromkeys(("tree", "state", "gather"), "its forward pass takes no cache")
    if model.quantised:
        refused["gradient"] = "its weights are 8-bit integers; load it in float32 or bfloat16"
    for word in words:
        lacking = next((need for need in NEEDS.get(word, ()) if need in refused), None)
        if word in refused:
            continue
        try:
            reason = f"it rests on {lacking!r}, which failed" if lacking else getattr(check, word)()
        except FAILURES as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"
        if reason:
            refused[word] = reason
    refused |= check.false_sites
    if "gather" in refused:
        refused["truncate"] = refused["gather"]
    offered = {"causal", "state", "truncate", "gather", "tree", "gradient", "embeds", "layers", "attention", "sites"}
    return known(offered - refused.keys()), refused


NEEDS = {"gather": ("tree",), "gradient": ("embeds",), "attention": ("sites",), "layers": ("sites",)}


class Examination:
    """The checks, each giving None or the reason of its failure, and what they share."""

    def __init__(self, model: "HuggingFaceModel") -> None:
        self.model = model
        self.ids = (torch.arange(1, LENGTH + 1) * 7919 % model.vocab_size)[None].to(model.device)
        self.grown: State | None = None
        self.went_on = False
        self.false_sites: dict[str, str] = {}
        bases: list[Tensor] = []
        hook = model.parts.base.register_forward_hook(lambda module, args, output: bases.append(output[0]))
        try:
            with torch.no_grad():
                self.logits, hidden = model.through({"input_ids": self.ids, "use_cache": False}, 0)
                check_finite(self.logits, "the first pass of the wrapped model")
                model.split = (
                    bool(bases) and torch.equal(bases[-1], hidden) and _same(model.parts.head(hidden), self.logits)
                )
        finally:
            hook.remove()

    def differs(self, logits: Tensor, columns: slice, what: str) -> str | None:
        """None where the logits are those of the plain pass at these columns."""
        expected = self.logits[:, columns].double()
        error = (logits.double() - expected).square().mean(-1).sqrt()  # (batch, columns), over the vocabulary
        gap = float(error.max()) / max(float(self.logits.double().std()), 1e-12)
        limit = 1e-1 if self.model.quantised else TOLERANCE.get(self.model.dtype, 1e-1)
        if gap <= limit:
            return None
        return f"{what}: logits differ by {gap:.2g} of their spread (at most {limit:g} is rounding)"

    @torch.no_grad()
    def causal(self) -> str | None:
        self.first = self.model(self.ids[:, :3], keep_state=self.model.cache_name is not None)
        return self.differs(self.first.logits, slice(0, 3), "later tokens change earlier predictions")

    @torch.no_grad()
    def padding(self) -> str | None:
        """A short row, padded on the left with tokens that would matter, beside the whole one."""
        short = torch.cat([self.ids[:, 2:4], self.ids[:, :4]], 1)
        real = torch.ones(2, LENGTH, dtype=torch.bool, device=self.ids.device)
        real[1, :2] = False
        logits = self.model(torch.cat([self.ids, short]), mask=real).logits
        beside = self.differs(logits[:1], slice(0, LENGTH), "a row changes beside a padded row")
        return beside or self.differs(logits[1:, 2:], slice(0, 4), "a padded row differs from the same row alone")

    @torch.no_grad()
    def tree(self) -> str | None:
        """Tokens 3, 4, 5 as a branch of a tree that has a rival of token 4 in between."""
        third, fourth, fifth = (int(token) for token in self.ids[0, 3:])
        rival = (fourth + 1) % self.model.vocab_size
        tree = TokenTree(torch.tensor([third, rival, fourth, fifth]), torch.tensor([-1, 0, 0, 2]))
        mask = torch.cat([torch.ones(len(tree), 3, dtype=torch.bool), tree.visible], 1)
        tokens, mask, positions = (x[None].to(self.ids.device) for x in (tree.tokens, mask[None], tree.positions(3)))
        made = self.model(tokens, mask=mask, positions=positions, state=self.first.state, keep_state=True)
        self.grown = made.state
        reason = self.differs(
            made.logits[:, [0, 2, 3]], slice(3, LENGTH), "a branch of a tree differs from the same chain"
        )
        self.went_on = reason is None
        return reason

    @torch.no_grad()
    def gather(self) -> str | None:
        """Back to token 4 of the tree's branch, and on."""
        assert self.grown is not None
        kept = self.grown.gather(torch.tensor([[True, False, True, False]], device=self.ids.device))
        return self.differs(self.model(self.ids[:, 5:], state=kept).logits, slice(5, 6), "dropped slots are still seen")

    @torch.no_grad()
    def state(self) -> str | None:
        if self.went_on:  # the tree has shown it
            return None
        made = self.model(self.ids[:, 3:], state=self.first.state)
        return self.differs(made.logits, slice(3, LENGTH), "going on from a state differs from the whole")

    def embeds(self) -> str | None:
        """Embeddings in, with the way back for gradients if there is one."""
        with torch.set_grad_enabled(not self.model.quantised):
            self.leaf = self.model.embed(self.ids).detach().requires_grad_()
            self.logits_of_leaf = self.model(embeds=self.leaf).logits
        return self.differs(self.logits_of_leaf.detach(), slice(0, LENGTH), "embeddings differ from ids")

    def gradient(self) -> str | None:
        with torch.enable_grad():
            total = self.logits_of_leaf[:, -1].float().logsumexp(-1).sum()
            (found,) = torch.autograd.grad(total, self.leaf, allow_unused=True)
        if found is None or not found.isfinite().all() or not found.any(-1).all():
            return "no finite gradient reaches every embedding"
        return None

    @torch.no_grad()
    def sites(self) -> str | None:
        model = self.model
        look = Look(model, self.ids[:, :3], [name for name in model.site_table() if name not in model.taps])
        if not torch.equal(self.first.logits, look.output.logits):
            return "hooks that change nothing change the logits"
        self.seen = look.seen
        self.false_sites |= {f"site {name}": reason for name, reason in look.false(model.parts.head).items()}
        return None

    @torch.no_grad()
    def attention(self) -> str | None:
        look = Look(self.model, self.ids, self.model.taps)
        reason = self.differs(look.output.logits, slice(0, LENGTH), "attention that shows its weights differs")
        if reason is not None:
            return reason
        for what in look.false().values():
            return what
        for name, seen in look.seen.items():
            if name.endswith(".weights") and seen.triu(1).any():
                return f"{name} does not sum to 1 over earlier tokens"
        return None

    @torch.no_grad()
    def layers(self) -> str | None:
        model, middle = self.model, self.model.depth // 2
        start, end = self.seen["blocks.0.in"], self.seen[f"blocks.{model.depth - 1}.out"]
        found = model.layers(middle, model.depth, model.layers(0, middle, start))
        return None if near(found, end) else "running the layers in two ranges differs from the whole"


def _same(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and torch.equal(left, right)
