"""A video loader for vLLM: frames that somebody else has chosen, or a video file.

`data:video/x-longva;base64,…` with a .npy file, uint8 (frames, height, width, 3), is taken as it is. Everything else
goes to vLLM's own loader, which samples numpy.linspace(0, total - 1, num_frames), as LongVA does.
"""

from io import BytesIO
from typing import Any

import numpy as np
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoBackend

NPY = b"\x93NUMPY"


@VIDEO_LOADER_REGISTRY.register("longva")
class LongVAFrames(VideoBackend):
    @classmethod
    def load_bytes(cls, data: bytes, num_frames: int = -1, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        if not data.startswith(NPY):
            return super().load_bytes(data, num_frames=num_frames, **kwargs)
        frames = np.load(BytesIO(data), allow_pickle=False)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
            raise ValueError(f"frames are {frames.dtype} {frames.shape}; use uint8 (frames, height, width, 3)")
        count = len(frames)
        return frames, {
            "total_num_frames": count,
            "fps": 1.0,
            "duration": float(count),
            "video_backend": "longva",
            "frames_indices": list(range(count)),
            "do_sample_frames": False,
        }
