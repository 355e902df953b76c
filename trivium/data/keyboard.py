"""Which letters of an English keyboard lie beside each other."""

from collections.abc import Mapping

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHIFTS = (0.0, 0.25, 0.75)
"""How far each row stands to the right of the top one, in keys."""

_PLACES = {
    letter: (row, column + shift)
    for row, (letters, shift) in enumerate(zip(ROWS, SHIFTS, strict=True))
    for column, letter in enumerate(letters)
}

BESIDE: Mapping[str, str] = {
    one: "".join(b for b, (y, x) in _PLACES.items() if b != one and abs(y - row) <= 1 and abs(x - column) <= 1)
    for one, (row, column) in _PLACES.items()
}
"""Lower-case letter -> the letters whose keys touch its own."""
