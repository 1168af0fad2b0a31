"""Colours and shapes of the page as a Gradio theme; ``page.css`` uses its variables."""

import gradio as gr
from gradio.themes.utils import colors, sizes

INK = colors.Color(
    name="ink",
    c50="#f7f8f8",
    c100="#eef0f0",
    c200="#e1e5e6",
    c300="#c9d0d2",
    c400="#97a3a7",
    c500="#66747a",
    c600="#4d5a60",
    c700="#374248",
    c800="#222b30",
    c900="#171d21",
    c950="#101518",
)
TEAL = colors.Color(
    name="teal",
    c50="#eefaf8",
    c100="#d5f2ee",
    c200="#aee4dd",
    c300="#79d0c7",
    c400="#43b4ab",
    c500="#239890",
    c600="#157a74",
    c700="#14625e",
    c800="#154e4c",
    c900="#164140",
    c950="#062625",
)


def page_theme() -> gr.themes.Base:
    """Build the theme of the page; its fonts come with Gradio, none from elsewhere."""
    # 700 and not 600: the semi-bold file that Gradio 6.31 brings lacks most letters.
    sans = (gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif")
    mono = (gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace")
    theme = gr.themes.Base(
        primary_hue=TEAL,
        secondary_hue=TEAL,
        neutral_hue=INK,
        radius_size=sizes.radius_lg,
        text_size=sizes.text_md,
        font=sans,
        font_mono=mono,
    )
    return theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_shadow="none",
        block_shadow_dark="none",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        border_color_accent="*primary_500",
        border_color_accent_dark="*primary_400",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_950",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_200",
        input_border_color_dark="*neutral_700",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_900",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_200",
        button_secondary_border_color_dark="*neutral_700",
        button_secondary_text_color="*neutral_700",
        button_secondary_text_color_dark="*neutral_200",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
