"""What subjects' brains did at each of some texts: recordings of one's own as arrays, or subjects that are simulated.

No recordings are part of the package: the published ones come under terms of their own. A file is a NumPy archive
(.npz, never unpickled) with

    texts      (stimuli,) strings, in the order of presentation
    groups     (stimuli,) whole numbers: the passage or story that each is of
    NAME       (stimuli, voxels) or (repeats, stimuli, voxels) for each subject or data set; NaN where nothing is known
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RESERVED = ("texts", "groups")


@dataclass(frozen=True, eq=False)
class Recordings:
    """``subjects``: name -> (repeats, stimuli, voxels); ``groups`` (stimuli,) int64; ``texts`` where they are known.

    Raises ValueError where the numbers of stimuli differ.
    """

    subjects: Mapping[str, Tensor]
    groups: Tensor
    texts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.subjects:
            raise ValueError("recordings need at least one subject")
        if self.groups.ndim != 1 or self.groups.is_floating_point():
            raise ValueError(
                f"groups must be (stimuli,) whole numbers, got {self.groups.dtype} {tuple(self.groups.shape)}"
            )
        for name, each in self.subjects.items():
            if each.ndim != 3 or each.shape[1] != len(self.groups):
                raise ValueError(
                    f"{name} must be (repeats, {len(self.groups)}, voxels), for as many stimuli as there are groups; "
                    f"got {tuple(each.shape)}"
                )
        if self.texts and len(self.texts) != len(self.groups):
            raise ValueError(f"{len(self.texts)} texts and {len(self.groups)} groups; give one of each per stimulus")

    @staticmethod
    def read(path: str | Path) -> "Recordings":
        """From an archive. Raises ValueError, naming the file, for what is missing or has another shape."""
        with np.load(Path(path), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        missing = [name for name in RESERVED if name not in arrays]
        if missing:
            raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(arrays)}")
        subjects = {}
        for name, each in arrays.items():
            if name not in RESERVED:
                if each.ndim not in (2, 3):
                    raise ValueError(f"{path}: {name} must be (stimuli, voxels) or (repeats, stimuli, voxels)")
                subjects[name] = torch.from_numpy(np.asarray(each, np.float64)).reshape(-1, *each.shape[-2:])
        try:
            groups = torch.from_numpy(arrays["groups"])
            groups = groups if groups.is_floating_point() else groups.long()
            return Recordings(subjects, groups, arrays["texts"].tolist())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def stretches(stimuli: int, count: int) -> Tensor:
    """(stimuli,) groups of neighbours, so many, for stimuli of which no passages are known."""
    if not 1 <= count <= stimuli:
        raise ValueError(f"count must be 1 to the {stimuli} stimuli, got {count}")
    return torch.arange(stimuli) * count // stimuli


def simulated(
    features: Tensor,
    groups: Tensor,
    *,
    subjects: int = 4,
    voxels: int = 40,
    repeats: int = 4,
    noise: float = 1.0,
    generator: torch.Generator,
    texts: Sequence[str] = (),
) -> Recordings:
    """Subjects whose voxels are linear maps of these features (stimuli, width), each with a map of its own and fresh
    noise in every repeat; ``noise`` is its spread over that of the signal.

    The features are brought to mean 0 and spread 1 first, so that each of them counts alike. They show that a method
    works and are no evidence of anything about brains. Raises ValueError for counts below 1 or noise below 0.
    """
    if min(subjects, voxels, repeats) < 1 or noise < 0:
        raise ValueError(f"give at least one subject, voxel and repeat and no noise below 0; got {noise=}")
    wide = features.double()
    spread = wide.std(0)
    wide = (wide - wide.mean(0)) / torch.where(spread > 0, spread, 1.0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    made = {}
    for number in range(subjects):
        signal = wide @ draw(wide.shape[1], voxels)
        signal = signal / signal.std(0)
        made[f"subject {number}"] = signal + noise * draw(repeats, *signal.shape)
    return Recordings(made, groups, texts)
