from datetime import timedelta
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


def test_processes_of_a_run_wait_for_a_cold_disk_and_talk_past_their_gpus(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processes.group_options().to_kwargs() == {"timeout": timedelta(hours=2)}
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes.group_options().to_kwargs()["backend"] == "cuda:nccl,cpu:gloo"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "backend" not in processes.group_options().to_kwargs()


def test_a_group_is_left_once():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    processes.leave_group()
    assert not torch.distributed.is_initialized()
    processes.leave_group()


def test_images_are_loaded_by_the_cores_that_a_process_has_beside_its_own(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 12)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert [processes.workers_here(wanted) for wanted in (0, 20, None)] == [0, 20, processes.MOST_WORKERS]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert processes.workers_here(None) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "12")
    assert processes.workers_here(None) == 1


def test_what_no_launcher_sets_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "x")
    with pytest.raises(UserError, match=r"LOCAL_WORLD_SIZE=x .*no number of processes: .*torchrun, or unset"):
        processes.workers_here(None)

    def refuse(**_):
        raise ValueError("MASTER_ADDR is not set")

    monkeypatch.setattr(processes, "PartialState", refuse)
    with pytest.raises(UserError, match=r"launch does not work here: MASTER_ADDR is not set: .*unset"):
        processes.join_group()
