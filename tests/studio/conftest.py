"""Fixtures of all tests of the studio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gradstyle.studio import Engine
from tests.support.studios import Running, make_bundle, run_studio


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_bundle().save(tmp_path_factory.mktemp("studio") / "tiny")


@pytest.fixture
def engine(bundle: Path) -> Engine:
    return Engine([bundle], "cpu", 64 << 20)


@pytest.fixture(scope="session")
def studio(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run_studio(bundle, tmp_path_factory.mktemp("running"))
