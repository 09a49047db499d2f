"""The eyes: CLIP's vision transformer, pixels to patch features."""

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

# Patches that go through the tower at once. 28 frames of LongVA-7B (577 each); more would cost memory, not save time.
PATCHES_AT_ONCE = 16_384


class ClipTower(nn.Module):
    """Holds CLIP under the name `vision_model`, where the published tensor names have it."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.vision_model = CLIPVisionModel._from_config(config)


class VisionTower(nn.Module):
    """Patch features of CLIP's layer `select_layer`, without the class token (arXiv 2406.16852, section 3.2).

    Args:
        select_layer: as in `hidden_states[select_layer]`: -2 is the output of the last layer but one.
    """

    def __init__(self, config: CLIPVisionConfig, select_layer: int) -> None:
        super().__init__()
        assert isinstance(config.image_size, int)
        assert isinstance(config.patch_size, int)
        self.vision_tower = ClipTower(config)
        # hidden_states holds the embeddings and one entry per layer: -1 needs all layers, -2 all but the last.
        self.num_layers_used = config.num_hidden_layers + 1 + select_layer
        assert 0 <= self.num_layers_used <= config.num_hidden_layers, select_layer
        self.frames_at_once = max(1, PATCHES_AT_ONCE // (config.image_size // config.patch_size) ** 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(frames, 3, S, S) normalised pixels to (frames, patches, dim); patches run row by row."""
        features = [self.encode(frames) for frames in pixel_values.split(self.frames_at_once)]
        return features[0] if len(features) == 1 else torch.cat(features)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """The layers one by one: the unused ones are not computed, and no list of hidden states is kept."""
        clip = self.vision_tower.vision_model
        hidden = clip.pre_layrnorm(clip.embeddings(frames))  # (frames, 1 + patches, dim)
        for layer in clip.encoder.layers[: self.num_layers_used]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]  # (frames, patches, dim)
