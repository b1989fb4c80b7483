"""Procedural streets and rooms with exact depth, rendered on the CPU: no file is needed."""

from distill.data.scenes.scene_dataset import Scene, SceneDataset, kinect_like_holes, kitti_like_sparse, render

__all__ = ["Scene", "SceneDataset", "kinect_like_holes", "kitti_like_sparse", "render"]
