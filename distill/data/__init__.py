"""Images with depth: KITTI, NYUv2, folders, procedural scenes. Nothing here knows a model."""

from distill.data.augment import Augmentation, cover, resize, resize_image, within
from distill.data.files.list_files import default_split
from distill.data.files.pairs import Contents
from distill.data.files.reading import DecodeError
from distill.data.files.rgb_depth import FolderDataset, find_photographs
from distill.data.kitti.drives import KittiDataset, kb_crop
from distill.data.kitti.listing import kitti_eigen_split
from distill.data.loader import Loader
from distill.data.nyu.halves import NyuDataset, mask_nyu_border
from distill.data.opening import DATA_SETS, TRUTHS, Source, kind_of_truth, recognise
from distill.data.sample import Batch, DepthDataset, PairDataset, Sample, collate, to_tensor
from distill.data.scenes.scene_dataset import SceneDataset
from distill.data.scenes.surfaces import SURFACES
from distill.data.survey import check_truth
from distill.data.training_set import EpochBatches, TrainingPart, TrainingSet, mix
from distill.data.views import InMemory, PartlyLabelled, Subset, readable

__all__ = [
    "DATA_SETS",
    "SURFACES",
    "TRUTHS",
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
    "Sample",
    "SceneDataset",
    "Source",
    "Subset",
    "TrainingPart",
    "TrainingSet",
    "check_truth",
    "collate",
    "cover",
    "default_split",
    "find_photographs",
    "kb_crop",
    "kind_of_truth",
    "kitti_eigen_split",
    "mask_nyu_border",
    "mix",
    "readable",
    "recognise",
    "resize",
    "resize_image",
    "to_tensor",
    "within",
]
