import numpy as np
import torch

from lrcr.models.attention import AttentionModule, l2_attention


def test_l2_attention_is_the_norm_over_channels():
    features = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    assert torch.equal(l2_attention(features), torch.full((1, 2, 3), 5.0))


@torch.inference_mode()
def test_the_module_against_the_reference(fixtures):
    with np.load(fixtures / "delg_attention.npz") as file:
        numbers = {name: torch.from_numpy(file[name]).float() for name in file.files}
    features, score = numbers["feature_map"], numbers["score"]
    module = AttentionModule(features.shape[1]).eval()
    weights = {name.removeprefix("weight."): value for name, value in numbers.items() if name.startswith("weight.")}
    found = module.load_state_dict(weights, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    torch.testing.assert_close(module(features), score[:, 0], rtol=0, atol=1e-5)


def test_a_map_without_locations_has_an_attention_without_locations():
    assert AttentionModule(4)(torch.zeros(3, 4, 0, 0)).shape == (3, 0, 0)
