"""Video frames as a transformers video processor: one visual per video, each frame a square of pixels."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin

from longva_demo.model.config import LongVAConfig
from longva_demo.model.image_processing import SquarePixels, local_path, open_image
from longva_demo.model.longva import VIDEO
from longva_demo.model.pixels import normalise, square_frames

DEFAULT_FRAMES = 32  # of a file, without `num_frames` or `fps`


class LongVAVideosKwargs(VideosKwargs, total=False):
    """Arguments of `LongVAVideoProcessor`, beside transformers' own."""

    patch_size: int | None
    pool_stride: int | None
    reducing_gap: float | None


class LongVAVideoProcessor(SquarePixels, VideoProcessorMixin):
    """Videos to `pixel_values` (frames, 3, S, S) and `visual_slots` (videos, 2), see `LongVAModel.get_image_features`.

    Args:
        size: the side S of a frame in pixels. Like the other sizes it belongs to the model, not to a call.
        patch_size, pool_stride: of the vision tower and of the pooling after the projector.
        reducing_gap: like Pillow's. Larger frames are box-averaged to no less than this many times S before they are
            resized. LongVA was trained without it (None).
        num_frames, fps: how many frames to sample, in all or per second of the video. Without them an array keeps all
            of its frames, and a file gives 32.
    """

    model_input_names = ["pixel_values", "visual_slots"]  # noqa: RUF012 (transformers declares it so)
    valid_kwargs = LongVAVideosKwargs
    pool_stride = 2
    fixed = (*SquarePixels.fixed, "pool_stride", "reducing_gap")
    reducing_gap: float | None = None
    num_frames: int | None = None
    fps: float | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_attributes(**kwargs)

    @classmethod
    def from_config(cls, config: LongVAConfig, **kwargs: Any) -> "LongVAVideoProcessor":
        """The processor that a model's configuration describes."""
        side = config.vision_config.image_size
        kwargs |= {"patch_size": config.vision_config.patch_size, "pool_stride": config.mm_spatial_pool_stride}
        return cls(size={"height": side, "width": side}, **kwargs)

    def preprocess(self, videos: Any, **kwargs: Any) -> BatchFeature:  # type: ignore[override]
        """Preprocess videos.

        Args:
            videos: uint8 arrays or tensors (frames, height, width, 3) or (frames, 3, height, width), lists of frames,
                or paths of files. Files are decoded in this process: use `longva_demo.decode` for those of strangers.
        Raises:
            ValueError: a video has another dtype or shape, is an address, or `num_frames` and `fps` are both given.
        """
        return_tensors = kwargs.pop("return_tensors", None) or "pt"
        levels = self.levels(**kwargs)
        budget = {name: kwargs.get(name) or getattr(self, name) for name in ("num_frames", "fps")}
        if kwargs.get("do_sample_frames") is False:
            budget = {"num_frames": None, "fps": None}
        if None not in budget.values():
            raise ValueError("pass either num_frames or fps")
        stacks = [
            square_frames(read_frames(video, rate, **budget), self.side, self.reducing_gap)
            for video, rate in with_rates(list(flatten_videos(videos)), kwargs.get("video_metadata"))
        ]
        if not stacks:
            raise ValueError("no videos were passed")
        tensors = {
            "pixel_values": torch.cat([normalise(pixels, levels) for pixels in stacks]),
            "visual_slots": torch.tensor([[VIDEO, len(pixels)] for pixels in stacks]),
        }
        return BatchFeature(tensors, tensor_type=return_tensors)

    def num_tokens(self, num_frames: int) -> int:
        """Visual tokens of a video: 144 per frame in LongVA-7B."""
        return num_frames * (self.side // self.patch_size // self.pool_stride) ** 2


def flatten_videos(videos: Any) -> Iterator[Any]:
    """All videos of a nested list: arrays (frames, height, width, 3) or paths. A list of frames is one video."""
    if videos is None:
        return
    if isinstance(videos, (list, tuple)):
        if videos and (isinstance(videos[0], Image.Image) or getattr(videos[0], "ndim", 0) == 3):
            yield np.stack([np.asarray(open_image(frame).convert("RGB")) for frame in videos])
            return
        for video in videos:
            yield from flatten_videos(video)
    elif isinstance(videos, (str, Path)):
        yield local_path(videos)
    else:
        array = videos.numpy() if isinstance(videos, torch.Tensor) else np.asarray(videos)
        for video in array if array.ndim == 5 else array[None]:
            if video.ndim != 4:
                raise ValueError(f"frames are {video.dtype} {video.shape}; use uint8 (frames, height, width, 3)")
            is_channels_first = video.shape[-1] != 3 and video.shape[1] == 3
            yield video.transpose(0, 2, 3, 1) if is_channels_first else video


def with_rates(videos: list[Any], metadata: Any) -> Iterator[tuple[Any, float | None]]:
    """Each video with its frames per second, from transformers' `video_metadata`, where it is known."""
    entries = metadata if isinstance(metadata, (list, tuple)) else [metadata] * len(videos)
    flat = [item for entry in entries for item in (entry if isinstance(entry, (list, tuple)) else [entry])]
    for video, entry in zip(videos, flat, strict=True):
        yield video, entry["fps"] if isinstance(entry, Mapping) else None


def sampled_indices(total: int, rate: float | None, num_frames: int | None, fps: float | None) -> np.ndarray:
    """Indices of the sampled frames, evenly spaced from the first to the last, as in the original.

    >>> sampled_indices(10, 5.0, num_frames=4, fps=None).tolist(), sampled_indices(10, 5.0, None, fps=1.0).tolist()
    ([0, 3, 6, 9], [0, 9])
    """
    if fps is not None:
        if not rate:
            raise ValueError("the frames per second of a video are unknown; pass num_frames, or video_metadata")
        num_frames = max(1, round(total / rate * fps))
    if num_frames is None or num_frames >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, num_frames, dtype=int)


def read_frames(video: Any, rate: float | None, num_frames: int | None, fps: float | None) -> np.ndarray:
    """The sampled frames (frames, height, width, 3) of an array or a file."""
    if not isinstance(video, Path):
        return video[sampled_indices(len(video), rate, num_frames, fps)]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        total = sum(packet.size > 0 for packet in container.demux(stream))
        rate = float(stream.average_rate or 0)
    if num_frames is None and fps is None:
        num_frames = DEFAULT_FRAMES
    wanted = set(sampled_indices(total, rate, num_frames, fps).tolist())
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        ]
    if not frames:
        raise ValueError(f"{video.name} has no frames that can be decoded")
    return np.stack(frames)
