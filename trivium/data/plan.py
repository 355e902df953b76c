"""A plan of curation and its run: files in, measures beside them, documents out, every one accounted for.

    plan = Plan(
        sources=[Source("pages/*.jsonl.gz", "web")],
        methods={"gopher": Gopher(), "copies": ExactCopies()},
    )
    run = Run(plan, "runs/clean").go(Processes(2))
    run.total.kept, run.documents()

Four stages, each on shards (one per input file) that are whole or not there, see ``stages``:

    read     a file to documents and, beside them, its quarantine
    tag      documents to measures, per method
    gather   sketches of all shards to measures, per method that compares documents
    mix      documents and all measures to the documents that stay

With a mixer there are those of ``draws`` behind them, which say what of that is read how often and in which order.
Nothing but these and mix changes or drops anything, so a plan with other rules does the last stage alone again. What a
stage made is known by the content of what went into it: the run goes on after any stop, and refuses a folder that holds
something else. The result depends on neither the engine nor the number of workers.
"""

import glob
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.method import card_of
from trivium.core.progress import Bar, progress
from trivium.data import draws, grouping, tables, work
from trivium.data.choosing import Mixer
from trivium.data.curating import Curation, Gatherer, names_of
from trivium.data.engines import Engine, Here
from trivium.data.outcome import Outcome, outcome
from trivium.data.raw.documents import BadRecords, Policy
from trivium.data.rules import Rules
from trivium.data.stages import Manifest, Shelf, fingerprint
from trivium.data.work import VERSION, Input, Mixing, Shard, Tagging, described, shelf_of

POLICY = Policy()


@dataclass(frozen=True)
class Source:
    """Files of one origin."""

    files: str
    """A path, or a pattern with *, ? and **."""
    name: str = ""
    """What documents that do not say it themselves are from; by default the name of their folder."""

    def paths(self) -> list[Path]:
        """Sorted. Raises ValueError where there is none."""
        path = Path(self.files)
        if path.is_file():
            return [path]
        pattern = path / "**" / "*" if path.is_dir() else path
        root = Path(pattern.anchor or ".")
        found = sorted(p for p in root.glob(str(pattern.relative_to(pattern.anchor))) if p.is_file())
        if not found:
            raise ValueError(f"no file matches {self.files!r}")
        home = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)).resolve()
        for each in found:
            if not each.resolve().is_relative_to(home):
                raise ValueError(
                    f"{each} leads out of {home}, to {each.resolve()}; if it is wanted, name it as a source of its own"
                )
        return found


