"""Which tests are slow, and what holds for every test."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Most networks here are tiny: a second thread costs more than it gives, and test files run side by side.
torch.set_num_threads(1)

# Started by nohup, or by what lets a terminal go, a process ignores SIGHUP, and so would all that tests start.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What `make quick` leaves out: whole trainings, servers, browsers, films, networks of the published size. Single slow
# tests of other files carry the mark themselves.
HERE = Path(__file__).parent
SLOW = {
    HERE / name
    for name in (
        "bundles/test_hostile_bundles.py",
        "published/test_published_checkpoints.py",
        "pickles/test_published_files.py",
        "published/test_published_methods.py",
        "cli/test_demo.py",
        "cli/test_edit_batch.py",
        "cli/test_video_verb.py",
        "directions/test_directions_cli.py",
        "report/test_edits_page.py",
        "directions/test_find.py",
        "evaluation/test_ablation.py",
        "evaluation/test_editing.py",
        "evaluation/test_pairs.py",
        "evaluation/test_reconstruction.py",
        "report/test_report_page.py",
        "methods/test_hfgi.py",
        "methods/test_sdic.py",
        "methods/test_styleres.py",
        "photos/test_paste.py",
        "photos/test_photos_page.py",
        "video/test_video.py",
        "studio/test_crowd.py",
        "studio/test_export.py",
        "studio/test_odd_uploads.py",
        "studio/test_page.py",
        "studio/test_server.py",
        "test_bundled.py",
        "test_new_method.py",
        "training/test_chain_training.py",
        "training/test_encoder_training.py",
        "training/test_generator_training.py",
        "training/test_judge_training.py",
        "training/test_method_training.py",
        "training/test_train_verbs.py",
    )
}
assert not (gone := [str(path) for path in SLOW if not path.is_file()]), f"no such tests: {gone}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path in SLOW:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def gradients_stay_on() -> Iterator[None]:
    """What leaves gradients off would fail tests that come later, far from the cause."""
    yield
    on = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert on, "the test left gradients switched off"
