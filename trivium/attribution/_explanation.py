"""Explaining a prediction of a text, and the explanation as a reader has it: drawn, merged, compared, judged, saved.

    why = trivium.explain(load("smollm2-135m"), "The capital of France is", target=" Paris")
    print(why);  why.merge("word").top(3);  why.faithfulness(system)

In a notebook an explanation shows itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from trivium.attribution import _chart, _page, _render
from trivium.attribution._tokens import labelled
from trivium.attribution.occlusion import Occlusion
from trivium.core import seeds
from trivium.core.attributions import Objective
from trivium.core.nouns import Attribution, Axes, Target
from trivium.core.protocols import Explainer, LanguageModel, Tokenizer
from trivium.models.faithfulness import faithfulness
from trivium.models.scoring import Request, encoded
from trivium.models.system import System
from trivium.nn.faithfulness import Faithfulness
from trivium.nn.modes import evaluating


@dataclass(frozen=True)
class Explanation(Attribution):
    """An attribution that knows how its tokens read, and so can be shown."""

    @classmethod
    def of(cls, attribution: Attribution, tokenizer: Tokenizer | None = None) -> Self:
        """Of what an explainer gave; the tokenizer is of need where the attribution does not know how it reads."""
        known = labelled(attribution, tokenizer)
        return cls(**{field.name: getattr(known, field.name) for field in fields(Attribution)})

    def to_text(self, width: int = 80) -> str:
        """Lines of at most ``width`` columns that read without colour."""
        return _render.to_text(self, width=width)

    def to_html(self, title: str = "Attribution", judged: Mapping[str, Faithfulness] | None = None) -> str:
        """One page that needs nothing else, for keyboard and screen reader too, dark and light; with what
        ``faithfulness`` found where it is given."""
        return _page.to_html(self, title=title, judged=[] if judged is None else [judged])

    def to_svg(self, array: str | None = None) -> str:
        """A bar per token; or one of ``arrays``, such as the heads of attention, as a map."""
        return _chart.svg([self], array)

    def to_png(self, array: str | None = None, scale: float = 2.0) -> bytes:
        """The same as pixels."""
        return _chart.png([self], array, scale)

    def to_json(self) -> str:
        """All of it, read back bit for bit by ``from_json``."""
        return _render.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What ``to_json`` wrote. Raises ValueError that says what is wrong with any other text."""
        return cls.of(_render.from_json(text))

    def faithfulness(
        self, system: System | LanguageModel, *, seed: int = 0, **settings: Any
    ) -> dict[str, Faithfulness]:
        """What becomes of the prediction without the tokens that are named, beside the same for random scores; by the
        names of ``models.faithfulness``, which takes the settings. Frozen positions are left alone.

        Raises ValueError for a merged explanation: ask the one that it was made of.
        """
        if self.units:
            raise ValueError("faithfulness is measured token by token; ask the explanation before it was merged")
        model = system.model if isinstance(system, System) else system
        generator = seeds.generator(seed, "faithfulness")
        tokens, frozen = self.target.tokens, self._frozen_mask()
        return faithfulness(model, self.ids, self.scores, generator=generator, answer=tokens, frozen=frozen, **settings)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return _page.fragment(self) + _page.inline_table(self)


@dataclass(frozen=True)
class Asked:
    """A prediction to explain: of this system, after ``ids`` (time,), the target. ``frozen`` (time,) bool: positions
    that belong to the question, such as a chat template."""

    system: System
    ids: Tensor
    target: Target
    frozen: Tensor

    def explain(self, explainer: Explainer, *, per_token: bool = False, seed: int = 0) -> Explanation:
        """By this explainer. ``per_token``: also each token of the answer by itself, in ``arrays["answer"]``, at the
        cost of an explanation each."""
        found = self._explained(explainer, self.ids, self.target, self.frozen, seed)
        if per_token:
            found = self._per_token(found, explainer, seed)
        return replace(Explanation.of(found, self.system.tokenizer), seed=seed)

    def _explained(self, explainer: Explainer, ids: Tensor, target: Target, frozen: Tensor, seed: int) -> Attribution:
        words: dict[str, Any] = {"frozen": frozen} if frozen.any() else {}
        fitted = self.system.fit(explainer)
        return fitted(self.system.model, ids, target, generator=seeds.generator(seed, "attribute"), **words)

    def _per_token(self, whole: Attribution, explainer: Explainer, seed: int) -> Attribution:
        """With a row (answer, token) for each token of the answer, those before it being part of the question."""
        if self.target.foils:
            raise ValueError("tokens of an answer are explained one by one without a foil; leave the foil out")
        rows, spent = [], dict(whole.spent)
        for place, token in enumerate(self.target.tokens):
            so_far = self.ids.new_tensor(self.target.tokens[:place])
            ids, frozen = torch.cat([self.ids, so_far]), torch.cat([self.frozen, torch.ones_like(so_far).bool()])
            one = self._explained(explainer, ids, replace(self.target, token=token), frozen, seed)
            rows.append(one.scores[: len(self.ids)])
            spent = {name: amount + one.spent.get(name, 0.0) for name, amount in spent.items()}
        arrays = {**whole.arrays, "answer": Axes(("answer", "token"), torch.stack(rows).cpu())}
        return replace(whole, arrays=arrays, spent=spent)


