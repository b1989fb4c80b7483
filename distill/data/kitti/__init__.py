"""KITTI: the frames of a list, their annotated depth or lidar scans, Eigen's lists as facts."""
