"""One thread, no network, and shapes checked at run time in the tensor functions."""

import os
import socket

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("trivium.nn", "beartype.beartype")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_seed_is_left_alone():
    """No test, and nothing it calls, may depend on or move the global generator."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "the global torch generator was used; pass a generator"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Connections leave this machine in no test; loopback is allowed for process groups and browsers."""
    connect = socket.socket.connect

    def local_only(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1", "0.0.0.0"):
            raise OSError(f"tests reach no network, {address} was asked for")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
