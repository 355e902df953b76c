"""Short stories from a small grammar of our own: the text on which tiny models learn to speak.

Each story has a hero, a wish, something in its way, and an end that follows. Names, pronouns, colours, places, numbers
and what was promised stay consistent within a story and differ between stories, so that a model gains by remembering
what it read a few hundred characters ago.
"""

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

from trivium.core.seeds import derive
from trivium.data._teller import (
    FOODS,
    HOMES,
    NUMBERS,
    PLACES,
    SPOTS,
    TIMES,
    Character,
    Teller,
    article,
    capital,
    listed,
)
from trivium.data.corpus import Corpus


def stories(documents: int = 4000, seed: int = 0, *, validation: float = 0.05, test: float = 0.05) -> Corpus:
    """A corpus of so many stories, about 750 bytes each, no two the same; the first n are the same for every n."""
    if documents < 1:
        raise ValueError(f"documents must be at least 1, got {documents}")
    name = f"stories-{documents}-{seed}"
    return Corpus.split(name, _different(documents, seed), validation=validation, test=test)


def story(seed: int, index: int) -> str:
    """Story number ``index`` of a seed; it depends on nothing else."""
    teller = Teller(random.Random(derive(seed, "story", index)))
    teller.random.choice(PLOTS)(teller)
    return teller.text


def _different(documents: int, seed: int) -> Iterator[str]:
    seen: set[str] = set()
    index = 0
    while len(seen) < documents:
        text = story(seed, index)
        index += 1
        if text not in seen:
            seen.add(text)
            yield text


def _lost(t: Teller) -> None:
    """Something is lost, looked for in wrong places, and found where a friend has seen it."""
    hero, friend, thing = t.child(), t.somebody(), t.thing()
    _home(t, hero)
    t.say(
        f"{hero.name} had {article(thing.full)} and took it everywhere.",
        f"what {hero.subject} loved most was {hero.their} {thing.full}.",
        f"{hero.their} grandmother had given {hero.object} {article(thing.full)}.",
    )
    t.turn()
    t.say(
        f"{t.random.choice(TIMES)} the {thing.noun} was gone.",
        f"but {_later(t)} {hero.name} could not find the {thing.noun}.",
    )
    spot = t.fresh(SPOTS)
    for number in range(t.random.choice((1, 2, 3))):
        wrong, then = t.fresh(SPOTS), "then " if number else ""
        t.say(
            f"{then}{hero.name} looked {wrong}, but it was not there.",
            f"{then}{hero.subject} looked {wrong} and found nothing but dust.",
            f"{then}{hero.subject} searched {wrong}, in vain.",
        )
    _meet(t, hero, friend)
    t.speak(
        hero,
        f"Have you seen my {thing.full}?",
        f"I have lost my {thing.noun}, the {thing.colour} one. Do you know where it is?",
    )
    t.speak(
        friend,
        f"Yes, I saw something {thing.colour} {spot}.",
        f"I think there is {article(thing.noun)} {spot}.",
        f"Look {spot}, there is something {thing.colour}.",
    )
    t.say(
        f"{hero.name} ran to look {spot}, and there was the {thing.full}.",
        f"and really, {spot} lay the {thing.full}.",
        f"{hero.name} did not believe it, but {spot} lay the {thing.full}.",
    )
    t.speak(
        hero,
        "Thank you!",
        f"Thank you, {friend.called}!",
        "You are a good friend.",
        f"How good that I asked you, {friend.called}.",
    )
    t.say(
        f"from that day on {hero.name} took better care of the {thing.noun}.",
        f"that night {hero.name} slept with the {thing.noun} beside {hero.object}.",
        f"{hero.subject} never lost the {thing.noun} again.",
    )


