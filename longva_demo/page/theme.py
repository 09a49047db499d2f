"""The page's theme, a contact sheet on a light table: colours and fonts for Gradio's own components."""

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, sizes

FOLDER = Path(__file__).parent
# What components share, then the sheet of each.
STYLES = [FOLDER / "style.css", *sorted(FOLDER.glob("components/*/style.css"))]
SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")

# The grease pencil that marks frames on a contact sheet. 5.5:1 on white, 6.9:1 under near-black text.
PENCIL = colors.Color(
    name="pencil",
    c50="#fdf1ed",
    c100="#fbe0d7",
    c200="#f6bfae",
    c300="#f19c84",
    c400="#ff7a52",
    c500="#e2502a",
    c600="#bf3a17",
    c700="#9d2f12",
    c800="#7b260f",
    c900="#5a1d0d",
    c950="#35110a",
)
GREY = colors.Color(
    name="grey",
    c50="#f6f6f4",
    c100="#ededea",
    c200="#dddcd8",
    c300="#c4c4bf",
    c400="#94959a",
    c500="#6b6d74",
    c600="#52545b",
    c700="#34363d",
    c800="#1e2026",
    c900="#15161a",
    c950="#0e0f12",
)


class LightTable(gr.themes.Base):
    """Flat panels, hairlines and one accent colour. No web fonts, so the page loads nothing from elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            primary_hue=PENCIL,
            secondary_hue=GREY,
            neutral_hue=GREY,
            text_size=sizes.text_md,
            spacing_size=sizes.spacing_md,
            radius_size=sizes.radius_md,
            font=SANS,
            font_mono=MONO,
        )
        self.set(
            body_background_fill="*neutral_50",
            body_background_fill_dark="*neutral_950",
            body_text_color="#17181c",
            body_text_color_dark="#ecece8",
            body_text_color_subdued="*neutral_500",
            body_text_color_subdued_dark="#a0a2aa",
            background_fill_primary="white",
            background_fill_primary_dark="*neutral_900",
            background_fill_secondary="*neutral_50",
            background_fill_secondary_dark="*neutral_800",
            border_color_primary="*neutral_200",
            border_color_primary_dark="#2d2f37",
            color_accent="*primary_600",
            block_background_fill="white",
            block_background_fill_dark="*neutral_900",
            block_border_width="1px",
            block_shadow="none",
            block_label_background_fill="transparent",
            block_label_background_fill_dark="transparent",
            block_title_text_weight="500",
            block_title_text_color="*neutral_600",
            block_title_text_color_dark="#a0a2aa",
            block_info_text_color="*neutral_500",
            block_info_text_color_dark="#a0a2aa",
            input_background_fill="white",
            input_background_fill_dark="*neutral_800",
            input_border_color="*neutral_300",
            input_border_color_dark="#3b3e47",
            input_border_color_focus="*primary_600",
            input_border_color_focus_dark="*primary_400",
            input_placeholder_color="*neutral_500",
            input_placeholder_color_dark="#8e9098",
            input_shadow="none",
            input_shadow_focus="none",
            slider_color="*primary_600",
            slider_color_dark="*primary_400",
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            button_primary_background_fill_dark="*primary_400",
            button_primary_background_fill_hover_dark="*primary_300",
            button_primary_text_color="white",
            button_primary_text_color_dark="#1b0d08",
            button_secondary_background_fill="transparent",
            button_secondary_background_fill_hover="*neutral_100",
            button_secondary_background_fill_dark="transparent",
            button_secondary_background_fill_hover_dark="*neutral_800",
            button_secondary_border_color="*neutral_300",
            button_secondary_border_color_dark="#3b3e47",
            button_border_width="1px",
            link_text_color="*primary_600",
            link_text_color_dark="*primary_400",
        )
