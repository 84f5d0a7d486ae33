"""The two ways of resizing for Inception-v3, by the programs that they are named after."""

import numpy as np
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

RESOLUTION = 299


def tensorflow(images: np.ndarray) -> np.ndarray:
    """Images [N, C, H, W] of bytes as torch-fidelity resizes them."""
    size = (RESOLUTION, RESOLUTION)
    images = torch.from_numpy(images.astype(np.float32))
    return interpolate_bilinear_2d_like_tensorflow1x(images, size=size, align_corners=False).numpy()


def clean(images: np.ndarray) -> np.ndarray:
    """Images [N, C, H, W] of bytes as Parmar et al. 2022 resize them: a channel of real numbers at a time,
    by Pillow's bicubic filter, then clamped."""
    size = (RESOLUTION, RESOLUTION)
    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32), mode="F").resize(size, Image.Resampling.BICUBIC))
        for plane in images.reshape(-1, *images.shape[2:])
    ]
    return np.stack(planes).clip(0, 255).reshape(*images.shape[:2], *size)


RESIZES = {"tensorflow": tensorflow, "clean": clean}
