import numpy as np
import pytest
import torch

from trivium.core.seeds import generator
from trivium.data.recordings import Recordings, simulated, stretches


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_an_archive_is_read_with_or_without_repeats(tmp_path):
    one, two = rand(5, 3).numpy(), rand(2, 5, 4).numpy()
    np.savez(tmp_path / "a.npz", texts=np.array(list("abcde")), groups=np.array([3, 3, 1, 1, 1]), one=one, two=two)
    got = Recordings.read(tmp_path / "a.npz")
    assert got.texts == list("abcde")
    assert got.groups.tolist() == [3, 3, 1, 1, 1]
    assert {name: tuple(each.shape) for name, each in got.subjects.items()} == {"one": (1, 5, 3), "two": (2, 5, 4)}
    assert np.array_equal(got.subjects["two"].numpy(), two)


def test_what_does_not_fit_is_told_with_the_file(tmp_path):
    path = tmp_path / "a.npz"
    texts, groups = np.array(list("abc")), np.array([0, 0, 1])
    for arrays, told in (
        ({"texts": texts, "one": rand(3, 2)}, "no array 'groups'"),
        ({"texts": texts, "groups": groups}, "at least one subject"),
        ({"texts": texts, "groups": groups, "one": rand(4, 2)}, r"one must be \(repeats, 3, voxels\)"),
        ({"texts": texts, "groups": groups, "one": rand(3)}, "one must be"),
        ({"texts": texts[:2], "groups": groups, "one": rand(3, 2)}, "2 texts and 3 groups"),
        ({"texts": texts, "groups": groups / 2, "one": rand(3, 2)}, "whole numbers"),
    ):
        np.savez(path, **{name: np.asarray(each) for name, each in arrays.items()})
        with pytest.raises(ValueError, match=told) as caught:
            Recordings.read(path)
        assert "a.npz" in str(caught.value)


def test_simulated_voxels_are_linear_in_the_features_and_as_noisy_as_asked():
    x = rand(2000, 3) * torch.tensor([1.0, 50.0, 0.1]) + 5
    made = simulated(x, stretches(2000, 10), subjects=2, voxels=5, repeats=3, noise=2.0, generator=generator(0))
    assert {tuple(each.shape) for each in made.subjects.values()} == {(3, 2000, 5)}
    clean = simulated(x, stretches(2000, 10), subjects=1, voxels=5, repeats=2, noise=0.0, generator=generator(0))
    (signal,) = clean.subjects.values()
    assert torch.equal(signal[0], signal[1])
    left = signal[0] - x @ torch.linalg.lstsq(x - x.mean(0), signal[0] - signal[0].mean(0)).solution
    assert left.std(0).max() < 1e-8
    noise = made.subjects["subject 0"] - made.subjects["subject 0"].mean(0)
    assert float(noise.square().sum(0).mean() / 2) ** 0.5 == pytest.approx(2.0, abs=0.05)
    with pytest.raises(ValueError, match="noise"):
        simulated(x, stretches(2000, 10), noise=-1.0, generator=generator(0))


def test_stretches_are_of_neighbours():
    assert stretches(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="count must be 1 to the 7"):
        stretches(7, 8)
