"""A ROS 2 node: colour images in, depth in metres out (32FC1), by a file of `distill export` and ONNX Runtime.

    python3 ros2_depth_node.py --ros-args -p model:=student.onnx -r image:=/camera/color/image_raw

The file has one size (`distill export RUN --output student.onnx --size 480x640`). Needs rclpy and sensor_msgs, which
ROS brings, and `pip install onnxruntime opencv-python`.
"""

import cv2
import numpy as np
import onnxruntime
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image

CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}


class DepthNode(Node):
    """Subscribes to `image` and publishes `depth` of the same size, time and frame."""

    def __init__(self):
        super().__init__("depth")
        self.declare_parameter("model", "student.onnx")
        self.session = onnxruntime.InferenceSession(self.get_parameter("model").value)
        self.size = tuple(self.session.get_inputs()[0].shape[2:])
        self.publisher = self.create_publisher(Image, "depth", 1)
        self.create_subscription(Image, "image", self.on_image, 1)  # of a slow network the newest image only

    def on_image(self, message):
        """Publish the depth of one image."""
        if message.encoding not in CHANNELS:
            self.get_logger().error(f"encoding {message.encoding}, expected one of {', '.join(CHANNELS)}")
            return
        self.publisher.publish(as_message(self.depth(as_image(message)), message.header))

    def depth(self, image):
        """Metres, float32 (H, W), of an RGB image, uint8 (H, W, 3)."""
        height, width = self.size
        seen = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        (depth,) = self.session.run(["depth"], {"image": np.ascontiguousarray(seen.transpose(2, 0, 1)[None])})
        return cv2.resize(depth[0, 0], image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def as_image(message):
    """RGB, uint8 (H, W, 3), of a message, whose rows may be longer than its pixels."""
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    count = {"rgba8": 4, "bgra8": 4, "mono8": 1}.get(message.encoding, 3)
    pixels = rows[:, : message.width * count].reshape(message.height, message.width, count)
    return np.ascontiguousarray(pixels[..., CHANNELS[message.encoding]])


def as_message(depth, header):
    """Depth (H, W) in metres as ROS has it."""
    height, width = depth.shape
    data = depth.astype("<f4").tobytes()
    return Image(header=header, height=height, width=width, encoding="32FC1", is_bigendian=0, step=4 * width, data=data)


def main():
    """Run until the node is stopped."""
    rclpy.init()
    node = DepthNode()
    try:
        rclpy.spin(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
