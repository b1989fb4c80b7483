"""Every key of a run's configuration: its type, range, default and meaning. This file is the reference manual."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from distill.config.data_schema import DataConfig
from distill.config.fields import (
    NO,
    NUMBER,
    Amount,
    Decay,
    NonNegativeFloat,
    NonNegativeInt,
    Number,
    OrNull,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Section,
    Share,
    TruthOrAuto,
    one_of,
)
from distill.errors import UserError
from distill.evaluation.protocols import TTA
from distill.method import LOSSES, METHODS
from students import options_for
from students.decoders import DECODERS
from students.lg_conv import SCOPES
from students.pruned_dpt import ATTENTIONS, STEMS
from teachers import DPT_CONFIGS
from teachers.vit import READOUTS

OF_DEPTH = (
    *(f"data.{key}" for key in ("sources", "split", "labels", "truth", "depth_scale", "camera", "max_depth", "focal")),
    *("data.unlabelled", "student.min_depth", "student.max_depth", "student.bins", "student.align"),
    *("method.loss", "method.gradient_weight", "method.trim", "eval.protocol"),
)
WARMUP_BASE = 25.0  # epochs of the paper's training, of which `method.warmup_epochs` counts


class TeacherConfig(Section):
    """The frozen network that is distilled."""

    name: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = Field(
        "dpt_hybrid",
        description="A DPT's name, the folder of any trained model, hf:NAME-OR-FOLDER for a depth network of "
        "transformers, or module:factory for a Python function of your own; null where there is none.",
    )
    checkpoint: Path | None = Field(None, description="Weights of a named DPT; dpt_micro ships its own.")
    scale: Number | None = Field(
        None, description="depth = 1 / (scale * output + shift), of this checkpoint; None: as its name says."
    )
    shift: Number | None = None
    invert: bool | None = Field(None, description="Whether it is so converted; false: the output is metres.")
    readout: Annotated[str, one_of(READOUTS)] | None = Field(None, description="None keeps the network's own.")
    licence: str | None = Field(None, description="Of its weights; None: as their publisher states it, where known.")
    compile: bool = Field(
        False, description="Let torch.compile translate its encoder: minutes once, then faster on some machines."
    )
    shard: bool = Field(
        False,
        description="Divide its encoder among the processes, where one device cannot hold it; it is not evaluated.",
    )


class StudentConfig(Section):
    """The network that is trained."""

    backbone: str = Field("efficientnet_b0", description="A timm name, or a DPT's.")
    lg_conv: Annotated[TruthOrAuto, OrNull] = Field(
        False,
        description="Of a CNN: let the backbone's 3x3 convolutions see the whole image; auto: where it has some.",
    )
    lg_scope: Annotated[str, one_of(SCOPES), OrNull] = Field(
        "3x3", description="Which convolutions: 3x3 (the paper's), every kernel above 1x1, or 3x3 at strides 16 and 32."
    )
    pretrained: bool = Field(
        True, description="Start a CNN, a DPT's stem or its `encoder` from ImageNet weights; by default false of a DPT."
    )
    min_depth: PositiveFloat = 1e-3
    max_depth: PositiveFloat | None = Field(None, description="Largest depth in metres; by default the data set's cap.")
    decoder: Annotated[str, one_of(DECODERS), OrNull] = Field(
        "paper", description="Of a CNN: paper (DisDepth's), or light, for devices."
    )
    width: Annotated[Amount, OrNull] = Field(
        128, description="Of a CNN: channels of the decoder's last map; of the light one's every map, by default 64."
    )
    bins: Annotated[int, Field(ge=2, le=65536), NUMBER, OrNull] = Field(
        256, description="Of a CNN: depth bins; by default 64 of the light decoder."
    )
    heads: Amount | None = Field(None, description="Of a DPT: attention heads.")
    hooks: tuple[NonNegativeInt, ...] | None = Field(None, description="Of a DPT: tapped blocks, counted from 0.")
    attention: Annotated[str, one_of(ATTENTIONS), OrNull] = Field(
        "standard", description="Of a DPT: exact, or in linear time."
    )
    random_features: Annotated[Amount, OrNull] = Field(256, description="Of performer attention: their number.")
    encoder: str | None = Field(
        None,
        description="Of a DPT that works on the image itself: a plain timm ViT in place of its own, DeiT included.",
    )
    stem: Annotated[str, one_of(STEMS)] | None = Field(None, description="Of DPT-Hybrid; resnet50 is its own.")
    resolution_scale: Annotated[PositiveShare, OrNull] = Field(
        1.0, description="Of a DPT: share of both sides it works on."
    )
    checkpoint: Path | None = Field(
        None,
        description="Weights to start from. Of a DPT: a file of a DPT or a ViT, a trained DPT's folder, or dpt_micro; "
        "of a CNN: a file of the backbone, timm's or EfficientNet-PyTorch's, or a trained student's folder.",
    )
    frozen: tuple[str, ...] = Field(
        (),
        description="Parts that keep their weights, to train in stages: encoder, or a DPT's encoder.stem, encoder.vit.",
    )
    scale: Number | None = Field(None, description="Of a DPT: depth = 1 / (scale * output + shift), as its parent's.")
    shift: Number | None = None
    invert: bool | None = None
    align: bool = Field(False, description="Of a DPT: fit scale and shift to the training images before training.")

    @model_validator(mode="before")
    @classmethod
    def defaults_of_the_kind(cls, content: object) -> object:
        """Resolve defaults that depend on another key: `pretrained` on the kind of student, sizes on the decoder."""
        if not isinstance(content, dict):
            return content
        defaults: dict[str, object] = {"pretrained": content.get("backbone") not in DPT_CONFIGS}
        if decoder := DECODERS.get(str(content.get("decoder"))):
            defaults |= {"width": decoder.WIDTH, "bins": decoder.BINS}
        return defaults | {key: value for key, value in content.items() if value is not None or key not in defaults}

    @model_validator(mode="after")
    def align_has_what_it_needs(self) -> StudentConfig:
        """Refuse an alignment of nothing, or of what is aligned already."""
        if self.align and self.checkpoint is None:
            raise ValueError("student.align needs student.checkpoint: the output of a random network cannot be aligned")
        fixed = [key for key in ("scale", "shift", "invert") if getattr(self, key) is not None]
        if self.align and fixed:
            raise ValueError(f"student.align finds scale, shift and invert; leave student.{fixed[0]} out")
        return self

    def options(self) -> dict[str, Any]:
        """What `create_student` takes beside the name, without defaults that this kind of student does not know."""
        known = {*options_for(self.backbone)} - ({"random_features"} if self.attention == "standard" else set())
        options = self.model_dump(exclude={"backbone", "align", "frozen"}, exclude_none=True)
        defaults = {key: StudentConfig.model_fields[key].default for key in options}
        return {key: value for key, value in options.items() if key in known or value != defaults[key]}


class MethodConfig(Section):
    """What passes from the teacher to the student."""

    name: Annotated[str, one_of(METHODS)] = "disdepth"
    fam: bool = Field(True, description="Acclimate the teacher's features; off is classical feature distillation.")
    lam: bool = Field(True, description="Weigh positions by their learnt importance. Needs fam.")
    kd_weight: NonNegativeFloat = Field(
        0.05,
        description="Weight of feature distillation, a mean over positions and channels. Summed over channels, "
        "as the paper's Eq. 1 can be read, its 0.05 would be worth 1.2 (24 channels) to 16 (320) here.",
    )
    kd_normalise: bool = Field(
        False, description="Compare features after standardising each channel, so that their scale does not weigh."
    )
    output_weight: NonNegativeFloat = Field(1.0, description="Weight of the teacher's depth in `output`.")
    gradient_weight: NonNegativeFloat = Field(
        0.0, description="In `output`, weight of matching the gradients of log depth with the teacher's; 0.5 is usual."
    )
    with_output: bool = Field(False, description="Add what `output` learns of the teacher's depth to other methods.")
    trim: Decay = Field(
        0.0,
        description="Share of the teacher's pixels of each image, those that the student contradicts most, which do "
        "not count in `output` and `fill`; 0.1 is usual.",
    )
    warmup_epochs: NonNegativeFloat = Field(7.0, description="Epochs (of 25) before feature distillation begins.")
    warmup_steps: NonNegativeInt | None = Field(None, description="The same in steps; wins over warmup_epochs.")
    ghost: Path | None = Field(
        None, description="Folder of a trained student whose decoder is the ghost; by default the student's own, live."
    )
    window: Amount = Field(8, description="Side of the attention windows of FAM at strides 4 and 8.")
    loss: Annotated[str, one_of(LOSSES)] = Field(
        "silog",
        description="Between depth maps; ssi, ssi_trim and midas ignore scale and shift, midas is for dense truth.",
    )

    @model_validator(mode="after")
    def lam_needs_fam(self) -> MethodConfig:
        """Refuse LAM without FAM."""
        if self.name == "disdepth" and self.lam and not self.fam:
            raise ValueError("method.lam weighs acclimated features and needs method.fam; set method.lam=false too")
        return self

    @model_validator(mode="after")
    def output_joins_features(self) -> MethodConfig:
        """Refuse what would add the teacher's depth where there is none, or where it teaches already."""
        if self.with_output and self.name not in ("feature", "disdepth"):
            raise ValueError(
                f"method.with_output adds the teacher's depth to feature and disdepth, not to {self.name}; leave it out"
            )
        return self


