"""Where a curve can be followed beside its file: TensorBoard, Weights & Biases, MLflow.

A tracker is told every row of the curve once and in order, by the first process alone. It is told what a run is before
its first row, and continues the same run when the training goes on.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol

from trivium.core.optional import require
from trivium.training.record import Row

Name = Literal["tensorboard", "wandb", "mlflow"]

FIGURES = ("loss", "gradient_norm", "learning_rate", "tokens", "flops", "seconds")


class Tracker(Protocol):
    """What the training loop asks of a tracker."""

    def start(self, facts: Mapping[str, Any], step: int) -> None:
        """A run with these facts begins, or goes on before this step."""
        ...

    def row(self, row: Row) -> None:
        """A step was made."""
        ...

    def close(self) -> None:
        """The run ends, for now or for good."""
        ...


def tracker(name: Name, folder: str | Path, project: str = "trivium") -> Tracker:
    """The tracker of a name for the run in this folder. Raises MissingExtra where its package is not installed."""
    made: dict[str, Callable[[Path, str], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
    if name not in made:
        raise ValueError(f"no tracker is called {name!r}; there are {', '.join(made)}")
    return made[name](Path(folder), project)


def figures(row: Row) -> dict[str, float]:
    """The numbers of a row by name; of an evaluation under ``evaluation/``. Figures that are not finite are left out:
    the trackers draw them as nothing at best."""
    flat = {name: row[name] for name in FIGURES if name in row}
    flat |= {f"evaluation/{name}": value for name, value in row.get("evaluation", {}).items()}
    return {name: float(value) for name, value in flat.items() if value is not None and abs(value) < float("inf")}


def flattened(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested facts as pairs of a dotted name and a value."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class TensorBoard:
    """Event files in ``tensorboard/`` of the run's folder; ``tensorboard --logdir`` shows them."""

    def __init__(self, folder: Path, project: str) -> None:
        require("tensorboard", extra="tensorboard", why="event files for its pages")
        self.folder = folder / "tensorboard"

    def start(self, facts: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=step or None)
        if not step:
            table = "\n".join(f"| {name} | {value} |" for name, value in flattened(facts))
            self.writer.add_text("run", f"| what | value |\n|---|---|\n{table}", 0)

    def row(self, row: Row) -> None:
        for name, value in figures(row).items():
            self.writer.add_scalar(name, value, row["step"])
        if "sample" in row:
            self.writer.add_text("sample", row["sample"], row["step"])

    def close(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()


class WandB:
    """A run of Weights & Biases, named after the folder; its files go there too. WANDB_MODE=offline sends nothing."""

    def __init__(self, folder: Path, project: str) -> None:
        self.wandb: Any = require("wandb", extra="wandb", why="Weights & Biases")
        self.folder, self.project = folder, project

    def start(self, facts: Mapping[str, Any], step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = self.wandb.init(
            project=self.project,
            name=self.folder.name,
            id=identity(self.folder),
            resume="allow",
            dir=str(self.folder),
            config=dict(flattened(facts)),
        )

    def row(self, row: Row) -> None:
        told: dict[str, Any] = dict(figures(row))
        if "sample" in row:
            told["sample"] = self.wandb.Html(_preformatted(row["sample"]))
        self.run.log(told, step=row["step"])

    def close(self) -> None:
        if hasattr(self, "run"):
            self.run.finish()


class MLflow:
    """A run of MLflow in the experiment of the project, on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, project: str) -> None:
        self.mlflow: Any = require("mlflow", extra="mlflow", why="the MLflow server")
        self.folder, self.project = folder, project

    def start(self, facts: Mapping[str, Any], step: int) -> None:
        self.mlflow.set_experiment(self.project)
        key = identity(self.folder)
        query = f"tags.`trivium.folder` = '{key}'"
        known = self.mlflow.search_runs(filter_string=query, output_format="list") if step else []
        if known:
            self.mlflow.start_run(run_id=known[0].info.run_id)
            return
        self.mlflow.start_run(run_name=self.folder.name, tags={"trivium.folder": key})
        self.mlflow.log_params({name: str(value)[:500] for name, value in flattened(facts)})  # the server's limit

    def row(self, row: Row) -> None:
        self.mlflow.log_metrics(figures(row), step=row["step"])
        if "sample" in row:
            self.mlflow.log_text(row["sample"], f"samples/{row['step']:08d}.txt")

    def close(self) -> None:
        if self.mlflow.active_run() is not None:
            self.mlflow.end_run()


def identity(folder: Path) -> str:
    """A name for the run of a folder that is the same every time."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"
