"""The README.md of a student's folder: what it is, what it learnt from, how good it is, and under which licence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from students.calibration import Calibration
from teachers.model import Output
from teachers.weight_files import Json

METHODS = {
    "supervised": "supervised, without a teacher",
    "output": "the teacher's depth beside the ground truth",
    "fill": "the teacher's depth where the ground truth has holes",
    "feature": "the teacher's features, adapted",
    "disdepth": "DisDepth (arXiv 2404.16386): feature acclimation, loss attention, a ghost of the student's decoder",
}
DATA = {"kitti": "KITTI", "nyu": "NYU Depth V2", "folder": "own images", "scenes": "procedural scenes"}
# The Hub's name of a licence, and what stands behind it.
LICENCES = {
    "kitti": ("cc-by-nc-sa-3.0", "KITTI is published under CC BY-NC-SA 3.0"),
    "nyu": ("other", "NYU Depth V2 names no licence; its authors offer it for research"),
    "folder": ("other", "the licence of the training images decides"),
    "ibims1": ("other", "iBims-1 is offered by its authors for research"),
    "diode_indoor": ("mit", "DIODE is published under the MIT licence"),
    "diode_outdoor": ("mit", "DIODE is published under the MIT licence"),
    "eth3d": ("cc-by-nc-sa-4.0", "ETH3D is published under CC BY-NC-SA 4.0"),
    "scannet": ("other", "ScanNet is given under terms of use of its own"),
    "sunrgbd": ("other", "SUN RGB-D names no licence; its authors offer it for research"),
    "tum": ("cc-by-4.0", "TUM RGB-D is published under CC BY 4.0"),
    "vkitti2": ("cc-by-nc-sa-3.0", "Virtual KITTI 2 is published under CC BY-NC-SA 3.0"),
    "hypersim": ("cc-by-sa-3.0", "Hypersim is published under CC BY-SA 3.0"),
    "ddad": ("cc-by-nc-sa-4.0", "DDAD is published under CC BY-NC-SA 4.0"),
    "scenes": ("mit", "procedural scenes are made by MIT-licensed code"),
}
UNKNOWN = ("other", "it is not known what the weights were learnt from")


def licence_of(metadata: Mapping[str, object]) -> tuple[str, str]:
    """The licence of a student's weights as the Hub calls it, and its reason: the data, and the teacher's licence."""
    known = [LICENCES.get(name, UNKNOWN) for name in str(metadata.get("data")).split("+")]
    licence = known[0][0] if len({name for name, _ in known}) == 1 else "other"
    reason = "; ".join(reason for _, reason in known)
    teacher = plain(metadata.get("teacher_licence"))
    return licence, f"{reason}; the teacher's weights are under {teacher}" if teacher else reason


def teacher_line(metadata: Mapping[str, object]) -> str:
    """Whose depth a student learnt from, and whether it was read as labels on disk."""
    name, fingerprint = plain(metadata.get("teacher")), plain(metadata.get("teacher_fingerprint"))
    revision = plain(metadata.get("teacher_revision"))
    at = f", revision {revision}" if revision else ""
    if not metadata.get("teacher_labels"):
        return name and f"`{Path(name).name}`{at}"
    return f"`{name}`{at}, by its labels on disk (fingerprint {fingerprint[:12]})"


def plain(text: object) -> str:
    """A name as a word of Markdown: what could end a table's cell or begin a tag, a link or code becomes "?"."""
    return "" if text is None else re.sub(r"[^\w .,:;/@+=()-]", "?", str(text))


def depth_in_words(output: Output, near: float | None, far: float | None) -> str:
    """What the values of a student are."""
    if output == "classes":
        return ""
    if output == "relative":
        return "relative: its inverse is known up to a scale and a shift, as by its loss; no metres"
    return f"{near:g} to {far:g} m" if near is not None and far is not None else "metres"


def fit_in_words(calibration: Calibration, metadata: Json) -> str:
    """How a student was calibrated, on what, with which numbers."""
    words = f"depth = 1 / ({calibration.scale:.6g} / d + {calibration.shift:.6g}) m of the network's own depth d"
    known = metadata.get("calibration") or {}
    data = DATA.get(str(known.get("data")), plain(known.get("data")))
    return (
        f"{words}; {plain(known.get('fit'))} fitted to {plain(known.get('images'))} images of {data}"
        if known
        else words
    )


