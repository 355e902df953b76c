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

Nothing but the last changes or drops anything, so a plan with other rules does the last stage alone again. What a stage
made is known by the content of what went into it: the run goes on after any stop, and refuses a folder that holds
something else. The result depends on neither the engine nor the number of workers.
"""

import base64
import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core import files
from trivium.core.errors import RunMismatch
from trivium.core.method import card_of
from trivium.core.progress import Bar, progress
from trivium.data import tables
from trivium.data.curating import Curation, Gatherer, Tagger, applied, checked, names_of
from trivium.data.engines import Engine, Here
from trivium.data.kept import Kept
from trivium.data.marks import Marks, Texts
from trivium.data.raw.documents import BadRecords, Document, Policy, Refused, documents
from trivium.data.rules import Rules
from trivium.data.stages import Counts, Manifest, Shelf, fingerprint

VERSION = 1
"""Of what the stages do; part of every fingerprint."""
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

    @property
    def decisions(self) -> Rules:
        """The rules that are carried out."""
        if self.rules is not None:
            return self.rules
        each = [method.rules for method in self.methods.values()]
        return Rules(tuple(d for rules in each for d in rules.drops), tuple(c for rules in each for c in rules.cuts))


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    folder: Path
    read: Counts
    total: Counts
    by_source: Mapping[str, Mapping[str, int]]
    """Source -> documents read and kept."""
    alone: Mapping[str, int]
    """Rule -> documents that it would drop by itself."""
    both: Mapping[tuple[str, str], int]
    digest: str
    """Of all that was made: the same for the same plan and content."""

    kept: Kept = field(repr=False)
    """What comes out, in order; a worker that goes on from here is given this."""

    def documents(self, begin: int = 0) -> Iterator[Document]:
        """Those that come out, in order, from this place on."""
        return self.kept.documents(begin)


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
            steps = len(inputs) * (2 + sum(2 if isinstance(m, Gatherer) else 1 for m in self.plan.methods.values()))
            if bar is not None:
                return self._go(engine, inputs, bar)
            with progress("curating", steps, show=show) as shown:
                return self._go(engine, inputs, shown)

    def _go(self, engine: Engine, inputs: list["_Input"], bar: Bar) -> Outcome:
        read = self._told_apart(self._stage(engine, _read, inputs, bar, "reading"))
        marks: list[tuple[str, str]] = []
        for name, method in self.plan.methods.items():
            work = [_Tagging(str(self.folder), made, name, method, self.replace) for made in read]
            tagged = self._stage(engine, _tag, work, bar, f"{name}: documents")
            if isinstance(method, Gatherer):
                tagged = self._gathered(name, method, tagged, bar)
            marks.append((name, fingerprint("all", of=[made.fingerprint for made in tagged])))
        rules = self.plan.decisions
        mixing = [_Mixing(str(self.folder), made, tuple(marks), rules, self.replace) for made in read]
        mixed = self._stage(engine, _mix, mixing, bar, "mixing")
        return self._outcome([one.made for one in read], mixed)

    @cached_property
    def _shelves(self) -> dict[str, Shelf]:
        names = ["documents", *(f"marks/{name}" for name in self.plan.methods), "mixed"]
        names += [f"sketches/{name}" for name, method in self.plan.methods.items() if isinstance(method, Gatherer)]
        found = {name: _shelf(self.folder, name, self.replace) for name in names}
        return found | {name: found[f"marks/{name}"] for name in self.plan.methods}

    def _inputs(self) -> list["_Input"]:
        """A shard per file; two patterns that meet at one file are an error, for it would count twice."""
        found: dict[Path, Source] = {}
        for source in self.plan.sources:
            for path in source.paths():
                if path.resolve() in found:
                    raise ValueError(f"{path} belongs to two sources; it would be counted twice")
                found[path.resolve()] = source
        return [
            _Input(str(self.folder), f"{number:05d}", str(path), source.name, self.plan.policy, self.replace)
            for number, (path, source) in enumerate(found.items())
        ]

    def _stage(
        self, engine: Engine, work: Callable[[Any], Manifest], items: Sequence[Any], bar: Bar, note: str
    ) -> list[Manifest]:
        bar.note(note)
        made = []
        for manifest in engine.map(work, items):
            made.append(manifest)
            bar.advance()
        return sorted(made, key=lambda one: one.name)

    def _gathered(self, name: str, method: Gatherer, sketched: list[Manifest], bar: Bar) -> list[Manifest]:
        """The measures of all shards by all sketches. They come of the whole set, so they are made at once."""
        shelf = self._shelves[name]
        whole = fingerprint("set", of=[made.fingerprint for made in sketched], method=_described(method))
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

    def _told_apart(self, read: Sequence[Manifest]) -> list["_Shard"]:
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
            found.append(_Shard(made, renamed))
        return found

    def _outcome(self, read: Sequence[Manifest], mixed: Sequence[Manifest]) -> Outcome:
        total = lambda made: sum((one.counts for one in made), Counts())  # noqa: E731
        by_source: dict[str, dict[str, int]] = {}
        alone: dict[str, int] = {}
        both: dict[tuple[str, str], int] = {}
        for one in mixed:
            for source, counts in one.facts["by_source"].items():
                row = by_source.setdefault(source, {"read": 0, "kept": 0})
                for name, count in counts.items():
                    row[name] += count
            for name, count in one.facts["alone"].items():
                alone[name] = alone.get(name, 0) + count
            for a, b, count in one.facts["both"]:
                both[a, b] = both.get((a, b), 0) + count
        digest = fingerprint("run", read=[m.digest() for m in read], mixed=[m.digest() for m in mixed])
        return Outcome(self.folder, total(read), total(mixed), by_source, alone, both, digest, Kept(self.folder, mixed))


# Work on one shard, wherever it is done ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Input:
    folder: str
    shard: str
    path: str
    source: str
    policy: Policy
    replace: bool


@dataclass(frozen=True)
class _Shard:
    """Documents that were read, and other ids for those whose own stood elsewhere before, by their place."""

    made: Manifest
    renamed: Mapping[int, str]

    @property
    def name(self) -> str:
        return self.made.name

    @property
    def fingerprint(self) -> str:
        renamed = {str(place): id for place, id in self.renamed.items()}
        return fingerprint("shard", of=self.made.fingerprint, renamed=renamed) if renamed else self.made.fingerprint

    def batches(self, folder: Path) -> Iterator[tuple[Texts, list[int]]]:
        for texts, places in tables.batches(folder / "documents" / f"{self.name}.parquet"):
            ids = [self.renamed.get(place, id) for id, place in zip(texts.ids, places, strict=True)]
            yield Texts(ids, texts.texts, texts.sources, texts.metadata), places


@dataclass(frozen=True)
class _Tagging:
    folder: str
    documents: _Shard
    name: str
    method: Curation
    replace: bool


@dataclass(frozen=True)
class _Mixing:
    folder: str
    documents: _Shard
    marks: tuple[tuple[str, str], ...]
    """Method and fingerprint of all its measures, in the order of the plan."""
    rules: Rules
    replace: bool


def _shelf(folder: str | Path, name: str, replace: bool) -> Shelf:
    return Shelf(Path(folder) / name, name, replace=replace)


def _read(item: _Input) -> Manifest:
    """A file to a shard of documents, with its quarantine beside it."""
    shelf, digest = _shelf(item.folder, "documents", item.replace), files.sha256(item.path)
    wanted = fingerprint(
        "read", version=VERSION, file=digest, source=item.source, policy=asdict(item.policy), name=Path(item.path).name
    )
    if (found := shelf.find(item.shard, wanted)) is not None:
        return found
    kept = refused = chars = 0
    complete = True
    reasons: dict[str, int] = {}
    with shelf.writing(item.shard, wanted, [digest]) as shard, tables.DocumentWriter(shard.path(".parquet")) as out:
        with shard.path(".quarantine.jsonl").open("w", encoding="utf-8") as bad:
            for each in documents(item.path, source=item.source, longest=item.policy.max_document_bytes):
                if isinstance(each, Refused):
                    item.policy.judge(item.path, each)
                    complete = complete and not each.ends
                    refused += 1
                    reasons[each.reason] = reasons.get(each.reason, 0) + 1
                    bad.write(json.dumps(_refusal(item.path, each), ensure_ascii=False) + "\n")
                else:
                    kept, chars = kept + 1, chars + len(each.text)
                    out.add(each)
            item.policy.judge_file(item.path, kept + refused, refused)
        shard.counts = Counts(
            read=kept + refused, kept=kept, quarantined=refused, chars_read=chars, chars_kept=chars
        )  # fmt: skip
        shard.facts = {"file": item.path, "complete": complete, "refused": dict(sorted(reasons.items()))}
    return _made(shelf, item.shard, wanted)


def _tag(item: _Tagging) -> Manifest:
    """The measures of a shard, or what the comparison of all needs of it."""
    gathers = isinstance(item.method, Gatherer)
    shelf = _shelf(item.folder, f"{'sketches' if gathers else 'marks'}/{item.name}", item.replace)
    of, here = item.documents, Path(item.folder)
    wanted = fingerprint("tag", version=VERSION, of=of.fingerprint, method=_described(item.method))
    if (found := shelf.find(of.name, wanted)) is not None:
        return found
    with shelf.writing(of.name, wanted, [of.fingerprint]) as shard:
        if isinstance(item.method, Gatherer):
            parts = [item.method.sketch(texts) for texts, _ in of.batches(here)]
            parts = parts or [item.method.sketch(Texts([], [], []))]
            columns: Any = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            with shard.path(".npz").open("wb") as out:
                np.savez(out, **columns)
        elif isinstance(item.method, Tagger):
            tagger = item.method
            tables.write_marks(shard.path(".parquet"), (checked(tagger, tagger.tag(t), t) for t, _ in of.batches(here)))
    return _made(shelf, of.name, wanted)


def _mix(item: _Mixing) -> Manifest:
    """The documents of a shard that stay, by its measures and the rules."""
    shelf, of = _shelf(item.folder, "mixed", item.replace), item.documents
    drops = [[drop.name, drop.when] for drop in item.rules.drops]
    cuts = [[cut.spans, cut.by, repr(cut.least)] for cut in item.rules.cuts]
    wanted = fingerprint("mix", version=VERSION, of=of.fingerprint, marks=list(item.marks), drops=drops, cuts=cuts)
    if (found := shelf.find(of.name, wanted)) is not None:
        return found
    here, counts = Path(item.folder), Counts()
    alone: dict[str, int] = {drop.name: 0 for drop in item.rules.drops}
    both: dict[tuple[str, str], int] = {}
    by_source: dict[str, dict[str, int]] = {}
    measured = [tables.read_marks(here / "marks" / name / f"{of.name}.parquet", name) for name, _ in item.marks]
    with shelf.writing(of.name, wanted, [of.fingerprint, *(p for _, p in item.marks)]) as shard:
        with tables.DocumentWriter(shard.path(".parquet")) as out, shard.path(".dropped.jsonl").open("w") as gone:
            for texts, places in of.batches(here):
                marks = Marks(len(texts), lengths=np.array([len(text) for text in texts.texts], np.int64))
                for column in measured:
                    marks = marks | next(column)
                found = applied(texts, marks, item.rules)
                counts = counts + found.counts
                for name, count in found.decided.alone.items():
                    alone[name] += count
                for pair, count in found.decided.both.items():
                    both[pair] = both.get(pair, 0) + count
                for place, source, why in zip(places, texts.sources, found.decided.reason, strict=True):
                    row = by_source.setdefault(source, {"read": 0, "kept": 0})
                    row["read"] += 1
                    row["kept"] += not why
                    if why:
                        gone.write(json.dumps([place, why]) + "\n")
                stay = [place for place, why in zip(places, found.decided.reason, strict=True) if not why]
                t = found.texts
                for row in zip(t.ids, t.texts, t.sources, t.metadata, stay, strict=True):
                    out.add(Document(*row))
        shard.counts = counts
        shard.facts = {"alone": alone, "both": [[*pair, count] for pair, count in sorted(both.items())],
                       "by_source": dict(sorted(by_source.items()))}  # fmt: skip
    return _made(shelf, of.name, wanted)


def _made(shelf: Shelf, name: str, wanted: str) -> Manifest:
    found = shelf.find(name, wanted)
    if found is None:
        raise RunMismatch(f"{shelf.folder / name} was changed while it was written; nobody else may write there")
    return found


def _described(method: Curation) -> dict[str, Any]:
    """What changes what a method says: its name and settings, and what it says it depends on besides."""
    settings = asdict(method) if hasattr(method, "__dataclass_fields__") else {}  # type: ignore[call-overload]
    return {"name": card_of(method).name, "settings": json.loads(json.dumps(settings, default=str)),
            "depends": getattr(method, "depends", "")}  # fmt: skip


def _refusal(path: str, refused: Refused) -> dict[str, Any]:
    row = {"file": Path(path).name, **{name: value for name, value in vars(refused).items() if name != "data"}}
    return row | {"data": _base64(refused.data)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
