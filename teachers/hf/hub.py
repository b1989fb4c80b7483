"""Opening a depth network of `transformers`: from a folder, or from the Hub by its name."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from teachers.hf.preprocessing import Preprocessing
from teachers.hf.splitting import SPLITS, Halves, patch_of
from teachers.model import DepthModel, Output, take_image
from teachers.weight_files import Json

PREFIX = "hf:"
PROCESSOR = "preprocessor_config.json"
WANTED = ("*.json", "*.safetensors", "README.md")  # of a repository; weights that could run code stay there
LABELS_ONLY = "depth_pro"
CLASSES = {
    "depth_anything": "DepthAnythingForDepthEstimation",
    "depth_pro": "DepthProForDepthEstimation",
    "dpt": "DPTForDepthEstimation",
    "glpn": "GLPNForDepthEstimation",
    "tipsv2_dpt": "Tipsv2DptForDepthEstimation",
    "zoedepth": "ZoeDepthForDepthEstimation",
}
REFUSED = {
    "chmv2": "it gives the height of trees seen from above",
    "prompt_depth_anything": "it wants a depth map beside each image",
}
# Published weights by a part of their name, and their licence; where several fit, the first counts.
LICENCES = {
    "depth-anything-v2-small": "apache-2.0",
    "depth-anything-v2-metric-indoor-small": "apache-2.0",
    "depth-anything-v2-metric-outdoor-small": "apache-2.0",
    "depth-anything-v2": "cc-by-nc-4.0",
    "depth-anything": "apache-2.0",
    "depthpro": "apple-amlr",
    "zoedepth": "mit",
    "dpt-": "apache-2.0",
    "glpn": "apache-2.0",
    "tipsv2": "apache-2.0",
}


class HubDecoder(nn.Module):
    """Four maps -> depth (B, 1, *size), as the class and its processor give it."""

    def __init__(self, head: nn.Module, preprocessing: Preprocessing, mode: str) -> None:
        super().__init__()
        self.head, self.preprocessing, self.mode = head, preprocessing, mode

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Four maps and (H, W) of the image -> depth (B, 1, H, W)."""
        return self.preprocessing.back(self.head(features), size, self.mode)


class HubModel(DepthModel):
    """A depth network of `transformers`, which resizes, pads and normalises images as its own processor does."""

    def __init__(self, halves: Halves, preprocessing: Preprocessing, kind: str, output: Output) -> None:
        super().__init__()
        self.encoder, self.preprocessing = halves.encoder, preprocessing
        self.decoder = HubDecoder(halves.head, preprocessing, "bilinear" if kind == "tipsv2_dpt" else "bicubic")
        self.feature_channels, self.output = halves.channels, output
        self.min_depth = self.max_depth = None

    def encode(self, image: Tensor) -> list[Tensor]:
        """Four maps at about strides 4, 8, 16, 32 of the image as the network sees it."""
        return self.encoder(self.preprocessing(take_image(image, self.encoder)))


