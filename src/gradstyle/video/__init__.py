"""Videos: the face in every frame edited, the rest as it was."""

from .edit import VideoReport, edit_video
from .frames import Options
from .writing import check_video_name

__all__ = ["Options", "VideoReport", "check_video_name", "edit_video"]
