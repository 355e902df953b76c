"""``trivium curate``."""

import runpy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.compare import curated
from trivium.compare.contender import build
from trivium.compare.mixers import mixer
from trivium.core.files import written
from trivium.core.method import card_of
from trivium.data.curated_packing import Packing
from trivium.data.engines import engine
from trivium.data.fitting import Way
from trivium.data.packed_shards import PackedShards
from trivium.data.plan import Outcome, Plan, Run, Source
from trivium.data.raw.documents import LONGEST, Policy
from trivium.data.rules import Drop, Rules
from trivium.models.sources import load
from trivium.tokenization.byte import ByteTokenizer


@dataclass(frozen=True)
class Command:
    """Turn files of raw text into documents that are worth training on, every one accounted for.

    Example: trivium curate --sources "pages/*.jsonl.gz" --methods gopher exact_copies --folder runs/clean

    Files are .jsonl, .parquet, .html, .warc or plain text, also packed (.gz, .zst). A record has an 'id' and a
    'text'. What cannot be read goes to the quarantine in the folder with its place and bytes. Methods only measure;
    rules drop, by default those of the methods. Run the same command again to go on after a stop. With other rules
    and --replace only the last stage is done again. Or write it down as Python:

        plan.py:  from trivium.data.plan import Plan, Source
                  from trivium.curation.gopher import Gopher
                  plan = Plan([Source("pages/*.jsonl.gz", "web")], {"gopher": Gopher(variant="datatrove")})

        trivium curate plan.py --folder runs/clean

    With --tokenizer or --pack the documents that stay are also written as rows of tokens, with checksums, for training:

        trivium curate plan.py --folder runs/clean --tokenizer smollm2-135m --pack best_fit --context 1024

        trivium train --shards runs/clean/packed --steps 500

    Then trivium trace runs/clean ID tells of a document where it came from and what became of it.
    """

    plan: Positional[Path | None] = None
    """A Python file that defines ``plan``, in place of sources, methods, rules and mix."""
    sources: tuple[str, ...] = ()
    """Files or patterns; NAME=PATTERN says what documents are from that do not say it themselves."""
    methods: tuple[str, ...] = ()
    """Methods of the kind curation, written like calls."""
    rules: tuple[str, ...] = ()
    """Conditions under which a document is dropped, such as "gopher.word_count < 20", in place of the methods' own."""
    mix: str = ""
    """What of the documents that stay is drawn, how often and in which order: "blend(unit='words', temperature=3,
    max_epochs=4)", with weights={'web': 0.7, 'wiki': 0.3} for a blend of your own and by='metadata.language' or
    by=language for languages in place of sources; or "word_budget(words=10_000_000)". By default each once."""
    folder: Path = Path("runs/curation")
    """Where the run goes. A folder that holds this run is gone on with."""
    engine: Literal["here", "processes", "daft", "ray"] = "processes"
    """Who does the work: this process, several, Daft, or Daft on a Ray cluster."""
    workers: int = 2
    """Processes of the engine."""
    export: Path | None = None
    """Also write the documents that stay, as they are drawn, as JSON lines for `trivium train --corpus`."""
    tokenizer: str | None = None
    """A model whose tokenizer makes tokens of the documents that stay; bytes where only --pack is given."""
    pack: Way | None = None
    """How documents fill rows: best_fit leaves whole what fits a row and pads the rest; concatenate puts one behind the
    other and cuts where a row ends. best_fit where only --tokenizer is given."""
    context: int = 1024
    """Tokens in a row."""
    held_out: float = 0.01
    """Share of the documents that is not packed but kept to evaluate on, drawn by their text."""
    replace: bool = False
    """Write over what the folder holds of other inputs or rules."""
    on_bad_record: Literal["quarantine", "fail"] = "quarantine"
    """What to do with a record that is no document."""
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """What to do with a file that ends early or is damaged."""
    max_bad_fraction: float = 0.001
    """Share of a file's records above which quarantine becomes failure."""
    on_duplicate_id: Literal["fail", "suffix"] = "fail"
    """What to do where two documents have one source and id."""
    max_document_bytes: int = LONGEST
    """Longer records go to the quarantine."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        plan, worker = self._plan(), engine(self.engine, self.workers)
        packing, tokenizer = self._packing()
        found = Run(plan, self.folder, replace=self.replace).go(worker)
        report = curated.write(self.folder, plan)
        if self.export is not None:
            self._export(found)
        packed = None
        if packing is not None:
            packed = packing.go(found.kept, tokenizer, worker, replace=self.replace)
        if self.json:
            print_json(_plain(found) | ({} if packed is None else {"packed": _packed(packed)}))
            return 0
        self._tell(report, packed)
        return 0

    def _packing(self) -> tuple[Packing | None, Any]:
        """How to pack, where it is asked for, and with which tokenizer."""
        if self.tokenizer is None and self.pack is None:
            return None, None
        packing = Packing(self.pack or "best_fit", self.context, self.held_out)
        return packing, ByteTokenizer() if self.tokenizer is None else load(self.tokenizer).tokenizer

    def _plan(self) -> Plan:
        """Raises ValueError for no plan, or two."""
        if self.plan is not None:
            if self.sources or self.methods or self.rules or self.mix:
                raise ValueError("give either a plan or --sources, --methods, --rules and --mix")
            try:
                made = runpy.run_path(str(self.plan)).get("plan")
            except OSError as error:
                raise ValueError(f"the plan {self.plan} cannot be read: {error}") from error
            if not isinstance(made, Plan):
                raise ValueError(f"{self.plan} defines no 'plan' that is a trivium.data.plan.Plan")
            return made
        if not self.sources:
            raise ValueError('which files? Write --sources "pages/*.jsonl.gz", or name a plan')
        methods = [build("curation", text) for text in self.methods]
        return Plan(
            [_source(text) for text in self.sources],
            {card_of(method).name: method for method in methods},
            Rules(tuple(Drop(text, text) for text in self.rules)) if self.rules else None,
            Policy(
                self.on_bad_record, self.on_bad_file, self.max_bad_fraction, self.on_duplicate_id,
                self.max_document_bytes,
            ),
            mixer(self.mix) if self.mix else None,
        )  # fmt: skip

    def _export(self, found: Outcome) -> None:
        assert self.export is not None
        with written(self.export) as part, part.open("wb") as file:
            for one in found.documents():
                row = {"id": one.id, "text": one.text, "source": one.source, "metadata": dict(one.metadata)}
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def _tell(self, report: curated.Report, packed: PackedShards | None) -> None:
        tell(report)
        if packed is not None:
            said, home = _packed(packed), packed.folder.parent
            console().print(
                f"packed {said['documents']:,} documents, {said['tokens']:,} tokens in {said['rows']:,} rows of "
                f"{said['context']:,} ({said['padding']:.1%} padding, {said['cut']:,} documents cut); "
                f"{said['held_out']:,} held out"
            )
            console().print(f"train on them: trivium train --shards {home} --steps 500", style="dim")
        if self.export is not None:
            console().print(f"train on it: trivium train --corpus {self.export} --steps 500", style="dim")


def tell(report: curated.Report) -> None:
    """The report of a run on the terminal, and where its page is."""
    out, total = console(), report["total"]
    out.print(f"{curated.headline(report)}; {total['quarantined']:,} records refused")
    out.print(f"{total['chars_read']:,} characters read, {total['chars_kept']:,} stay")
    if report["mix"]:
        out.print(curated.drawn(report))
    for each in curated.tables(report):
        out.print(each)
    out.print(f"report: {Path(report['folder']) / 'report.html'}", style="dim")


def _packed(packed: PackedShards) -> dict[str, Any]:
    dropped = packed.facts["dropped"]
    return {
        "folder": str(packed.folder.parent), "documents": packed.documents, "tokens": packed.tokens,
        "rows": packed.rows, "context": packed.context, "padding": packed.padding,
        "cut": sum(shard["cut"] for shard in packed.shards), "held_out": dropped.get("held out", 0),
        "empty": dropped.get("empty", 0), "shards": len(packed.shards), "digest": packed.digest,
    }  # fmt: skip


def _source(text: str) -> Source:
    name, found, files = text.partition("=")
    return Source(files, name) if found else Source(text)


def _plain(found: Outcome) -> dict[str, Any]:
    both = [{"rules": list(pair), "documents": count} for pair, count in found.both.items()]
    plain = asdict(replace(found, both={}, kept=replace(found.kept, shards=())))
    del plain["kept"]
    return {**plain, "folder": str(found.folder), "both": both}
