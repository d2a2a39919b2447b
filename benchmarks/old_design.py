"""The old service, rewritten to compare with: whole file, temporary file, glymur, lists.

gunicorn --workers 4 benchmarks.old_design:app
"""

import os
import tempfile
import time
from pathlib import Path

from flask import Flask, Response, jsonify, request

from jp2batch.image import openjpeg

openjpeg.library()  # lets glymur find OpenJPEG where only Pillow's is installed
app = Flask(__name__)
ROOT = Path(os.environ.get("OLD_DESIGN_ROOT", "."))


def image() -> Response:
    """Answer like the old service."""
    import glymur  # after `library`: glymur looks for OpenJPEG's version as it is imported

    body = request.get_json(force=True)
    begin = time.time()
    with tempfile.NamedTemporaryFile(suffix=".jp2") as file:
        file.write((ROOT / body["Path"]).read_bytes())
        file.flush()
        downloaded = time.time()
        step = body.get("rlevel", -1)
        step = -1 if step < 0 else 2**step  # -1 stands for the lowest resolution
        pixels = glymur.Jp2k(file.name)[::step, ::step]
    data = pixels.tolist()
    return jsonify(
        img_data=data,
        shape=list(pixels.shape),
        time_download=downloaded - begin,
        time_processing=time.time() - downloaded,
    )


app.add_url_rule("/api/jp2", view_func=image, methods=["POST"])
