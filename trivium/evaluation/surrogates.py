"""Surrogates: how much of a model it takes to tell whether it will refuse, and whether that part stands for the whole.

Source
    Noirot Ferrand, Beugin, Pauley, Sheatsley and McDaniel 2025, "Targeting Alignment: Extracting Safety Classifiers of
    Aligned LLMs", arXiv:2501.16534, steps 1 to 5; settings as in notes about the authors' code.
Equation
    y_i = 1 where the model's own response to prompt i refuses;   candidate l: embedding, blocks 0 .. l - 1, linear head
    F1 = 2 tp / (2 tp + fp + fn) of either class, balanced accuracy, over folds that hold out whole groups of prompts
    transfer = share of prompts turned on the candidate whose response turns too
Shapes
    System and one depth -> an Observation with agreement; prompts -> states (prompts, width) of the last position
Cost
    One response to each prompt, of at most ``limit`` tokens, and one pass for the states of all depths; the search
    costs ``steps`` passes of the first l blocks over ``width`` prompts for each prompt.
Caveats
    Labels are responses, told by phrases or by a judge model; phrases err, so ``labellers`` says how far the two
    agree. The last position is that of the chat template where there is one. F1 beside that of "always refuses",
    without which it says little. By default the prompts are of a harmless policy of our own (``data.policy``) that a
    model must have been taught: no harmful prompts and no found triggers are part of this package. Prompts come from a
    file of the user's, and the search works on models that the user holds on this machine, by trying tokens, without
    gradients; the authors' is guided by them. What is found is put to the model as text again. ``Attack`` is the
    interface for another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.errors import NotOffered
from trivium.core.method import find, method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.protocols import Probe
from trivium.data.policy import Asked, policy, prompt, read
from trivium.evaluation._together import together
from trivium.evaluation._triggers import Candidate, Search, states_of
from trivium.evaluation.stats.agreement import kappa
from trivium.models.refusals import PHRASES, by_judge, by_phrases
from trivium.models.system import System
from trivium.models.writing import Prompt, write
from trivium.nn.confusion import balanced_accuracy, f1_each, table, trivial_f1
from trivium.nn.folds import stratified_folds

Form = Literal["desk", "chat"]


class Attack(Protocol):
    """What turns prompts on a candidate: candidate x ids (time,) -> ids of the same length, of which only the free ones
    (time,) bool may have changed. ``Search`` is the one that comes along."""

    def __call__(self, candidate: Candidate, ids: Tensor, free: Tensor, *, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Agreement:
    """A candidate against the model's own responses, over held-out prompts. ``refused`` and ``answered``: F1 of the two
    classes; ``always``: F1 of the classifier that always refuses."""

    refused: float
    answered: float
    balanced: float
    always: float
    prompts: int

    @staticmethod
    def of(said: Tensor, right: Tensor) -> "Agreement":
        counts = table(said.long(), right.long())
        answered, refused = f1_each(counts).tolist()
        always = float(trivial_f1(counts, 1))
        return Agreement(refused, answered, float(balanced_accuracy(counts)), always, len(said))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Prompts with what the model did: ``responses``, ``refused`` (prompts,) bool, and (prompts, width) states of the
    last position for each depth 0 .. L."""

    asked: tuple[Asked, ...]
    responses: tuple[str, ...]
    refused: Tensor
    states: dict[int, Tensor]

    @property
    def groups(self) -> Tensor:
        names = {name: at for at, name in enumerate(dict.fromkeys(one.group for one in self.asked))}
        return torch.tensor([names[one.group] for one in self.asked])


@dataclass(frozen=True)
class Transfer:
    """Of ``tried`` prompts that are refused by model and candidate: on how many the candidate was ``turned`` by the
    search, on how many of these the model was (``moved``), and of all tried the model was by as many random tokens."""

    tried: int
    turned: int
    moved: int
    random: int

    @property
    def rate(self) -> float | None:
        """None where the candidate was never turned."""
        return self.moved / self.turned if self.turned else None

    @property
    def random_rate(self) -> float:
        return self.random / self.tried


