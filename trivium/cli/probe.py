"""``trivium probe``."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build, describe
from trivium.compare.layers import CONTROLS, best, page
from trivium.core.errors import NotOffered
from trivium.core.files import locked, sha256, write, written
from trivium.core.nouns import LABELS
from trivium.core.progress import Bar, progress
from trivium.core.seeds import generator
from trivium.data.probed import Probed, probed
from trivium.models.features import features, fits, stream
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.untrained import untrained
from trivium.probing._readout import folds_of, readout

USUAL: Mapping[str, str] = {
    "classes": "linear_readout",
    "values": "linear_readout(solver='ridge')",
    "heads": "structural_probe",
    "constituents": "ast_probe(rank=64, rate=0.003, batch_size=8)",
}
"""The probe for each sort of labels."""
SEVERAL = 8
"""Layers that are looked at where none is named."""
CHUNK = 32
"""Texts whose states are kept in one file."""


@dataclass(frozen=True)
class Command:
    """Find the layers of a model from which something can be read, beside controls that say how much of it the probe or
    the words alone would tell.

    Example: trivium probe intents --model tiny

    Example: trivium probe python --model smollm2-135m --layers 0 6 12 18 24 --untrained --html runs/syntax.html

    Example: trivium probe en_ewt-ud-dev.conllu --probe structural_probe "structural_probe(what='depth')" --count 300

    Example: trivium probe mine.jsonl --probe "linear_readout(solver='ridge')"

    A line of mine.jsonl reads {"text": "...", "label": "polite", "group": "letter 7"}: a label that is a number is a
    value to foretell, and texts of one group are held out together. Add "start" and "stop" to look at some characters
    of the text rather than at its end. Run the same command again to go on; states and scores are kept in the folder.
    """

    data: Positional[str]
    """What is read: intents, python (syntax trees), a .conllu treebank (heads of words), or .jsonl lines of texts."""
    probe: tuple[str, ...] = ()
    """Methods of the kind probing, written like calls; by default the one for the sort of labels."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier."""
    layers: tuple[int, ...] = ()
    """Blocks that the stream has gone through, 0 for the embeddings; by default eight over the depth."""
    count: int | None = 200
    """Texts at most."""
    folds: int = 5
    """Parts that are held out in turn."""
    controls: int = 1
    """How often the same probe is fitted to labels that were dealt out anew; 0 for never."""
    untrained: bool = False
    """Also probe a copy of the model with random weights and its own embeddings."""
    folder: Path = Path("runs") / "probe"
    """Where states and scores are kept."""
    html: Path | None = None
    """Also write a page with the plot over layers, which works offline."""
    batch_size: int = 8
    """Texts per pass."""
    seed: int = 0
    """Seed of folds, controls, probes that draw, and random weights."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the model's weights."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        for name, least in (("folds", 2), ("controls", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        given = [build("probing", words) for words in self.probe]
        chosen = probed(self.data, self.count)
        methods = given or [build("probing", USUAL[chosen.sort])]
        for method in methods:
            if chosen.sort not in method.reads:
                raise NotOffered(
                    f"{describe(method)} reads {' or '.join(method.reads)}, and {self.data} has {chosen.sort} "
                    f"({LABELS[chosen.sort]}); leave --probe away for {USUAL[chosen.sort]}"
                )
        system = load(self.model, dtype=self.dtype, device=self.device)
        layers = self._layers(system)
        keep = fits(system, chosen.texts)
        left_out = keep.count(False)
        if left_out == len(keep):
            raise ValueError(f"every text of {self.data} is longer than {system.name} takes; give shorter ones")
        chosen = chosen.only(keep) if left_out else chosen
        rows = torch.arange(len(chosen.texts))
        folds_of(chosen.clusters(rows), self.folds, generator(self.seed))  # so that too few are told before the work
        systems = {"": system} | ({"untrained": untrained(system, seed=self.seed)} if self.untrained else {})
        with locked(self.folder), ExitStack() as stack:
            fits_done = len(methods) * len(layers) * self.folds * (1 + self.controls + self.untrained)
            bar = stack.enter_context(progress("probing", len(systems) * len(chosen.texts) + fits_done))
            found = self._rows(systems, chosen, methods, layers, bar)
        report = self._report(system, chosen, found, left_out)
        if self.html is not None:
            write(self.html, page(report))
        if self.json:
            print_json(report)
        else:
            self._print(report)
        return 0

    def _layers(self, system: System) -> list[int]:
        depth = system.model.depth
        wrong = [layer for layer in self.layers if not 0 <= layer <= depth]
        if wrong:
            raise ValueError(f"{system.name} has {depth} layers, so {wrong[0]} is none; 0 is the embeddings")
        even = {round(at * depth / (SEVERAL - 1)) for at in range(SEVERAL)}
        return sorted(set(self.layers) or even)

    def _rows(
        self, systems: Mapping[str, System], chosen: Probed, methods: list[Any], layers: list[int], bar: Bar
    ) -> list[dict[str, Any]]:
        records = Records(self.folder / "records.jsonl")
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for which, system in systems.items():
            bar.note(f"states of {system.name}")
            about = self._key(system, which, chosen, layers)
            states, text = self._states(system, chosen, layers, about, bar)
            clusters, groups = chosen.clusters(text), text if chosen.structured else None
            for method in methods:
                name = describe(method)
                fitted = replace(method, labels=chosen.names) if not getattr(method, "labels", True) else method
                for layer in layers:
                    bar.note(f"{name}, layer {layer}, {which or 'trained'}")
                    repeats = 0 if which else self.controls
                    key = sha256(json.dumps([about, name, layer, self.folds, self.seed, repeats]).encode())
                    row = records.known.get(key)
                    if row is None:
                        draws = generator(self.seed, "probe", layer)
                        x = states[stream(layer)]
                        made = readout(fitted, x, chosen.labels, groups, self.folds, generator=draws,
                                       clusters=clusters, repeats=repeats, bar=bar)  # fmt: skip
                        row = made.to_dict()
                        records.add(key, row)
                    else:
                        bar.advance(self.folds * (1 + repeats))
                    if which:
                        found[name, layer]["untrained"] = row["score"]
                    else:
                        found[name, layer] = {"probe": name, "layer": layer, "untrained": None, **row}
        return list(found.values())

    def _key(self, system: System, which: str, chosen: Probed, layers: list[int]) -> str:
        """Everything that the states depend on."""
        of = system.fingerprint or f"{self.model} {self.seed}"
        parts = [of, which, self.dtype, chosen.texts, chosen.spans, chosen.labels.tolist(), chosen.names, layers]
        return sha256(json.dumps([*parts, chosen.sources]).encode())[:16]

    def _states(
        self, system: System, chosen: Probed, layers: list[int], key: str, bar: Bar
    ) -> tuple[dict[str, Tensor], Tensor]:
        """In parts that are kept in the folder, so that an interrupted run need not begin again."""
        sites, parts = [stream(layer) for layer in layers], []
        for start in range(0, len(chosen.texts), CHUNK):
            texts = chosen.texts[start : start + CHUNK]
            path = self.folder / "states" / f"{key}-{start:06d}.safetensors"
            if path.is_file():
                parts.append(load_file(path))
                bar.advance(len(texts))
                continue
            where = "last" if chosen.spans is None else chosen.spans[start : start + CHUNK]
            made = features(system, texts, sites, where, batch_size=self.batch_size, bar=bar)
            parts.append({**made.states, "text": made.text + start})
            with written(path) as part:
                save_file({name: each.contiguous() for name, each in parts[-1].items()}, part)
        whole = {name: torch.cat([part[name] for part in parts]) for name in (*sites, "text")}
        return whole, whole.pop("text")

    def _report(self, system: System, chosen: Probed, rows: list[dict[str, Any]], left_out: int) -> dict[str, Any]:
        facts = {
            "model": f"{system.name}, {system.model.depth} layers, {self.dtype}",
            "read": f"{chosen.about}: {len(chosen.texts)} texts, {len(chosen.labels)} rows",
            "held out": f"{self.folds} folds, whole sources together; {rows[0]['groups']} of these",
            "control": f"the same probe with labels dealt out anew, {self.controls} times",
        }
        if left_out:
            facts["left out"] = f"{left_out} texts that are longer than the model takes"
        return {
            "title": f"What can be read from {system.name}: {Path(self.data).stem}",
            "facts": facts,
            "measure": rows[0]["measure"] if len({row["measure"] for row in rows}) == 1 else "score",
            "higher_is_better": rows[0]["higher_is_better"],
            "rows": rows,
        }

    def _print(self, report: Mapping[str, Any]) -> None:
        out = console()
        shown = table("probe", "layer", report["measure"], "interval", "control", "selectivity",
                      *([CONTROLS["untrained"]] if self.untrained else []), title=report["title"])  # fmt: skip
        number = lambda value: "" if value is None else f"{value:.3f}"  # noqa: E731
        for row in report["rows"]:
            ends = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            cells = [row["probe"], str(row["layer"]), number(row["score"]), ends, number(row["control"])]
            cells += [number(row["selectivity"]), *([number(row["untrained"])] if self.untrained else [])]
            shown.add_row(*cells)
        out.print(shown)
        for row in best(report):
            out.print(f"{row['probe']} reads most at layer {row['layer']}: {row['score']:.3f}", markup=False)
        for name, words in report["facts"].items():
            out.print(f"{name}: {words}", style="dim", markup=False)
        if self.html is not None:
            out.print(f"page: {self.html}", style="dim", markup=False)


class Records:
    """Scores that were found, a line each, so that a run that was interrupted goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = dict(self._read())

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "row": row}) + "\n")

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    said = json.loads(line)
                    yield said["key"], said["row"]
                except (KeyError, TypeError, ValueError):  # the last line of a run that was killed
                    continue
