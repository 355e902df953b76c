"""What the claims of routers that look at no prompt share: shares of right choices against another router's."""

from typing import Any

from claims.routing._languages import SEEDS, observed
from trivium.core.progress import Bar
from trivium.core.protocols import Routing
from trivium.core.seeds import generator
from trivium.nn.routing import regrets


def seen(methods: dict[str, Routing], bar: Bar) -> dict[str, dict[str, list[Any]]]:
    """By name: of each seed the share of right choices, the mean regret, and the mean cost."""
    bar.total = SEEDS
    found: dict[str, dict[str, list[Any]]] = {name: {"right": [], "regret": [], "cost": []} for name in methods}
    for seed in range(SEEDS):
        taught, lost, fresh, held, experts = observed(seed)
        for name, method in methods.items():
            choice = method.fit(taught, lost, experts, generator=generator(seed, name))(fresh)
            missed = regrets(held, choice)
            found[name]["right"].append(float((missed == 0).double().mean()))
            found[name]["regret"].append(float(missed.mean()))
            found[name]["cost"].append(float(experts.cost("size")[choice].mean()))
        bar.advance()
    return found
