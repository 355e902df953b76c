"""Write the generated pages of the site: methods, kinds, claims, gallery, speed and reference.

Everything comes from docstrings, cards and recorded results; nothing is kept twice. Run by ``make docs`` before mkdocs.
"""

import ast
import html
import json
import shutil
from pathlib import Path
from typing import Any

from trivium.compare.claim import list_claims, recorded
from trivium.compare.holes import HOLES
from trivium.compare.report import chart_svg, page
from trivium.core.capabilities import OFFERS
from trivium.core.method import PACKAGE, Entry, entries, kind_summary, kinds, names
from trivium.training.volume import Decoder as Shape
from trivium.training.volume import Hardware, Layout, projected

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "pages"
GENERATED = (
    "methods",
    "gallery",
    "reference",
    "claims.md",
    "speed.md",
    "guide/parallelism.md",
    "guide/recipes.md",
    "contributing.md",
    "changes.md",
    "index.md",
)
STATS = "trivium.evaluation.stats"
LAYERS = ("core", "models", "data", "tokenization", "training", "compare", "nn")
GUIDES = (
    "decoders",
    "prompting",
    "evaluation",
    "architectures",
    "curation",
    "vocabulary",
    "training",
    "recipes",
    "parallelism",
    "attribution",
    "interpretability",
    "certificate",
    "models",
    "reports",
)
VERDICT_MARK = {"supported": "✓", "contradicted": "✗", "not visible at this scale": "○"}