def explain(
    system: System,
    text: str,
    explainer: Explainer = Occlusion(),
    *,
    target: str | Sequence[int] | None = None,
    foil: str | Sequence[int] | None = None,
    objective: Objective | None = None,
    chat: bool = False,
    freeze: Sequence[int] = (),
    per_token: bool = False,
    seed: int = 0,
) -> Explanation:
    """Which tokens of a text a prediction after it rests on; see ``ask`` and ``Asked.explain``."""
    asked = ask(system, text, target=target, foil=foil, objective=objective, chat=chat, freeze=freeze)
    return asked.explain(explainer, per_token=per_token, seed=seed)


def ask(
    system: System,
    text: str,
    *,
    target: str | Sequence[int] | None = None,
    foil: str | Sequence[int] | None = None,
    objective: Objective | None = None,
    chat: bool = False,
    freeze: Sequence[int] = (),
) -> Asked:
    """A text and what follows it as a question to explainers.

    ``target``: the answer, as text (all its tokens count) or ids; by default the token that the model predicts.
    ``foil``: why the target rather than this. ``objective``: "logprob" unless there is a foil, which makes it
    "contrast". ``chat``: the text is a user's message in the model's chat template. What the tokenizer puts before
    every text, the template, and the positions ``freeze`` are frozen: never changed, and scored 0.

    Raises ValueError for an answer without a token, positions outside, and where everything is frozen.
    """
    whole = system.chat(text) if chat else text
    ids = system.prompt(whole)[0]
    frozen = torch.zeros(len(ids), dtype=torch.bool)
    opening = list(getattr(system.tokenizer, "opening", ()))
    frozen[: len(opening)] = True
    if chat and whole != text:
        frozen |= _template(system, ids, whole, text)
    for place in freeze:
        if not -len(ids) <= place < len(ids):
            raise ValueError(f"position {place} to freeze is outside the prompt of {len(ids)} tokens")
        frozen[place] = True
    if frozen.all():
        raise ValueError(f"all {len(ids)} tokens of the prompt are frozen, so there is nothing to explain")
    if target is None:
        with evaluating(system.model), torch.no_grad():
            answer = [int(system.model(ids[None], logits_to_keep=1).logits[0, -1].argmax())]
    else:
        answer = _tokens(system, whole, ids, target)
    against = None if foil is None else tuple(_tokens(system, whole, ids, foil))
    objective = objective or ("logprob" if against is None else "contrast")
    asked = Target(tuple(answer), foil=against, objective=objective)
    asked.check(system.model.vocab_size)
    return Asked(system, ids, asked, frozen.to(ids.device))


def _tokens(system: System, text: str, ids: Tensor, answer: str | Sequence[int]) -> list[int]:
    """The tokens of an answer after the text, cut as the two are cut together."""
    if not isinstance(answer, str):
        return [int(token) for token in answer]
    if not answer:
        raise ValueError("the answer is empty; give the word with the space before it, such as ' Paris'")
    pair = encoded(system, Request(text, answer))
    found = list(pair.continuation) if list(pair.context) == ids.tolist() and not pair.merged else []
    if not found:  # the text ends within a token of the whole
        opening = list(getattr(system.tokenizer, "opening", ()))
        found = system.tokenizer.encode(answer)
        found = found[len(opening) :] if opening and found[: len(opening)] == opening else found
    if not found:
        raise ValueError(f"{answer!r} holds no token; give the word with the space before it, such as ' Paris'")
    return found


def _template(system: System, ids: Tensor, whole: str, text: str) -> Tensor:
    """(time,) bool: the tokens of a filled chat template that hold nothing of the message."""
    at = whole.rfind(text)
    if at < 0:
        raise ValueError("the chat template changes the message, so its tokens cannot be told apart; fill it yourself")
    pieces = [len(system.tokenizer.bytes_of(id)) for id in ids.tolist()]
    ends = torch.tensor(pieces).cumsum(0)
    begin = sum(len(system.tokenizer.bytes_of(id)) for id in system.tokenizer.encode(whole[:at]))
    end = begin + len(text.encode("utf-8", "surrogatepass"))
    starts = ends - torch.tensor(pieces)
    return ~((starts < end) & (ends > begin) & (ends > starts))
