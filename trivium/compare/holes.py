"""The hole of a comparison, one per kind: the only file in which kinds meet.

A hole says what a contender of its kind is put into, what is held equal by default, which baseline and task go with
it, and what its items are. A hole with ``fill`` works per example and seed: contender x example -> output, which the
task scores. A hole that is filled ``once`` works per seed, without an example: its output serves all of them. A hole
with ``train`` works per seed too: contender -> trained system, which the task scores on each example.
A hole of ``systems`` is filled by models themselves: each is scored on every example, and the work is the task's.
A new kind is a new entry of ``HOLES``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.attribution import _page as attribution_page
from trivium.attribution import _paper as attribution_paper
from trivium.attribution import _render as attribution_text
from trivium.compare import curating
from trivium.compare.adapting import Adapting
from trivium.compare.curating import Curating
from trivium.compare.training import TrainedSystem, Training
from trivium.core import meter
from trivium.core.budget import Budget
from trivium.core.capabilities import lacking
from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.method import card_of, find
from trivium.core.nouns import Attribution, Example, Generation, Stop
from trivium.core.progress import Bar
from trivium.models.system import System

Fill = Callable[[Any, System, Any, Any, Budget, torch.Generator], object]
"""contender, system, task, example (None where the hole is filled once), budget, generator -> output"""
Train = Callable[[Any, Any, int, Budget, Path, Bar | None], TrainedSystem]
"""contender, the fixed rest (see ``Hole.rest``), seed, budget, folder, bar -> trained"""
RESTS = (Training, Adapting)
"""What stands in the place of a system where contenders are trained."""


@dataclass(frozen=True)
class Hole:
    """One open arrow of the pipeline."""

    question: str
    """What a comparison of this kind asks; {task} and {budget} are filled in."""
    budget: Budget
    """Held equal where nothing else is asked for: per example where there is ``fill``, per seed with ``once``, per
    training without."""
    baseline: str
    task: str
    fill: Fill | None = None
    train: Train | None = None
    rest: type[Any] = Training
    """What stays fixed where there is ``train``. What it is scored on by default is its own ``task()``."""
    once: bool = False
    """Filled per seed rather than per example: what the contender finds out there serves every example."""
    systems: bool = False
    """Contenders are models, which the tasks score; nothing is held equal but the examples."""
    check: Callable[[System, Any, Example, Budget], None] = lambda *_: None
    """Raises ValueError, before any work, for an example that cannot be used."""
    show: Callable[[System, Any], Mapping[str, Any]] = lambda *_: {}
    """What a report shows of an output besides what the task shows: system x output -> text, html."""

    @property
    def per_seed(self) -> bool:
        """True where a contender is trained once per seed, so that seeds are the items of the statistics."""
        return self.train is not None


def hole(kind: str) -> Hole:
    """The hole of a kind. Raises UnknownName for a kind that cannot be compared."""
    if kind not in HOLES:
        raise UnknownName(f"no comparison varies {kind!r}{did_you_mean(kind, HOLES)}")
    return HOLES[kind]


def needs_of(contender: object) -> frozenset[str]:
    """What a method and the methods in its fields need of a model, by their cards."""
    found = card_of(contender).needs
    if dataclasses.is_dataclass(contender):
        for field in dataclasses.fields(contender):
            value = getattr(contender, field.name)
            for part in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(type(part), "__card__"):
                    found |= needs_of(part)
    return found


def missing(kind: str, contender: object, system: object, task: object = None) -> tuple[str, ...]:
    """What the contender needs and the system's model, or the fixed rest of a training, does not offer. A contender
    whose needs are in no list of capabilities says itself what it lacks: ``lacks(model)`` -> words; and so does a task
    that suits some contenders only: ``refuses(contender)``.
    """
    if isinstance(system, RESTS):
        return system.lacks(contender)
    if not isinstance(system, System) and not hasattr(system, "model"):
        return ()
    model = system.model  # type: ignore[attr-defined]
    own: Callable[[object], tuple[str, ...]] = getattr(contender, "lacks", lambda _: ())
    of_task: Callable[[object], tuple[str, ...]] = getattr(task, "refuses", lambda _: ())
    return (*lacking(model, needs_of(_whole(kind, contender))), *own(model), *of_task(contender))


def lossless(kind: str, contender: object) -> bool:
    """Whether the contender, with its settings, keeps the output of plain decoding; never claimed by a lossy one."""
    said = getattr(contender, "lossless", None)
    return bool(said) if isinstance(said, bool) else card_of(contender).lossless


# decoding and drafting ----------------------------------------------------------------------------------------------


def new_tokens(task: Any, budget: Budget) -> int:
    """The limit of a generation: the budget where it is in new tokens, else what the task asks for."""
    return int(budget.amount) if budget.unit == "new_tokens" else int(task.limit)


def prompt_of(system: System, task: Any, example: Example) -> Tensor:
    """(1, time) ids of an example, as the task wants it put to this system."""
    text = task.prompt(system, example) if hasattr(task, "prompt") else example.text
    return system.prompt(text)


def decode(
    decoder: Any, system: System, task: Any, example: Example, budget: Budget, generator: torch.Generator
) -> Generation:
    """Let the decoder go on from the example's prompt. The generator is one per example and seed, so that contenders
    are paired and no result depends on the order of work. A task may have its own way of letting a decoder run."""
    if hasattr(task, "run"):
        return task.run(system.fit(decoder), system, example, new_tokens(task, budget), generator)
    prompt = prompt_of(system, task, example)
    stop = system.stop if getattr(task, "stop_early", False) else Stop()
    before = meter.Meter(who="this decoder")
    with before:
        made = system.fit(decoder)(system.model, prompt, limit=new_tokens(task, budget), generator=generator, stop=stop)
    unseen = int(made.lengths.sum()) - before.spent.new_tokens
    if unseen > 0:  # a decoder of one's own that does not report what it writes
        meter.spend(new_tokens=unseen)
    return made


def decode_checks(system: System, task: Any, example: Example, budget: Budget) -> None:
    """The prompt is not empty and fits the model together with what is to be written."""
    try:
        length = prompt_of(system, task, example).shape[1]
    except ValueError as error:
        raise ValueError(f"example {example.id!r}: {error}") from None
    limit, room = new_tokens(task, budget), system.model.max_positions
    if room is not None and length + limit > room:
        raise ValueError(
            f"example {example.id!r}: a prompt of {length} tokens and {limit} new ones are more than the {room} "
            f"positions of {system.name}; drop the example or lower the budget to {max(room - length, 0)} new tokens"
        )


def draft(
    drafter: Any, system: System, task: Any, example: Example, budget: Budget, generator: torch.Generator
) -> Generation:
    """Let the speculative decoder go on with this drafter."""
    return decode(_whole("drafting", drafter), system, task, example, budget, generator)


def _whole(kind: str, contender: Any) -> Any:
    """The contender in what it is always used in: a drafter in a speculative decoder."""
    return find("decoding", "speculative")(drafter=contender) if kind == "drafting" else contender


# attribution --------------------------------------------------------------------------------------------------------


def explain(
    explainer: Any, system: System, task: Any, example: Example, budget: Budget, generator: torch.Generator
) -> Attribution:
    """Let the explainer attribute the prediction that the task's example asks about, with as many samples or steps as
    the budget allows where it has such and they would cost more."""
    ids, target = task.question(system, example)
    if budget.unit == "evaluations" and hasattr(explainer, "within"):
        explainer = explainer.within(int(budget.amount))
    return system.fit(explainer)(system.model, ids, target, generator=generator)


def explainers_of(preset: str) -> dict[str, Any]:
    """Explainers with the settings under which a paper compared them, by their names."""
    return dict(attribution_paper.preset(preset))


def explain_checks(system: System, task: Any, example: Example, budget: Budget) -> None:
    """The example asks about a token that the model has."""
    try:
        task.question(system, example)
    except ValueError as error:
        raise ValueError(f"example {example.id!r}: {error}") from None


def explain_shows(system: System, output: Attribution) -> dict[str, str]:
    """The attribution as plain lines, and as the coloured rows of a page."""
    return {
        "text": attribution_text.to_text(output, system.tokenizer),
        "html": attribution_page.fragment(output, system.tokenizer),
    }


def _insist(task: Any, steps: tuple[str, ...], needs: str) -> None:
    """Raises ValueError for a task that lacks one of the steps."""
    for step in steps:
        if not hasattr(task, step):
            raise ValueError(f"a comparison of {needs}; {card_of(task).name} has no '{step}'")


# prompting ----------------------------------------------------------------------------------------------------------


def prompted(
    prompting: Any, system: System, task: Any, example: None, budget: Budget, generator: torch.Generator
) -> Any:
    """Let the method say how the task's questions are put. The budget is for finding that out; asking is the task's."""
    return system.fit(prompting)(task, system, generator=generator)


def prompted_shows(system: System, output: Any) -> Mapping[str, str]:
    """What the method says of itself, such as the privacy that has been spent."""
    tells = getattr(output, "tells", None)
    return {} if tells is None else tells()


def prompted_checks(system: System, task: Any, example: Example, budget: Budget) -> None:
    """The example is a question that fits the model as plain text, together with its longest answer."""
    _insist(task, ("ask", "lay", "weigh"), "prompting needs a task that asks questions, such as order_sensitivity")
    question = task.ask(example)
    plan = task.lay(system, question)
    longest = max((len(system.blocks([answer])[-1]) for answer in question.answers), default=0)
    room = system.model.max_positions
    if room is not None and plan.end + longest > room:
        raise ValueError(
            f"example {example.id!r}: a prompt of {len(plan)} tokens and an answer of {longest} are more than the "
            f"{room} positions of {system.name}; drop the example"
        )


# routing ------------------------------------------------------------------------------------------------------------


def routed(routing: Any, system: System, task: Any, example: None, budget: Budget, generator: torch.Generator) -> Any:
    """Fit the router to the prompts and losses that the task gives; observing these is charged to none."""
    prompts, losses, experts = task.taught(system)
    return routing.fit(prompts, losses, experts, generator=generator)


def routed_checks(system: System, task: Any, example: Example, budget: Budget) -> None:
    """The task gives something to fit routers to."""
    _insist(task, ("taught",), "routing needs a task with a library of models, such as expert_choice")


# probing ------------------------------------------------------------------------------------------------------------


def probed(probing: Any, system: System, task: Any, example: None, budget: Budget, generator: torch.Generator) -> Any:
    """Fit the probe to the activations and labels that the task gives; making these is charged to none. The budget is
    in activations that it reads while it is fitted."""
    activations, labels, groups = task.taught(system)
    here = torch.Generator().manual_seed(generator.initial_seed())  # activations are on the processor
    drawn = here.get_state()
    probe = task.suited(probing).fit(activations, labels, generator=here, groups=groups)
    if not torch.equal(drawn, here.get_state()):
        torch.rand((), generator=generator, device=generator.device)  # so that its repeats count as such
    return probe


def probed_checks(system: System, task: Any, example: Example, budget: Budget) -> None:
    """The task gives something to fit probes to."""
    steps = ("taught", "suited", "refuses")
    _insist(task, steps, "probing needs a task with activations and labels, such as readout")


# architectures, objectives and curation -----------------------------------------------------------------------------


def train_architecture(
    recipe: Any, training: Training, seed: int, budget: Budget, folder: Path, bar: Bar | None
) -> TrainedSystem:
    """Train a model of this recipe; everything else is fixed."""
    return training.train(recipe, training.objective, seed, budget, folder, bar)


def train_objective(
    objective: Any, training: Training, seed: int, budget: Budget, folder: Path, bar: Bar | None
) -> TrainedSystem:
    """Train the fixed recipe with this objective."""
    return training.train(training.architecture, objective, seed, budget, folder, bar)


def train_curation(
    curation: Any, training: Curating, seed: int, budget: Budget, folder: Path, bar: Bar | None
) -> TrainedSystem:
    """Train the fixed recipe on what this method keeps of the raw documents."""
    return curating.train(curation, training, seed, budget, folder, bar)


# vocabulary ---------------------------------------------------------------------------------------------------------


def train_vocabulary(
    initialiser: Any, fixed: Adapting, seed: int, budget: Budget, folder: Path, bar: Bar | None
) -> TrainedSystem:
    """Give the fixed model new vocabularies with rows by this initialiser, and train it on their languages."""
    return fixed.train(initialiser, seed, budget, folder, bar)


HOLES: Mapping[str, Hole] = {
    "decoding": Hole(
        question="Which decoding is best by {task}, at {budget} per example?",
        budget=Budget("new_tokens", 64),
        baseline="greedy",
        task="continuation",
        fill=decode,
        check=decode_checks,
    ),
    "drafting": Hole(
        question="Which drafting makes speculative decoding best by {task}, at {budget} per example?",
        budget=Budget("new_tokens", 64),
        baseline="prompt_lookup",
        task="continuation",
        fill=draft,
        check=decode_checks,
    ),
    "attribution": Hole(
        question="Which attribution is most faithful by {task}, within {budget} per example?",
        budget=Budget("evaluations", 256),
        baseline="gradient_times_input",
        task="faithfulness",
        fill=explain,
        check=explain_checks,
        show=explain_shows,
    ),
    "prompting": Hole(
        question="Which prompting is best by {task}, found with {budget}?",
        budget=Budget("evaluations", 4096),
        baseline="plain",
        task="order_sensitivity",
        fill=prompted,
        once=True,
        check=prompted_checks,
        show=prompted_shows,
    ),
    "evaluation": Hole(
        question="Which model is best by {task}?",
        budget=Budget("evaluations", 1.0),
        baseline="",
        task="battery",
        systems=True,
    ),
    "routing": Hole(
        question="Which router is best by {task}, fitted with {budget}?",
        budget=Budget("evaluations", 512),
        baseline="best_single",
        task="expert_choice",
        fill=routed,
        once=True,
        check=routed_checks,
    ),
    "probing": Hole(
        question="Which probe reads most by {task}, fitted with {budget}?",
        budget=Budget("evaluations", 1_000_000),
        baseline="linear_readout",
        task="readout",
        fill=probed,
        once=True,
        check=probed_checks,
    ),
    "architectures": Hole(
        question="Which architecture learns best by {task}, trained with {budget}?",
        budget=Budget("flops", 2e12),
        baseline="llama",
        task="bits_per_byte",
        train=train_architecture,
    ),
    "objectives": Hole(
        question="Which objective teaches best by {task}, trained with {budget}?",
        budget=Budget("flops", 2e12),
        baseline="causal",
        task="bits_per_byte",
        train=train_objective,
    ),
    "curation": Hole(
        question="Which curation of the same raw documents teaches best by {task}, trained with {budget}?",
        budget=Budget("flops", 2e12),
        baseline="keep_all",
        task="bits_per_byte",
        train=train_curation,
        rest=Curating,
    ),
    "vocabulary": Hole(
        question="Which rows should new tokens begin with, by {task}, trained with {budget}?",
        budget=Budget("flops", 5e11),
        baseline="random",
        task="",
        train=train_vocabulary,
        rest=Adapting,
    ),
}
