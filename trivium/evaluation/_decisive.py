"""Prompts in which one word decides what comes next, written for this project."""

GROUPS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "capital": (
        ("We landed in Thailand late at night. I was staying in the capital city of", "Thailand", " Bangkok"),
        ("My aunt moved to France last spring. She rents a flat in the capital city of", "France", " Paris"),
        ("Her train crossed into Italy at dawn. By noon she reached the capital city of", "Italy", " Rome"),
        ("They spent the winter in Japan. Most days they walked around the capital city of", "Japan", " Tokyo"),
        ("He was born in Egypt and went to school in the capital city of", "Egypt", " Cairo"),
        ("The museum tour of Spain ends, as always, in the capital city of", "Spain", " Madrid"),
        ("Our team won the match in Germany. We celebrated in the capital city of", "Germany", " Berlin"),
        ("The ship left Russia in June, but the crew's families stayed in the capital city of", "Russia", " Moscow"),
    ),
    "language": (
        ("The letter came from Brazil, so of course it was written in", "Brazil", " Portuguese"),
        ("Anna grew up in Poland, and at home her family speaks", "Poland", " Polish"),
        ("The signs at the airport in Athens were all printed in", "Athens", " Greek"),
        ("The old monk from China read the poem aloud in", "China", " Chinese"),
        ("The recipe book was sent from Munich and was written in", "Munich", " German"),
        ("She was raised in Sweden, so her first language is", "Sweden", " Swedish"),
    ),
    "mention": (
        ("Mary and John went to the market. John carried a basket, and he gave the apples to", "Mary", " Mary"),
        ("Tom has a dog named Rex. Every morning Tom takes a long walk with", "Rex", " Rex"),
        ("The password is tiger. When the guard asks for the password, say the word", "tiger", " tiger"),
        ("Peter lost a red scarf. When somebody found the scarf, they noticed its colour was", "red", " red"),
        ("Lisa and Paul played chess all evening. After an hour Paul lost the game to", "Lisa", " Lisa"),
        ("The box holds a violin. She opened the box and took out the", "violin", " violin"),
    ),
    "opposite": (
        ("A bird flies through the air, and a fish swims in the", "fish", " water"),
        ("In winter the nights are long, and in summer the nights are", "long", " short"),
        ("Ice feels cold, but fire feels", "fire", " hot"),
        ("The sun rises in the east and sets in the", "east", " west"),
    ),
    "sequence": (
        ("Today is Monday, so tomorrow will be", "Monday", " Tuesday"),
        ("It is December now, so next month will be", "December", " January"),
        ("First came one, then two, then three, and then", "three", " four"),
        ("We count the letters: A, B, C,", "C", " D"),
    ),
}
"""Group to (prompt, the word that decides, what it decides)."""
