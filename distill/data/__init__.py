"""Images with depth: KITTI, NYUv2, folders, procedural scenes. Nothing here knows a model."""

from distill.data.augment import Augmentation, cover, resize
from distill.data.files import DecodeError
from distill.data.folder import FolderDataset, find_photographs
from distill.data.kitti import KittiDataset, kb_crop
from distill.data.kitti_splits import kitti_eigen_split
from distill.data.loader import Loader
from distill.data.memory import InMemory, PartlyLabelled, Subset
from distill.data.nyu import NyuDataset, mask_nyu_border
from distill.data.opening import Source
from distill.data.pairs import Contents, PairDataset
from distill.data.photographs import Photographs
from distill.data.reading import readable
from distill.data.sample import Batch, DepthDataset, Sample, collate, to_tensor
from distill.data.scenes import SceneDataset
from distill.data.split_files import default_split
from distill.data.training_set import EpochBatches, TrainingSet
from distill.data.truth import check_truth

__all__ = [
    "Augmentation",
    "Batch",
    "Contents",
    "DecodeError",
    "DepthDataset",
    "EpochBatches",
    "FolderDataset",
    "InMemory",
    "KittiDataset",
    "Loader",
    "NyuDataset",
    "PairDataset",
    "PartlyLabelled",
    "Photographs",
    "Sample",
    "SceneDataset",
    "Source",
    "Subset",
    "TrainingSet",
    "check_truth",
    "collate",
    "cover",
    "default_split",
    "find_photographs",
    "kb_crop",
    "kitti_eigen_split",
    "mask_nyu_border",
    "readable",
    "resize",
    "to_tensor",
]
