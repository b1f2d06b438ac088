"""Write MediaPipe's networks as `gradstyle.photos.mediapipe.graph` reads them. How the files there were made:

    pip download --no-deps mediapipe==0.10.21 && unzip mediapipe-*.whl -d wheel
    pip install tflite
    python tools/convert_mediapipe.py wheel/mediapipe/modules src/gradstyle/photos/mediapipe

Weights stay the 16-bit floats that they are in the `.tflite` files. Layouts become PyTorch's: N, C, H, W.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from safetensors.numpy import save_file
from tflite.BuiltinOperator import BuiltinOperator
from tflite.TensorType import TensorType

MODELS = {
    "detector": "face_detection/face_detection_short_range.tflite",
    "mesh": "face_landmark/face_landmark.tflite",
    "person": "selfie_segmentation/selfie_segmentation.tflite",
}
SOURCE = "mediapipe 0.10.21, {}, Copyright The MediaPipe Authors, Apache-2.0; converted: layout and file format"
NUMPY = {TensorType.FLOAT32: np.float32, TensorType.FLOAT16: np.float16, TensorType.INT32: np.int32}
PLAIN = {"ADD": "add", "MUL": "mul", "RELU": "relu", "HARD_SWISH": "hard_swish", "LOGISTIC": "sigmoid"}
NAMES = {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}


class Converter:
    """Goes through a model's operators in their order, and gathers steps and weights."""

    def __init__(self, data: bytes) -> None:
        self.model = tflite.Model.GetRootAs(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.names = {int(self.graph.Inputs(0)): "input"}
        self.constants: dict[int, Any] = {}
        self.steps: list[dict[str, Any]] = []
        self.weights: dict[str, Any] = {}
        for index in range(self.graph.OperatorsLength()):
            self.operator(self.graph.Operators(index))
        self.outputs = [self.names[int(i)] for i in self.graph.OutputsAsNumpy()]

    def operator(self, operator: Any) -> None:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        kind = NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        kind = code.CustomCode().decode() if kind == "CUSTOM" else kind
        inputs, output = [int(i) for i in operator.InputsAsNumpy()], int(operator.Outputs(0))
        if kind == "DEQUANTIZE":
            self.constants[output] = self.constant(inputs[0])
            return
        name = str(len(self.steps))
        step: dict[str, Any] = {"op": PLAIN.get(kind), "name": name, "of": []}
        before, after = self.shape(inputs[0]), self.shape(output)
        constants: dict[str, Any] = {}

        def options(read: type) -> Any:
            table = operator.BuiltinOptions()
            made = read()
            made.Init(table.Bytes, table.Pos)
            activation: Callable[[], int] = getattr(made, "FusedActivationFunction", lambda: 0)
            if activation():
                raise NotImplementedError(f"{kind} with an activation of its own")
            return made

        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            deep = kind == "DEPTHWISE_CONV_2D"
            said = options(tflite.DepthwiseConv2DOptions if deep else tflite.Conv2DOptions)
            weight, stride = self.constant(inputs[1]), said.StrideH()
            step |= {"op": "conv", "stride": stride, "groups": before[3] if deep else 1}
            if said.Padding() == tflite.Padding.SAME:
                missing = [max(0, (after[a] - 1) * stride + weight.shape[a] - before[a]) for a in (2, 1)]
                step["pad"] = [edge for each in missing for edge in (each // 2, each - each // 2)]
            constants = {
                "weight": weight.transpose((3, 0, 1, 2) if deep else (0, 3, 1, 2)),  # [1, h, w, C] or [O, h, w, I]
                "bias": self.constant(inputs[2]),
            }
        elif kind == "Convolution2DTransposeBias":  # MediaPipe's own; options are padding and strides, as int32
            _, stride, _ = np.frombuffer(bytes(operator.CustomOptionsAsNumpy()), np.int32).tolist()
            step |= {"op": "deconv", "stride": stride}
            constants = {"weight": self.constant(inputs[1]).transpose(3, 0, 1, 2), "bias": self.constant(inputs[2])}
        elif kind == "PRELU":
            step["op"], constants["slope"] = "prelu", self.constant(inputs[1]).ravel()
        elif kind == "PAD":
            pads = self.constant(inputs[1])
            assert (pads.ravel()[:-1] == 0).all(), pads
            step |= {"op": "widen", "channels": int(pads[3, 1])}
        elif kind == "MAX_POOL_2D":
            said = options(tflite.Pool2DOptions)
            assert said.StrideH() == said.FilterHeight() and before[1] % said.StrideH() == 0
            step |= {"op": "max_pool", "size": said.StrideH()}
        elif kind == "AVERAGE_POOL_2D":
            assert after[1:3] == [1, 1]
            step["op"] = "average"
        elif kind == "RESIZE_BILINEAR":
            said = options(tflite.ResizeBilinearOptions)
            assert said.HalfPixelCenters() and not said.AlignCorners()
            step |= {"op": "enlarge", "size": after[1:3]}
        elif kind == "RESHAPE":
            step |= {"op": "rows", "width": after[2]}
        elif kind == "CONCATENATION":
            assert options(tflite.ConcatenationOptions).Axis() == 1
            step["op"] = "concat"
        elif kind not in PLAIN:
            raise NotImplementedError(kind)
        step["of"] = [self.names[i] for i in inputs if i in self.names]
        for part, value in constants.items():
            step["of"].append(f"{name}.{part}")
            self.weights[f"{name}.{part}"] = np.ascontiguousarray(value, np.float16)
            assert (self.weights[f"{name}.{part}"] == value).all()  # nothing is rounded
        self.steps.append(step)
        self.names[output] = name

    def shape(self, index: int) -> list[int]:
        return [int(n) for n in self.graph.Tensors(index).ShapeAsNumpy()]

    def constant(self, index: int) -> Any:
        if index not in self.constants:
            tensor = self.graph.Tensors(index)
            data = self.model.Buffers(tensor.Buffer()).DataAsNumpy()
            self.constants[index] = data.view(NUMPY[tensor.Type()]).reshape(self.shape(index))
        return self.constants[index]


def main() -> None:
    modules, target = Path(sys.argv[1]), Path(sys.argv[2])
    for name, file in MODELS.items():
        made = Converter((modules / file).read_bytes())
        about = {"steps": json.dumps(made.steps), "outputs": json.dumps(made.outputs), "source": SOURCE.format(file)}
        save_file(made.weights, target / f"{name}.safetensors", about)
        print(f"{name}: {len(made.steps)} steps, {(target / f'{name}.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    main()
