"""Prompts as text: the tags that stand for images and videos, and the chat template."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

TAG = "<image>"  # placeholder for one image or one whole video in a prompt, as in the original
VIDEO_TAG = "<video>"  # the same for a video alone, where a prompt has both
# ChatML as in the original: visuals stand before the text of their message, on a line of their own.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != "system" -%}
{{- "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n" -}}
{%- endif -%}
{{- "<|im_start|>" + message.role + "\\n" -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == "text" -%}
{{- part.text -}}
{%- elif part.type in ("image", "video") -%}
{{- "<" + part.type + ">" -}}
{%- if not loop.last -%}
{{- "\\n" if loop.nextitem.type == "text" else " " -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if not (continue_final_message and loop.last) -%}
{{- "<|im_end|>\\n" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""


def tag_kinds(texts: list[str], counts: dict[str, int], modalities: Sequence[Any] | None) -> list[list[str]]:
    """For each text, the kind of visual of each of its tags.

    >>> tag_kinds(["<image> and <video>", "<image>"], {"image": 2, "video": 1}, None)
    [['image', 'video'], ['image']]

    Raises:
        ValueError: it is not clear which tag is which, or their numbers are not those of the images and videos.
    """
    is_tag = {TAG, VIDEO_TAG} if counts["video"] else {TAG}
    tags = [[tag for tag in re.findall(f"{TAG}|{VIDEO_TAG}", text) if tag in is_tag] for text in texts]
    num_tags = sum(map(len, tags))
    if texts and num_tags != sum(counts.values()):
        raise ValueError(f"the text has {num_tags} {TAG} tags for {sum(counts.values())} images and videos")
    if modalities is not None:
        kinds = list(flat_names(modalities))
    elif 0 in counts.values():
        kinds = ["video" if counts["video"] else "image"] * num_tags
    else:
        kinds = ["video" if tag == VIDEO_TAG else "image" for group in tags for tag in group]
        if texts and kinds.count("video") != counts["video"]:
            raise ValueError(f"the prompt has images and videos; write {VIDEO_TAG} for videos, or set `modalities`")
    if (texts and {kind: kinds.count(kind) for kind in counts} != counts) or len(kinds) != num_tags:
        raise ValueError(f"modalities {kinds} for {counts['image']} images and {counts['video']} videos")
    remaining = iter(kinds)
    return [[next(remaining) for _ in group] for group in tags]


def flat_names(modalities: Sequence[Any]) -> Iterator[str]:
    """All strings of a nested list."""
    for entry in modalities:
        if isinstance(entry, str):
            yield entry
        else:
            yield from flat_names(entry)