def figures_of(metadata: Json) -> str:
    """The card's part with metrics: of the validation that was kept, or before and after a calibration."""
    metrics, calibration = metadata.get("metrics") or {}, metadata.get("calibration") or {}
    if not metrics:
        return ""
    metric = "abs_rel" if "abs_rel" in metrics else next(iter(metrics))
    origin = f"""Of all validations of the
training the one with the best {metric} was kept: these figures are of the images that it was chosen on."""
    lines = [metrics]
    if calibration:
        origin = f"Means over {plain(calibration.get('measured_on'))}."
        lines = [calibration.get("before") or {}, metrics]
    rows = [[*map(plain, metrics)], *([f"{line.get(one, math.nan):.4g}" for one in metrics] for line in lines)]
    if calibration:
        labels = ("", plain(calibration.get("before_is")), "calibrated")
        rows = [[label, *row] for label, row in zip(labels, rows, strict=True)]
    head, *table = (f"| {' | '.join(row)} |" for row in rows)
    return f"""
## Figures

Protocol `{plain(metadata.get("protocol"))}`, fingerprint `{plain(metadata.get("fingerprint"))}`. {origin}

{head}
|{"--:|" * len(rows[0])}
{chr(10).join(table)}
"""


def model_card(
    recipe: Json,
    metadata: Json,
    output: Output = "metric",
    calibration: Calibration | None = None,
    canonical_focal: float | None = None,
) -> str:
    """The card of a student as Markdown, with the front matter that the Hub reads.

    Args:
        recipe: "student" and "options", as in `config.json`.
        metadata: What is known of its training, as a run writes it; what is missing is left out.
        output: What its values mean.
        calibration: What comes behind the network, if anything does.
        canonical_focal: Of the camera whose depth it gives, in pixels; None where that is the image's own.
    """
    licence, reason = licence_of(metadata)
    name, options = plain(recipe["student"]), recipe["options"]
    decoder = f", {plain(options['decoder'])} decoder" if "decoder" in options else ""
    near, far = options.get("min_depth"), options.get("max_depth")
    if calibration is not None:
        near, far = calibration.min_depth, calibration.max_depth
    size = metadata.get("input_size")
    facts = {
        "network": f"`{name}`{' with LG-Conv' if options.get('lg_conv') else ''}{decoder}",
        "method": METHODS.get(str(metadata.get("method")), plain(metadata.get("method"))),
        "teacher": teacher_line(metadata),
        "data": " and ".join(DATA.get(name, name) for name in plain(metadata.get("data")).split("+")),
        "steps": metadata.get("step"),
        "depth": depth_in_words(output, near, far),
        "classes": plain(", ".join(options.get("classes", ()))),
        "camera": canonical_focal
        and f"of {canonical_focal:g} pixels: times the image's focal length over that, metres",
        "calibrated": calibration and fit_in_words(calibration, metadata),
        "image": f"{size[0]}x{size[1]} (height x width), as it was trained" if size else "any size from 32 pixels",
    }
    lines = [f"| {fact} | {text} |" for fact, text in facts.items() if text]
    relative = output == "relative"
    title = f"{'Relative depth' if relative else 'Depth in metres'} from one image: {name}"
    gives = "Gives the distance of every pixel of one RGB image."
    if relative:
        gives = "Tells what is nearer in one RGB image, and how much in proportion. It gives no metres."
    unit = ", relative" if relative else " in metres"
    if canonical_focal:
        unit = f"; in metres times the image's focal length in pixels / {canonical_focal:g}"
    task, call = "depth-estimation", f"depth = model(image)  # RGB (B, 3, H, W) in [0, 1] -> (B, 1, H, W){unit}"
    if output == "classes":
        task, count = "image-segmentation", len(options["classes"])
        title, gives = f"The class of every pixel of one image: {name}", f"Tells {count} classes apart."
        call = f"number = model(image).argmax(1)  # RGB (B, 3, H, W) in [0, 1] -> logits (B, {count}, H, W)"
    return f"""---
library_name: distill
pipeline_tag: {task}
license: {licence}
tags: [{task}, knowledge-distillation, {json.dumps(name)}]
---

# {title}

{gives}

| | |
|---|---|
{chr(10).join(lines)}
{figures_of(metadata)}
## Use

Needs PyTorch and timm beside the code of `distill`.

```python
import distill

model = distill.load_model("THIS_FOLDER")  # a PyTorch module in eval mode
{call}
```

From the Hub: `from students import Student; model = Student.from_pretrained("USER/NAME")`.

## Licence

Code: MIT. Weights: `{licence}`; {reason}.
Terms of the teacher's weights and of the backbone's first weights apply as well.
"""