@dataclass(frozen=True)
class Plan:
    """What is done, with everything that changes the result."""

    sources: Sequence[Source]
    methods: Mapping[str, Curation] = field(default_factory=dict)
    """Methods by the names that rules call them; usually their own."""
    rules: Rules | None = None
    """By default those of the methods, in their order."""
    policy: Policy = POLICY
    mixer: Mixer | None = None
    """How often what stays is read, and in which order, such as a ``Blend``; by default once, as it stands in files."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a plan has at least one source of documents")
        for name, method in self.methods.items():
            if not name.isidentifier():
                raise ValueError(f"a method's name in rules is one word, such as gopher; got {name!r}")
            if name != card_of(method).name and self.rules is None:
                raise ValueError(
                    f"{card_of(method).name} is called {name!r} here, so its own rules do not fit; give rules"
                )
        self.decisions.check(*names_of(self.methods))
        if self.mixer is not None:
            grouping.check(self.mixer.by, self.mixer.unit, names_of(self.methods)[0])

    @property
    def decisions(self) -> Rules:
        """The rules that are carried out."""
        if self.rules is not None:
            return self.rules
        each = [method.rules for method in self.methods.values()]
        return Rules(tuple(d for rules in each for d in rules.drops), tuple(c for rules in each for c in rules.cuts))


class Run:
    """A plan in a folder of its own."""

    def __init__(self, plan: Plan, folder: str | Path, *, replace: bool = False) -> None:
        self.plan, self.folder, self.replace = plan, Path(folder), replace

    def go(self, engine: Engine | None = None, *, bar: Bar | None = None, show: bool | None = None) -> Outcome:
        """Do what is not done yet. Raises BadRecords where more is wrong with the input than the policy allows,
        RunMismatch for a folder that holds the work of another plan, RunBusy while another process is at it."""
        engine = engine or Here()
        with files.locked(self.folder):
            for shelf in self._shelves.values():
                shelf.tidy()
            inputs = self._inputs()
            each = 2 + sum(2 if isinstance(m, Gatherer) else 1 for m in self.plan.methods.values())
            steps = len(inputs) * (each + (2 if self.plan.mixer else 0))
            if bar is not None:
                return self._go(engine, inputs, bar)
            with progress("curating", steps, show=show) as shown:
                return self._go(engine, inputs, shown)

    def _go(self, engine: Engine, inputs: list[Input], bar: Bar) -> Outcome:
        read = self._told_apart(self._stage(engine, work.read, inputs, bar, "reading"))
        marks: list[tuple[str, str]] = []
        for name, method in self.plan.methods.items():
            tagging = [Tagging(str(self.folder), made, name, method, self.replace) for made in read]
            tagged = self._stage(engine, work.tag, tagging, bar, f"{name}: documents")
            if isinstance(method, Gatherer):
                tagged = self._gathered(name, method, tagged, bar)
            marks.append((name, fingerprint("all", of=[made.fingerprint for made in tagged])))
        rules = self.plan.decisions
        mixing = [Mixing(str(self.folder), made, tuple(marks), rules, self.replace) for made in read]
        mixed = self._stage(engine, work.mix, mixing, bar, "mixing")
        drawn = None if self.plan.mixer is None else self._drawn(engine, self.plan.mixer, read, mixed, bar)
        return outcome(self.folder, [one.made for one in read], mixed, drawn)

    def _drawn(
        self, engine: Engine, mixer: Mixer, read: list[Shard], mixed: list[Manifest], bar: Bar
    ) -> list[Manifest]:
        """The stages of the mixer."""
        here, replace = str(self.folder), self.replace
        groups = [
            draws.Grouping(here, of, made, mixer.by, mixer.unit, replace)
            for of, made in zip(read, mixed, strict=True)
        ]  # fmt: skip
        grouped = self._stage(engine, draws.group, groups, bar, f"{mixer.rule}: groups")
        order = draws.order(self.folder, grouped, mixer, replace)
        drawing = [draws.Drawing(here, made, of, mixer.rule, replace) for made, of in zip(mixed, order, strict=True)]
        return self._stage(engine, draws.draw, drawing, bar, f"{mixer.rule}: drawing")

    @cached_property
    def _shelves(self) -> dict[str, Shelf]:
        names = ["documents", *(f"marks/{name}" for name in self.plan.methods), "mixed"]
        names += ["grouped", "order", "drawn"] if self.plan.mixer else []
        names += [f"sketches/{name}" for name, method in self.plan.methods.items() if isinstance(method, Gatherer)]
        found = {name: shelf_of(self.folder, name, self.replace) for name in names}
        return found | {name: found[f"marks/{name}"] for name in self.plan.methods}

    def _inputs(self) -> list[Input]:
        """A shard per file; two patterns that meet at one file are an error, for it would count twice."""
        found: dict[Path, Source] = {}
        for source in self.plan.sources:
            for path in source.paths():
                if path.resolve() in found:
                    raise ValueError(f"{path} belongs to two sources; it would be counted twice")
                found[path.resolve()] = source
        return [
            Input(str(self.folder), f"{number:05d}", str(path), source.name, self.plan.policy, self.replace)
            for number, (path, source) in enumerate(found.items())
        ]

    def _stage(
        self, engine: Engine, job: Callable[[Any], Manifest], items: Sequence[Any], bar: Bar, note: str
    ) -> list[Manifest]:
        bar.note(note)
        made = []
        for manifest in engine.map(job, items):
            made.append(manifest)
            bar.advance()
        return sorted(made, key=lambda one: one.name)

    def _gathered(self, name: str, method: Gatherer, sketched: list[Manifest], bar: Bar) -> list[Manifest]:
        """The measures of all shards by all sketches. They come of the whole set, so they are made at once."""
        shelf = self._shelves[name]
        whole = fingerprint("set", of=[made.fingerprint for made in sketched], method=described(method))
        wanted = {made.name: fingerprint("gather", version=VERSION, of=whole, shard=made.name) for made in sketched}
        found = [shelf.find(shard, wanted[shard]) for shard in wanted]
        if all(made is not None for made in found):
            bar.advance(len(found))
            return [made for made in found if made is not None]
        bar.note(f"{name}: comparing")
        sketches = [tables.loaded(self._shelves[f"sketches/{name}"].folder / f"{made.name}.npz") for made in sketched]
        for made, marks in zip(sketched, method.gather(sketches), strict=True):
            with shelf.writing(made.name, wanted[made.name], [whole]) as shard:
                tables.write_marks(shard.path(".parquet"), [marks])
            bar.advance()
        return [made for shard in wanted if (made := shelf.find(shard, wanted[shard])) is not None]

    def _told_apart(self, read: Sequence[Manifest]) -> list[Shard]:
        """Each identity once, by other names where the policy says so. Raises BadRecords where two documents have one
        and the policy does not."""
        seen: dict[bytes, tuple[int, str, int]] = {}
        found = []
        for made in read:
            renamed = {}
            for source, id, place in tables.identities(self._shelves["documents"].folder / f"{made.name}.parquet"):
                key = hashlib.blake2b(f"{source}\0{id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
                count, before, line = seen.get(key, (0, made.facts["file"], place))
                seen[key] = (count + 1, before, line)
                if not count:
                    continue
                if self.plan.policy.on_duplicate_id == "fail":
                    raise BadRecords(
                        f"the document {id!r} of {source!r} stands in {before}, record {line}, and in "
                        f"{made.facts['file']}, record {place}; ids must differ, or set on_duplicate_id='suffix'"
                    )
                renamed[place] = f"{id}#{count + 1}"
            found.append(Shard(made, renamed))
        return found