class LabelModel(DepthModel):
    """A network that gives depth and no maps, such as Depth Pro: it writes labels and teaches nothing else."""

    def __init__(self, network: nn.Module, processor: object) -> None:
        super().__init__()
        self.encoder = self.decoder = self.network = network
        self.processor = processor
        self.feature_channels, self.output = (), "metric"
        self.min_depth = self.max_depth = None

    def encode(self, image: Tensor) -> list[Tensor]:
        """Nothing.

        Raises:
            ValueError: Always.
        """
        raise ValueError("this network gives depth and no maps; write its depth with distill label, and train on that")

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] -> depth in metres, (B, 1, H, W)."""
        image = take_image(image, self.network)
        pictures = list((image * 255).round().clamp(0, 255).to(torch.uint8))
        pixels = self.processor(pictures, return_tensors="pt")["pixel_values"]  # type: ignore[operator]
        outputs = self.network(pixels.to(image.device))
        sizes = [tuple(image.shape[-2:])] * len(image)
        results = self.processor.post_process_depth_estimation(outputs, target_sizes=sizes)  # type: ignore[attr-defined]
        return torch.stack([one["predicted_depth"] for one in results])[:, None]


def open_hub_model(name: str) -> DepthModel:
    """A depth network by `hf:NAME-OR-FOLDER`, also `hf:NAME@REVISION`, with the licence of its weights.

    Raises:
        FileNotFoundError: If there is no such folder, and no such name on the Hub that can be reached.
        ValueError: If it is no depth network that is known here, lacks weights, or needs a package.
    """
    library = transformers()
    folder = find_folder(name.removeprefix(PREFIX))
    facts = read_facts(folder)
    kind = check_kind(facts, folder, library)
    processor_facts = json_of(folder / PROCESSOR)
    with silent(library):
        processor, values = load_processor(library, folder) if processor_facts else (None, {})
        network = load_network(library, kind, folder)
    described: Json = network.config.to_dict()  # type: ignore[union-attr, operator]
    if kind == LABELS_ONLY:
        model: DepthModel = LabelModel(network, processor or library.DepthProImageProcessor())
    else:
        model = cut(network, kind, described, processor, processor_facts)
        if fault := model.preprocessing.fault(values):
            raise ValueError(f"{folder / PROCESSOR} contradicts the network: {fault}; copy the one of the network")
    model.licence = licence_of(name, folder)
    model.revision = folder.name if folder.parent.name == "snapshots" else ""  # of the Hub's cache
    return model


def cut(network: nn.Module, kind: str, facts: Json, processor: object, processor_facts: Json) -> HubModel:
    """A loaded network as a depth model."""
    halves = SPLITS[kind](network, facts)
    if len(halves.channels) != 4:
        raise ValueError(f"a depth model needs four maps, this {kind} gives {len(halves.channels)}; write its labels")
    fixed = (facts["image_size"],) * 2 if facts.get("is_hybrid") else None
    preprocessing = Preprocessing(processor, processor_facts, kind, multiple_of(kind, facts), fixed)  # type: ignore[arg-type]
    relative = kind == "dpt" or (kind == "depth_anything" and facts["depth_estimation_type"] == "relative")
    return HubModel(halves, preprocessing, kind, "relative" if relative else "metric")


def multiple_of(kind: str, facts: Json) -> int:
    """What the sides of an image must be multiples of, where no processor decides."""
    if kind == "glpn" or (facts.get("backbone_config") or {}).get("model_type") == "swinv2":
        return 32
    patch = patch_of(facts)
    return patch if patch % 16 else 32


def transformers() -> ModuleType:
    """The library."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ValueError(f"teachers of Hugging Face need transformers: pip install '.[hf]' ({error})") from None


def find_folder(name: str) -> Path:
    """The folder of a network: a local one, or the Hub's files in the cache, fetched where they are not yet there."""
    if name and Path(name).is_dir():
        return Path(name)
    name, _, revision = name.partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"no folder {name!r}; give hf:FOLDER or a name of the Hub such as hf:OWNER/NAME")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED)))
    except GatedRepoError:
        raise FileNotFoundError(
            f"{name} is gated on the Hub: accept its terms on its page there, then log in with hf auth login"
        ) from None
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(f"no {name} on the Hub, and no such folder ({first_line(error)})") from None
    except Exception as error:  # of the network: each of its layers raises its own
        offline = " HF_HUB_OFFLINE is set, so only cached names are found;" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise FileNotFoundError(
            f"{name} is not cached and the Hub cannot be reached ({first_line(error)});{offline} download its files "
            "where there is a network and give hf:FOLDER"
        ) from None


def first_line(error: Exception) -> str:
    """What an exception says first."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def json_of(path: Path) -> Json:
    """A JSON object of a folder, empty where there is no such file.

    Raises:
        ValueError: If it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({first_line(error)}); copy the folder again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no JSON object; copy the folder again")
    return content