class TrainConfig(Section):
    """How long, and in what portions."""

    epochs: Annotated[PositiveFloat, OrNull] = Field(25.0, description="Passes over the training images.")
    steps: PositiveInt | None = Field(None, description="Optimizer steps; wins over epochs.")
    batch_size: Amount = Field(8, description="Images of one optimizer step, over all processes.")
    micro_batch: Amount | None = Field(
        None, description="Images of one forward pass, whatever the number of processes; by default the whole batch."
    )
    precision: Annotated[Literal["no", "bf16", "fp16", "auto"], NO] = Field(
        "no",
        description="Automatic mixed precision; no computes in float32, auto in bf16 where a GPU does.",
    )
    matmul: Literal["highest", "high"] = Field(
        "highest",
        description="How GPUs multiply matrices of float32: as such, or faster by TF32 (high); CPUs always as such.",
    )
    deterministic: bool = Field(
        False, description="Use only operations that give the same bits each time; on GPUs slower, some refuse."
    )
    clip: PositiveFloat | None = Field(None, description="Largest norm of the gradient.")
    ema: Decay | None = Field(
        None,
        description="Evaluate and keep a moving average of the student's weights, with this decay; at step n it is at "
        "most 1 - n^(-2/3), so that short runs average over less. 0.999 suits every length.",
    )
    validations: PositiveInt = Field(10, description="How often a run validates, evenly over its steps.")
    validate_every: PositiveInt | None = Field(None, description="Steps between validations; wins over validations.")
    checkpoint_every: PositiveInt = Field(500, description="Steps between checkpoints.")
    checkpoint_minutes: PositiveFloat = Field(10.0, description="Minutes after which one is written anyway.")
    keep: PositiveInt = Field(2, description="Checkpoints kept.")
    if_not_saved: Literal["go_on", "stop"] = Field(
        "go_on", description="What to do where a checkpoint cannot be written: report it, or end the run as well."
    )
    log_every: PositiveInt = Field(20, description="Steps between log entries.")
    sync_batchnorm: bool = Field(False, description="BatchNorm over the micro-batches of all processes; GPUs only.")
    channels_last: bool = Field(True, description="Memory format that convolutions are fastest in.")


