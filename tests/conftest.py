"""What tests of several rooms ask for."""

import pytest
from hypothesis import HealthCheck, settings

# No test is judged by the clock: on a machine that others use, any example may take a second.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def memory_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss of a comparison has its memory measured, which takes a process that loads PyTorch."""
    from lovasz.study.train import memory

    monkeypatch.setattr(memory, "loss_mib", lambda *_: None)
