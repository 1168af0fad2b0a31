"""A model whose attention is far from even."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from minigpt4.models.language import LanguageModel, load_tokenizer
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from tests.looking.parts import (
    PRESET,
    far_from_even,
)


@pytest.fixture
def language(tokenizer_folder) -> LanguageModel:
    """Random weights; two heads share a key, as in larger Llamas."""
    tokenizer, pieces = load_tokenizer(tokenizer_folder)
    config = LlamaConfig(
        vocab_size=pieces.vocab_size(),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=2048,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        causal = LlamaForCausalLM(config)
        far_from_even(causal)
    return LanguageModel(causal, tokenizer, pieces)


@pytest.fixture
def model(language) -> MiniGPT4:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vision = VisionEncoder(PRESET.vision)
        qformer = QFormer(PRESET.qformer, PRESET.vision.width)
        far_from_even(qformer)
        model = MiniGPT4(PRESET, vision, qformer, language)
        nn.init.normal_(model.projection.weight, std=0.3)
        return model
