"""Whitening: a linear map to fewer, decorrelated dimensions of unit variance, learned by PCA or from matching pairs."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.errors import ArtifactError, WeightsError
from lrcr.models.file import read_model_file
from lrcr.models.header import is_safetensors

Array = npt.NDArray[np.float32]

_MIN_SHARE = 0.1  # lower bound of the share of pair differences along an axis, relative to the mean over axes


class Whitening(nn.Module):
    """The layer x → W x + b over the last dimension, which has C channels (Jégou and Chum, ECCV 2012).

    It is learned by `fit_whitening` or `fit_discriminative_whitening`. Before, it selects the first d channels.

    Args:
        channels: C, of the features.
        dim: d, of the descriptors.

    Example:
        >>> import torch
        >>> layer = Whitening(channels=4, dim=2)
        >>> layer.assign(*fit_whitening([torch.rand(100, 4).numpy()], dim=2))
        >>> layer(torch.zeros(3, 5, 4)).shape
        torch.Size([3, 5, 2])
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim, channels))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, features: Tensor) -> Tensor:
        """Whiten features of shape (..., C) to (..., d)."""
        return F.linear(features, self.weight, self.bias)

    def assign(self, weight: Array, bias: Array) -> None:
        """Set the weight, of shape (d, C), and the bias, of shape (d,)."""
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.copy_(torch.from_numpy(bias))

    def learn(self, batches: Iterable[Array], shrinkage: float) -> None:
        """Learn weight and bias from features, each batch of shape (N_i, C); see `fit_whitening`."""
        self.assign(*fit_whitening(batches, len(self.bias), shrinkage))


