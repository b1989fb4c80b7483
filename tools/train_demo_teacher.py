"""Trains dpt_micro, the teacher that is shipped, on procedural streets, and writes its weights and what it reached.

    python tools/train_demo_teacher.py --scenes 8000 --steps 8000

The scenes are rendered once and kept in memory (about 0.07 MB each). The weights go to teachers/weights/ in float16,
the figures beside them as JSON. None of its scenes is one that the demo trains or validates on: the seeds differ.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save as to_bytes
from torch import Tensor

from distill.data.scenes.scene_dataset import SceneDataset
from distill.evaluation import METRICS, depth_metrics
from distill.files import write_atomically, write_json
from distill.method.losses import silog_loss
from teachers import DPT, create_dpt
from teachers.dpt import init_output

SIZE = (64, 224)
TRAIN_SEED, HELD_OUT_SEED = 1_000, 2_000


def render(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One street as uint8 image and float16 depth, small enough to keep thousands in memory."""
    seed, index = job
    torch.set_num_threads(1)
    sample = SceneDataset("road", index + 1, seed, SIZE)[index]
    return sample.image, sample.depth.astype(np.float16)


def render_all(seed: int, count: int, workers: int) -> tuple[Tensor, Tensor]:
    """`count` streets: images (N, 3, H, W) uint8 and depths (N, 1, H, W) float16."""
    with Pool(workers) as pool:
        jobs = pool.imap(render, ((seed, i) for i in range(count)), chunksize=16)
        images, depths = zip(*track(jobs, "rendering", total=count), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(np.stack(depths))[:, None]


def augment(image: Tensor, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the batches; change each image's exposure and white balance."""
    if torch.rand((), generator=generator) < 0.5:
        image, depth = image.flip(-1), depth.flip(-1)
    gain = 0.85 + 0.3 * torch.rand(len(image), 1, 1, 1, generator=generator)
    tint = 0.92 + 0.16 * torch.rand(len(image), 3, 1, 1, generator=generator)
    gamma = 0.85 + 0.3 * torch.rand(len(image), 1, 1, 1, generator=generator)
    return (image.clamp(min=1e-3) ** gamma * gain * tint).clamp(0, 1), depth


def train(images: Tensor, depths: Tensor, steps: int, batch: int, lr: float, seed: int) -> DPT:
    """Fit dpt_micro by SILog on dense depth, in bfloat16 where that is safe."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = create_dpt("dpt_micro").train().to(memory_format=torch.channels_last)
    init_output(model, depth=15.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.08)
    order = torch.empty(0, dtype=torch.long)
    losses: list[float] = []
    for step in track(range(steps), "training"):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=generator)
        picked, order = order[:batch], order[batch:]
        image, depth = augment(images[picked].float() / 255, depths[picked].float(), generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pred = model(image.contiguous(memory_format=torch.channels_last))
        loss = silog_loss(pred, depth, (depth > 1e-3) & (depth < 80))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}: mean loss {np.mean(losses[-200:]):.4f}", flush=True)
    return model.eval()


@torch.inference_mode()
def score(model: DPT, images: Tensor, depths: Tensor) -> dict[str, float]:
    """Mean over held-out streets of the nine metrics, on dense depth below 80 m."""
    rows = []
    for image, depth in zip(images, depths, strict=True):
        depth = depth.float()
        rows.append(depth_metrics(model(image[None].float() / 255)[0], depth, (depth > 1e-3) & (depth < 80)))
    return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("teachers/weights/dpt_micro.safetensors"))
    args = parser.parse_args()
    started = time.perf_counter()
    images, depths = render_all(TRAIN_SEED, args.scenes, args.workers)
    rendered = time.perf_counter()
    model = train(images, depths, args.steps, args.batch, args.lr, args.seed)
    trained = time.perf_counter()
    metrics = score(model, *render_all(HELD_OUT_SEED, args.held_out, args.workers))
    write_atomically(args.output, to_bytes({k: v.half().contiguous() for k, v in model.state_dict().items()}))
    record: dict[str, object] = {key: value for key, value in vars(args).items() if key != "output"}
    record |= {"size": list(SIZE)}
    record |= {"render_seconds": round(rendered - started), "train_seconds": round(trained - rendered)}
    record |= {"machine": f"{platform.machine()}, {torch.get_num_threads()} threads", "torch": torch.__version__}
    record |= {"held_out_metrics": {k: round(v, 5) for k, v in metrics.items()}}
    write_json(args.output.with_suffix(".json"), record)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