class OptimConfig(Section):
    """How the weights are updated."""

    name: Literal["adam", "adamw"] = Field("adamw", description="The optimizer.")
    lr: PositiveFloat = Field(4e-5, description="Peak learning rate, at the global batch size.")
    encoder_lr_share: PositiveShare = Field(1.0, description="Share of every learning rate for the student's encoder.")
    fam_lr_share: PositiveShare = Field(
        1.0, description="Share of every learning rate for FAM and LAM: transformers, beside a CNN's."
    )
    final_lr_share: Share = Field(0.1, description="Share of the peak that the schedule ends with.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the learning rate falls after its rise."
    )
    warmup_share: Share = Field(0.0, description="Share of the steps in which the learning rate rises from 0.")
    weight_decay: NonNegativeFloat = 1e-2
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8


class EvalConfig(Section):
    """How a run is validated."""

    protocol: str | None = Field(None, description="By default the data set's own.")
    tta: Annotated[str, one_of(TTA)] | None = Field(
        None, description="Average with the mirrored image; by default as the protocol does."
    )
    limit: PositiveInt | None = Field(None, description="Validate on the first so many images only.")
    pictures: NonNegativeInt = Field(4, description="Images shown in the report and in TensorBoard.")


class Config(Section):
    """One run."""

    seed: NonNegativeInt = Field(0, description="Of everything random in the run.")
    output: Path | None = Field(
        None, description="Folder of the run; by default runs/ and the name of the configuration."
    )
    data: DataConfig
    teacher: Annotated[TeacherConfig, BeforeValidator(lambda value: {"name": None} if value is None else value)] = (
        TeacherConfig()
    )
    student: StudentConfig = StudentConfig()
    method: MethodConfig = MethodConfig()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def photographs_need_a_teacher(self) -> Config:
        """Refuse photographs that nobody explains."""
        if self.data.unlabelled is not None and self.method.name == "supervised":
            raise ValueError(
                "data.unlabelled holds images without depth, of which method.name=supervised learns nothing: choose "
                "output, fill, feature or disdepth, whose teacher gives theirs, or remove data.unlabelled"
            )
        return self

    @model_validator(mode="after")
    def classes_have_no_depth(self) -> Config:
        """Refuse keys that say something of depth where classes are learnt."""
        if not self.data.classes:
            return self
        student = StudentConfig(backbone=self.student.backbone, decoder=self.student.decoder)
        data = DataConfig(name="scenes")
        usual = {"data": data, "student": student, "method": MethodConfig(), "eval": EvalConfig()}
        for key in OF_DEPTH:
            section, _, name = key.partition(".")
            if getattr(getattr(self, section), name) != getattr(usual[section], name):
                raise ValueError(f"{key} is for depth, and data.classes learns classes: leave it out")
        return self

    def total_steps(self, per_epoch: int) -> int:
        """Optimizer steps of the run; `train.steps` wins over `train.epochs`."""
        return self.train.steps or max(round(self.train.epochs * per_epoch), 1)

    def warmup_steps(self, steps: int, per_epoch: int) -> int:
        """Steps before feature distillation: as set, by epochs, or the same share of a run set by steps as 7 of 25.

        Raises:
            UserError: If it would last for the whole training.
        """
        method, waited, whole = self.method, "{} steps", f"{steps}"
        if method.warmup_steps is not None:
            waiting = method.warmup_steps
        elif self.train.steps is not None:
            waiting = round(steps * method.warmup_epochs / WARMUP_BASE)
        else:
            waiting = round(method.warmup_epochs * per_epoch)
            waited, whole = f"{method.warmup_epochs:g} epochs", f"{steps / per_epoch:g}"
        if waiting >= steps and METHODS[method.name].needs_features and method.kd_weight > 0:
            raise UserError(
                f"the warm-up of {waited.format(waiting)} is as long as the whole training of {whole}: nothing would "
                "be distilled; lower method.warmup_epochs, or set method.warmup_steps"
            )
        return waiting
