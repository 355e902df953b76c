"""The prompts of ``trivium demo``: three kinds on which decoders differ for different reasons.

In *copy* prompts most of the answer already stands in the question, so that a drafter which looks it up has much to
gain; *chat* prompts leave little to copy; *code* prompts lie between, with names and layout that come back. Each is a
user's message, meant for the model's chat template.
"""

from collections.abc import Iterator
from functools import cache

from trivium.core.nouns import Example

KINDS = ("copy", "chat", "code")


@cache
def prompts(split: str = "test") -> tuple[Example, ...]:
    """The prompts of a split: five a kind to compare on in "test", and five others a kind to tune on
    in "validation"."""
    if split not in PROMPTS:
        raise ValueError(f"the splits are {', '.join(PROMPTS)}, got {split!r}")
    return tuple(_examples(PROMPTS[split]))


def _examples(texts: dict[str, dict[str, str]]) -> Iterator[Example]:
    for kind in KINDS:
        for name, text in texts[kind].items():
            yield Example(f"{kind}/{name}", text.strip(), fields={"kind": kind, "chat": True})


PROMPTS: dict[str, dict[str, dict[str, str]]] = {
    "test": {
        "copy": {
            "opening-hours": """
Repeat the following notice word for word, but change the closing time from six to eight o'clock.

The public library in Mill Street is open from Monday to Friday between nine in the morning and six in the evening. On
Saturday the reading room on the first floor is open until noon, while the children's corner stays closed. Books can be
returned at any time through the slot beside the main entrance. Visitors who need help with the catalogue are welcome to
ask at the desk, where a member of staff is present during all opening hours.
""",
            "settings-file": """
Here is a settings file. Write it out again in full, with the port changed to 9090 and nothing else changed.

[server]
host = "127.0.0.1"
port = 8080
workers = 4
timeout_seconds = 30

[storage]
folder = "/var/lib/notes"
backup_folder = "/var/backups/notes"
backup_every_hours = 12
keep_backups = 14

[logging]
level = "info"
file = "/var/log/notes/server.log"
""",
            "extract-sentences": """
Copy out, unchanged, every sentence of this text that mentions the bridge.

The village had grown on both banks of the river. The old stone bridge was the only way across, and carts often waited
there for an hour. In spring the water rose until it touched the arches of the bridge. The mill stood a little further
down, beside the poplars. One night in March a flood carried the middle arch of the bridge away. For two years people
crossed in a small ferry that belonged to the miller. The new bridge was built of iron, and it still stands today.
""",
            "rename-person": """
Rewrite this letter with the name Miriam in place of Judith. Keep every other word as it is.

Dear Judith, thank you for the parcel, which arrived on Tuesday in perfect order. The seeds are already in the ground,
and the small blue pots stand on the windowsill in the kitchen. You asked about the roof: it was mended last week, and
the rain no longer comes in. If you visit us in June, Judith, we can walk to the lake together and look for the herons.
The train leaves at half past eight, and we will wait for you at the station. Until then I remain your friend, Paula.
""",
            "quote-summary": """
Summarise this report in two sentences, and quote the recommendation of the committee in full, word for word.

The committee met three times between January and March to examine why deliveries to the northern depots were late. It
found that trucks were loaded in the order in which orders arrived, without regard to the length of the route, and that
drivers bound for the most distant depots therefore left last. The committee recommends that trucks for routes of more
than two hundred kilometres be loaded before six in the morning, and that all other trucks be loaded in the order of
their planned departure. A trial in February cut the mean delay from ninety to twenty-five minutes.
""",
        },
        "chat": {
            "rain": "Why does it smell of earth when it rains after a dry week?",
            "apology": "Help me write a short apology to a neighbour whose flowerpot I broke with a football.",
            "weekend": "I have a free weekend, little money and no car. What could I do that is worth remembering?",
            "bread": "My bread is always flat and dense. What are likely reasons, and what should I try first?",
            "sleep": "Explain to a ten-year-old why people need to sleep.",
        },
        "code": {
            "median": """
Write a Python function median(values) that returns the median of a list of numbers and raises ValueError for an empty
list. Do not use any library.
""",
            "add-docstrings": """
Write this Python class again with a one-line docstring in each method.

class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
""",
            "word-count": """
Write a Python program that reads a text file whose name is given on the command line and prints the ten most frequent
words with their counts.
""",
            "fix-loop": """
This function should return the largest number in the list but fails when all numbers are negative. Show the corrected
function.

def largest(numbers):
    best = 0
    for number in numbers:
        if number > best:
            best = number
    return best
""",
            "to-javascript": """
Translate this Python function to JavaScript.

def total_price(items, discount):
    total = 0
    for item in items:
        total += item["price"] * item["quantity"]
    if total > 100:
        total = total * (1 - discount)
    return round(total, 2)
""",
        },
    },
    "validation": {
        "copy": {
            "recipe": """
Write this recipe out again for eight people instead of four, doubling the amounts and changing nothing else.

For four people you need 200 grams of lentils, 2 carrots, 1 onion, 1 litre of water and 2 spoons of oil. Chop the onion
and the carrots and fry them gently in the oil for five minutes. Add the lentils and the water and let everything simmer
for half an hour. Season with salt, pepper and a little vinegar, and serve the soup with bread.
""",
            "timetable": """
Copy this timetable exactly, but leave out the line for Wednesday.

Monday: mathematics, history, sport, English
Tuesday: biology, mathematics, music, geography
Wednesday: English, history, chemistry, drawing
Thursday: mathematics, physics, English, sport
Friday: geography, music, biology, history
""",
            "price-list": """
Here is a price list. Write it out again with the price of the desk lamp changed to 32 euros and nothing else changed.

Desk lamp, adjustable, black: 29 euros
Floor lamp, linen shade, white: 84 euros
Book shelf, five boards, oak: 140 euros
Writing desk with two drawers, oak: 260 euros
Office chair, height adjustable, grey: 175 euros
Waste paper basket, metal, black: 12 euros
""",
            "fix-year": """
Repeat this paragraph word for word, but write 1912 wherever it says 1911.

The lighthouse was begun in 1911 after three ships had been lost on the reef in a single winter. Stone was brought from
the mainland by barge, and the keepers' house was finished first so that the masons had somewhere to sleep. By the end
of 1911 the tower stood eleven metres high. The lamp was lit for the first time on a clear evening in October, and could
be seen from the fishing villages on the far side of the bay.
""",
            "answer-from-text": """
Which rules apply to dogs? Copy the sentences that say so, unchanged.

The park opens at sunrise and closes one hour after sunset. Dogs must be kept on a lead on all paths. Bicycles may be
ridden on the outer path only. Dogs may run free on the meadow behind the pond before nine in the morning. Music is not
allowed after eight. Dogs are not allowed on the playground at any time. Fires may be lit only at the marked places.
""",
        },
        "chat": {
            "moving": "A friend is moving to a new city and is nervous about it. What could I say that really helps?",
            "tides": "What causes the tides, and why are there two of them a day?",
            "plants": "Which indoor plants survive in a dark flat with someone who forgets to water them?",
            "interview": "I have a job interview tomorrow and I am very nervous. How should I spend this evening?",
            "echo": "Why is there an echo in a large empty hall but not in my living room?",
        },
        "code": {
            "palindrome": "Write a Python function that tells whether a text reads the same backwards.",
            "rename-variable": """
Write this function again with the variable x renamed to celsius.

def to_fahrenheit(x):
    if x < -273.15:
        raise ValueError(f"{x} is below absolute zero")
    return x * 9 / 5 + 32
""",
            "even-numbers": "Write a Python function that takes a list of integers and returns the even ones, sorted.",
            "add-type-hints": """
Write this Python code again with type hints and change nothing else.

def average(values):
    return sum(values) / len(values)

def spread(values):
    middle = average(values)
    return max(abs(value - middle) for value in values)
""",
            "csv-sum": "Write a Python script that reads a CSV file and prints the sum of the column called amount.",
        },
    },
}
