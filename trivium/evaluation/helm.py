"""HELM: a scenario by seven metrics: accuracy, calibration, robustness, fairness, bias, toxicity, efficiency.

Source
    Liang et al. 2022, "Holistic Evaluation of Language Models", arXiv:2211.09110, sections 3 and 4; rules of adapters
    and metrics as in the authors' code.
Equation
    separate: score_i = LL(choice i | question) / tokens_i;   calibrated: LL(choice i | question) - LL(choice i |
    "Answer:");   joint: LL(letter i | question with lettered choices);   the answer is the argmax
    ranking: passages by log p(Yes) - log p(No) to "does it answer the query?", reciprocal rank and NDCG in 10 places
    robustness, fairness = mean over instances of min over the instance and its k changed copies of the score
    confidence = max_i softmax(score)_i, or exp(LL of the written answer);   bias = total variation of a_g = c_g / |W_g|
    from even shares over groups g
Shapes
    System and one instance -> an Observation with one number per measure that the scenario supports
Cost
    For every trial one set of requests for each instance and each changed copy of it.
Caveats
    In-context examples are one set per trial, shared by all instances, never perturbed, and dropped one at a time where
    a prompt does not fit. A joint question is answered by the likeliest letter rather than by one that is written.
    Passages that tie are ranked in all orders at once; the worst case of a ranking is of its reciprocal rank.
    What is perturbed is the question; where that renames people, its choices too, at the same places. Copies that do
    not differ are not asked and do not count; more copies make any worst case lower by themselves: beside it stands
    what a guesser as accurate would have, a^(k + 1). Expected calibration errors of fewer than about 300 instances are
    mostly noise, upwards. Lists of names, pronouns and dialect are small and of our own, and so is the word list that
    stands in for a classifier of toxicity; pass your own as ``toxicity``. Run time is modelled for a stated machine.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import questions, retrieval, scenes, splits
from trivium.data.perturbations import named
from trivium.data.questions import Form
from trivium.data.retrieval import Query
from trivium.evaluation import _choices, _helm, _helm_ranking
from trivium.evaluation._helm import Asked, Instance, mean
from trivium.evaluation._together import together
from trivium.evaluation.multiple_choice import credit
from trivium.evaluation.stats import desiderata
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.models.writing import Prompt, Written, write

Adapter = Literal["separate", "calibrated", "joint", "generation", "language_modeling", "ranking"]
Scenario = Literal["scenes", "kinds", "openings", "passages"]


@method(title="HELM", source="arXiv:2211.09110", year=2022, needs=["causal"])
@dataclass(frozen=True)
class Helm:
    """A scenario, and how its instances are put to a model."""

    path: str = ""
    """A file of questions; by default one of our own scenarios."""
    form: Form | retrieval.Form = "arc"
    """What its lines look like; for rankings queries with passages, or SciQ with its support texts."""
    scenario: Scenario = "scenes"
    """Of our own: scenes with people in them, kinds of words, openings that a model goes on from, or passages to be
    ranked by whether they answer."""
    adapter: Adapter = "separate"
    """How an instance becomes requests."""
    items: int | None = None
    """Instances from the beginning; of a file half as many behind them are the pool of in-context examples."""
    shots: int = 5
    """In-context examples, as far as there are some and they fit."""
    trials: int = 1
    """Sets of in-context examples; values are means over them."""
    robustness: tuple[str, ...] = ("mild",)
    """Perturbations that keep the meaning, such as "typos 0.3"."""
    fairness: tuple[str, ...] = ("dialect", "gender", "names")
    """Perturbations of who speaks or is spoken of."""
    copies: int = 1
    """Copies of an instance under each perturbation, with different seeds."""
    completions: int = 1
    """Texts written for an instance; more than one are drawn at temperature 1."""
    limit: int = 24
    """New tokens of a written answer."""
    toxicity: Callable[[str], float] | None = None
    """text -> probability that it is toxic; None takes a short list of words, which stands in for a classifier."""
    batch_size: int = 16
    """Requests per pass."""

    weighted_by: ClassVar[dict[str, str]] = {"bits_per_byte": "bytes"}
    """Measure -> the value by which instances weigh in."""

    def __post_init__(self) -> None:
        forms = retrieval.Form if self.adapter == "ranking" and self.path else Form
        for name, known in (("adapter", Adapter), ("scenario", Scenario), ("form", forms)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}; got {getattr(self, name)!r}")
        for name, least in (("items", 1), ("shots", 0), ("trials", 1), ("copies", 1), ("completions", 1), ("limit", 1),
                            ("batch_size", 1)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for words in (*self.robustness, *self.fairness):
            named(words)
        if self._open and self.adapter != "generation":
            raise ValueError(f"openings have no choices: write adapter='generation', not {self.adapter!r}")
        if (self.scenario == "passages" and not self.path) != (self.adapter == "ranking" and not self.path):
            raise ValueError(
                f"passages are ranked, and nothing else is: scenario='passages' and adapter='ranking' go together, got "
                f"{self.scenario!r} and {self.adapter!r}"
            )
        if self.completions > 1 and self.adapter != "generation":
            raise ValueError("completions are of adapter='generation'; leave them at 1")

    @property
    def _open(self) -> bool:
        return self.scenario == "openings" and not self.path

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """The same for every scenario, its leading one first: a dense matrix, whose empty cells say why."""
        measures = (
            Measure("accuracy", "Accuracy", True, binary=self.trials == 1),
            Measure("reciprocal_rank", "Reciprocal rank at 10", True),
            Measure("ndcg", "NDCG at 10", True),
            Measure("f1", "Token F1", True),
            Measure("bits_per_byte", "Bits per byte", False, "bits/byte"),
            Measure("ece_mass", "Calibration error, equal mass", False, pooled="ece_mass"),
            Measure("ece_width", "Calibration error, equal width", False, pooled="ece_width"),
            Measure("coverage_area", "Selective accuracy", True, pooled="coverage_area"),
            Measure("robustness", "Robustness (worst case)", True, binary=self.trials == 1),
            Measure("robustness_copies", "Copies per instance, robustness", None),
            Measure("robustness_null", "Worst case by chance alone, robustness", None, pooled="robustness_null"),
            Measure("fairness", "Fairness (worst case)", True, binary=self.trials == 1),
            Measure("fairness_copies", "Copies per instance, fairness", None),
            Measure("fairness_null", "Worst case by chance alone, fairness", None, pooled="fairness_null"),
            Measure("bias_gender", "Bias, genders named", False, pooled="bias_gender"),
            Measure("bias_race", "Bias, names of two groups", False, pooled="bias_race"),
            Measure("stereotype_gender", "Stereotype, genders by profession", False, pooled="stereotype_gender"),
            Measure("toxicity", "Toxic completions", False),
            Measure("toxicity_most", "Most toxic of an instance", False),
            Measure("prompt_tokens", "Tokens of the prompt", None),
            Measure("output_tokens", "Tokens of the answer", None),
            Measure("modelled_seconds", "Run time, modelled", False, "s"),
            Measure("dropped", "In-context examples that did not fit", None),
        )
        first = "toxicity_most" if self._open else "bits_per_byte" if self._rolls else "accuracy"
        first = "reciprocal_rank" if self._ranks else first
        return tuple(sorted(measures, key=lambda measure: measure.name != first))

    @property
    def _rolls(self) -> bool:
        return self.adapter == "language_modeling"

    @property
    def _ranks(self) -> bool:
        return self.adapter == "ranking"

    @cached_property
    def said(self) -> dict[str, str]:
        """What a report's checklist is told of this scenario."""
        own = not self.path
        chance = "" if self._open or self._rolls or self.adapter == "generation" else self._chance()
        return {
            "licence": "that of this package: texts of our own" if own else "",
            "contamination": "made from tables of our own, so hardly in any corpus as they stand" if own else "",
            "language": "English" if own else "",
            "sort": "generation" if self.adapter == "generation" else "language modelling" if self._rolls else
            "retrieval, passages ranked" if self._ranks else "understanding, multiple choice",
            "examples": "none" if self._open or self._rolls else
            f"{self.shots} per trial from the validation split, labels in turns by frequency, trials {self.trials}",
            "formats": "one",
            "decoding": f"greedy, at most {self.limit} tokens, to the end of the line" if self.adapter == "generation"
            and self.completions == 1 else f"temperature 1, {self.completions} texts" if self.completions > 1 else
            "none: likelihoods of given texts",
            "chat": "none",
            "chance": chance,
            "limits": "word lists are small and of our own; calibration errors of few items are mostly noise",
        }  # fmt: skip

    def _chance(self) -> str:
        if self._ranks:
            return f"reciprocal rank {_helm_ranking.chance(self.queries('test')):.3f} in any order"
        items = self.instances("test")
        return f"{sum(1 / len(one.options) for one in items) / len(items):.3f} by guessing" if items else ""

    # Instances --------------------------------------------------------------------------------------------------------

    def instances(self, split: str) -> list[Instance]:
        """Of a split, as contexts with choices."""
        splits.check(split)
        if self._ranks:
            return [Instance(one.id, one.text, cluster=one.cluster or one.id) for one in self.queries(split)]
        if self._open:
            found = [Instance(name, text, cluster=who) for name, who, text in scenes.beginnings(split)]
            return found[: self.items]
        if self.path:
            return [Instance.of(one) for one in self._part(self._read, split)]
        made = scenes.made(split) if self.scenario == "scenes" else questions.made(split)
        found = [Instance.of(one) for one in made]
        return found[: self.items] if split == "test" else found

    def queries(self, split: str) -> Sequence[Query]:
        """Of a split, with the passages that are to be ranked."""
        if self.path:
            return self._part(self._read, split)
        found = retrieval.made(split)
        return found[: self.items] if split == "test" else found

    def _part(self, every: Sequence[Any], split: str) -> Sequence[Any]:
        return splits.part(every, len(every) * 2 // 3 if self.items is None else self.items, split)

    @cached_property
    def _read(self) -> tuple[Any, ...]:
        form: Any = self.form
        return retrieval.read(self.path, form) if self._ranks else questions.read(self.path, form)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, one.context, one.cluster, {"split": split, "number": number})
            for number, one in enumerate(self.instances(split))
        ]

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first instance of a split lets all of them be asked together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        return self._ranked(system, split) if self._ranks else self._observed(system, self.instances(split))

    def _ranked(self, system: System, split: str) -> list[Observation]:
        sorts = {sort: [named(word) for word in getattr(self, sort)] for sort in ("robustness", "fairness")}
        ranking = _helm_ranking.Ranking(self.shots, self.trials, sorts, self.copies, self.batch_size)
        found = []
        for seen, asked in ranking.observed(system, self.queries(split), self.queries("validation")):
            values = {**seen.values, **_helm.efficiency(system, asked)}
            found.append(Observation(values, {**seen.shown, "absent": self._absent(values, seen.shown["absent"])}))
        return found

    def _observed(self, system: System, instances: Sequence[Instance]) -> list[Observation]:
        if self._rolls:
            read = _helm.rolled(system, instances, self.batch_size)
            return [Observation(v, {**shown, "absent": self._absent(v, {})}) for v, shown in read]
        pool = [] if self._open else self.instances("validation")
        plans = [list(self._versions(one)) for one in instances]
        asked: list[list[list[Asked]]] = []  # instance, version, trial
        for versions in plans:
            asked.append([[] for _ in versions])
        for trial in range(self.trials):
            shown = [self._example(one) for one in _helm.exemplars(pool, self.shots, trial)]
            for row, versions in zip(asked, plans, strict=True):
                for place, (_, _, version) in enumerate(versions):
                    row[place].append(self._ask(system, version, shown))
        whole = [one for row in asked for version in row for one in version]
        if self.adapter == "generation":
            prompts = [prompt for one in whole for prompt in one.prompts]
            texts = iter(write(system, prompts, batch_size=self.batch_size))
            for one in whole:
                one.written = [next(texts) for _ in one.prompts]
        else:
            requests = [request for one in whole for request in one.requests]
            found = iter(score(system, requests, batch_size=self.batch_size))
            for one in whole:
                one.scored = [next(found) for _ in one.requests]
        sorts = {sort for versions in plans for sort, *_ in versions}
        return [self._seen(system, sorts, *entry) for entry in zip(instances, plans, asked, strict=True)]

    def _versions(self, instance: Instance) -> Iterator[tuple[str, str, Instance]]:
        """(sort, name, instance): itself, and its changed copies."""
        yield "", "", instance
        if self._open:
            return
        for sort, words in (("robustness", self.robustness), ("fairness", self.fairness)):
            for name, copy in _helm.copies(instance, [named(word) for word in words], self.copies):
                yield sort, name, copy

    def _example(self, instance: Instance) -> str:
        if self.adapter == "joint":
            return f"{_helm.joint(instance)} {_helm.letters(instance)[instance.answer]}"
        return f"{instance.context} {instance.right}"

    def _ask(self, system: System, instance: Instance, shown: Sequence[str]) -> Asked:
        context = _helm.joint(instance) if self.adapter == "joint" else instance.context
        choices = _helm.letters(instance) if self.adapter == "joint" else instance.options
        written = self.adapter == "generation"
        room = self.limit if written else max(len(system.tokenizer.encode(f" {choice}")) for choice in choices)
        prompt, dropped = _helm.fitted(system, shown, context, room)
        if written:
            heat = 1.0 if self.completions > 1 else 0.0
            ask = [Prompt(prompt, ("\n",), self.limit, heat, seed) for seed in range(self.completions)]
            return Asked(instance, prompt, dropped, prompts=ask)
        requests = [Request(prompt, f" {choice}") for choice in choices]
        if self.adapter == "calibrated":
            requests += [Request("Answer:", f" {choice}") for choice in choices]
        return Asked(instance, prompt, dropped, requests=requests)

    def _numbers(self, asked: Asked) -> tuple[list[float], float, float]:
        """What decides among the choices, the credit and the confidence of one version in one trial."""
        instance = asked.instance
        if self.adapter == "generation":
            text = asked.written[0]
            confidence = math.exp(min(sum(text.logprobs), 0.0))
            return [], desiderata.quasi_exact(text.text, [instance.right]), confidence
        count = len(instance.options)
        if self.adapter == "calibrated":
            pairs = zip(asked.scored[:count], asked.scored[count:], strict=True)
            numbers = [behind.total - alone.total for behind, alone in pairs]
        else:
            numbers = [one.total / len(one.ids) for one in asked.scored]
        return numbers, credit(numbers, instance.answer), _choices.confidence(numbers)

    def _seen(
        self,
        system: System,
        sorts: Collection[str],
        instance: Instance,
        versions: Sequence[tuple[str, str, Instance]],
        asked: Sequence[Sequence[Asked]],
    ) -> Observation:
        own = asked[0]
        values, vectors, absent, shown = _helm.efficiency(system, own), {}, {}, {}
        if not self._open:
            made = [[self._numbers(one) for one in version] for version in asked]
            credits = [[credit for _, credit, _ in version] for version in made]
            values["accuracy"] = mean(credits[0])
            vectors["calibration"] = (mean([one for *_, one in made[0]]), values["accuracy"])
            for sort, key in (("robustness", "robust"), ("fairness", "fair")):
                places = [at for at, (kind, *_) in enumerate(versions) if kind == sort]
                if sort not in sorts:
                    tried = ", ".join(getattr(self, sort))
                    why = f"no text changes under {tried}" if tried else f"no perturbation for {sort}"
                    absent |= dict.fromkeys((sort, f"{sort}_copies", f"{sort}_null"), why)
                    continue
                worst = [
                    desiderata.worst(credits[0][trial], [credits[at][trial] for at in places])
                    for trial in range(self.trials)
                ]
                values |= {sort: mean(worst), f"{sort}_copies": float(len(places))}
                vectors[key] = (values["accuracy"], float(len(places)))
            shown["confidence"] = vectors["calibration"][0]
            shown["copies"] = [[name, copy.context] for _, name, copy in versions[1:]]
        if self.adapter == "generation":
            said, more = self._written(system, instance, [text for one in own for text in one.written])
            values |= said
            vectors |= more
            first = own[0].written[0]
            decode = system.tokenizer.decode
            tokens = [[decode([id]), round(x, 3)] for id, x in zip(first.ids, first.logprobs, strict=True)]
            shown |= {"text": "\n\n".join(text.text for text in own[0].written), "tokens": tokens}
        else:
            taken = max(range(len(instance.options)), key=made[0][0][0].__getitem__)  # type: ignore[possibly-undefined]
            options = _helm.letters(instance) if self.adapter == "joint" else instance.options
            scored = own[0].scored[: len(options)]
            shown |= _choices.shown(system, options, scored, instance.answer, taken)
        shown["asked"] = own[0].prompt
        return Observation(values, shown | {"absent": self._absent(values, absent)}, vectors)

    def _written(
        self, system: System, instance: Instance, texts: Sequence[Written]
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        """What is measured on what was written: F1 where there is a right answer, toxicity and bias of any text."""
        toxic = self.toxicity or desiderata.word_list_toxicity
        found = [float(toxic(text.text)) for text in texts]
        values = {"toxicity": mean([float(x >= 0.5) for x in found]), "toxicity_most": max(found)}
        if instance.options:
            values["f1"] = mean([desiderata.token_f1(text.text, [instance.right]) for text in texts])
        whole = " \n".join(text.text for text in texts)
        about = f"{instance.context} {whole}" if self._open else whole  # the profession stands in the opening
        vectors = {
            "gender": desiderata.counts(whole, desiderata.GENDERS),
            "race": desiderata.counts(whole, desiderata.RACES),
            "stereotype": desiderata.associations(whole, desiderata.GENDERS, about=about),
        }
        return values, vectors

    def _absent(self, values: dict[str, float], said: dict[str, str]) -> dict[str, str]:
        """Why this scenario has no value of a measure."""
        why = "texts are read, nothing is answered" if self._rolls else ""
        why = "an opening has no right answer" if self._open else why
        why = "passages are ranked, none is the one right answer" if self._ranks else why
        reasons = _helm.reasons(self.adapter == "generation", why)
        return said | {name: why for name, why in reasons.items() if name not in values and name not in said}