def read_facts(folder: Path) -> Json:
    """The `config.json` of a network."""
    facts = json_of(folder / "config.json")
    if not facts:
        raise FileNotFoundError(f"{folder} has no config.json, so it is no network of transformers; give its folder")
    return facts


def check_kind(facts: Json, folder: Path, library: ModuleType) -> str:
    """The `model_type` of a depth network that can be opened.

    Raises:
        ValueError: If it is of another class, or needs files from elsewhere.
    """
    kind, known = str(facts.get("model_type")), ", ".join(CLASSES)
    if kind in REFUSED:
        raise ValueError(f"{folder} is of type {kind}: {REFUSED[kind]}; types that can be used: {known}")
    if kind not in CLASSES:
        raise ValueError(f"{folder} is of type {kind!r}, of which no depth is known here; can be used: {known}")
    wanted, named = CLASSES[kind], facts.get("architectures") or []
    if named and wanted not in named:
        other = ", or dpt_large_ade20k:FOLDER for its classes" if named[0] == "DPTForSemanticSegmentation" else ""
        raise ValueError(f"{folder} holds {named[0]}, which gives no depth; expected {wanted}{other}")
    if facts.get("backbone") or facts.get("use_pretrained_backbone") or facts.get("use_timm_backbone"):
        raise ValueError(f"{folder} names a backbone that lies elsewhere; save the whole network with save_pretrained")
    if not hasattr(library, wanted):
        raise ValueError(f"transformers {library.__version__} has no {wanted}; pip install --upgrade transformers")
    return kind


def load_processor(library: ModuleType, folder: Path) -> tuple[object, Json]:
    """The image processor of a folder, and its values with those that its file leaves to its class.

    Raises:
        ValueError: If the file names none, or one that cannot be.
    """
    try:
        processor = library.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        return processor, processor.to_dict()
    except Exception as error:
        raise ValueError(
            f"{folder / PROCESSOR} is of no image processor ({first_line(error)}); copy the one of the network"
        ) from error


def load_network(library: ModuleType, kind: str, folder: Path) -> nn.Module:
    """The network with every one of its weights.

    Raises:
        FileNotFoundError: If the folder has no weights that are safe to read.
        ValueError: If weights are missing, of another shape, or no numbers.
    """
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"no .safetensors in {folder}; load it with transformers and save it again with save_pretrained"
        )
    try:
        network, info = getattr(library, CLASSES[kind]).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, torch_dtype=torch.float32
        )
    except Exception as error:  # damaged files and contradicting configurations end in all sorts
        raise ValueError(f"{folder} cannot be loaded as {CLASSES[kind]}: {first_line(error)}") from error
    odd = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    if missing := sorted({*info["missing_keys"], *odd}):
        raise ValueError(
            f"{folder} lacks {len(missing)} tensors of {CLASSES[kind]} or has them in another shape, such as "
            f"{missing[0]}; download it again, or correct its config.json"
        )
    if broken := [key for key, value in network.state_dict().items() if not value.isfinite().all()]:
        raise ValueError(
            f"{folder} holds NaN or infinity in {len(broken)} tensors, such as {broken[0]}; download it again"
        )
    return network


@contextmanager
def silent(library: ModuleType) -> Iterator[None]:
    """No bars and no tables of tensors by the library meanwhile: what is wrong is said in one line."""
    level = library.logging.get_verbosity()
    library.logging.set_verbosity(logging.CRITICAL)
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)
        library.logging.enable_progress_bar()


def licence_of(name: str, folder: Path) -> str:
    """The licence of published weights: by their card, else by their name; "" where neither tells."""
    card = folder / "README.md"
    if card.is_file() and (named := re.search(r"(?m)^license:\s*([\w.-]+)\s*$", card.read_text(errors="replace"))):
        return named[1]
    return next((licence for part, licence in LICENCES.items() if part in name.lower()), "")