def _errand(t: Teller) -> None:
    """Food is carried to somebody ill, across an obstacle for which help is needed."""
    hero, ill, helper = t.child(), t.animal(), t.somebody()
    food, place = t.fresh(FOODS), t.fresh(PLACES)
    obstacle, way, deed = t.random.choice(
        (
            ("the river is too deep", "a boat", "rowed across the river"),
            ("the night is too dark", "a lantern", "walked through the dark"),
            ("the snow is too high", "a sledge", "rode over the snow"),
            ("the wall is too steep", "a ladder", "climbed over the wall"),
            ("the ground is too hot", "a pair of boots", "walked over the hot ground"),
        )
    )
    _home(t, hero)
    t.say(
        f"{hero.name} heard that {ill.name} was ill and lay in bed near {place}.",
        f"near {place} lived {ill.first}, who was ill and could not get up.",
    )
    t.say(f"so {hero.subject} packed {food} and set out.", f'{hero.name} thought, "I will bring {ill.object} {food}."')
    _walk(t, hero)
    t.turn()
    t.say(
        f"but on the way {hero.name} had to stop, for {obstacle.replace(' is ', ' was ')}.",
        f"soon {hero.subject} saw that {obstacle.replace(' is ', ' was ')}.",
    )
    _meet(t, hero, helper)
    t.speak(hero, f"I must get to {place}, but {obstacle}.", f"Can you help me to get to {place}?")
    t.speak(helper, f"I have {way}. Let us go together.", f"Take {way}, it is all I have.", f"With {way} it is easy.")
    t.say(f"with {way} {hero.name} {deed} and came to {place} at last.", f"so {hero.name} took {way} and {deed}.")
    t.turn()
    t.say(
        f"{ill.name} was glad to see {hero.object} and ate {food}.",
        f"there lay {ill.name}, and {hero.name} gave {ill.object} {food}.",
    )
    t.speak(
        ill,
        "Now I feel much better.",
        f"Thank you, {hero.name}. You came all this way for me.",
        "Nobody has ever been so kind to me.",
    )
    t.say(
        f"the next day {ill.subject} was well again.",
        f"after three days {ill.name} could dance.",
        f"{hero.name} stayed until {ill.subject} was well.",
    )


def _quarrel(t: Teller) -> None:
    """Two want the same thing, and a third finds a way to share it."""
    first, second, thing, place, judge = t.somebody(), t.somebody(), t.thing(), t.fresh(PLACES), t.animal()
    t.say(
        f"{first.first} and {second.first} were playing near {place} when they found {article(thing.full)}.",
        f"there once were two friends, {first.first} and {second.first}. "
        f"Near {place} they found {article(thing.full)}.",
        f"{_later(t)} {first.first} and {second.first} saw {article(thing.full)} lying near {place}.",
    )
    t.turn()
    t.speak(
        first,
        "It is mine, for I saw it first!",
        f"The {thing.noun} is mine!",
        f"I have always wanted {article(thing.noun)}!",
    )
    t.speak(
        second,
        "No, it is mine, for I picked it up!",
        f"You have {article(thing.noun)} at home. This one is mine!",
        "Give it to me, I am older!",
    )
    t.say(f"they pulled and shouted until {judge.name} came by.", f"they made so much noise that {judge.name} woke up.")
    t.speak(judge, f"Why do you fight about {article(thing.noun)}?", "What is the matter with you two?")
    t.speak(first, f"We both want the {thing.full}.", f"There is only one {thing.noun}, and there are two of us.")
    t.speak(
        judge,
        f"Then {first.name} may have it today and {second.name} tomorrow.",
        f"Let {second.name} have it in the morning and {first.name} in the evening.",
        f"I will keep the {thing.noun} until you have made up.",
    )
    t.say("the two looked at each other and laughed.", f"{first.name} and {second.name} were ashamed and shook hands.")
    t.say(
        f"since then the {thing.full} has belonged to both of them.",
        f"and so they shared the {thing.noun} and stayed friends.",
    )


