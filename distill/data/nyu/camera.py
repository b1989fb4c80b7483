"""Facts of NYU Depth V2's frames, whatever file they come in."""

import numpy as np

FRAME = (480, 640)  # height, width
MAX_DEPTH = 10.0  # metres
DEPTH_SCALE = 1000.0  # units per metre of 16-bit depth maps
BYTE_SCALE = 255 / MAX_DEPTH  # of DenseDepth's 8-bit training maps
MEASURED = np.s_[45:472, 43:608]  # what the depth camera sees of the colour frame
COLOURED = np.s_[7:474, 7:632]  # what of the colour frame is left in BTS' copies; a black border is around it
# Of the colour camera, from the data set's toolbox.
INTRINSICS = np.array([[518.8579, 0, 325.58], [0, 519.4696, 253.74], [0, 0, 1]])
