"""The keys of `data`: which images a run learns from and is validated on, and how they are varied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from distill.config.fields import (
    HeldShare,
    NonNegativeFloat,
    Number,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Section,
    Share,
    Size,
    Workers,
    one_of,
)
from distill.data import DATA_SETS, SURFACES, TRUTHS
from distill.data.files.annotations import NUMBERINGS
from teachers.class_names import ADE20K

CLASSES = {"ade20k": ADE20K, **SURFACES}  # by the name of a list


class SplitFiles(Section):
    """Lists of the two halves of a data set: files, also relative to `data.root`, or names (docs/reference/data.md)."""

    train: Path | None = None
    test: Path | None = None


def as_split(value: object) -> object:
    """Accept one path (the training list) or two (training, test) beside the mapping."""
    if isinstance(value, str | Path):
        return {"train": value}
    if isinstance(value, list | tuple) and len(value) <= 2:
        return dict(zip(("train", "test"), value, strict=False))
    return value


def known_classes(value: object) -> object:
    """Accept the name of a list beside the names themselves."""
    if value in ("", [], ()) or (isinstance(value, str) and value not in CLASSES):
        raise ValueError(f"expected a list of names, or one of {', '.join(CLASSES)}, got {value!r}")
    return value


class ScenesConfig(Section):
    """Embedded procedural scenes, for `data.name: scenes`."""

    kind: Literal["road", "room"] = "road"
    train: PositiveInt = Field(300, le=1_000_000, description="Training scenes.")
    test: PositiveInt = Field(60, le=1_000_000, description="Held-out scenes.")
    size: Size = (64, 224)
    keep: bool = Field(True, description="Render each once and keep it: 8 bytes a pixel, 0.11 MB at 64x224.")
    sparse: bool = Field(True, description="Train on what a sensor would measure: lidar lines (road) or holes (room).")


class UnlabelledConfig(Section):
    """Photographs without depth, which the teacher alone explains."""

    root: Path = Field(
        description="Their folder; they may lie at any depth in it and be of any sizes. Or one of distill label."
    )
    share: PositiveShare = Field(
        0.5, description="Their share of the training images; 1 leaves the data set's own images out."
    )


class SourceConfig(Section):
    """Images with depth: which data set, where it lies, and what of it is used."""

    section: ClassVar[str] = "data."  # by which messages name a key

    name: Annotated[str, one_of(DATA_SETS)] = Field(description="Which data set; folder is one of your own.")
    root: Path | None = Field(None, description="Where the data set lies. Not for scenes.")
    split: Annotated[SplitFiles, BeforeValidator(as_split)] = SplitFiles()
    scenes: ScenesConfig = ScenesConfig()
    limit: PositiveInt | None = Field(None, description="Use only the first so many training images.")
    labelled: PositiveInt | None = Field(
        None,
        description="Use the depth of the first so many training images only: the teacher alone teaches the others, "
        "which a method without a teacher leaves out.",
    )
    labels: Path | None = Field(
        None,
        description="Folder of distill label with a teacher's depth of these images, which is then not asked.",
    )
    truth: Annotated[str, one_of([truth for own in TRUTHS.values() for truth in own])] | None = Field(
        None, description="KITTI: annotated or velodyne; NYU's labelled file: raw or filled. By default the first."
    )
    depth_scale: PositiveFloat | None = Field(
        None, description="Depth units per metre of a folder; 1000 by default, 1 for floating-point files."
    )
    camera: tuple[PositiveFloat, PositiveFloat, Number, Number] | None = Field(
        None, description="fx, fy, cx, cy of a folder's images in pixels."
    )
    max_depth: PositiveFloat | None = Field(None, description="Cap of the truth in metres; by default the data set's.")
    classes: Annotated[tuple[str, ...] | str | None, BeforeValidator(known_classes)] = Field(
        None,
        description="Learn classes in place of depth: of scenes road or room, as their kind; of a folder with images/ "
        "and annotations/ ade20k, or the names in their order.",
    )
    numbering: Annotated[str, one_of(NUMBERINGS)] = Field(
        "ade20k", description="How annotations count: ade20k from 1, 0 is nothing; from-zero from 0, 255 is nothing."
    )
    hold_out: HeldShare | None = Field(
        None,
        description="Share of the training images to validate on instead, where there is no test half: whole "
        "recordings, or the end of each; 0.1 is usual. Photographs without depth, also those of `data.unlabelled`, are "
        "held out to compare the student with its teacher on.",
    )

    @model_validator(mode="after")
    def needs_root(self) -> Self:
        """Refuse a data set of files without its folder."""
        if self.name != "scenes" and self.root is None:
            key = self.section
            raise ValueError(f"{key}root is needed for {key}name={self.name}: the folder of the data set")
        return self

    @model_validator(mode="after")
    def classes_are_known(self) -> Self:
        """Refuse classes of data that have none, and other ones than scenes are made of."""
        key = self.section
        if self.classes and isinstance(self, MixedSourceConfig):
            raise ValueError("data.sources: classes are learnt from one data set: leave data.sources out")
        if self.classes and self.name not in ("scenes", "folder"):
            raise ValueError(f"{key}classes is for scenes and folder, and {self.name} has no annotations: leave it out")
        if self.classes and self.name == "scenes" and self.classes != self.scenes.kind:
            raise ValueError(f"{key}classes: scenes of kind {self.scenes.kind} are annotated with {self.scenes.kind}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of what is learnt; none where it is depth."""
        return CLASSES[self.classes] if isinstance(self.classes, str) else self.classes or ()


