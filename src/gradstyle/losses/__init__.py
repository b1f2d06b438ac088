"""Losses: one short callable each. Networks that judge are frozen and belong to no method."""

from __future__ import annotations

from .adversarial import LazyR1, PathLength, discriminator_loss, generator_loss, r1_penalty
from .critic import FeatureCritic, FeatureMixing, critic_generator_loss, critic_loss
from .efficientnet import LiteFeatures
from .identity import IdentityLoss, face_crop
from .judge import Judge, JudgeConfig, JudgeReport, judge_report
from .perceptual import LPIPS, FeatureDistance, KerasVGGLoss
from .pixel import pixel_loss
from .teacher import Teacher

__all__ = [
    "LPIPS",
    "FeatureCritic",
    "FeatureDistance",
    "FeatureMixing",
    "IdentityLoss",
    "Judge",
    "JudgeConfig",
    "JudgeReport",
    "KerasVGGLoss",
    "LazyR1",
    "LiteFeatures",
    "PathLength",
    "Teacher",
    "critic_generator_loss",
    "critic_loss",
    "discriminator_loss",
    "face_crop",
    "generator_loss",
    "judge_report",
    "pixel_loss",
    "r1_penalty",
]
