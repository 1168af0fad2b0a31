"""Speed on a CPU: compiled functions in bfloat16 where the machine can, plain ones where not."""

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar

import torch

logger = logging.getLogger(__name__)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The function compiled for one shape; itself where there is no C++ compiler."""
    if not any(shutil.which(name) for name in ("g++", "clang++")):
        logger.warning("No C++ compiler (g++, clang++): training runs uncompiled, 2 to 3 x slower.")
        return function
    return torch.compile(function, dynamic=False)


def reduced_precision() -> AbstractContextManager[None]:
    """bfloat16 for what multiplies matrices, on processors that have instructions for it."""
    context: AbstractContextManager[None] = torch.autocast(
        _device_type(), torch.bfloat16, enabled=_has_bfloat16()
    )
    return context


# A question to the processor, put while it runs, would split the compiled program in two.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_bfloat16() -> bool:
    on_cpu = torch.get_default_device().type == "cpu"
    return not on_cpu or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no public name for it


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _device_type() -> str:
    return torch.get_default_device().type
