"""A language model that does not fit one device is shared out over several, by torch's FSDP2.

    accelerate launch --config_file train/configs/fsdp.yaml train/run.py --stage 2

accelerate's file says whether and how. `Accelerator.prepare` cannot be used: it wants a model that
is called as a whole, and here the blocks are called without their embedding and their output head.
So each block of the language model is given to `fully_shard` by itself: every process holds its
part of the weights, and a block is whole only while it computes. The embedding, the output head,
the frozen eye and all that learns stay whole in every process. Frozen weights have no gradients, so
nothing is sent back.
"""

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from minigpt4.models.minigpt4 import MiniGPT4
from train.errors import TrainingError
from train.settings import TrainSettings

_ASKED = "ACCELERATE_USE_FSDP"
"""What `accelerate launch` sets where its file says `distributed_type: FSDP`."""


def sharing_asked() -> bool:
    """Whether the run was started with FSDP."""
    return os.environ.get(_ASKED, "false").lower() == "true"


def check_sharing(settings: TrainSettings) -> None:
    """Makes sure that the language model can be shared out as accelerate's file says.

    Raises:
        TrainingError: If it cannot; before anything is loaded.
    """
    if not sharing_asked():
        return
    problems = []
    if os.environ.get("FSDP_VERSION", "1") != "2":
        problems.append("fsdp_version: expected 2, with which frozen blocks can be shared out")
    if os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING", "false").lower() == "true":
        problems.append("fsdp_cpu_ram_efficient_loading: expected false; every process reads")
    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true":
        problems.append("fsdp_activation_checkpointing: expected false")
    if settings.model.quantize != "none":
        problems.append("model.quantize: expected none; quantised weights cannot be shared out")
    if settings.precision == "float16":
        problems.append("precision: expected bfloat16 or float32")
    if problems:
        lines = "\n".join(f"  {line}" for line in problems)
        message = f"The language model cannot be shared out:\n{lines}"
        raise TrainingError(f"{message}\ntrain/configs/fsdp.yaml is a file that works.")


def loading_device(accelerator: Accelerator) -> torch.device:
    """Where frozen parts are loaded: on the CPU what does not fit the device as a whole."""
    return torch.device("cpu") if sharing_asked() else accelerator.device


def share_out(model: MiniGPT4, accelerator: Accelerator) -> str:
    """Shares the language model's blocks out over all processes, if the run was started so.

    They go to the device one by one; the rest of the model stays where it is.

    Returns:
        What was done, for a person; empty if nothing.

    Raises:
        TrainingError: If there is one process only.
    """
    if not sharing_asked():
        return ""
    parts = accelerator.num_processes
    if parts < 2:
        message = (
            "FSDP was asked for, and there is one process. Set num_processes in accelerate's file, "
            "or start train/run.py without it."
        )
        raise TrainingError(message)
    plugin = getattr(accelerator.state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()
    llama: Any = model.language.model.model
    how: dict[str, Any] = {
        "mesh": init_device_mesh(accelerator.device.type, (parts,)),
        "offload_policy": plugin.cpu_offload,
    }
    for block in llama.layers:
        fully_shard(block, reshard_after_forward=bool(plugin.reshard_after_forward), **how)
    in_blocks = {id(each) for block in llama.layers for each in block.parameters()}
    whole = {each for each in llama.parameters() if id(each) not in in_blocks}
    # The root makes one order of the blocks, so that the next is fetched while one computes.
    fully_shard(llama, ignored_params=whole, **how)
    held = sum(each.to_local().numel() for block in llama.layers for each in block.parameters())
    total = sum(each.numel() for block in llama.layers for each in block.parameters())
    return (
        f"The language model's {len(llama.layers)} blocks are shared out: this process holds "
        f"{held:,} of their {total:,} weights.\n"
    )


def is_shared_out(model: MiniGPT4) -> bool:
    """Whether all processes have to call the language model together."""
    return isinstance(model.language.model.model, FSDPModule)
