"""How each family of language models writes a conversation down: data only.

`minigpt4.conversation.render` is the one reader of these formats, in training and in serving. The
names under which a configuration finds them are the keys of `PROMPT_FORMATS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """How a conversation is written down for one family of language models.

    A prompt is bos, the system text and its separator, then for every turn: user role, pictures,
    question, user separator, assistant role, answer, assistant separator. An open turn ends with
    the assistant role.
    """

    name: str
    system: str = ""
    """What stands before the first turn."""
    system_separator: str = ""
    user_role: str = ""
    user_separator: str = ""
    """What ends a question."""
    assistant_role: str = ""
    assistant_separator: str = ""
    """What ends an answer: the end symbol the model is taught to write."""
    bos_before_user: bool = False
    """Whether a bos stands before every user role, besides the one that opens the prompt."""
    eos_after_answer: bool = False
    """Whether an eos follows the assistant separator."""
    image_open: str = "<Img>"
    image_close: str = "</Img>"
    message_per_image: bool = False
    """Whether all pictures of a turn but the last are user messages of their own. The release wrote
    its prompts so when pictures were uploaded one after the other before the question."""
    takes_question: bool = True
    """False if the format has no place for a question (stage 1: a picture and its caption)."""
    answer_space: str = ""
    """What stands between the assistant role and an earlier answer. Where an answer is tokenised
    alone, the tokeniser's own leading space takes its place."""
    join_text: bool = True
    """Whether neighbouring texts are tokenised as one string; see minigpt4.conversation."""
    reserved: tuple[str, ...] = ()
    """Strings that may not occur in a question or an answer, at least two characters each; they
    are broken up by a space after the first character."""
    stop_strings: tuple[str, ...] = ()
    """Strings that end the generated answer and are no part of it, besides the eos token."""


_SYSTEM = (
    "Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I"
    " provide it to you. Please answer my questions."
)

VICUNA_V0 = PromptFormat(
    name="vicuna_v0",
    system=_SYSTEM,
    system_separator="###",
    user_role="Human: ",
    user_separator="###",
    assistant_role="Assistant: ",
    assistant_separator="###",
    message_per_image=True,
    reserved=("##",),
    stop_strings=("###",),
)
"""The serving prompt of the release. Source: CONV_VISION_Vicuna0."""

ALIGNMENT = PromptFormat(
    name="alignment",
    system_separator="###",
    user_role="Human: ",
    user_separator=" ###",
    assistant_role="Assistant: ",
    assistant_separator="###",
    reserved=("##",),
    stop_strings=("###",),
)
"""The stage-2 template that the released Vicuna weights were trained with: no system text, and a
space before "###". Source: paper, section 3.2; minigpt4_stage2_finetune.yaml."""

TINY = replace(ALIGNMENT, name="tiny", join_text=False)
"""The text of ALIGNMENT in training and serving alike, with every piece tokenised alone."""

CAPTION = PromptFormat(
    name="caption",
    assistant_separator="\n",
    image_open="",
    image_close="",
    takes_question=False,
    stop_strings=("\n",),
)
"""Stage 1: the picture, then its caption and a line break.

Source: minigpt4_stage1_pretrain.yaml."""

VICUNA_V1 = PromptFormat(
    name="vicuna_v1",
    system=(
        "A chat between a curious user and an artificial intelligence assistant. The assistant"
        " gives helpful, detailed, and polite answers to the user's questions."
    ),
    system_separator=" ",
    user_role="USER: ",
    user_separator=" ",
    assistant_role="ASSISTANT:",
    answer_space=" ",
    eos_after_answer=True,
    reserved=("USER:", "ASSISTANT:"),
)
"""The prompt that Vicuna v1.1 and v1.5 were trained with. Source: FastChat's "vicuna_v1.1"."""

LLAMA2_CHAT = PromptFormat(
    name="llama2_chat",
    system=_SYSTEM,
    bos_before_user=True,
    user_role="[INST] ",
    assistant_role=" [/INST] ",
    message_per_image=True,
    reserved=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    stop_strings=("[INST]",),
)
"""The serving prompt of the release for Llama 2, which opens with two bos tokens and has no eos
between its turns. Source: CONV_VISION_LLama2."""

LLAMA2_ALIGNMENT = PromptFormat(
    name="llama2_alignment",
    user_role="[INST] ",
    assistant_role=" [/INST] ",
    eos_after_answer=True,
    reserved=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    stop_strings=("[INST]",),
)
"""The stage-2 template for Llama 2. Source: minigpt4_llama2_stage2_finetune.yaml."""

PROMPT_FORMATS: Mapping[str, PromptFormat] = MappingProxyType(
    {
        prompt_format.name: prompt_format
        for prompt_format in (
            TINY,
            VICUNA_V0,
            VICUNA_V1,
            LLAMA2_CHAT,
            ALIGNMENT,
            LLAMA2_ALIGNMENT,
            CAPTION,
        )
    }
)
