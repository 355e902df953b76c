"""Attributions as HTML: one self-contained page, and a fragment for a page of somebody else's.

Each explainer is one row: the prompt as running text, over each token a bar that rises where the token raised the
prediction and hangs where it lowered it, and under it the same as a tint. Bars make it readable without colour, the
table holds every number, and nothing is fetched. In the page, scores reach the markup as classes only and style and
script are pinned by their hashes, so that nothing a model wrote can run.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape

import torch
from torch import Tensor

from trivium.attribution._render import answered, explained, facts, numerals, plain, quoted, relative, where
from trivium.attribution._tokens import direction, labelled
from trivium.core.nouns import Attribution
from trivium.core.protocols import Tokenizer
from trivium.models.faithfulness import NAMES
from trivium.nn.faithfulness import Faithfulness

_HUES = ("light-dark(#c2410c,#fb923c)", "light-dark(#1d4ed8,#60a5fa)")
"""Raises, lowers."""
STEPS = 20
"""Heights of a bar, and depths of a tint, that are told apart."""

_LOOK = """
.ta{--ta-up:UP;--ta-down:DOWN;--ta-ink:light-dark(#1c1917,#f5f5f4);
--ta-dim:light-dark(#57534e,#a8a29e);--ta-line:light-dark(#d6d3d1,#44403c);--ta-paper:light-dark(#fffdfa,#1b1a19);
--ta-unit:2.1px;color:var(--ta-ink);font:1rem/1.45 system-ui,sans-serif;min-width:0}
.ta *{box-sizing:border-box}
.ta p{margin:0 0 .6rem}
.ta .ta-dim{color:var(--ta-dim);font-size:.85rem}
.ta-row{position:relative;background:var(--ta-paper);border:1px solid var(--ta-line);border-radius:.6rem;
padding:.7rem .9rem .8rem;margin:0 0 .8rem;min-width:0}
.ta-head{display:flex;flex-wrap:wrap;gap:.1rem .9rem;align-items:baseline;margin:0 0 .4rem}
.ta-name{font-weight:650;font-size:1.02rem}.ta-name::first-letter{text-transform:uppercase}
.ta-warn{color:light-dark(#9f1239,#fda4af);font-weight:600}
.ta-text{display:flex;flex-wrap:wrap;align-items:flex-end;row-gap:.5rem;max-width:100%;min-width:0}
.ta-break{flex-basis:100%;height:0}
.ta-token{display:inline-flex;flex-direction:column;align-items:stretch;min-width:.7rem;max-width:100%;cursor:default;
border-radius:.2rem;outline-offset:2px}
.ta-bar{display:block;position:relative;margin:0 1px;
height:calc((var(--ta-top,20) + var(--ta-deep,0)) * var(--ta-unit))}
.ta-bar::after{content:"";position:absolute;left:0;right:0;top:calc(var(--ta-top,20) * var(--ta-unit));
border-top:1px solid var(--ta-line)}
.ta-bar::before{content:"";position:absolute;left:0;right:0;height:calc(var(--ta-n,0) * var(--ta-unit));
background:var(--ta-hue);print-color-adjust:exact}
.ta-up .ta-bar::before{bottom:calc(var(--ta-deep,0) * var(--ta-unit));border-radius:.2rem .2rem 0 0}
.ta-down .ta-bar::before{top:calc(var(--ta-top,20) * var(--ta-unit));border-radius:0 0 .2rem .2rem}
.ta-up{--ta-hue:var(--ta-up)}.ta-down{--ta-hue:var(--ta-down)}
.ta-word{padding:.08rem .2rem .12rem;border-radius:.2rem;overflow-wrap:anywhere;text-align:center;unicode-bidi:isolate;
print-color-adjust:exact;white-space:pre-wrap;line-height:1.3}
.ta-up>.ta-word,.ta-down>.ta-word,.ta td.ta-up,.ta td.ta-down{
background:color-mix(in oklab,var(--ta-hue) calc(var(--ta-n) * 2.2%),transparent)}
.ta-space{color:var(--ta-dim)}.ta-up .ta-space,.ta-down .ta-space{color:inherit}
.ta-token:hover>.ta-word,.ta-token:focus>.ta-word,.ta-token.ta-same>.ta-word{box-shadow:0 0 0 2px var(--ta-ink)}
.ta-token:focus{outline:none}
.ta-target{align-self:flex-end;padding:.08rem .5rem .12rem;margin-inline-start:.5rem;border:1px dashed var(--ta-dim);
border-radius:.2rem;overflow-wrap:anywhere;max-width:100%;line-height:1.3}
.ta-token::after{content:attr(data-tip);position:absolute;inset-inline-end:.9rem;top:.55rem;
max-width:calc(100% - 1.8rem);
background:var(--ta-ink);color:var(--ta-paper);border-radius:.3rem;padding:.1rem .55rem;font-size:.85rem;z-index:1;
overflow-wrap:anywhere;font-variant-numeric:tabular-nums;visibility:hidden;pointer-events:none}
.ta-token:hover::after,.ta-token:focus::after{visibility:visible}
.ta-text:hover .ta-token:not(:hover)::after{visibility:hidden}
.ta-key{display:inline-flex;align-items:center;gap:.5rem;color:var(--ta-dim);font-size:.85rem;flex-wrap:wrap}
.ta-scale{display:inline-block;width:9rem;height:.7rem;border-radius:.2rem;border:1px solid var(--ta-line);
background:linear-gradient(to right,var(--ta-down),var(--ta-paper),var(--ta-up));print-color-adjust:exact}
.ta-more{margin:.2rem 0 0}.ta-more>summary{cursor:pointer;color:var(--ta-dim);font-size:.9rem;padding:.2rem 0}
.ta-scroll{overflow-x:auto;max-width:100%;margin:0 0 .8rem}
.ta table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
.ta th,.ta td{padding:.18rem .7rem;border-bottom:1px solid var(--ta-line);text-align:end;vertical-align:baseline}
.ta th{font-weight:600}
.ta tbody th{font-weight:400;text-align:start;overflow-wrap:anywhere;min-width:3.5rem;max-width:22rem}
.ta thead th:nth-child(2){text-align:start}.ta thead th::first-letter{text-transform:uppercase}
.ta .ta-judged th:first-child{text-align:start}.ta .ta-judged th:nth-child(2){text-align:end}
.ta .ta-judged td{white-space:nowrap}.ta .ta-judged tbody tr:nth-child(odd)>*{border-bottom:0}
.ta thead th::first-letter{text-transform:uppercase}
.ta tr.ta-same>*{box-shadow:inset 0 -2px var(--ta-ink)}
@media (max-width:36rem){.ta-row{padding:.6rem .6rem .7rem}.ta th,.ta td{padding:.18rem .4rem}}
"""
_STYLE = _LOOK.replace("UP", _HUES[0]).replace("DOWN", _HUES[1]) + "".join(
    f".ta-n{n}{{--ta-n:{n}}}.ta-top{n}{{--ta-top:{n}}}.ta-deep{n}{{--ta-deep:{n}}}\n" for n in range(STEPS + 1)
)

_PAGE_STYLE = """
:root{color-scheme:light dark;background:light-dark(#faf8f5,#121110)}
body{margin:0 auto;padding:1.4rem clamp(.7rem,3vw,2rem) 3rem;max-width:72rem;color:light-dark(#1c1917,#f5f5f4);
font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.2;margin:0 0 .8rem;overflow-wrap:anywhere}
.said{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
"""

_SCRIPT = """
const said = document.querySelector(".said");
const rows = [...document.querySelectorAll(".ta-text")].map(row => [...row.querySelectorAll(".ta-token")]);
const lines = [...document.querySelectorAll(".ta .ta-scores tbody tr")];
const mark = (place, on) => {
  for (const row of rows) row[place]?.classList.toggle("ta-same", on);
  lines[place]?.classList.toggle("ta-same", on);
};
rows.forEach((row, r) => row.forEach((token, i) => {
  token.tabIndex = i ? -1 : 0;
  token.addEventListener("mouseenter", () => mark(i, true));
  token.addEventListener("mouseleave", () => mark(i, false));
  token.addEventListener("focus", () => { mark(i, true); said.textContent = token.dataset.tip; });
  token.addEventListener("blur", () => mark(i, false));
  token.addEventListener("keydown", event => {
    const go = {ArrowRight: [r, i + 1], ArrowLeft: [r, i - 1], ArrowDown: [r + 1, i], ArrowUp: [r - 1, i],
                Home: [r, 0], End: [r, row.length - 1]}[event.key];
    const next = go && rows[go[0]]?.[go[1]];
    if (!next) return;
    event.preventDefault();
    for (const other of rows[go[0]]) other.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}));
"""


def to_html(
    attributions: Attribution | Sequence[Attribution],
    tokenizer: Tokenizer | None = None,
    title: str = "Attribution",
    judged: Sequence[Mapping[str, Faithfulness]] = (),
) -> str:
    """One page that needs nothing else: attributions of one prompt, a row each. Arrow keys walk the tokens.

    ``judged``: the faithfulness of each, by the names of ``models.faithfulness``.
    """
    made = _one_prompt(attributions, tokenizer)
    tokens = made[0].labels()
    targets = list(dict.fromkeys(explained(one) for one in made))
    name = escape(plain(title) if title.strip() else "Attribution")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hashed(_PAGE_STYLE)} {_hashed(_STYLE)}; script-src {_hashed(_SCRIPT)}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{name}</title>\n'
        f"<style>{_PAGE_STYLE}</style>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<main class="ta">\n<h1>{name}</h1>\n'
        f"<p>What raised and what lowered the {escape(', and the '.join(targets))}</p>\n"
        f"{''.join(_row(one, tokens) for one in made)}\n"
        '<p class="ta-key"><span>lowers</span><span class="ta-scale" role="img" aria-label="a scale from blue, lowers, '
        'over nothing to orange, raises"></span><span>raises the prediction; every row is scaled to its own largest '
        f"score</span></p>\n{_judged(made, judged)}{_table(made, tokens)}{''.join(_arrays(one) for one in made)}\n"
        '<p class="ta-dim">Move over a token, or reach the text with Tab and walk it with the arrow keys.</p>\n'
        f'</main>\n<div class="said" aria-live="polite"></div>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n'
    )


def fragment(attributions: Attribution | Sequence[Attribution], tokenizer: Tokenizer | None = None) -> str:
    """The rows alone, for a page of somebody else's: no script, no style sheet, no classes and no requests.

    Everything is said in inline styles with colours that follow the page's light or dark scheme, so a page that takes
    over only tags and a few style properties shows the same picture. Numbers are told on hover, the strongest beside.
    """
    made = _one_prompt(attributions, tokenizer)
    return "".join(_inline_row(one, made[0].labels()) for one in made)


def inline_table(attribution: Attribution) -> str:
    """The scores as a table that opens, said in tags alone, for beside a ``fragment``."""
    rows = zip(attribution.labels(), numerals(attribution), strict=True)
    body = "".join(
        f'<tr><td>{escape(where(attribution, place))}</td><th scope="row" style="text-align:start"><bdi>{escape(token)}'
        f"</bdi></th><td>{number}</td></tr>"
        for place, (token, number) in enumerate(rows)
    )
    heads = "".join(f'<th scope="col">{word}</th>' for word in ("position", "token", "score"))
    return (
        f"<details><summary>Every score as a number</summary><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></details>"
    )


def _one_prompt(attributions: Attribution | Sequence[Attribution], tokenizer: Tokenizer | None) -> list[Attribution]:
    given = [attributions] if isinstance(attributions, Attribution) else attributions
    made = [labelled(one, tokenizer) for one in given]
    if not made:
        raise ValueError("there is no attribution to show; give at least one")
    if any(not torch.equal(other.ids.cpu(), made[0].ids.cpu()) for other in made[1:]):
        raise ValueError("attributions side by side must explain the same prompt; their ids differ")
    if any(other.units != made[0].units for other in made[1:]):
        raise ValueError("attributions side by side must be merged alike")
    return made


def _row(attribution: Attribution, tokens: list[str]) -> str:
    shares = relative(attribution)
    top = max(1, _step(max(*shares, 0.0)))
    deep = _step(-min(*shares, 0.0))
    cells = []
    for place, (token, share, number) in enumerate(zip(tokens, shares, numerals(attribution), strict=True)):
        tip = f"{quoted(token)} {number}, {where(attribution, place)}"
        cells.append(
            f'<span class="ta-token{_classes(share)}" data-tip="{escape(tip)}"><i class="ta-bar"></i>'
            f'<bdi class="ta-word">{_marked(token)}</bdi></span>' + ('<i class="ta-break"></i>' if "↵" in token else "")
        )
    target = "".join(answered(attribution)[0])
    told = "".join(
        f"<span{' class=ta-warn' if name == 'not converged' else ''}>{escape(name)} {escape(value)}</span>"
        for name, value in facts(attribution)
    )
    name, fullest = escape(plain(attribution.method)), numerals(attribution)[attribution.top(1)[0]]
    return (
        f'<section class="ta-row" aria-label="{name}"><div class="ta-head"><span class="ta-name">{name}</span>'
        f'<span class="ta-head ta-dim">{told}<span>full height {fullest}</span></span></div>'
        f'<div class="ta-text ta-top{top} ta-deep{deep}" dir="{direction("".join(tokens))}">{"".join(cells)}'
        f'<span class="ta-target">→ <bdi>{_marked(target)}</bdi></span></div></section>'
    )


def _inline_row(attribution: Attribution, tokens: list[str]) -> str:
    shares, numbers = relative(attribution), numerals(attribution)
    top, deep = _step(max(*shares, 0.0)) * 2, _step(-min(*shares, 0.0)) * 2  # pixels above and below the line
    cells = []
    for place, (token, share, number) in enumerate(zip(tokens, shares, numbers, strict=True)):
        hue, height = _HUES[share < 0], _step(abs(share)) * 2
        up, down = (height, 0) if share > 0 else (0, height)
        bars = "".join(
            f'<span style="display:block;height:{pixels}px{f";background:{hue}" if inked else ""}"></span>'
            for pixels, inked in ((top - up, False), (up, True), (down, True), (deep - down, False))
            if pixels
        )
        tint = f"background:color-mix(in oklab,{hue} {height}%,transparent);" if height else ""
        cells.append(
            f'<span title="{escape(f"{quoted(token)} {number}, {where(attribution, place)}")}" '
            f'style="display:inline-block;overflow-wrap:anywhere">{bars}'
            f'<bdi style="display:block;{tint}padding:0 .18em;border-radius:.2em">{_marked(token)}</bdi></span>'
            + ("<br>" if "↵" in token else "")
        )
    best = ", ".join(f"{quoted(tokens[place])} {numbers[place]}" for place in attribution.top(3))
    told = "; ".join(f"{name} {value}".strip() for name, value in facts(attribution))
    return (
        f'<div role="group" aria-label="{escape(plain(attribution.method))}" style="margin:0 0 .8em">'
        f'<p style="margin:0"><b>{escape(plain(attribution.method))}</b> '
        f"<small>{escape(explained(attribution))}; {escape(told)}</small></p>"
        f'<p dir="{direction("".join(tokens))}" style="margin:.3em 0;line-height:1.4">{"".join(cells)}</p>'
        f'<p style="margin:0"><small>strongest: {escape(best)}</small></p></div>'
    )


def _table(made: list[Attribution], tokens: list[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(plain(one.method))}</th>' for one in made)
    columns = [(relative(one), numerals(one)) for one in made]
    body = "".join(
        f'<tr><td>{where(made[0], place).split(" ", 1)[1]}</td><th scope="row"><bdi>{_marked(token)}</bdi></th>'
        + "".join(f'<td class="{_classes(shares[place]).strip()}">{numbers[place]}</td>' for shares, numbers in columns)
        + "</tr>"
        for place, token in enumerate(tokens)
    )
    return (
        '<details class="ta-more" open><summary>Every score as a number</summary>'
        '<p class="ta-dim">Space is shown as ·, a line break as ↵, bytes that are part of a character as ⟨hex⟩.</p>'
        '<div class="ta-scroll" role="region" aria-label="scores of every token" tabindex="0"><table class="ta-scores">'
        f'<thead><tr><th scope="col">position</th><th scope="col">token</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _classes(share: float) -> str:
    step = _step(abs(share))
    return f" {'ta-up' if share > 0 else 'ta-down'} ta-n{step}" if step else ""


def _step(share: float) -> int:
    return round(share * STEPS)


def _judged(made: Sequence[Attribution], judged: Sequence[Mapping[str, Faithfulness]]) -> str:
    """Measures of each, beside the same of random scores."""
    if not judged:
        return ""
    heads = "".join(f'<th scope="col">{escape(NAMES.get(name, name))}</th>' for name in judged[0])
    body = ""
    for one, found in zip(made, judged, strict=True):
        cells = "".join(f"<td>{each.value:.3f} ± {each.error:.3f}</td>" for each in found.values())
        control = "".join(f"<td>{each.control:.3f} ± {each.control_error:.3f}</td>" for each in found.values())
        body += f'<tr><th scope="row">{escape(plain(one.method))}</th>{cells}</tr>'
        body += f'<tr class="ta-dim"><th scope="row">in random order</th>{control}</tr>'
    return (
        '<details class="ta-more" open><summary>Faithfulness: what becomes of the prediction without what is named'
        '</summary><p class="ta-dim">More is better, and what beats its random order says where the scores lie well. '
        "± is a standard error over draws.</p>"
        '<div class="ta-scroll" role="region" aria-label="faithfulness" tabindex="0"><table class="ta-judged"><thead>'
        f'<tr><th scope="col">explainer</th>{heads}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


_AXIS = {"answer": "token of the answer", "layer": "layer", "head": "head"}


def _arrays(attribution: Attribution) -> str:
    """What the method knows beside the scores, as tables that open: a row per token, a column per layer, head or token
    of the answer. Of three axes the second is averaged over. One scale for a table."""
    tokens = attribution.spelling.tokens if attribution.spelling else ()
    made = []
    for axes in attribution.arrays.values():
        if axes.names[-1] != "token" or axes.values.ndim not in (2, 3) or axes.values.shape[-1] != len(tokens):
            continue
        over = "" if axes.values.ndim == 2 else f", on the average over {axes.names[1]}s"
        values = axes.values if axes.values.ndim == 2 else axes.values.mean(1)  # (columns, tokens)
        named = [f"“{word}”" for word in answered(attribution)[0]] if axes.names[0] == "answer" else None
        heads = named or [str(number) for number in range(len(values))]
        what = _AXIS.get(axes.names[0], axes.names[0])
        made.append(_matrix(f"{plain(attribution.method)} per {what}{over}", heads, tokens, values))
    return "".join(made)


def _matrix(title: str, heads: Sequence[str], tokens: Sequence[str], values: Tensor) -> str:
    """(columns, tokens) numbers as a table with tinted cells."""
    most = float(values.abs().max()) or 1.0
    columns = "".join(f'<th scope="col"><bdi>{escape(head)}</bdi></th>' for head in heads)
    body = "".join(
        f'<tr><td>{place}</td><th scope="row"><bdi>{_marked(token)}</bdi></th>'
        + "".join(f'<td class="{_classes(v / most).strip()}">{f"{v:+.3f}".replace("-", "−")}</td>' for v in row)
        + "</tr>"
        for place, (token, row) in enumerate(zip(tokens, values.T.tolist(), strict=True))
    )
    return (
        f'<details class="ta-more"><summary>{escape(title)}</summary>'
        f'<div class="ta-scroll" role="region" aria-label="{escape(title)}" tabindex="0"><table class="ta-matrix">'
        f'<thead><tr><th scope="col">position</th><th scope="col">token</th>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _marked(token: str) -> str:
    """Escaped, with a leading space set back: words read first, and the mark is there for who looks."""
    if len(token) > 1 and token[0] == "·":
        return f'<span class="ta-space">·</span>{escape(token[1:])}'
    return escape(token)


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
