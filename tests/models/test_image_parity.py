"""The networks and losses of the image branch against the numbers of the authors' code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vidaff.models.image import GrounderSettings, RefinementNet, build_grounder, from_plsp_state_dict
from vidaff.models.image.losses import GroundingTargets, grounding_losses, heatmap_divergence, refinement_loss

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "wsag"
PARAMETERS = {"grounding": 112_520_740, "refinement": 98_345_216}
HEADS = {"encoder_heads": 3, "fuser_heads": 4}
ATOL, RTOL = 2e-5, 1e-4
NOTHING = 1e-8
"""Gradients below this are rounding: shifting all keys by a bias changes no softmax."""


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> Path:
    folder = shared_dir / "golden" / "wsag"
    if not (folder / "ground_tiny64.weights.safetensors").is_file():
        pytest.skip("the authors' numbers are not beside this checkout")
    return folder


@pytest.fixture(scope="module")
def grounding(golden: Path):
    numbers = load_file(golden / "ground_tiny64.io.safetensors")
    return from_plsp_state_dict(load_file(golden / "ground_tiny64.weights.safetensors"), **HEADS), numbers


def exocentric(numbers, count: int):
    """The first ``2 * count`` exocentric pictures, two pictures' worth, with masks (B, n, N)."""
    images = numbers["in.exo"][: 2 * count].unflatten(0, (2, count))
    masks = numbers["in.exo_mask"][: 2 * count].unflatten(0, (2, count)).squeeze(-1)
    return images, masks


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual.reshape(expected.shape), expected, atol=ATOL, rtol=RTOL)


@pytest.mark.parametrize("task", PARAMETERS)
def test_full_size_names_shapes_and_count_are_the_authors(task: str) -> None:
    with torch.device("meta"):
        model = build_grounder(GrounderSettings(task=task))
    expected = json.loads((GOLDEN / "full_keys.json").read_text())[task]
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == expected
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[task]
    fixed = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert fixed == (["verb_fuser.rd_pos_embed"] if task == "grounding" else [])


@pytest.mark.real
def test_the_fixed_positions_are_computed_as_theirs(golden: Path) -> None:
    from vidaff.models.image.fuser import position_table

    expected = load_file(golden / "ground_tiny64.weights.safetensors")["verb_fuser.rd_pos_embed"]
    torch.testing.assert_close(position_table(64, 4), expected, atol=1e-6, rtol=0)


@pytest.mark.real
@torch.no_grad()
def test_grounding_forward(grounding) -> None:
    model, numbers = grounding
    features = model.encode(numbers["in.imgs"])
    close(features.tokens, numbers["noexo.encoder_tokens"])
    output = model.ground(features, numbers["in.text"])
    close(output.noun, numbers["noexo.pred_noun"])
    close(output.part, numbers["noexo.pred_part"])
    logits = model(numbers["in.imgs"], numbers["in.text"])
    assert logits.shape == numbers["noexo.heatmap"].shape
    close(logits, numbers["noexo.heatmap"])


@pytest.mark.real
@pytest.mark.parametrize("count", [1, 2])
@torch.no_grad()
def test_grounding_with_exocentric_pictures(grounding, count: int) -> None:
    model, numbers = grounding
    output = model.with_exocentric(numbers["in.imgs"], numbers["in.text"], *exocentric(numbers, count))
    close(output.logits, numbers[f"exo{count}.heatmap"])
    close(output.misalignment, numbers[f"exo{count}.sim_loss"])
    close(output.exo_logits, numbers[f"exo{count}.exo_logits"])


@pytest.mark.real
def test_losses_and_every_gradient(grounding, golden: Path) -> None:
    model, numbers = grounding
    expected = json.loads((golden / "manifest.json").read_text())["models"]["ground_tiny64"]["grad_norms"]
    target = GroundingTargets(numbers["in.gt_prob"], numbers["in.vids"], numbers["in.noun"], numbers["in.part"])
    output = model.with_exocentric(numbers["in.imgs"], numbers["in.text"], *exocentric(numbers, 1))
    losses = grounding_losses(output, target)
    mixed = grounding_losses(output, target, pairing="broadcast")
    names = {"kl": "heatmap", "sim": "alignment", "exo_cls": "exo", "noun_paired": "noun", "part_paired": "part"}
    for theirs, ours in {**names, "total_paired": "total"}.items():
        assert losses[ours].item() == pytest.approx(numbers[f"loss.{theirs}"].item(), rel=RTOL), ours
    for name in ("noun", "part"):
        assert mixed[name].item() == pytest.approx(numbers[f"loss.{name}_broadcast"].item(), rel=RTOL)
    model.zero_grad()
    losses["total"].backward()
    weights = dict(model.named_parameters())
    assert {name for name, weight in weights.items() if weight.grad is None} == {"verb_fuser.rd_pos_embed"}
    assert set(weights) == set(expected)
    for name, norm in expected.items():
        if norm is not None:
            assert weights[name].grad.norm().item() == pytest.approx(norm, rel=RTOL, abs=NOTHING), name


@pytest.mark.real
@torch.no_grad()
def test_refinement_forward(golden: Path) -> None:
    numbers = load_file(golden / "refine_tiny64.io.safetensors")
    model = from_plsp_state_dict(load_file(golden / "refine_tiny64.weights.safetensors"), **HEADS)
    assert isinstance(model, RefinementNet)
    close(model(numbers["in.imgs"], numbers["in.part_text"]), numbers["logits"])


@pytest.mark.parametrize("weights", ["ones", "some", "weights", "zeros"])
def test_heatmap_loss(weights: str) -> None:
    numbers = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN / "kl_loss.npz").items()}
    loss = heatmap_divergence(numbers["logits"], numbers["target"], numbers[f"valid_{weights}"])
    assert loss.item() == pytest.approx(numbers[f"loss_{weights}"].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("loss_code", {"resize": "stretch"}),
        ("loss_code_temperature10", {"resize": "stretch", "temperature": 10}),
        ("loss_paper_order", {}),
    ],
)
def test_refinement_loss(name: str, options: dict) -> None:
    numbers = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN / "refine_loss.npz").items()}
    logits = numbers["logits"].requires_grad_()
    ego = numbers["ego_tokens"].requires_grad_()
    exo = numbers["exo_tokens"].requires_grad_()
    loss = refinement_loss(
        logits,
        ego,
        exo,
        boxes=numbers["ego_boxes_ltrb"],
        exo_masks=numbers["exo_obj_mask224"],
        weights=numbers["crop_weights"],
        **options,
    )
    assert loss.item() == pytest.approx(numbers[name].item(), rel=1e-5)
    loss.backward()
    assert logits.grad.abs().sum() > 0
    assert exo.grad is None  # the exocentric side is the target