def main() -> None:
    """Write every generated page afresh."""
    for name in GENERATED:
        target = PAGES / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    write("index.md", start())
    write("contributing.md", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    write("changes.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    write("methods/index.md", overview())
    for kind in kinds():
        write(f"methods/{kind}/index.md", kind_page(kind))
        for entry in entries(kind):
            write(f"methods/{kind}/{entry.card.name}.md", method_page(entry))
    write("claims.md", claims_page())
    write("speed.md", speed_page())
    write("guide/parallelism.md", parallelism_page())
    write("guide/recipes.md", recipes_page())
    gallery()
    reference()
    navigation()


def navigation() -> None:
    """The configuration with the generated pages in its navigation."""
    methods: list[Any] = ["methods/index.md"]
    for kind in kinds():
        pages = [{entry.card.title: f"methods/{kind}/{entry.card.name}.md"} for entry in entries(kind)]
        methods.append({kind: [f"methods/{kind}/index.md", *pages]})
    layers = ["reference/index.md", *({layer: f"reference/{layer}.md"} for layer in (*LAYERS, "stats"))]
    guide = [{_title(path): f"guide/{path.name}"} for path in (PAGES / "guide" / f"{name}.md" for name in GUIDES)]
    found = [
        {"Start": "index.md"},
        {"Guide": guide},
        {"Statistics": "statistics.md"},
        {"Methods": methods},
        {"Claims": "claims.md"},
        {"Gallery": "gallery/index.md"},
        {"Speed": "speed.md"},
        {"Reference": layers},
        {"Contributing": "contributing.md"},
        {"Changes": "changes.md"},
    ]
    # JSON is YAML; the file inherits everything else.
    whole = {"INHERIT": "mkdocs.yml", "nav": found}
    (ROOT / ".mkdocs.built.yml").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def write(name: str, text: str) -> None:
    """Write one page below ``docs/pages``."""
    path = PAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


def start() -> str:
    """The README is the first page; its links and pictures are pointed at the site."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for picture in sorted((ROOT / "docs" / "pictures").glob("*")):
        (PAGES / "pictures").mkdir(exist_ok=True)
        shutil.copy(picture, PAGES / "pictures" / picture.name)
        text = text.replace(f"docs/pictures/{picture.name}", f"pictures/{picture.name}")
    return (
        text.replace("docs/pages/", "")
        .replace("CONTRIBUTING.md", "contributing.md")
        .replace("CHANGELOG.md", "changes.md")
    )


def overview() -> str:
    """Every kind with its methods."""
    rows = [
        "# Methods",
        "",
        "One folder per kind, one file per method. Each page shows the equation, the options, the cost,",
    ]
    rows += ["what is left open, and what its claim showed when we ran it.", ""]
    for kind in kinds():
        rows += [
            f"## [{kind}]({kind}/index.md)",
            "",
            kind_summary(kind).splitlines()[0],
            "",
            *_table(entries(kind), f"{kind}/"),
        ]
    return "\n".join(rows)


def kind_page(kind: str) -> str:
    """One kind: what its methods map to what, and the methods."""
    rows = [
        f"# {kind}",
        "",
        kind_summary(kind),
        "",
        *([f"Compare them: `trivium compare {kind}`.", ""] if kind in HOLES else []),
        *_table(entries(kind), ""),
    ]
    return "\n".join(rows)


def _table(found: tuple[Entry, ...], prefix: str) -> list[str]:
    rows = ["| method | what | source | needs | claim |", "|---|---|---|---|---|"]
    for entry in found:
        card = entry.card
        claim = recorded(card.path)
        what = entry.summary.split(": ", 1)[-1].rstrip(".")
        verdict = f"{VERDICT_MARK[claim['verdict']]} {claim['verdict']}" if claim else "not run"
        needs = ", ".join(sorted(card.needs))
        rows.append(
            f"| [{card.name}]({prefix}{card.name}.md) | {_cell(what)} | {_source(card.source)} | {needs} | {verdict} |"
        )
    return [*rows, ""]


def method_page(entry: Entry) -> str:
    """One method: its headings, options, claim and class."""
    card = entry.card
    rows = [f"# {card.title}", "", f"`{card.path}` · {_source(card.source)} · {card.year or 'classical'}", ""]
    if card.lossless:
        rows += [
            '!!! success "Lossless"',
            "    Same greedy output and same sampling law as plain decoding; prove it on your model with",
            f"    `trivium certify {card.path}`.",
            "",
        ]
    rows += [_prose(_sentence(entry)), ""]
    for heading, text in entry.headings.items():
        rows += [f"## {heading}", ""]
        rows += ["```text", text, "```", ""] if heading in ("Equation", "Shapes") else [_prose(text), ""]
    if entry.options:
        rows += ["## Options", "", "| name | default | type | meaning |", "|---|---|---|---|"]
        for option in entry.options:
            rows.append(f"| `{option.name}` | {_code(option.default)} | {_code(option.type)} | {_cell(option.text)} |")
        rows.append("")
    if card.needs:
        rows += ["## Needs", ""] + [f"- **{word}**: {OFFERS[word]}" for word in sorted(card.needs)] + [""]
    rows += ["## Claim", "", *claim_lines(card.path)]
    rows += [
        "## Code",
        "",
        f"::: trivium.{card.kind}.{card.name}",
        "    options: {show_root_heading: false, show_docstring_description: false, heading_level: 3}",
        "",
    ]
    return "\n".join(rows)


def _sentence(entry: Entry) -> str:
    """What the method does, as a sentence."""
    text = entry.summary.split(": ", 1)[-1]
    return text[:1].upper() + text[1:]


def _source(source: str) -> str:
    """A link where the source is on arXiv."""
    name = source.removeprefix("arXiv:")
    return f"[{source}](https://arxiv.org/abs/{name})" if name != source else _cell(source)


def claim_lines(path: str) -> list[str]:
    """What a claim says, how it was decided, and what came out."""
    found = recorded(path)
    if found is None:
        return [f"Not run yet. Run it with `trivium claim {path}`.", ""]
    made = found["provenance"]
    commit = (made.get("commit") or {}).get("id", "")[:10]
    rows = [_prose(found["statement"]), "", f"- **Verdict:** {VERDICT_MARK[found['verdict']]} *{found['verdict']}*"]
    rows += [f"- **The paper:** {_prose(found['paper'])}", f"- **Rule:** {_prose(found['rule'])}"]
    if found.get("note"):
        rows.append(f"- **Note:** {_prose(found['note'])}")
    rows += [
        f"- **Run:** {made['made'][:10]}, commit `{commit}`, {found['seconds']:.0f} s",
        "",
    ]
    rows += ["| figure | value |", "|---|---|"]
    rows += [f"| {_cell(str(key).replace('_', ' '))} | {_figure(value)} |" for key, value in found["figures"].items()]
    return [*rows, "", f"Repeat it: `trivium claim {path}`", ""]


def claims_page() -> str:
    """Every claim with its verdict."""
    rows = [
        "# Claims",
        "",
        "A method is done when a miniature of its paper's claim has been run. Whatever came out stands here:",
    ]
    rows += ["a claim that fails, or that cannot be seen at our size, is published like any other.", ""]
    rows += ["| claim | statement | verdict | paper |", "|---|---|---|---|"]
    for path in list_claims():
        found = recorded(path)
        kind, name = path.split("/")
        method = f"reference/{kind}.md#trivium.{kind}.{name}"
        if kind in kinds():
            method = f"methods/{path}.md#claim" if name in names(kind) else f"reference/stats.md#{STATS}.{name}"
        where = f"[{path}]({method})"
        if found is None:
            rows.append(f"| {where} | | not run | |")
        else:
            verdict = f"{VERDICT_MARK[found['verdict']]} {found['verdict']}"
            rows.append(f"| {where} | {_cell(found['statement'])} | {verdict} | {_cell(found['paper'])} |")
    return "\n".join(rows)


def gallery() -> None:
    """Recorded comparisons: each keeps its report.json, from which page and picture are drawn again."""
    rows = [
        "# Gallery",
        "",
        "Comparisons that were run for this site. Each page is the report as `trivium compare` leaves it.",
        "",
    ]
    for folder in sorted((ROOT / "docs" / "gallery").glob("*/report.json")):
        report: dict[str, Any] = json.loads(folder.read_text(encoding="utf-8"))
        name = folder.parent.name
        target = PAGES / "gallery" / name
        target.mkdir(parents=True, exist_ok=True)
        (target / "report.html").write_text(page(report), encoding="utf-8", errors="backslashreplace")
        chart_svg(report, target / "chart.svg")
        title, system = report["title"], report["system"]["name"]
        title = title if system in title else f"{title} ({system})"
        rows += [f"## [{_prose(title)}]({name}/report.html)", "", _prose(report["question"]), ""]
        rows += [f"[![chart]({name}/chart.svg)]({name}/report.html)", "", f"`{report['command']}`", ""]
    write("gallery/index.md", "\n".join(rows))


def speed_page() -> str:
    """The ratios that ``make bench`` recorded."""
    path = ROOT / "benchmarks" / "results.json"
    rows = [
        "# Speed",
        "",
        "Ratios to a peer, measured side by side in one run (`make bench`): above 1 we are faster. Each is the",
    ]
    rows += ["median over interleaved repeats; the spread is the smallest and largest ratio of a pair.", ""]
    if not path.is_file():
        return "\n".join([*rows, "Not measured yet."])
    results = json.loads(path.read_text(encoding="utf-8"))
    for group, found in results.items():
        made = found["provenance"]
        module = ROOT / "benchmarks" / f"{group.split()[0]}.py"  # "NAME" or "NAME DEVICE"
        about = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        rows += [
            f"## {group}",
            "",
            _prose(about),
            "",
            f"{made['made'][:10]}, {_ran_on(made['machine'], group)}",
            "",
        ]
        rows += ["| what | ratio | spread | target | |", "|---|---|---|---|---|"]
        for row in found["rows"]:
            target = row.get("target")
            met = "" if target is None else ("met" if row["ratio"] >= target else "missed")
            spread = f"{row['low']:.2f} to {row['high']:.2f}"
            rows.append(f"| {_cell(row['what'])} | {row['ratio']:.2f} | {spread} | {target or ''} | {met} |")
        rows += ["", *[f"- {_prose(note)}" for note in found.get("notes", [])], ""]
    return "\n".join(rows)


GIANTS = {
    "1 B": (Shape(2048, 24, 5632, 32_000, 32, 32), Layout(8, 1, 1, 1, 8 * 2048)),
    "30 B": (Shape(7168, 48, 19_456, 32_000, 56, 56), Layout(8, 8, 4, 32, 2048)),
    "530 B": (Shape(20_480, 105, 81_920, 51_200, 128, 128, 2), Layout(8, 8, 35, 240, 2048)),
}
"""Shapes to project to. The last is MT-NLG as it ran on 280 servers: 105 layers of width 20,480, 1,920 rows of 2,048
tokens a step, 8 parts of a matrix and 35 stages (Smith et al. 2022, arXiv:2201.11990, section 2.4)."""
A100 = Hardware("A100 80 GB", flops=312e12 * 0.45, inside=240e9, between=20e9, memory=80e9)
"""45 % of the peak in matrix products; four fifths of NVLink's 300 GB/s and of 200 Gb/s InfiniBand, one way."""


def recipes_page() -> str:
    """Every recipe of a model family: what it says of itself, and its code."""
    rows = [
        "# Recipes of model families",
        "",
        "Published models, scaled down to minutes on two cores. Each is a Python file that `trivium train --recipe`",
        "takes; change what you like and point it at your own corpus.",
        "",
    ]
    for path in sorted((ROOT / "recipes").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        said = ast.get_docstring(ast.parse(text)) or ""
        title, _, rest = said.partition("\n")
        code = text.split('"""', 2)[2].strip()
        rows += [f"## {path.stem}", "", title, rest, "", f'??? note "{path.name}"', ""]
        rows += [f"    {line}" for line in ("```python\n" + code + "\n```").splitlines()] + [""]
    return "\n".join(rows)


def parallelism_page() -> str:
    """What the layouts send: counted on this machine, and projected to models of other sizes."""
    path = ROOT / "docs" / "parallelism.json"
    rows = ["# What the layouts send", ""]
    rows += [
        "`trivium train` under torchrun takes `--tensor` and `--pipeline`; along the remaining axis the processes "
        "share the rows of a batch and, with FSDP2, what is stored of the weights.",
    ]
    rows += ["", "## Counted", ""]
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        model = found["model"]
        rows += [
            f"One training step of a decoder of {model['parameters']:,} parameters (width {model['width']}, depth "
            f"{model['depth']}, head untied, float32) on {model['rows']} rows of {model['length']} tokens, counted "
            "message by message; the mean over the processes, in MB. A collective counts as its ring does. A pipeline "
            "takes four micro-batches.",
            "",
            "| data | tensor | pipeline | gather | scatter | all-reduce | send | by formula | weights held |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            count = len(row["processes"])
            sent = {
                sort: sum(one["sent"][sort] for one in row["processes"]) / count / 1e6
                for sort in ("gather", "scatter", "reduce", "send")
            }
            held = max(one["held"] for one in row["processes"]) / model["parameters"]
            cells = " | ".join(f"{megabytes:.2f}" for megabytes in sent.values())
            by = sum(row["predicted"].values()) / 1e6
            where = f"{row['data']} | {row['tensor']} | {row['pipeline']}"
            rows.append(f"| {where} | {cells} | {by:.2f} | {held:.0%} |")
        made = found["provenance"]
        rows += [
            "",
            f"{made['made'][:10]}, `python -m scripts.parallelism`. The formulas are those of "
            "`trivium.training.volume.predicted`, for a process in the middle of the pipeline: of two stages each "
            "sends one way only, half of what it says, and embedding and head lie in one of them.",
            "",
        ]
    rows += [
        "## On paper",
        "",
        f"A step on accelerators like the {A100.name}, projected by the same formulas in bfloat16 with float32 weights "
        f"and AdamW (16 bytes a parameter, activations computed again): {A100.flops / 1e12:.0f} TFLOP/s reached in "
        f"matrix products, {A100.inside / 1e9:.0f} GB/s within a node of {A100.per_node} and "
        f"{A100.between / 1e9:.0f} GB/s between nodes. Nothing overlaps here, so these are upper bounds; no "
        "run of this size was made.",
        "",
        "| model | parameters | GPUs (data x tensor x pipeline) | memory a GPU | computing | tensor | data | "
        "pipeline | bubble | step at most | TFLOP/s a GPU at least |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (shape, layout) in GIANTS.items():
        made = projected(shape, layout, 2048, A100)
        tokens = layout.tokens * layout.micro_batches * layout.data
        reached = shape.flops(tokens, 2048) * 4 / 3 / layout.processes / made.seconds / 1e12
        mesh = f"{layout.processes:,} ({layout.data} x {layout.tensor} x {layout.pipeline})"
        times = " | ".join(f"{t:.2f} s" for t in (made.compute, made.tensor, made.data, made.pipeline))
        rows.append(
            f"| {name} | {shape.parameters / 1e9:.1f} B | {mesh} | {made.memory / 1e9:.0f} GB | {times} | "
            f"{made.bubble:.0%} | {made.seconds:.1f} s | {reached:.0f} |"
        )
    rows += [
        "",
        "The largest is MT-NLG. On 2,240 GPUs Smith et al. 2022 (arXiv:2201.11990, section 2.4) measured 60.1 s a step "
        "and 126 TFLOP/s a GPU, what is computed again included, as here.",
        "",
    ]
    return "\n".join(rows)


def _ran_on(machine: dict[str, Any], group: str) -> str:
    """The GPU where the results are named after one, else the processor and its threads."""
    used = machine["accelerator"] if " cuda" in group else None
    return _cell(used or f"{machine['processor']}, {machine['threads']} threads")


def reference() -> None:
    """Reference pages of the layers that a user calls, drawn by mkdocstrings."""
    rows = ["# Reference", ""]
    for layer in LAYERS:
        modules = sorted(path.stem for path in (PACKAGE / layer).glob("*.py") if not path.stem.startswith("_"))
        summary = kind_summary_of(layer)
        rows.append(f"- [{layer}]({layer}.md): {summary}")
        body = [f"# {layer}", "", summary, ""] + [f"::: trivium.{layer}.{module}\n" for module in modules]
        write(f"reference/{layer}.md", "\n".join(body))
    modules = sorted(
        path.stem for path in (PACKAGE / "evaluation" / "stats").glob("*.py") if not path.stem.startswith("_")
    )
    summary = kind_summary_of("evaluation/stats")
    rows.append(f"- [stats](stats.md): {summary}")
    write("reference/stats.md", "\n".join(["# stats", "", summary, "", *(f"::: {STATS}.{name}\n" for name in modules)]))
    write("reference/index.md", "\n".join(rows))


def kind_summary_of(layer: str) -> str:
    """First line of a layer's docstring."""
    return (PACKAGE / layer / "__init__.py").read_text(encoding="utf-8").split('"""')[1].strip().split("\n")[0]


def _prose(text: str) -> str:
    """Docstring text as Markdown: angle brackets are text, not markup."""
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    """Text inside a table cell."""
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """Code inside a table cell; in backticks an escaped bar or bracket would be shown with its escape."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values, {_figure(value[0])} to {_figure(value[-1])}"
    if isinstance(value, list):
        return ", ".join(_figure(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{_cell(str(key))} {_figure(item)}" for key, item in value.items())
    return _cell(str(value))


if __name__ == "__main__":
    main()
