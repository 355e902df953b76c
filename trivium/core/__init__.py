"""What every part of trivium stands on: nouns and protocols, method cards, budget and meter, seeds, errors."""
