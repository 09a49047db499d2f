"""flash-attn without a compiler: a kernel from the Hub, through the package `kernels`. Downloaded only if asked for."""

import torch
from transformers.modeling_flash_attention_utils import lazy_import_flash_attention
from transformers.utils import is_kernels_available
from transformers.utils.import_utils import KERNELS_MAX_VERSION, KERNELS_MIN_VERSION

from longva_demo.errors import ModelError

FLASH_KERNEL = "flash_kernel"  # the value of --attention
REPOSITORY = "kernels-community/flash-attn2"
USE_SDPA = "use --attention sdpa"


def check_flash_kernel(device: torch.device, dtype: torch.dtype) -> None:
    """Raise ModelError if this machine cannot use the kernel. Downloads nothing."""
    if device.type != "cuda" or dtype == torch.float32:
        raise ModelError(f"{FLASH_KERNEL} requires a CUDA GPU and a 16-bit dtype", USE_SDPA)
    if not is_kernels_available():
        versions = f">={KERNELS_MIN_VERSION},<{KERNELS_MAX_VERSION}"
        raise ModelError(
            f"{FLASH_KERNEL} requires the package kernels", f"pip install 'kernels{versions}', or {USE_SDPA}"
        )


def load_flash_kernel() -> str:
    """Download the kernel, or take it from the cache. Returns the name by which transformers knows it.

    Raises:
        ModelError: the kernel does not exist for this machine, or the Hub is unreachable.
    """
    try:
        lazy_import_flash_attention(REPOSITORY)
    except Exception as error:  # of the package kernels: errors of many kinds
        line = " ".join(str(error).split())[:300]
        raise ModelError(f"the kernel {REPOSITORY} cannot be loaded ({line})", f"go online, or {USE_SDPA}") from error
    return REPOSITORY
