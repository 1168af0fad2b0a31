"""Loads a language model's embeddings and tokenizer alone: a server has the rest."""

import torch
from torch import nn

from minigpt4.checkpoints.files import problem_list
from minigpt4.checkpoints.language_files import EMBEDDINGS, LanguageFiles
from minigpt4.checkpoints.tensors import read_tensors
from minigpt4.models.language import load_tokenizer
from minigpt4.models.language_input import LanguageInput


def load_language_input(
    files: LanguageFiles,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LanguageInput:
    """Builds what turns text into embeddings.

    The whole folder was checked by its headers; one tensor of it is read.

    Args:
        files: What `inspect_language` found.
        device: Where the embeddings go.
        dtype: What they are held in.

    Raises:
        CheckpointError: If the embeddings are damaged or not finite.
    """
    weight = torch.empty(0)
    for _, stored in read_tensors(files.header, {EMBEDDINGS: None}):
        if not stored.isfinite().all():
            raise problem_list(
                "These weights are damaged; fetch the files again:",
                [f"{EMBEDDINGS} holds numbers that are not finite"],
            )
        weight = stored.to(device, dtype, copy=True).contiguous()
    with torch.device("meta"):
        embeddings = nn.Embedding(files.vocabulary, files.width)
    embeddings.load_state_dict({"weight": weight}, strict=True, assign=True)
    embeddings.requires_grad_(requires_grad=False)
    return LanguageInput(embeddings, *load_tokenizer(files.folder)).eval()
