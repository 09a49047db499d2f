"""The vision tower: CLIP's vision transformer, pixels to patch features."""

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

# Patches per forward pass of the tower: 28 frames of LongVA-7B (576 each). More would cost memory and save no time.
PATCHES_PER_BATCH = 16_384


class ClipTower(nn.Module):
    """Wraps CLIP as `vision_model`, to match the published tensor names."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.vision_model = CLIPVisionModel._from_config(config)


class VisionTower(nn.Module):
    """Patch features of CLIP's layer `select_layer`, without the class token (arXiv 2406.16852, section 3.2).

    Args:
        select_layer: an index into `hidden_states`; -2 is the output of the second-to-last layer.
    """

    def __init__(self, config: CLIPVisionConfig, select_layer: int) -> None:
        super().__init__()
        assert isinstance(config.image_size, int)
        assert isinstance(config.patch_size, int)
        self.vision_tower = ClipTower(config)
        # hidden_states has the embeddings and one entry per layer: -1 needs all layers, -2 all but the last.
        self.num_layers_used = config.num_hidden_layers + 1 + select_layer
        assert 0 <= self.num_layers_used <= config.num_hidden_layers, select_layer
        self.frames_per_batch = max(1, PATCHES_PER_BATCH // (config.image_size // config.patch_size) ** 2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(frames, 3, S, S) normalised pixels to (frames, patches, dim), patches in row-major order."""
        features = [self.encode(frames) for frames in pixel_values.split(self.frames_per_batch)]
        return features[0] if len(features) == 1 else torch.cat(features)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Run only the layers up to `select_layer`, without collecting hidden states."""
        clip = self.vision_tower.vision_model
        hidden = clip.pre_layrnorm(clip.embeddings(frames))  # (frames, 1 + patches, dim)
        for layer in clip.encoder.layers[: self.num_layers_used]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]  # (frames, patches, dim)
