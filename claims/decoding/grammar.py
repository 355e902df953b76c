"""Asked for JSON, a small model writes it now and then; constrained to the schema, always."""

import json

from claims.decoding._text import system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.grammar import Grammar
from trivium.decoding.greedy import Greedy

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "colour": {"enum": ["red", "green", "blue", "brown", "black", "white", "yellow"]},
        "legs": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "colour", "legs"],
    "additionalProperties": False,
}
THINGS = ("cat", "dog", "table", "spider", "robin", "frog", "chair", "horse", "ant", "crow", "bear", "parrot")
LIMIT = 64


def fits(text: str) -> bool:
    """Whether the text is JSON of the schema."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return False
    return (
        isinstance(found, dict)
        and set(found) == {"name", "colour", "legs"}
        and isinstance(found["name"], str)
        and found["colour"] in SCHEMA["properties"]["colour"]["enum"]
        and isinstance(found["legs"], int)
        and 0 <= found["legs"] <= 99
    )


def run(bar: Bar) -> ClaimResult:
    made: dict[str, list[bool]] = {"plain": [], "constrained": []}
    for thing in THINGS:
        asked = system().chat(
            f"Describe a {thing} as one JSON object with the keys name, colour (red, green, blue, brown, black, white "
            "or yellow) and legs (a number). Write nothing but the JSON."
        )
        for name, decoder in (("plain", Greedy()), ("constrained", Grammar(json.dumps(SCHEMA), "json_schema"))):
            made[name].append(fits(system().write(asked, decoder, limit=LIMIT)))
        bar.advance(1)
    differences = [float(a) - float(b) for a, b in zip(made["constrained"], made["plain"], strict=True)]
    shares = {name: sum(found) / len(found) for name, found in made.items()}
    return judge(
        differences, note="one difference per thing to describe; 1 where only the constrained text fits", **shares
    )


claim = Claim(
    statement="Greedy decoding constrained to a JSON schema gives such JSON where plain greedy decoding fails.",
    paper="Willard and Louf 2023: guidance by an automaton makes every text match the expression, by construction "
    "(no figure; the direction is tested).",
    rule="Share of texts of at most 64 tokens that parse and fit the schema, constrained minus plain, over things to "
    "describe: supported where the 95 % interval is above 0.",
    run=run,
)