class MixedSourceConfig(SourceConfig):
    """One of several sources of training images."""

    section: ClassVar[str] = "data.sources: "

    weight: PositiveFloat = Field(1.0, description="Its share of the images drawn, beside the weights of the others.")


class DataConfig(SourceConfig):
    """Which images a run learns from, and how they are varied."""

    sources: tuple[MixedSourceConfig, ...] = Field(
        (),
        description="Several data sets to learn from: a list of sections with name, root, split, scenes, limit, "
        "labelled, labels, truth, depth_scale, camera, max_depth, hold_out and `weight`, its share of the images "
        "drawn (1). "
        "Those of `data` itself are then of the test half alone; where it has no name, that is the first source's.",
    )
    mixed_labels: bool = Field(
        False, description="Learn from labels in metres and from relative ones in one run, which is refused otherwise."
    )
    unlabelled: UnlabelledConfig | None = Field(None, description="Photographs to distil on, beside the data set.")
    size: Size | None = Field(
        None, description="Resize images to this before anything else, by area; depth follows by nearest."
    )
    focal: Literal["canonical"] | None = Field(
        None,
        description="canonical: learn depth as a camera of one focal length would measure it; predictions are brought "
        "back by each image's own. For cameras of several focal lengths, all of them known.",
    )
    crop: Size | None = Field(None, description="Random crop of training images.")
    rotate_deg: NonNegativeFloat = Field(0.0, le=180, description="Random rotation within plus and minus this.")
    flip: Share = Field(0.5, description="Probability of mirroring.")
    colour: Share = Field(0.5, description="Probability of changing gamma, brightness and colours.")
    brightness: Share = Field(0.1, description="Brightness varies within 1 plus and minus this.")
    workers: Workers | None = Field(
        2, description="Processes that load images; 0 loads in the run's own; null: by cores, 8 at most."
    )
    max_faults: Share = Field(0.01, description="Share of unreadable samples beyond which a run stops.")

    @model_validator(mode="before")
    @classmethod
    def test_half_of_the_first_source(cls, content: object) -> object:
        """Let the first source be validated on where no other data set is named."""
        if not isinstance(content, dict) or content.get("name") is not None:
            return content
        sources = content.get("sources")
        if not (isinstance(sources, list | tuple) and sources and isinstance(sources[0], dict)):
            return content
        of_test = SourceConfig.model_fields.keys() - {"limit", "labelled", "labels"}
        first = {key: one for key, one in sources[0].items() if key in of_test}
        return {**first, **{key: one for key, one in content.items() if key not in of_test or one is not None}}

    @model_validator(mode="after")
    def sources_say_what_is_trained_on(self) -> Self:
        """Refuse keys of training images beside sources, which have their own."""
        of_training = {"limit": self.limit, "labelled": self.labelled, "labels": self.labels}
        if self.sources and (beside := [key for key, value in of_training.items() if value is not None]):
            raise ValueError(
                f"data.{beside[0]} is of training images, and data.sources says which: write it into one of them"
            )
        if self.sources and self.hold_out and all(one.hold_out != self.hold_out for one in self.sources):
            raise ValueError("data.hold_out divides the images of a source: write it into that one of data.sources")
        return self

    @property
    def training_sources(self) -> Sequence[SourceConfig]:
        """The data sets that are learnt from."""
        return self.sources or (self,)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """The size that all images are brought to, or rendered at; None where they keep their own."""
        return self.size or (self.scenes.size if self.name == "scenes" else None)