class Centring(Whitening):
    """A layer x → W x + b that learns b = −W · mean, and keeps the identity as W until it is trained.

    Pooled vectors have no negative values, so the cosine of any two is high. Those of centred vectors differ.

    Args:
        channels: C, of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def learn(self, batches: Iterable[Array], shrinkage: float) -> None:
        """Learn the bias from features, each batch of shape (N_i, C), at least one; `shrinkage` is unused.

        Raises:
            WeightsError: a feature is not finite.
        """
        count, total = 0, np.zeros(len(self.bias))
        for batch in batches:
            count, total = count + len(batch), total + batch.sum(axis=0, dtype=np.float64)
        if not np.isfinite(total).all():
            raise WeightsError("whitening: a feature is not finite; the weights are damaged or training diverged")
        with torch.no_grad():
            self.bias.copy_(-(self.weight @ torch.from_numpy((total / count).astype(np.float32)).to(self.bias)))


def fit_whitening(batches: Iterable[Array], dim: int, shrinkage: float = 1.0) -> tuple[Array, Array]:
    """PCA whitening with shrinkage, as in HOW (Tolias et al., ECCV 2020), in one pass over the features.

    Component i is divided by λ_i^(shrinkage / 2), its standard deviation at shrinkage 1.

    Args:
        batches: features, each of shape (N_i, C).
        dim: number of components to keep.
        shrinkage: 0 rotates only, 1 whitens fully.

    Returns:
        Weight of shape (dim, C) and bias of shape (dim,), the strongest component first.

    Raises:
        WeightsError: there are not more features than dimensions, or a feature is not finite.
    """
    count, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        if not np.isfinite(batch).all():
            raise WeightsError("whitening: a feature is not finite; the weights are damaged or training diverged")
        wide = batch.astype(np.float64)
        if not count:
            total, products = np.zeros(wide.shape[1]), np.zeros((wide.shape[1], wide.shape[1]))
        count, total, products = count + len(wide), total + wide.sum(axis=0), products + wide.T @ wide
    if count <= dim:
        raise WeightsError(
            f"whitening: {dim} dimensions need more than {count} features; add images, or lower whitening.dim "
            "(of a vector: pooling.projection)"
        )
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    variances, axes = variances[::-1][:dim], axes[:, ::-1][:, :dim]
    weight = axes.T / np.clip(variances, 1e-14, None)[:, None] ** (shrinkage / 2)
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)


def fit_discriminative_whitening(vectors: Array, pairs: npt.NDArray[np.int64], dim: int) -> tuple[Array, Array]:
    """Learned discriminative whitening: axes along which matching vectors differ least, compared with all vectors.

    The differences of matching pairs are whitened; the axes are then those along which all vectors vary most
    (Mikolajczyk and Matas, ICCV 2007; Radenović, Tolias, Chum, TPAMI 2019). With few pairs, the differences are close
    to zero along some axes, by chance or because there are fewer pairs than dimensions. These axes would dominate the
    result. Therefore the share of an axis's variance that is due to differences has a lower bound: a tenth of the mean
    share. If the shares of all axes were equal, the result would be PCA whitening.

    Args:
        vectors: of shape (N, D).
        pairs: rows of matching vectors, of shape (P, 2).
        dim: number of components to keep.

    Returns:
        Weight of shape (dim, D) and bias of shape (dim,), the component of largest variance first.

    Raises:
        WeightsError: a vector is not finite, they vary along fewer than `dim` axes, or no pair differs.
    """
    if not np.isfinite(vectors).all():
        raise WeightsError("whitening: a vector is not finite; the weights are damaged or training diverged")
    wide = vectors.astype(np.float64)
    mean = wide.mean(axis=0)
    variances, axes = np.linalg.eigh((wide - mean).T @ (wide - mean) / len(wide))
    varied = variances > 1e-10 * variances[-1]
    if varied.sum() < dim:
        raise WeightsError(
            f"whitening.dim: {dim}, but the vectors vary along {varied.sum()} axes; add images or lower it"
        )
    pca = axes[:, varied].T / np.sqrt(variances[varied])[:, None]
    differences = (wide[pairs[:, 0]] - wide[pairs[:, 1]]) @ pca.T
    if not differences.any():
        raise WeightsError(f"whitening: none of {len(pairs)} matching pairs differs; label more photos")
    shares, axes = np.linalg.eigh(differences.T @ differences / len(pairs))
    shares = np.maximum(shares, _MIN_SHARE * shares.mean())[:dim]
    weight = (axes[:, :dim] / np.sqrt(shares)).T @ pca
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)


def read_whitening(path: Path, channels: int, dim: int) -> tuple[Array, Array]:
    """Read the whitening of a local model: see `read_whitening_file`.

    Raises:
        WeightsError: as in `read_whitening_file`, or it does not fit the model.
    """
    weight, bias = read_whitening_file(path, "whitening.file")
    if weight.shape != (dim, channels) or bias.shape != (dim,):
        raise WeightsError(
            f"whitening.file: {path}: weight {weight.shape} and bias {bias.shape} do not fit {channels} channels "
            f"and whitening.dim {dim}; set backbone or whitening.dim to match"
        )
    return weight, bias


def read_whitening_file(path: Path, key: str) -> tuple[Array, Array]:
    """Read `whiten_weight` (d, C) and `whiten_bias` (d,) from an .npz file, or the whitening of a model file.

    Args:
        key: the key of the params that names the file, for messages.

    Raises:
        WeightsError: the file is missing or is neither of them, or an array is missing or not finite.
    """
    try:
        weight, bias = _read_model(path) if is_safetensors(path) else _read_arrays(path)
    except FileNotFoundError:
        raise WeightsError(f"{key}: {path}: no such file; name an .npz file") from None
    except ArtifactError as error:
        raise WeightsError(f"{key}: {error}") from None
    except KeyError as error:
        raise WeightsError(f"{key}: {path}: {error.args[0]}; store whiten_weight and whiten_bias") from None
    except Exception as error:  # numpy and zipfile raise all kinds of errors on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{key}: {path}: not an .npz file of arrays ({reason}); name another") from None
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise WeightsError(f"{key}: {path}: holds values that are not finite; the file is damaged")
    return weight, bias


def _read_arrays(path: Path) -> tuple[Array, Array]:
    with np.load(path, allow_pickle=False) as file:
        return file["whiten_weight"].astype(np.float32), file["whiten_bias"].astype(np.float32)


def _read_model(path: Path) -> tuple[Array, Array]:
    state, _ = read_model_file(path)
    return state["whitening.weight"].numpy(), state["whitening.bias"].numpy()
