"""How contenders are told apart: a colour, a marker and a dash each, in the light theme and in the dark one.

Drawings are made once, in the colours of the light theme; style rules map each of them to its counterpart in the dark
theme. Shared colours (of verdicts, of halos) are shifted by a step too small to see for each contender, so that every
part of a drawing that belongs to one contender can be found by its colour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INK, MUTED, LINE, PAPER = "#1b2027", "#59616b", "#dcdfe3", "#fefefe"
GOOD, BAD = "#116b3f", "#a8281e"
SERIES = ("#4f5863", "#0a62c4", "#b8460b", "#7c3fc4", "#0b7a5b", "#b01563", "#8a6400", "#1b7396")
DARK = {
    INK: "#e9ecf0",
    MUTED: "#a3acb8",
    LINE: "#343b45",
    PAPER: "#14181e",
    GOOD: "#5fce93",
    BAD: "#ff8a7d",
    "#4f5863": "#b4bdc8",
    "#0a62c4": "#6cb2ff",
    "#b8460b": "#ff9c63",
    "#7c3fc4": "#c3a0ff",
    "#0b7a5b": "#4fcfa6",
    "#b01563": "#ff86bd",
    "#8a6400": "#e2b93b",
    "#1b7396": "#5cc8ee",
}
SHAPES = ("square", "circle", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((), (6, 3), (2, 2), (8, 3, 2, 3), (4, 4), (1, 3), (10, 4), (3, 1))


@dataclass(frozen=True)
class Look:
    """How one contender is drawn, everywhere in a report."""

    colour: str
    shape: str
    dash: Sequence[int]
    index: int

    def own(self, colour: str) -> str:
        """A shared colour, as this contender's parts have it."""
        return _shifted(colour, self.index + 1)

    @property
    def colours(self) -> list[str]:
        """Every colour that only this contender's parts have."""
        return [self.colour, *map(self.own, (GOOD, BAD, MUTED, PAPER, INK))]


def looks(report: Mapping[str, Any]) -> dict[str, Look]:
    """By name. The baseline is the grey square; the others take colours and shapes in order. Where there are more than
    colours, these come again with other shapes."""
    names = [contender["name"] for contender in report["contenders"]]
    others = [name for name in names if name != report.get("baseline")]
    found = {name: Look(SERIES[0], SHAPES[0], DASHES[0], 0) for name in names if name == report.get("baseline")}
    for index, name in enumerate(others):
        turn, place = divmod(index, len(SERIES) - 1)
        form = (1 + place + turn) % len(SHAPES)
        found[name] = Look(_shifted(SERIES[1 + place], turn), SHAPES[form], DASHES[form], index + 1)
    return found


def theme(look: Mapping[str, Look]) -> str:
    """Style rules that give every colour of the drawings its counterpart in the dark theme."""
    colours = dict.fromkeys([*DARK, *(colour for one in look.values() for colour in one.colours)])
    return "".join(
        f'svg [{kind}="{colour}"]{{{kind}:light-dark({colour},{_counterpart(colour)})}}\n'
        for colour in colours
        for kind in ("fill", "stroke")
    )


def _counterpart(colour: str) -> str:
    distance = lambda known: sum(abs(a - b) for a, b in zip(_rgb(known), _rgb(colour), strict=True))  # noqa: E731
    return DARK[min(DARK, key=distance)]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _shifted(colour: str, steps: int) -> str:
    """Another colour that looks the same: for up to some hundred steps in blue, away from the nearer end."""
    red, green, blue = _rgb(colour)
    up = blue < 128
    red, steps = red + steps // 16 * (1 if red < 128 else -1), steps % 16
    return f"#{red:02x}{green:02x}{blue + steps if up else blue - steps:02x}"
