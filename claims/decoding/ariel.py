"""Random points of a volume code give back the sentences that its model learned; those of an autoencoder do not."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence

from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.nouns import Batch, Stop
from trivium.core.progress import Bar
from trivium.core.seeds import derive, generator
from trivium.data.stories import stories
from trivium.decoding.ariel import Ariel
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SENTENCES, LONGEST, POINTS, SEEDS = 50, 32, 200, 3
STEPS, ROWS, WIDTH, DIMENSIONS = 400, 32, 64, 16
BYTES = ByteTokenizer()
BOS, EOS = (id for id in (BYTES.bos, BYTES.eos) if id is not None)


class Stored:
    """The sentences, as rows of ids from the first token to the end, filled with the end: (sentences, time)."""

    def __init__(self, seed: int) -> None:
        found: dict[str, None] = {}
        for story in stories(2000, seed=seed)["train"]:
            for sentence in story.split(". "):
                if 12 <= len(sentence.encode()) <= LONGEST:
                    found[sentence] = None
            if len(found) >= SENTENCES:
                break
        ids = [[BOS, *BYTES.encode(sentence), EOS] for sentence in list(found)[:SENTENCES]]
        self.lengths = torch.tensor([len(row) for row in ids])
        self.ids = torch.tensor([row + [EOS] * (LONGEST + 2 - len(row)) for row in ids])
        self.whole = {tuple(row[1:]) for row in ids}
        self.seed = seed

    def batch(self, step: int) -> Batch:
        """Rows drawn by the step alone, the filling masked."""
        rows = torch.randint(len(self.ids), (ROWS,), generator=generator(self.seed, "rows", step))
        return Batch(self.ids[rows], mask=torch.arange(self.ids.shape[1]) < self.lengths[rows, None])

    def held(self, texts: list[list[int]]) -> float:
        """Share of the stored sentences among the texts."""
        return len({tuple(text) for text in texts} & self.whole) / len(self.whole)


class Autoencoder(nn.Module):
    """A recurrent encoder to a point of the cube, and a recurrent decoder from it, of the language model's width."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES.vocab_size, WIDTH)
        self.encoder = nn.GRU(WIDTH, 2 * WIDTH, batch_first=True)
        self.point = nn.Linear(2 * WIDTH, DIMENSIONS)
        self.first = nn.Linear(DIMENSIONS, 2 * WIDTH)
        self.decoder = nn.GRU(WIDTH + DIMENSIONS, 2 * WIDTH, batch_first=True)
        self.head = nn.Linear(2 * WIDTH, BYTES.vocab_size)

    def encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.point(self.encoder(packed)[1][0]).sigmoid()

    def forward(self, ids: Tensor, point: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        before = self.first(point).tanh()[None] if state is None else state
        beside = point[:, None].expand(-1, ids.shape[1], -1)
        hidden, after = self.decoder(torch.cat([self.embedding(ids), beside], -1), before)
        return self.head(hidden), after

    def write(self, point: Tensor) -> list[list[int]]:
        """The likeliest token at each step, from each point."""
        token, state, made = torch.full((len(point), 1), BOS), None, []
        with torch.no_grad():
            for _ in range(LONGEST + 1):
                logits, state = self(token, point, state)
                token = logits.argmax(-1)
                made.append(token)
        rows = torch.cat(made, 1).tolist()
        return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]


def volume_code(stored: Stored, seed: int) -> float:
    model = Llama(width=WIDTH, depth=2, heads=4, context=LONGEST + 2).build(BYTES.vocab_size, seed=seed)
    train(model, Causal(), stored, TrainingSettings(steps=STEPS, learning_rate=3e-3, seed=seed))
    prompt = torch.full((POINTS, 1), BOS)
    made = Ariel(DIMENSIONS)(
        model.eval(), prompt, limit=LONGEST + 1, generator=generator(seed, "points"), stop=Stop(tokens=(EOS,))
    )
    return stored.held([made.row(row).tolist() for row in range(POINTS)])


def autoencoder(stored: Stored, seed: int) -> tuple[float, float]:
    """Stored sentences found from random points, and from their own, which shows that they were learned."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "autoencoder") % 2**63)
        model = Autoencoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(3 * STEPS):
        batch = stored.batch(step)
        assert batch.mask is not None
        logits, _ = model(batch.ids[:, :-1], model.encode(batch.ids, batch.mask.sum(1)))
        loss = cross_entropy(logits[batch.mask[:, 1:]], batch.ids[:, 1:][batch.mask[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        own = model.encode(stored.ids, stored.lengths)
    random = torch.rand(POINTS, DIMENSIONS, generator=generator(seed, "points"))
    return stored.held(model.write(random)), stored.held(model.write(own))


def run(bar: Bar) -> ClaimResult:
    bar.total = 2 * SEEDS
    codes, encoders, learned = [], [], []
    for seed in range(SEEDS):
        stored = Stored(seed)
        codes.append(volume_code(stored, seed))
        bar.advance()
        found, own = autoencoder(stored, seed)
        encoders.append(found)
        learned.append(own)
        bar.advance()
    return judge(
        [code - encoder for code, encoder in zip(codes, encoders, strict=True)],
        note=f"{SENTENCES} sentences of our stories in bytes, {POINTS} points; the autoencoder is trained three times "
        "as long and decodes greedily",
        volume_code=codes,
        autoencoder=encoders,
        autoencoder_from_own_points=learned,
    )


claim = Claim(
    statement="Random points of a volume code give back the sentences that its model learned, those of an autoencoder "
    "hardly any.",
    paper="Celotti et al. 2020, arXiv:2003.13600, abstract: random sampling retrieves the stored sentences of two "
    "datasets best with AriEL, compared with AE, VAE and Transformer.",
    rule="Share of the stored sentences found in 200 random points of the volume code minus that of the autoencoder: "
    "supported where the 95 % interval over seeds is above 0.",
    run=run,
)
