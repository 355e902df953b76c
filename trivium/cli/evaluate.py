"""``trivium evaluate``."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.cli.compare import exit_code
from trivium.compare import batteries
from trivium.compare.checklist import missing
from trivium.compare.comparison import Comparison, Report
from trivium.compare.contender import build, describe
from trivium.compare.models import Named
from trivium.compare.report import cell
from trivium.core.method import find


@dataclass(frozen=True)
class Command:
    """Put one or several models to tasks, and leave a report page: every number with its interval, and why one is not
    there.

    Example: trivium evaluate tiny --suite quick --folder runs/tiny

    Example: trivium evaluate smollm2-135m tiny --tasks multiple_choice "recall(sort=needle)" --items 40

    Run the same command again to go on with a run that was interrupted; what was answered is not asked again.
    """

    models: Positional[tuple[str, ...]]
    """Folders, known names or hub identifiers; with settings such as "smollm2-135m(dtype='bfloat16')"; or an
    OpenAI-compatible server, "server:http://localhost:8000/v1?model=NAME&prefix=<|endoftext|>", its key in
    OPENAI_API_KEY. Differences are taken to the first."""
    suite: str | None = None
    """Tasks that ship: quick (choices, held-out text, recall), choices, helm, fine_tuning, languages, or one of these,
    such as norwegian; sets (every known set in the folder --data, an hour at most for a small model on two cores)."""
    tasks: tuple[str, ...] = ()
    """Methods of the kind evaluation, written like calls, such as "multiple_choice(path='piqa.jsonl', form='piqa')"."""
    data: Path | None = None
    """For a suite: a folder with known sets, such as arc/ and piqa/; without it, it takes texts of our own."""
    items: int | None = None
    """Examples of each task at most."""
    batch_size: int | None = None
    """Texts per pass, wherever a task has a setting for it."""
    folder: Path | None = None
    """Where the run goes; by default runs/evaluation[-SUITE]. A folder that holds this evaluation is gone on with."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the models' weights."""
    device: str = "cpu"
    """Where the models run, such as cpu, cuda or cuda:1."""
    retry: bool = False
    """Do again what failed before."""
    name: str = ""
    """Title of the report."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the whole report as JSON instead of tables."""

    def run(self) -> int:
        if bool(self.suite) == bool(self.tasks):
            raise ValueError("say what to put the models to: give either --suite, such as quick, or --tasks")
        if self.data is not None and not self.suite:
            raise ValueError(
                "--data belongs to a suite; without one, give a task its file, as in multiple_choice(path=…)"
            )
        battery = find("evaluation", "battery")
        if self.suite:
            labels, tasks = zip(*batteries.battery(self.suite, self.data), strict=True)
        else:
            labels, tasks = (), tuple(build("evaluation", words) for words in self.tasks)
        tasks = tuple(batteries.limited(task, self.items, self.batch_size) for task in tasks)
        report = Comparison(
            vary="evaluation",
            contenders=[self._model(words) for words in self.models],
            task=battery(tasks, labels, self.items),
            seeds=1,
            name=self.name or f"Evaluation{f' {self.suite}' if self.suite else ''} of {', '.join(self.models)}",
            command=self._command(),
        ).run(self.folder or Path("runs") / "-".join(filter(None, ("evaluation", self.suite))), retry=self.retry)
        if self.json:
            print_json(report.data)
        else:
            told(report)
        return exit_code(report)

    def _model(self, words: str) -> Named:
        """With this command's settings, where the model has none of its own."""
        named = Named.read(words)
        return named if describe(named) != named.source else Named(named.source, dtype=self.dtype, device=self.device)

    def _command(self) -> str:
        """This command as it can be typed again."""
        words = ["trivium", "evaluate", *self.models]
        for field, value in vars(self).items():
            if (
                field in ("models", "json", "folder", "retry")
                or value == type(self).__dataclass_fields__[field].default
            ):
                continue
            words += [f"--{field.replace('_', '-')}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        return shlex.join(words)


def told(report: Report) -> None:
    """The leading measure of each task, what failed and why, and what a reader may ask that the run does not answer."""
    out, contenders = console(), report.data["contenders"]
    shown = table("task: measure", *(contender["name"] for contender in contenders), title=report.data["title"])
    judged = {(pair["a"], pair["measure"]): pair["verdict"] for pair in report.data["pairs"]}
    for measure in report.data["leading"]:
        cells = [cell(report.data, contender, measure) for contender in contenders]
        words = [f"{words} {judged.get((contender['name'], measure), '')}".strip()
                 for contender, words in zip(contenders, cells, strict=True)]  # fmt: skip
        shown.add_row(next(m["title"] for m in report.data["measures"] if m["name"] == measure), *words)
    out.print(shown)
    empty = [
        (contender["name"], name, entry) for contender in contenders for name, entry in contender["absent"].items()
    ]
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for who, name, entry in empty:
        if entry["word"] == "failed" or name in report.data["leading"]:
            reasons.setdefault((who, entry["word"], entry["why"]), []).append(name)
    for (who, word, why), names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        out.print(f"{who}, {names[0]}{more}: {word}: {why}", markup=False)
    if empty:
        out.print(f"{len(empty)} cells have no value; the page says of each why")
    out.print(f"\nreport: {report.page}", markup=False)
    answers = report.data["checklist"]
    left = missing(answers)
    out.print(f"\nchecklist: {len(answers) - len(left)} of {len(answers)} questions answered; missing:")
    for one in left:
        out.print(f"  {one['topic']}: {one['question']}", markup=False)
