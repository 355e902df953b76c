import torch
from sklearn.linear_model import Ridge

from trivium.core.seeds import generator
from trivium.nn.ridge import held_out_errors, held_out_errors_reference, left_out_errors, ridge


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_each_output_has_its_own_penalty():
    for columns in (5, 40):
        x, y, penalties = rand(20, columns), rand(20, 3, seed=1), torch.tensor([0.1, 3.0, 50.0]).double()
        got = ridge(x, y, penalties)
        for at, penalty in enumerate(penalties.tolist()):
            model = Ridge(alpha=penalty, fit_intercept=False).fit(x.numpy(), y[:, at].numpy())
            torch.testing.assert_close(got[:, at], torch.from_numpy(model.coef_), atol=1e-9, rtol=1e-9)


def test_errors_on_folds_are_those_of_fits_by_normal_equations():
    penalties = torch.tensor([0.01, 1.0, 100.0]).double()
    for columns in (4, 30):
        x, y = rand(18, columns) + 2, rand(18, 2, seed=1) - 3
        fold = torch.arange(18) % 4
        torch.testing.assert_close(
            held_out_errors(x, y, penalties, fold), held_out_errors_reference(x, y, penalties, fold)
        )
        alone = held_out_errors_reference(x, y, penalties, torch.arange(18))
        torch.testing.assert_close(left_out_errors(x - x.mean(0), y - y.mean(0), penalties), alone)
