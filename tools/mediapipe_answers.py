"""Write what MediaPipe's own networks answer to drawn pictures: `tests/photos/test_mediapipe.py` compares with it.

    pip install mediapipe==0.10.21 ai-edge-litert
    PYTHONPATH=tests/photos python tools/mediapipe_answers.py wheel/mediapipe/modules tests/data/mediapipe.npz

The person's network has an operation that only MediaPipe runs, so its answer is that of MediaPipe's own segmentation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from drawn_people import drawn_people
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation


def answers(file: Path, side: int, low: float) -> list[np.ndarray]:
    """The outputs for pictures in `low` … 1, each [3, …]."""
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()
    answers = []
    for picture in drawn_people(side):
        interpreter.set_tensor(given, (picture[None] / np.float32(255)) * np.float32(1 - low) + np.float32(low))
        interpreter.invoke()
        answers.append([interpreter.get_tensor(each["index"])[0].copy() for each in made])
    return [np.stack(each) for each in zip(*answers)]


def main() -> None:
    modules, target = Path(sys.argv[1]), Path(sys.argv[2])
    offsets, scores = answers(modules / "face_detection/face_detection_short_range.tflite", 128, -1.0)
    points, score = answers(modules / "face_landmark/face_landmark.tflite", 192, 0.0)
    masks = []
    for picture in drawn_people(256):
        with SelfieSegmentation(model_selection=0) as network:
            masks.append(network.process(picture).segmentation_mask)
    np.savez_compressed(
        target,
        offsets=offsets[:, ::16],
        scores=scores[..., 0],
        points=points.reshape(3, -1, 3),
        score=score.ravel(),
        person=np.stack(masks)[:, ::8, ::8],
    )


if __name__ == "__main__":
    main()
