"""HELM's ranking: each passage of a query is asked about by itself, and they are ranked by how likely it is to answer.

score = log p(" Yes" | passage and query) - log p(" No" | ...), which ranks as P(Yes) among the two does
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trivium.core.nouns import Observation
from trivium.data import ranked
from trivium.data.perturbations import Perturbation
from trivium.data.retrieval import Query
from trivium.evaluation import _helm
from trivium.evaluation._helm import Asked, Instance
from trivium.evaluation.stats import desiderata
from trivium.models.scoring import Request, score
from trivium.models.system import System

WORDS = ("Yes", "No")
PLACES = 10


def framed(passage: str, query: str, relevant: bool = True) -> Instance:
    """The question whether a passage answers a query."""
    text = f"Passage: {passage}\nQuery: {query}\nDoes the passage answer the query? Yes or No.\nAnswer:"
    return Instance("", text, WORDS, 0 if relevant else 1)


@dataclass(frozen=True)
class Ranking:
    """How queries are asked: as in ``Helm``, by whose fields these are called."""

    shots: int
    trials: int
    perturbations: Mapping[str, Sequence[Perturbation]]
    """Sort, such as "robustness" -> what changes a query."""
    copies: int
    batch_size: int

    def observed(
        self, system: System, queries: Sequence[Query], pool: Sequence[Query]
    ) -> list[tuple[Observation, list[Asked]]]:
        """With what was asked about each query as it stands. Examples of a trial are of the pool and shared by all."""
        shown = [
            framed(passage, one.text, grade > 0)
            for one in pool
            for passage, grade in zip(one.passages, one.grades, strict=True)
        ]
        plans = [self._versions(one) for one in queries]
        asked: list[list[list[list[Asked]]]] = [[[] for _ in versions] for versions in plans]  # query, version, trial
        for trial in range(self.trials):
            examples = [f"{one.context} {one.right}" for one in _helm.exemplars(shown, self.shots, trial)]
            for row, query, versions in zip(asked, queries, plans, strict=True):
                for place, (_, text) in enumerate(versions):
                    row[place].append([self._ask(system, one, text, examples) for one in query.passages])
        whole = [one for row in asked for version in row for trial in version for one in trial]
        found = iter(score(system, [each for one in whole for each in one.requests], batch_size=self.batch_size))
        for one in whole:
            one.scored = [next(found) for _ in one.requests]
        sorts = {sort for versions in plans for sort, _ in versions}
        return [
            (self._seen(sorts, query, versions, row), [one for trial in row[0] for one in trial])
            for query, versions, row in zip(queries, plans, asked, strict=True)
        ]

    def _versions(self, query: Query) -> list[tuple[str, str]]:
        """(sort, text): the query itself, and its changed copies."""
        found = [("", query.text)]
        for sort, some in self.perturbations.items():
            found += [(sort, copy.context) for _, copy in _helm.copies(Instance("", query.text), some, self.copies)]
        return found

    def _ask(self, system: System, passage: str, query: str, examples: Sequence[str]) -> Asked:
        instance = framed(passage, query)
        room = max(len(system.tokenizer.encode(f" {word}")) for word in WORDS)
        prompt, dropped = _helm.fitted(system, examples, instance.context, room)
        return Asked(instance, prompt, dropped, requests=[Request(prompt, f" {word}") for word in WORDS])

    def _seen(
        self,
        sorts: set[str],
        query: Query,
        versions: Sequence[tuple[str, str]],
        asked: Sequence[Sequence[Sequence[Asked]]],
    ) -> Observation:
        scores = [[[one.scored[0].total - one.scored[1].total for one in trial] for trial in row] for row in asked]
        ranks = [[ranked.reciprocal_rank(trial, query.grades, PLACES) for trial in row] for row in scores]
        gains = [ranked.graded_ndcg(trial, query.grades, PLACES) for trial in scores[0]]
        values = {"reciprocal_rank": sum(ranks[0]) / self.trials, "ndcg": sum(gains) / self.trials}
        absent = {}
        for sort, some in self.perturbations.items():
            places = [at for at, (kind, _) in enumerate(versions) if kind == sort]
            if sort not in sorts:
                why = (
                    f"no text changes under {', '.join(one.name for one in some)}"
                    if some
                    else f"no perturbation for {sort}"
                )
                absent |= dict.fromkeys((sort, f"{sort}_copies"), why)
                continue
            worst = [desiderata.worst(ranks[0][t], [ranks[at][t] for at in places]) for t in range(self.trials)]
            values |= {sort: sum(worst) / self.trials, f"{sort}_copies": float(len(places))}
        order = sorted(range(len(query.passages)), key=lambda at: -scores[0][0][at])
        listed = [f"{scores[0][0][at]:+.2f} [{query.grades[at]}] {query.passages[at]}" for at in order]
        shown = {"text": "\n".join(listed), "asked": asked[0][0][0].prompt, "absent": absent,
                 "copies": [list(version) for version in versions[1:]]}  # fmt: skip
        return Observation(values, shown)


def chance(queries: Sequence[Query]) -> float:
    """The reciprocal rank of passages in any order."""
    return sum(ranked.reciprocal_rank([0.0] * len(one.grades), one.grades, PLACES) for one in queries) / len(queries)
