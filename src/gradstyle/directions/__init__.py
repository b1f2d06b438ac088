"""Where edits come from, and what they are worth."""

from .components import ganspace, sefa
from .examples import from_examples
from .files import load_edit, save_edit
from .find import FoundEdits, find, measure_edits
from .samples import Samples, score_samples
from .scorers import FunctionScorer, JudgeScorer, Labels, PoseScorer

__all__ = [
    "FoundEdits",
    "FunctionScorer",
    "JudgeScorer",
    "Labels",
    "PoseScorer",
    "Samples",
    "find",
    "from_examples",
    "ganspace",
    "load_edit",
    "measure_edits",
    "save_edit",
    "score_samples",
    "sefa",
]
