"""Where edits come from, and what they are worth."""

from .find import Found, find
from .samples import Samples, score_samples
from .scorers import FunctionScorer, JudgeScorer, Labels, PoseScorer

__all__ = ["Found", "FunctionScorer", "JudgeScorer", "Labels", "PoseScorer", "Samples", "find", "score_samples"]