def _building(t: Teller) -> None:
    """Parts are needed, and each comes from somebody else; all are named again at the end."""
    hero = t.child()
    work, parts = t.random.choice(
        (
            ("boat", ("some boards", "a sail", "a rope", "some nails")),
            ("paper dragon", ("some paper", "a stick", "a string", "some glue")),
            ("hut", ("some boards", "some straw", "a door", "some nails")),
            ("cart", ("two wheels", "some boards", "a rope", "some nails")),
            ("scarecrow", ("some straw", "an old jacket", "a stick", "a string")),
        )
    )
    wanted = t.random.sample(parts, t.random.choice((2, 3)))
    _home(t, hero)
    t.say(f"{hero.name} wanted to build a {work}.", f"{_later(t)} {hero.subject} made a plan to build a {work}.")
    t.say(
        f"for that {hero.subject} needed {listed(wanted)}.", f"but {hero.subject} had to find {listed(wanted)} first."
    )
    t.turn()
    givers = []
    for part, before in zip(wanted, ("first", "then", "last of all"), strict=False):
        giver = t.animal()
        givers.append(giver.name)
        t.say(
            f"{before} {hero.subject} went to {giver.name}, who gave {hero.object} {part}.",
            f"{before} {hero.subject} met {giver.name} near {t.fresh(PLACES)} and got {part}.",
            f"{before} {giver.name} came to {hero.object} and brought {part}.",
        )
    t.turn()
    t.say(
        f"with {listed(wanted)} {hero.name} built the {work}.",
        f"now {hero.subject} had {listed(wanted)}, and by evening the {work} was ready.",
    )
    t.speak(hero, f"Without {listed(givers)} I could not have done it.", f"Come and see my {work}, all of you!")
    t.say(
        f"and {listed(givers)} were the first guests.",
        "everybody clapped, and there was a feast.",
        f"{hero.their} friends were proud of {hero.object}.",
    )


def _trades(t: Teller) -> None:
    """A chain of trades that leads to the wish."""
    hero = t.child()
    things = [t.thing() for _ in range(t.random.choice((3, 4)))]
    _home(t, hero)
    t.say(
        f"{hero.subject} had {article(things[0].full)}, but what {hero.subject} wanted was {article(things[-1].full)}.",
        f"{hero.name} wished for {article(things[-1].full)}, but all {hero.subject} had was {article(things[0].full)}.",
    )
    for have, want in pairwise(things):
        owner = t.somebody()
        t.turn()
        t.say(
            f"near {t.fresh(PLACES)} {hero.name} met {owner.first}, who had {article(want.full)}.",
            f"{owner.first} came along with {article(want.full)}.",
            f"{_later(t)} {hero.subject} saw {owner.first} with {article(want.full)}.",
        )
        t.speak(
            owner,
            f"Give me your {have.noun} and you shall have my {want.noun}.",
            f"I like your {have.full}. Will you trade it for my {want.noun}?",
            f"My {want.noun} for your {have.noun}, what do you say?",
        )
        t.say(
            f"so {hero.name} gave away the {have.full} and took the {want.full}.",
            f"{hero.name} nodded, and they traded.",
        )
    t.turn()
    t.say(
        f"now the {things[-1].full} was {hero.their} own, and it had begun with {article(things[0].noun)}.",
        f"in this way {article(things[0].noun)} became {article(things[-1].noun)}, and {hero.name} went home happy.",
    )


def _storm(t: Teller) -> None:
    """A shelter fills up; the guests are counted."""
    host = t.somebody()
    _home(t, host)
    t.say(
        f"{_later(t)} there was a storm, and somebody knocked at the door.",
        f"{_later(t)} the wind howled, and there was a knock at the door.",
    )
    inside = 1
    for _ in range(t.random.choice((2, 3, 4))):
        guest = t.animal()
        t.turn()
        t.speak(
            guest,
            "Please let me in, I am cold.",
            "May I come in? I am wet and tired.",
            "It is raining so hard. Is there room for me?",
        )
        inside += 1
        t.say(
            f"{host.name} opened the door, and {guest.name} came in.",
            f"so {guest.name} came in and sat down by the fire.",
        )
        t.say(f"now there were {NUMBERS[inside]} of them.", f"now they were {NUMBERS[inside]}.")
    food = t.fresh(FOODS)
    t.turn()
    t.say(
        f"{host.name} gave everybody {food}.", f"they shared {food} and told stories.", f"there was {food} for supper."
    )
    t.say(
        f"in the morning the sun came out, and the {NUMBERS[inside - 1]} guests went home.",
        f"all {NUMBERS[inside]} slept well until the storm was over.",
    )
    t.speak(host, "Come again when it rains!", "A full house is a warm house.", "It was never so merry here before.")


