"""Operators of ONNX that compilers of chips take, as far as their makers list them and networks have them."""

_COMMON = """
Add AveragePool BatchNormalization Cast Clip Concat Constant Conv ConvTranspose DepthToSpace Div Elu Erf Exp Expand
Flatten Gather Gemm GlobalAveragePool GlobalMaxPool HardSigmoid Identity InstanceNormalization LeakyRelu Log MatMul Max
MaxPool Min Mul PRelu Pad Pow ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize Shape Sigmoid Slice Softmax
Softplus SpaceToDepth Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
"""
COMMON = frozenset(_COMMON.split())
LISTS: dict[str, frozenset[str]] = {
    # docs/operators.md of onnx-tensorrt, at its 8.4
    "TensorRT 8.4": COMMON | {"Ceil", "CumSum", "Einsum", "Floor", "Neg", "Range", "ReduceL2", "ScatterND", "Sum"},
    # doc/RKNNToolKit2_OP_Support-v2.1.0.md of rknn-toolkit2
    "RKNN Toolkit 2.1": COMMON | {"Floor", "HardSwish", "LayerNormalization", "Mish", "ScatterND"},
    # No list is public. These are the layers that its product brief and its forum name; Erf as a part of GELU.
    "Hailo": COMMON - {"Cast", "Expand", "Gather", "InstanceNormalization", "Max", "Min", "Shape", "Where"},
}
