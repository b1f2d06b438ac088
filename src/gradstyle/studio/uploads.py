"""Receives uploads, each in a folder of its own: the same picture twice is two pictures.

Gradio would keep a file under the hash of what is in it, so that who sends what another has sent shares its fate.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
from gradio.routes import file_upload_statuses
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from .disk import Disk
from .guard import MOST_FILES
from .pictures import plain_name


class Uploads:
    """Answers the address that browsers and programs send files to."""

    def __init__(self, disk: Disk, max_upload: int) -> None:
        self.disk, self.max_upload = disk, max_upload

    async def answer(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return PlainTextResponse("an upload is multipart/form-data", 400)
        upload, place = request.query_params.get("upload_id"), self.disk.place()
        parser = GradioMultiPartParser(
            request.headers,
            request.stream(),
            max_files=MOST_FILES,
            max_fields=MOST_FILES,
            upload_dir=place,
            upload_id=upload,
            upload_progress=file_upload_statuses if upload else None,
            max_file_size=self.max_upload,
        )
        try:
            form = await parser.parse()
            files = [sent for sent in form.getlist("files") if isinstance(sent, GradioUploadFile)]
            return JSONResponse([str(self._kept(sent)) for sent in files])
        except MultiPartException as error:
            return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _kept(self, sent: GradioUploadFile) -> Path:
        """The file under its name, of which nothing is left that could lead elsewhere or hide it."""
        sent.file.close()
        name = sent.filename or ""
        suffix = re.search(r"\.\w{1,8}$", name, re.ASCII)
        return Path(str(sent.file.name)).rename(self.disk.place() / (plain_name(name) + (suffix[0] if suffix else "")))
