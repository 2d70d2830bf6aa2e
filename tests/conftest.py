"""What tests of several rooms ask for."""

import pytest


@pytest.fixture
def memory_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss of a comparison has its memory measured, which takes a process that loads PyTorch."""
    from lovasz.study.train import memory

    monkeypatch.setattr(memory, "loss_mib", lambda *_: None)
