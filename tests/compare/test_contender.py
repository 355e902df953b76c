import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trivium.compare import contender
from trivium.compare.contender import Call, build, describe, parse
from trivium.core.errors import UnknownMethod, UnknownName
from trivium.core.method import find, names

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    depth: int = 1
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    k: int = 4
    alpha: float = 0.6
    on: bool = False
    word: str = "plain"
    choice: Literal["greedy", "match", 3] = "match"
    maybe: int | None = None
    either: float | int = 1
    numbers: tuple[int, ...] = ()
    pair: tuple[float, str] = (0.0, "")
    names: Sequence[str] = ()
    table: dict[str, float] = field(default_factory=dict)
    colour: Colour = Colour.RED
    inner: Inner = Inner()
    drafter: Any = field(default_factory=lambda: build("drafting", "prompt_lookup"), metadata={"kind": "drafting"})
    steps: Sequence[Any] = field(default=(), metadata={"kind": "decoding"})

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")


def make(text: str) -> Outer:
    return contender.construct(Outer, parse(text))


def test_reads_nested_calls_and_literals():
    assert parse('speculative(drafter=prompt_lookup(length=8), verifier="match", x=(1, -2.5), y={"a": None})') == Call(
        "speculative",
        (
            ("drafter", Call("prompt_lookup", (("length", 8),))),
            ("verifier", "match"),
            ("x", (1, -2.5)),
            ("y", {"a": None}),
        ),
    )
    assert parse(" greedy ") == parse("greedy()") == Call("greedy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f(",
        "f(1)",
        "f(x=1, x=2)",
        "f(**a)",
        "f(x=[y for y in z])",
        "f(x=a.b)",
        "a.b(x=1)",
        "f(x=1)(y=2)",
        "f(x=1 + 1)",
        "f(x=lambda: 1)",
        "__import__('os').system('true')",
        "f(x=f'{y}')",
        "f(x=b'1')",
        "f(x=1j)",
        "f(x={**a})",
        "f(x={a: 1})",
        "f(x=-'a')",
        "f(x=not True)",
        "1",
        "f; g",
        "f\x00",
        "f(x=..., y=1)",
        "x := 1",
    ],
)
def test_refuses_everything_else_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "f(x=" + "(" * 5000 + ")" * 5000 + ")",
        "f(x=" + "-" * 5000 + "1)",
        "f(x=" + "[" * 40 + "]" * 40 + ")",
        "f(x='" + "a" * 20_000 + "')",
    ],
)
def test_size_and_depth_are_limited(text):
    with pytest.raises(ValueError, match=r"deeper|longer"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outer(kk=3)", "no field 'kk'; did you mean 'k'"),
        ("outer(k=8.5)", r"k of outer must be int, got 8.5 \(float\)"),
        ("outer(k=True)", r"k of outer must be int, got True \(bool\)"),
        ("outer(on=1)", "on of outer must be bool, got 1"),
        ("outer(alpha=True)", "alpha of outer must be float, got True"),
        ('outer(alpha="x")', 'alpha of outer must be float, got "x"'),
        ('outer(choice="mach")', "did you mean 'match'"),
        ("outer(numbers=(1, 2.5))", r"numbers of outer must be a list of int, got \(1, 2.5\)"),
        ("outer(pair=(1,))", "2 values are wanted"),
        ("outer(drafter=3)", "drafter of outer must be a drafting method, got 3"),
        ("outer(inner=outer())", "inner of outer must be Inner"),
        ("outer(inner=inner(deph=3))", "inner has no field 'deph'; did you mean 'depth'"),
        ("outer(k=0)", "k must be at least 1, got 0"),
        ("outer(word=greedy(k=1))", "word of outer must be str"),
        ("outer(maybe=x)", "maybe of outer must be int or None"),
    ],
)
def test_errors_name_the_field_the_value_and_the_type(text, message):
    with pytest.raises((TypeError, ValueError, UnknownName), match=message):
        make(text)


def test_values_become_what_the_field_wants():
    made = make(
        "outer(alpha=1, word=match, choice=greedy, numbers=[1, 2], names=[a, b], colour=BLUE, inner=inner(depth=3), "
        "drafter=prompt_lookup, steps=[greedy, min_p(floor=0.5)], either=2, pair=(1, x), maybe=3, table={'a': 1})"
    )
    assert made.alpha == 1.0
    assert type(made.alpha) is float
    assert made.numbers == (1, 2)
    assert made.names == ("a", "b")
    assert (made.word, made.choice, made.colour) == ("match", "greedy", Colour.BLUE)
    assert made.inner == Inner(depth=3)
    assert made.pair == (1.0, "x")
    assert type(made.pair[0]) is float
    assert type(made.either) is int
    assert [type(step).__name__ for step in made.steps] == ["Greedy", "MinP"]
    assert made.table == {"a": 1.0}
    assert make("outer(alpha=-inf)").alpha == float("-inf")


def test_unknown_methods_are_named_at_every_depth():
    with pytest.raises(UnknownMethod, match="no decoding method named 'minp'; did you mean 'min_p'"):
        build("decoding", "minp")
    with pytest.raises(UnknownMethod, match="no drafting method named 'promptlookup'; did you mean 'prompt_lookup'"):
        build("decoding", "speculative(drafter=promptlookup)")
    assert build("decoding", "decoding/greedy") == build("decoding", "greedy")


@patient
@given(
    st.builds(
        Outer,
        k=st.integers(1, 9),
        alpha=st.floats(allow_nan=False),
        on=st.booleans(),
        word=st.text(),
        choice=st.sampled_from(["greedy", "match", 3]),
        maybe=st.none() | st.integers(),
        either=st.integers() | st.floats(allow_nan=False),
        numbers=st.lists(st.integers(), max_size=3).map(tuple),
        pair=st.tuples(st.floats(allow_nan=False), st.text()),
        names=st.lists(st.text(), max_size=2).map(tuple),
        table=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=2),
        colour=st.sampled_from(Colour),
        inner=st.builds(Inner, st.integers(), st.floats(allow_nan=False)),
        drafter=st.just(find("drafting", "prompt_lookup")()),
        steps=st.lists(
            st.sampled_from([find("decoding", "greedy")(), find("decoding", "min_p")(0.25)]), max_size=2
        ).map(tuple),
    )
)
def test_describe_and_build_are_inverse(thing):
    again = contender.construct(Outer, parse(describe(thing), longest=None))
    assert again == thing
    assert describe(again) == describe(thing)
    assert type(again.either) is type(thing.either)


def test_describe_shows_only_what_differs_from_the_default():
    assert describe(Outer()) == "Outer"
    assert describe(Outer(k=5, inner=Inner(rate=2.0))) == "Outer(k=5, inner=Inner(rate=2.0))"
    assert describe(find("decoding", "min_p")()) == "min_p"
    assert describe(find("decoding", "min_p")(floor=0.5)) == "min_p(floor=0.5)"
    assert describe(object()) == "object"


@pytest.mark.parametrize("kind", ["decoding", "drafting", "prompting", "attribution", "architectures", "objectives"])
def test_every_method_of_a_comparable_kind_round_trips(kind):
    for name in names(kind):
        method = find(kind, name)
        try:
            made = method()
        except TypeError:  # a method that must be told something, such as its draft model
            continue
        assert build(kind, describe(made)) == made