def _race(t: Teller) -> None:
    """The faster one falls behind, for a reason; who goes on steadily wins."""
    proud, steady, place, prize = t.animal(), t.somebody(), t.fresh(PLACES), t.thing()
    t.say(
        f"{proud.first} and {steady.first} wanted to know who was faster.",
        f"{proud.first} always laughed at {steady.first}, who was so slow.",
    )
    t.speak(
        proud,
        f"I shall be at {place} long before you, and win your {prize.full}.",
        f"Let us run to {place}. Who gets there first wins the {prize.full}.",
    )
    t.speak(steady, "We shall see.", "I will do my best.", "A long way needs a long breath.")
    t.turn()
    reason = t.random.choice(
        (
            "lay down to sleep",
            f"stopped to eat {t.fresh(FOODS)}",
            f"lost the way near {t.fresh(PLACES)}",
            "sat down to laugh",
            "ran into a tree",
        )
    )
    t.say(
        f"{proud.name} ran away like the wind, but soon {proud.subject} {reason}.",
        f"at first {proud.name} was far ahead. Then {proud.subject} {reason}.",
    )
    t.say(f"{steady.name} went on, step by step.", f"{steady.name} did not stop once.")
    t.say(
        f"when {proud.name} came to {place}, {steady.name} was already there.",
        f"and so {steady.name} was the first at {place}.",
    )
    t.speak(proud, f"You have won, and the {prize.full} is yours.", f"I was too sure of myself. Take the {prize.full}.")
    t.say(
        f"{steady.name} took the {prize.noun} and thanked {proud.object}.",
        "they walked home together and were friends.",
    )


def _riddle(t: Teller) -> None:
    """Things are shown, and one of them is asked for by its colour."""
    asker, hero = t.animal(), t.child()
    things = [t.thing() for _ in range(3)]
    answer = t.random.choice(things)
    _home(t, hero)
    t.say(
        f"near {t.fresh(PLACES)} {hero.subject} met {asker.first}.",
        f"{_later(t)} {hero.subject} was visited by {asker.first}.",
    )
    t.say(f"{asker.name} showed {hero.object} three things: {listed([article(thing.full) for thing in things])}.")
    t.speak(
        asker,
        f"I think of a thing that is {answer.colour}. What is it?",
        f"One of these is {answer.colour}. Which one is it?",
    )
    wrong = t.random.choice([thing for thing in things if thing is not answer])
    if t.random.random() < 0.5:
        t.speak(hero, f"Is it the {wrong.noun}?", f"Do you mean the {wrong.noun}?")
        t.speak(asker, f"No, the {wrong.noun} is {wrong.colour}.")
    t.speak(hero, f"Then it is the {answer.noun}.", f"It must be the {answer.noun}!")
    t.speak(
        asker,
        f"Right! The {answer.noun} is yours.",
        f"That is right, {hero.name}. Take the {answer.full} home with you.",
    )
    t.say(
        f"at home {hero.name} showed everybody the {answer.full}.",
        f"{hero.name} had never been so glad as on that day.",
    )


PLOTS: tuple[Callable[[Teller], None], ...] = (_lost, _errand, _quarrel, _building, _trades, _storm, _race, _riddle)


def _home(t: Teller, hero: Character) -> None:
    home = t.fresh(HOMES)
    t.say(
        f"once upon a time there was {hero.first} who lived {home}.",
        f"{home} lived {hero.first}.",
        f"there was once {hero.first}. {capital(hero.subject)} lived {home}.",
    )


def _later(t: Teller) -> str:
    """A time, in the middle of a sentence or at its head."""
    time = t.random.choice(TIMES)
    return time[0].lower() + time[1:]


def _walk(t: Teller, hero: Character) -> None:
    t.maybe(
        f"{hero.subject} went past {t.fresh(PLACES)} and sang a song.",
        f"the path led past {t.fresh(PLACES)} and up a hill.",
        f"on the way {hero.subject} counted the birds.",
    )


def _meet(t: Teller, hero: Character, other: Character) -> None:
    t.turn()
    t.say(
        f"near {t.fresh(PLACES)} {hero.subject} met {other.first}.",
        f"then {other.first} came along.",
        f"on the path sat {other.first}.",
        f"{hero.name} asked the first one {hero.subject} met, and that was {other.first}.",
    )