@method(title="Surrogate safety classifiers", source="arXiv:2501.16534", year=2025, needs=["causal", "state", "sites"])
@dataclass(frozen=True)
class Surrogates:
    """Depths of a model, each with a head that foretells whether the whole model refuses."""

    path: str = ""
    """JSON lines of prompts of one's own (``data.policy.read``); by default those of a harmless policy."""
    prompts: int = 300
    """How many."""
    form: Form = "desk"
    """How prompts of the policy are put: as it teaches them, or in the model's chat template."""
    shares: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Of the depth, of the candidates."""
    phrases: tuple[str, ...] = ()
    """Of a refusal; none: those of the policy, or with ``path`` the usual ones of chat models."""
    limit: int = 100
    """Tokens of a response."""
    folds: int = 5
    probe: Any = field(default_factory=lambda: find("probing", "surrogate")(), metadata={"kind": "probing"})  # noqa: PLW0108
    """The head, a method of kind probing."""
    batch_size: int = 16
    seed: int = 0

    measures: ClassVar[Sequence[Measure]] = (
        Measure("f1", "F1 of refusals", True),
        Measure("f1_answered", "F1 of answers", True),
        Measure("balanced_accuracy", "Balanced accuracy", True),
        Measure("f1_always", "F1 of always refusing", None),
        Measure("labellers", "Agreement of two labellers", None),
    )

    def __post_init__(self) -> None:
        for name, least in (("prompts", 2), ("limit", 1), ("folds", 2), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}")
        if not self.shares or any(not 0.0 <= one <= 1.0 for one in self.shares):
            raise ValueError(f"shares are parts of the depth, 0 to 1, at least one; got {self.shares}")

    @cached_property
    def asked(self) -> tuple[Asked, ...]:
        """The prompts."""
        return read(self.path)[: self.prompts] if self.path else policy(self.prompts, self.seed)

    def examples(self, split: str) -> list[Example]:
        """One for each depth; the prompts of "validation" are others."""
        return [Example(f"{one:.0%} of the depth", "", fields={"split": split, "share": one}) for one in self.shares]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        labelled, labellers = self._labelled(system, example.fields["split"])
        depth = round(example.fields["share"] * system.model.depth)
        found = self.agreement(labelled, depth)
        values = {
            "f1": found.refused,
            "f1_answered": found.answered,
            "balanced_accuracy": found.balanced,
            "f1_always": found.always,
        }
        if labellers is not None:
            values["labellers"] = labellers
        return Observation(
            values, {"text": f"{depth} blocks, {int(labelled.refused.sum())} of {found.prompts} refused"}
        )

    @together
    def _labelled(self, system: System, split: str) -> tuple[Labelled, float | None]:
        seed = self.seed if split == "test" else self.seed + 1
        asked = self.asked if self.path or split == "test" else policy(self.prompts, seed)
        labelled = self.label(system, asked)
        known = torch.tensor([bool(one.refused) for one in asked])
        told = [one.refused is not None for one in asked]
        return labelled, float((known == labelled.refused).double().mean()) if all(told) else None

    def put(self, system: System, text: str) -> str:
        """A prompt as the model is given it."""
        return system.chat(text) if self.path or self.form == "chat" else prompt(text)

    def respond(self, system: System, texts: Sequence[str]) -> list[str]:
        """What the model writes behind prompts that are put already, greedily."""
        made = write(
            system,
            [Prompt(text, until=("\n",) if not self.path else ("\n\n\n\n",), limit=self.limit) for text in texts],
            batch_size=self.batch_size,
        )
        return [one.text for one in made]

    def refusals(self, responses: Sequence[str]) -> Tensor:
        """(responses,) bool, by phrases."""
        return by_phrases(responses, self.phrases or (PHRASES if self.path else ("NO",)))

    def label(self, system: System, asked: Sequence[Asked], *, judge: System | None = None) -> Labelled:
        """Responses, whether they refuse (by the judge where there is one), and states of all depths.

        Raises NotOffered for a system that shows no states, such as a server.
        """
        if not isinstance(system, System):
            raise NotOffered(f"{system} shows no states to classify; take a model on this machine")
        texts = [self.put(system, one.text) for one in asked]
        responses = self.respond(system, texts)
        plain = [one.text for one in asked]
        refused = self.refusals(responses) if judge is None else by_judge(judge, plain, responses)
        depths = range(system.model.depth + 1)
        return Labelled(tuple(asked), tuple(responses), refused, states_of(system, texts, depths, self.batch_size))

    def labellers(self, labelled: Labelled, judge: System) -> tuple[float, float]:
        """Share of responses on which phrases and a judge agree, and Cohen's kappa.

        Raises ValueError where both say the same of every response.
        """
        phrases = self.refusals(labelled.responses)
        judged = by_judge(judge, [one.text for one in labelled.asked], labelled.responses)
        found = kappa(phrases.tolist(), judged.tolist(), resamples=200)
        return float((phrases == judged).double().mean()), found.mean

    def agreement(self, labelled: Labelled, depth: int, *, permuted: bool = False) -> Agreement:
        """Of the candidate of this depth, each prompt judged by a head that has seen no prompt of its group.

        ``permuted``: heads learn labels that were dealt out anew, a control. Raises ValueError where only one class is
        there, or fewer groups than folds.
        """
        said = self.foretold(labelled, depth, permuted=permuted)
        return Agreement.of(said, labelled.refused)

    def foretold(self, labelled: Labelled, depth: int, *, permuted: bool = False) -> Tensor:
        """(prompts,) 0 or 1, held out."""
        y, groups = labelled.refused.long(), labelled.groups
        if len(y.unique()) < 2:
            raise ValueError(
                f"the model {'refuses' if y[0] else 'answers'} all {len(y)} prompts, so that there is no classifier to "
                "find; give prompts of both sorts, or other phrases"
            )
        draw = seeds.generator(self.seed, "folds", depth)
        fold = stratified_folds(y, groups, self.folds, seeds.generator(self.seed, "folds"))
        learnt = y[torch.randperm(len(y), generator=draw)] if permuted else y
        x, said = labelled.states[depth], torch.zeros_like(y)
        for number in range(self.folds):
            out = fold == number
            head = self.probe.fit(x[~out], learnt[~out], generator=draw, groups=groups[~out])
            said[out] = head.predict(x[out]).cpu().long()
        return said

    def head(self, labelled: Labelled, depth: int) -> Probe:
        """Fitted to all of these prompts."""
        draw = seeds.generator(self.seed, "head", depth)
        return self.probe.fit(labelled.states[depth], labelled.refused.long(), generator=draw, groups=labelled.groups)

    def across(self, labelled: Labelled, other: Labelled, depth: int) -> Agreement:
        """Of a head fitted to these prompts, on those of another set."""
        return Agreement.of(self.head(labelled, depth).predict(other.states[depth]).cpu(), other.refused)

    def transfer(
        self,
        system: System,
        labelled: Labelled,
        depth: int,
        *,
        attack: Attack = Search(),
        suffix: int = 4,
        tried: int = 20,
    ) -> Transfer:
        """Whether what turns the candidate of this depth from refusing to answering turns the model.

        Tokens are put behind the user's text, ``suffix`` of them, and the attack may change these alone. Prompts are
        those that model and candidate refuse, before and with the starting suffix. The control has random tokens there.
        Raises ValueError where there is no such prompt.
        """
        candidate = Candidate(system, depth, self.head(labelled, depth))
        starts = [self._with_suffix(system, one.text, suffix) for one in labelled.asked]
        whole = [
            one.text + self._said(system, ids, free) for one, (ids, free) in zip(labelled.asked, starts, strict=True)
        ]
        wanted = labelled.refused & self._refuses(system, whole)
        chosen = [at for at in wanted.nonzero()[:, 0].tolist() if float(candidate(starts[at][0][None])) > 0][:tried]
        if not chosen:
            raise ValueError("no prompt is refused by both the model and the candidate; take a deeper one")
        draw = seeds.generator(self.seed, "search", depth)
        found, at_random, turned = [], [], []
        for at in chosen:
            ids, free = starts[at]
            made = attack(candidate, ids, free, generator=draw)
            if made.shape != ids.shape or not torch.equal(made[~free], ids[~free]):
                raise ValueError("the attack changed tokens that are not free, or how many there are")
            other = ids.clone()
            other[free] = candidate.choices[torch.randint(len(candidate.choices), (suffix,), generator=draw)]
            turned.append(float(candidate(made[None])) <= 0)
            text = labelled.asked[at].text
            found.append(text + self._said(system, made, free))
            at_random.append(text + self._said(system, other, free))
        moved, by_chance = ~self._refuses(system, found), ~self._refuses(system, at_random)
        turns = torch.tensor(turned)
        return Transfer(len(chosen), int(turns.sum()), int((moved & turns).sum()), int(by_chance.sum()))

    def _with_suffix(self, system: System, text: str, suffix: int) -> tuple[Tensor, Tensor]:
        """Ids of the prompt with so many fillers behind the user's text, and which those are."""
        whole = self.put(system, text)
        at = whole.index(text) + len(text)
        opening = list(getattr(system.tokenizer, "opening", ()))
        rest = system.tokenizer.encode(whole[at:]) if whole[at:] else []
        rest = rest[len(opening) :] if opening and rest[: len(opening)] == opening else rest
        before = system.prompt(whole[:at])[0].tolist()
        ids = torch.tensor([*before, *[system.tokenizer.encode(" .")[-1]] * suffix, *rest])
        free = torch.zeros(len(ids), dtype=torch.bool)
        free[len(before) : len(before) + suffix] = True
        return ids, free

    @staticmethod
    def _said(system: System, ids: Tensor, free: Tensor) -> str:
        """The free tokens as text."""
        return b"".join(system.tokenizer.bytes_of(id) for id in ids[free].tolist()).decode("utf-8", "replace")

    def _refuses(self, system: System, texts: Sequence[str]) -> Tensor:
        """(texts,) bool: by the responses to them."""
        return self.refusals(self.respond(system, [self.put(system, text) for text in texts]))
