"""Beginnings of stories for small children, written for this project, that end in the middle of a sentence."""

from pathlib import Path

OWN = """
Once upon a time there was a small goat named Pip who was afraid of the rain. One morning dark clouds came, and
Lily found a blue box under her bed. She opened it very slowly, and inside there was
Tom and his grandmother went to the market to buy apples. On the way home the bag broke, so
The little red boat had never been on the big lake. "I am too small," it said, but then a duck
Every evening Mia told the moon about her day. One evening the moon did not come, so Mia
Ben built a tall tower of wooden blocks. His sister Anna wanted to help, but Ben said
There was a hole in the fence behind the school. One day a brown dog came through the hole and
Grandpa had a clock that never stopped. When Sam asked him how it worked, Grandpa smiled and
A young bear named Otto wanted to taste honey. The bees did not like bears, so Otto
It was the first day of snow. Ella put on her green boots and ran to the hill, where
The baker made a cake in the shape of a star. When he turned around, the cake
Nina lost her yellow ball in the park. She looked under the bench and behind the tree, but
The old lighthouse was dark because the keeper was ill. His daughter Rosa took the lamp and
Two mice lived in the kitchen of a castle. One was brave and one was shy. One night they heard
Max had a new kite, but there was no wind. He sat down on the grass and waited until
The frog could jump higher than anyone in the pond. One day a snail asked him
Sara wanted to give her mother a present. She had no money, so she
A train stood at the station and did not want to leave. "What is wrong?" asked the driver. The train
In a quiet forest there lived an owl who could not sleep during the day. The other owls
Jack and Emma found a map in the attic. It showed their garden, and under the pear tree there was
The queen had lost her crown. She asked the gardener, the cook and the little page, and the page
Every spring a stork came back to the roof of the farm. This spring it brought
Leo was angry because his tower had fallen. He wanted to shout, but then his friend Amir
The smallest star in the sky wished to see the sea. So one night it
Rabbit planted a carrot and watered it each day. The carrot grew and grew until
Clara heard a strange noise from the cellar. She took her torch, opened the door and
A snowman stood in the yard of the hospital. The children at the windows waved, and the snowman
Paul did not want to share his bread with the birds. Then a sparrow with a broken wing
The river was too wide for the ants. They held a meeting, and the oldest ant said
Hanna's cat had climbed the tallest tree in the village. Nobody had a ladder, so
There was once a teapot that could sing. It only sang when it was full, and one day
The twins were going to sleep in a tent for the first time. When it grew dark, they
A little cloud was tired of floating alone. It saw a kite below and
Daniel broke his mother's favourite cup. He hid the pieces behind the sofa, but
The blacksmith had a donkey that would not walk. The blacksmith's son whispered in its ear and
On the beach Olga found a bottle with a letter in it. The letter said
The wind stole the hat of the mayor and carried it over the roofs. A girl named Ida saw it and
A hedgehog wanted to have a friend, but everyone was afraid of his spines. One day he met
The library was closed, but a light was burning inside. Peter looked through the window and saw
Grandmother said that the oak was a hundred years old. Julia hugged the oak and asked it
"""

SHOWN = """
A penguin named Wolle had never learned to swim. When the ice broke, he
Kate was the new girl in the class. At lunch she sat alone until
The farmer's lantern went out in the storm. From far away he could hear
A boy found an egg that was as large as his head. He put it near the stove, and
The toy soldier stood on the shelf and looked at the dancer. At midnight he
Maria planted sunflowers for her neighbour. In the summer they
The fox wanted the cheese in the window. He asked the crow politely, and she
There was no school because of the flood. Eric and his father took the boat to
The old violin had only three strings. When the girl played it, everyone
A whale swam into the harbour by mistake. The fishermen
"""


def made(split: str) -> tuple[str, ...]:
    """Forty beginnings in "test", ten others in "validation"."""
    texts = {"test": OWN, "validation": SHOWN}
    if split not in texts:
        raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
    return tuple(texts[split].strip().splitlines())


def read(path: str | Path) -> tuple[str, ...]:
    """The beginnings of a file, one a line."""
    found = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip())
    if not found:
        raise ValueError(f"{path} holds no beginning; write one a line")
    return found
