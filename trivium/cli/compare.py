"""``trivium compare``."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.compare import holes, suites
from trivium.compare.comparison import Comparison, Report
from trivium.compare.contender import build, describe
from trivium.compare.executors import Executor, Ray
from trivium.compare.matching import matched
from trivium.compare.plan import Named
from trivium.compare.report import table
from trivium.compare.training import Training
from trivium.core.method import names
from trivium.core.nouns import Example


@dataclass(frozen=True)
class Command:
    """Compare methods of one kind at an equal budget, and leave a report page.

    Example: trivium compare decoding --contenders greedy "min_p(floor=0.1)" --model tiny --folder runs/first

    Run the same command again to go on with a run that was interrupted.

    A suite is a comparison that ships, with contenders, task, budget and seeds chosen: of decoding, lossless
    (speculative decoders of every sort against plain greedy and transformers' own, timed in turns on copy, chat and
    code, in batches of 1 and 4) and quality; of architectures, decoders (all that write from left to right, each with
    four learning rates, at three budgets); of attribution, reagent-paper.

    Example: trivium compare decoding --suite lossless --drafts heads/ draft/ --dtype bfloat16

    Example: trivium compare attribution --contenders occlusion reagent --prompts mine.jsonl

    Explainers are judged by what becomes of the prediction without the tokens they name, first of all by how much more
    than random scores do. With --prompts on yours: the explained token is the first of "answer", or what the model
    predicts; "decisive" may name the word that the answer rests on.

    Example: trivium compare architectures --suite decoders --training "training(corpus='my_texts/', batch_size=4)"

    Example: trivium compare vocabulary --training "adapting(old='en.txt', new=('fr.txt',))"

    Curation is compared by what it is for: the same small model is trained on what each contender keeps of the same raw
    documents, at equal FLOPs, and scored in bits per byte on clean text that was held out before.

    Example: trivium compare curation --contenders gopher exact_copies "near_copies(verify=0.8)" --training
    "curating(raw='pages/*.jsonl.gz', corpus='clean_texts/')"
    """

    kind: Positional[str]
    """What varies: decoding, drafting, prompting, routing, attribution, probing, evaluation (of models), architectures,
    objectives, vocabulary (how the rows of new tokens begin) or curation."""
    contenders: tuple[str, ...] = ()
    """Methods written like calls; by default every method of the kind with its defaults. The baseline is added. Of the
    kind evaluation: models."""
    suite: str | None = None
    """A comparison that ships: lossless, quality, decoders or reagent-paper, see above. What is given besides takes the
    place of the suite's own."""
    drafts: tuple[Path, ...] = ()
    """Folders made by `trivium draft train` or `trivium draft make`, for the suite's contenders that need one."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier; of no matter where models are trained."""
    task: tuple[str, ...] = ()
    """A method of the kind evaluation, written like a call; by default the kind's own. For models, several of them."""
    prompts: Path | None = None
    """A text file with a prompt per line, or JSON lines with 'text' and if you like 'id', 'group' and 'chat'; for
    attribution also 'answer' and 'decisive'. For the kinds decoding, drafting and attribution."""
    budget: str | None = None
    """What each contender may spend, such as '64 new_tokens' or '1e12 flops'; by default the kind's own."""
    scales: tuple[float, ...] = ()
    """Shares of the budget, such as 0.25 0.5, at which everything is trained too: how fast does each contender gain?"""
    seeds: int | None = None
    """Repeats with different draws, or of what is timed; the same for all contenders. By default 3, or the suite's."""
    baseline: str | None = None
    """What every contender is set against; by default the kind's own, with the settings it has among the contenders."""
    trials: int = 0
    """Tuning trials for each contender on the validation split; of a training on equal shares of a second budget as
    large as the first, if --trial-share does not say otherwise."""
    trial_share: float | None = None
    """Share of the budget that each tuning trial of a training has, such as 1.0: what learns best in a short training
    need not do so in a long one."""
    rates: tuple[float, ...] = ()
    """Learning rates, such as 4e-3 8e-3, that each contender tries besides the training's own, where models are
    trained; by default the suite's, or with --trials a quarter to four times the training's own."""
    training: str | None = None
    """What stays fixed where models are trained, such as "training(corpus='stories', length=256, batch_size=8)";
    of the kind vocabulary "adapting(old='en.conllu', new=('fr.conllu', 'no.conllu'))": a language that the model knows
    and those that it is to learn. With origin='...' in it a model of your own is adapted."""
    match: Literal["parameters", "flops"] | None = None
    """Bring architectures to one size first, by the width inside their feed-forwards: that of the baseline, or of the
    first of them."""
    folder: Path | None = None
    """Where the run goes; by default runs/KIND[-SUITE]. A folder that holds this comparison is gone on with."""
    executor: Literal["process", "ray"] = "process"
    """Work in this process, or on a Ray cluster (extra 'cluster')."""
    workers: int = 2
    """Workers on the Ray cluster."""
    ray_address: str | None = None
    """Address of a running Ray cluster; by default one is started on this machine."""
    dtype: Literal["float32", "bfloat16", "float64", "int8"] = "float32"
    """Precision of the model's weights; int8 is for decoding only."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    retry: bool = False
    """Do units again that failed before."""
    name: str = ""
    """Title of the report."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the whole report as JSON instead of a table."""

    def run(self) -> int:
        hole = holes.hole(self.kind)
        chosen = suites.suite(self.kind, self.suite) if self.suite else None
        if self.drafts and chosen is None:
            raise ValueError("--drafts belongs to a suite; without one, write speculative(drafter=medusa(folder=...))")
        if self.prompts is not None and self.task:
            raise ValueError("give either a task or prompts; prompts belong to the kind's own task or the suite's")
        task: Any = self.task or (chosen.task if chosen else None) or None
        task = task[0] if isinstance(task, tuple) and len(task) == 1 else task
        if self.prompts is not None:
            task = build("evaluation", task or hole.task or "continuation")
            if not any(field.name == "prompts" for field in fields(task)):
                raise ValueError(
                    f"{self.kind} is judged by '{describe(task)}', which takes no prompts; leave --prompts away"
                )
            task = replace(task, prompts=read_prompts(self.prompts))
        if hole.systems and not self.contenders:
            raise ValueError("which models? write --contenders tiny runs/mine")
        contenders: Any = self.contenders or names(self.kind)
        labels: dict[str, str] = {}
        if chosen is not None:
            own = chosen.contenders(self.drafts, self.dtype, self.device)
            labels = {describe(contender): label for label, contender in own.items()}
            contenders = self.contenders or list(own.values())
        system: Any = self.model
        if hole.systems:
            system = None
        elif hole.per_seed:
            training = self.training or (chosen.training if chosen else None)
            system = hole.rest.read(training) if training else None
            contenders = self._matched(contenders, system or Training()) if self.match else contenders
        elif self.match:
            raise ValueError(f"no sizes differ in a comparison of {self.kind}; leave --match away")
        elif self.training:
            raise ValueError(f"nothing is trained in a comparison of {self.kind}; leave --training away")
        elif (self.dtype, self.device) != ("float32", "cpu"):
            system = Named(self.model, dtype=self.dtype, device=self.device)
        rates = self.rates or (chosen.rates if chosen else ())
        if rates and not hole.per_seed:
            raise ValueError(f"nothing is trained in a comparison of {self.kind}; leave --rates away")
        comparison = Comparison(
            vary=self.kind,
            contenders=contenders,
            system=system,
            task=task,
            budget=self.budget or (chosen.budget if chosen else None),
            seeds=self.seeds if self.seeds is not None else chosen.seeds if chosen else 3,
            scales=self.scales or (chosen.scales if chosen else ()),
            baseline=self.baseline,
            trials=self.trials or (len(rates) + 1 if rates else 0),
            trial_share=self.trial_share or (chosen.trial_share if chosen else None),
            tune=self._rated(contenders, rates) if rates else {},
            name=self.name or (chosen.title if chosen else ""),
            labels=labels,
            shown=chosen.shown if chosen else None,
            command=self._command(),
        )
        executor: str | Executor = self.executor
        if self.executor == "ray":
            executor = Ray(self.workers, address=self.ray_address)
        home = Path("runs") / "-".join(filter(None, (self.kind, self.suite)))
        report = comparison.run(self.folder or home, executor=executor, retry=self.retry)
        show(report, as_json=self.json)
        return exit_code(report)

    def _rated(self, contenders: Sequence[Any], rates: tuple[float, ...]) -> dict[str, dict[str, tuple[float, ...]]]:
        """The rates for each contender and the baseline, which may be none of those given."""
        every = [*contenders, self.baseline or holes.hole(self.kind).baseline]
        built = [build(self.kind, each) if isinstance(each, str) else each for each in every]
        return {describe(each): {"learning_rate": rates} for each in built}

    def _matched(self, contenders: Sequence[Any], training: Training) -> list[Any]:
        """The contenders at the size of the baseline, which comes first here and is one of them."""
        if self.kind != "architectures":
            raise ValueError(f"--match is for architectures, not for {self.kind}")
        given = [each for each in (self.baseline, *contenders) if each]
        recipes = [build(self.kind, each) if isinstance(each, str) else each for each in given]
        sized = matched(recipes, training.tokenizer.vocab_size, by=self.match or "parameters", length=training.length)
        return sized[1:] if self.baseline else sized

    def _command(self) -> str:
        """This command as it can be typed again."""
        words = ["trivium", "compare", self.kind]
        for field, value in vars(self).items():
            default = type(self).__dataclass_fields__[field].default
            if field in ("kind", "json", "folder", "retry") or value == default:
                continue
            words += [f"--{field.replace('_', '-')}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return shlex.join(words)


def show(report: Report, *, as_json: bool) -> None:
    """Print the table and where the page is, or the report as JSON."""
    if as_json:
        print_json(report.data)
        return
    out = console()
    out.print(table(dict(report.data)))
    out.print(f"\nreport: {report.page}")


def exit_code(report: Report) -> int:
    """1 where no contender gave a result."""
    return 0 if any(contender.get("measures") for contender in report.data["contenders"]) else 1


def read_prompts(path: Path) -> tuple[Example, ...]:
    """Prompts from a text file (one per line) or from JSON lines."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no prompt; write one per line")
    made = []
    for number, line in enumerate(lines, 1):
        if path.suffix not in (".jsonl", ".json"):
            made.append(Example(id=f"line {number}", text=line))
            continue
        try:
            entry = json.loads(line)
            text = entry["text"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number}: expected an object with a 'text', got {line[:60]!r}") from None
        told = {"chat": bool(entry.get("chat", False)), "group": str(entry.get("group", ""))}
        told |= {word: str(entry[word]) for word in ("answer", "decisive") if entry.get(word)}
        made.append(Example(id=str(entry.get("id", f"line {number}")), text=text, fields=told))
    return tuple(made)
