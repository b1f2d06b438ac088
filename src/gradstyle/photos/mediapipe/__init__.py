"""Three networks of MediaPipe's in PyTorch: they find faces, the 468 points of each, and where the person is.

The weights beside this file are those of mediapipe 0.10.21, © The MediaPipe Authors, under the Apache License 2.0
(LICENSE and NOTICE, beside them too).
"""

from .detector import Detection, detect
from .mesh import certainties, meshes, view_of
from .person import person_mask
from .view import View

__all__ = ["Detection", "View", "certainties", "detect", "meshes", "person_mask", "view_of"]
