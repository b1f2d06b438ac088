"""Videos: the face in every frame edited, the rest as it was."""

from .edit import Options, Report, edit_video
from .writing import check_video_name

__all__ = ["Options", "Report", "check_video_name", "edit_video"]
