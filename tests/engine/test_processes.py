from types import SimpleNamespace

import pytest
import torch

from distill.engine import processes
from distill.errors import UserError
from teachers import FrozenTeacher, create_dpt


def test_every_block_of_the_encoder_is_divided_among_all_processes(monkeypatch):
    divided = []
    monkeypatch.setattr("torch.distributed.fsdp.fully_shard", lambda block, **options: divided.append((block, options)))
    monkeypatch.setattr(processes, "init_device_mesh", lambda kind, shape: (kind, shape))
    teacher = FrozenTeacher(create_dpt("dpt_micro"))
    processes.shard_teacher(teacher, SimpleNamespace(num_processes=2, device=torch.device("cpu")))
    blocks = list(teacher.model.encoder.vit.blocks)
    assert len(blocks) == 6
    assert {id(block) for block in blocks} <= {id(block) for block, _ in divided}
    assert {id(block) for block, _ in divided} <= {id(module) for module in teacher.model.encoder.modules()}
    assert all(options["mesh"] == ("cpu", (2,)) for _, options in divided)


def test_one_process_has_nobody_to_share_with():
    with pytest.raises(UserError, match="this is the only one; leave it out"):
        processes.shard_teacher(None, SimpleNamespace(num_processes=1))
