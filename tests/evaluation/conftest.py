"""The bundle and the photos that runs are tested on, and how a run is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradstyle.evaluation.protocol import Protocol
from tests.support import runs


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.a_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.some_photos(tmp_path_factory.mktemp("photos") / "test")


@pytest.fixture
def ask(bundle: Path, photos: Path, tmp_path: Path) -> runs.Ask:
    """A protocol of both, written to `run` in the test's folder."""

    def protocol(out: str = "run", **changes: Any) -> Protocol:
        return runs.request(bundle, photos, tmp_path / out, **changes)

    return protocol


@pytest.fixture
def no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradstyle.evaluation.run.measure_costs", lambda *each: {})
