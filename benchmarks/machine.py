"""What a benchmark says of the machine that it ran on."""

import platform

import torch
import transformers


def machine_facts(threads: int) -> dict[str, str | int]:
    """The processor's instructions, the versions, and how many threads each way had."""
    return {
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
