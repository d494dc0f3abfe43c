"""Things, pictures and labels of the synthetic AGD20K, one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidaff.datasets.agd20k import AFFORDANCES, OBJECTS
from vidaff.datasets.synthetic.agd20k_labels import (
    FAULTS,
    STEADY,
    WEAK,
    WEAK_SHARES,
    detected_box,
    fault_of,
    heatmap,
    initial_label,
    roughened,
)
from vidaff.datasets.synthetic.agd20k_plan import PicturePlan, pairs, plan_split
from vidaff.datasets.synthetic.agd20k_scene import MIN_SHARE, render_ego
from vidaff.datasets.synthetic.agd20k_similarity import descriptor
from vidaff.datasets.synthetic.agd20k_things import ThingType, thing_types
from vidaff.datasets.synthetic.agd20k_use import render_exo
from vidaff.datasets.synthetic.grips import holds

SIZE = 64
KNIFE = PicturePlan(0, "train", "cut_with", "knife", 0)


def region_of(plan: PicturePlan) -> np.ndarray:
    return plan.type.build(plan.instance_rng()).region(plan.verb)


@pytest.mark.parametrize("kind", thing_types(), ids=lambda kind: kind.noun)
@pytest.mark.parametrize("seed", range(3))
def test_things_are_sound(kind: ThingType, seed: int) -> None:
    thing = kind.build(np.random.default_rng(seed))
    names = [part.name for part in thing.model.parts]
    assert len(set(names)) == len(names)
    assert tuple(sorted(thing.handlings)) == kind.verbs
    points = np.concatenate([part.mesh.vertices[part.mesh.triangles].reshape(-1, 3) for part in thing.model.parts])
    assert points[:, 2].min() == pytest.approx(0.0, abs=0.004)
    assert 0.08 < np.ptp(points, axis=0).max() < 0.6
    for verb in kind.verbs:
        assert len(thing.region(verb)) >= 1
        assert holds(thing.handlings[verb].grip)
        assert np.linalg.norm(thing.handlings[verb].grip.point) < 0.4


def test_the_classes_are_official() -> None:
    for verb, noun in pairs("Seen", "train"):
        assert verb in AFFORDANCES
        assert noun in OBJECTS
    assert len(pairs("Seen", "train")) == 52


def test_unseen_objects_are_new_and_their_affordances_known() -> None:
    train, test = pairs("Unseen", "train"), pairs("Unseen", "test")
    assert not {noun for _, noun in train} & {noun for _, noun in test}
    assert {verb for verb, _ in test} <= {verb for verb, _ in train}
    assert pairs("Seen", "test") == pairs("Seen", "train")


@pytest.mark.parametrize(
    ("noun", "first", "second"),
    [
        ("knife", "hold", "cut_with"),
        ("cup", "hold", "drink_with"),
        ("bottle", "open", "pour"),
        ("bowl", "hold", "stir"),
    ],
)
def test_affordances_of_a_thing_concern_different_parts(noun: str, first: str, second: str) -> None:
    thing = PicturePlan(0, "train", first, noun, 0).type.build(np.random.default_rng(1))
    assert not set(thing.region(first)) & set(thing.region(second))


def test_plans_do_not_depend_on_the_size_of_the_set_and_share_instances_over_affordances() -> None:
    few, many = (plan_split(0, "Seen", "train", count) for count in (60, 200))
    assert set(few) < set(many)
    assert len(few) == 60
    counts = Counter((plan.verb, plan.noun) for plan in many)
    assert max(counts.values()) - min(counts.values()) <= 1
    other = replace(KNIFE, verb="hold")
    assert KNIFE.instance_rng().random() == other.instance_rng().random()
    assert KNIFE.rng("scene", 0).random() != other.rng("scene", 0).random()
    assert KNIFE.instance_rng().random() != replace(KNIFE, role="test").instance_rng().random()


@given(st.sampled_from(pairs("Seen", "train")), st.integers(0, 20_000), st.sampled_from(["train", "exo", "test"]))
def test_names_are_unique(pair: tuple[str, str], index: int, role: str) -> None:
    plan = PicturePlan(0, role, *pair, index)
    others = [replace(plan, verb=verb, index=i) for verb in plan.type.verbs for i in (index, index + 1)]
    assert len({other.stem for other in others}) == len(others)
    assert plan.name == f"{plan.verb}/{plan.noun}/{plan.stem}.jpg"


@pytest.mark.parametrize("pair", [("cut_with", "knife"), ("open", "refrigerator"), ("hold", "cup"), ("hold", "bowl")])
def test_egocentric_pictures_show_the_part_and_repeat_exactly(pair: tuple[str, str]) -> None:
    plan = PicturePlan(3, "train", *pair, 1)
    still, again = render_ego(plan, SIZE), render_ego(plan, SIZE)
    np.testing.assert_array_equal(still.rgb, again.rgb)
    assert still.rgb.shape == (SIZE, SIZE, 3)
    assert still.parts.max() <= len(plan.type.build(plan.instance_rng()).model.parts)
    assert np.isin(still.parts, region_of(plan) + 1).mean() > 0.7 * MIN_SHARE
    assert not np.array_equal(still.rgb, render_ego(replace(plan, index=2), SIZE).rgb)


@pytest.mark.parametrize(
    "pair", [("hold", "knife"), ("pour", "wine_glass"), ("wash", "fork"), ("open", "refrigerator")]
)
def test_use_hides_the_part_in_question(pair: tuple[str, str]) -> None:
    def share(role: str, index: int) -> float:
        plan = PicturePlan(0, role, *pair, index)
        parts = (render_exo if role == "exo" else render_ego)(plan, SIZE).parts
        return float(np.isin(parts, region_of(plan) + 1).sum() / (parts > 0).sum())

    alone, used = (np.mean([share(role, index) for index in range(5)]) for role in ("train", "exo"))
    assert used < 0.75 * alone


@pytest.mark.parametrize(("pair", "shares"), [(("hold", "axe"), STEADY), (("hold", "hammer"), WEAK_SHARES)])
def test_faults_keep_their_shares(pair: tuple[str, str], shares: tuple[float, ...]) -> None:
    assert (pair in WEAK) == (shares is WEAK_SHARES)
    found = Counter(fault_of(PicturePlan(5, "train", *pair, index)) for index in range(200))
    np.testing.assert_allclose([found[fault] / 200 for fault in FAULTS], shares, atol=0.015)


def test_faulty_labels_are_what_they_say() -> None:
    parts = np.zeros((80, 80), np.uint8)
    parts[20:40, 20:60], parts[40:60, 20:60] = 1, 2
    truth, region = parts == 1, np.array([0])
    overlap: dict[str, list[float]] = {}
    for index in range(60):
        plan = PicturePlan(0, "train", "hold", "hammer", index)
        label = initial_label(plan, parts, region)
        if fault_of(plan) == "missing":
            assert label is None
            continue
        assert label is not None
        assert label.any()
        iou = float((label & truth).sum() / (label | truth).sum())
        overlap.setdefault(fault_of(plan), []).append(iou)
    assert min(overlap["good"]) > 0.8
    assert 0.4 < min(overlap["whole"]) <= max(overlap["whole"]) < 0.6
    assert max(overlap["other"]) < 0.1
    assert 0.1 < np.mean(overlap["shifted"]) < 0.7


def test_rough_masks_stay_close() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:40] = True
    rough = roughened(np.random.default_rng(0), mask)
    assert 0.01 < (rough ^ mask).sum() / mask.sum() < 0.15


def test_boxes_surround_the_mask() -> None:
    mask = np.zeros((50, 70), bool)
    mask[10:30, 20:60] = True
    ((left, top, right, bottom, score),) = detected_box(KNIFE, mask)
    np.testing.assert_allclose([left, top, right, bottom], [20, 10, 60, 30], atol=4)
    assert 0.5 < score < 1
    assert detected_box(KNIFE, np.zeros((5, 5), bool)) == []


def test_heatmaps_peak_inside_the_part() -> None:
    truth = np.zeros((64, 64), bool)
    truth[30:44, 8:40] = True
    heat = heatmap(KNIFE, truth)
    assert heat.dtype == np.uint8
    assert heat.max() == 255
    assert truth[np.unravel_index(heat.argmax(), heat.shape)]
    assert heat[truth].sum() > 0.5 * heat.sum()
    assert not heatmap(KNIFE, np.zeros((8, 8), bool)).any()


def test_descriptors_tell_looks_apart() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    red, green = (
        np.full((32, 32, 3), tint, np.uint8) + rng.integers(0, 20, (32, 32, 3), np.uint8)
        for tint in ((200, 30, 30), (30, 180, 40))
    )
    background = red.copy()
    background[~mask] = 0
    assert np.linalg.norm(descriptor(red, mask)) == pytest.approx(1, abs=1e-5)
    assert descriptor(red, mask) @ descriptor(background, mask) > 0.95 > descriptor(red, mask) @ descriptor(green, mask)
    assert not descriptor(red, np.zeros((32, 32), bool)).any()
