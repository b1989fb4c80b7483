"""Depth of a camera or video with ONNX Runtime alone: python camera.py FILE.onnx [0 | VIDEO]."""

import sys

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
height, width = session.get_inputs()[0].shape[2:]
source = sys.argv[2] if len(sys.argv) > 2 else "0"
video = cv2.VideoCapture(int(source) if source.isdigit() else source)
while (frame := video.read()[1]) is not None:
    image = cv2.cvtColor(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    image = image.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (depth,) = session.run(["depth"], {"image": image})  # metres, (1, 1, height, width)
    print(f"{depth[0, 0, height // 2, width // 2]:.2f} m ahead, the nearest at {depth.min():.2f} m")
