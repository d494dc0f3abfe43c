"""Rendered clips: what the picture, the depth, the parts and the flow promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vidaff.datasets.recording import parse_name
from vidaff.datasets.synthetic.clip import MIN_SHARE, RenderedClip, render_clip, settle_scene
from vidaff.datasets.synthetic.objects import object_types
from vidaff.datasets.synthetic.scene import ClipPlan, plan_clips
from vidaff.datasets.taxonomy import AFFORDANCES

SIZE, FRAMES = 64, 10


def one_of_each(count: int = 150) -> list[ClipPlan]:
    """One plan for every pair of type and action."""
    found: dict[tuple[int, str], ClipPlan] = {}
    for plan in plan_clips(3, "train", count):
        found.setdefault((plan.kind, plan.action), plan)
    return list(found.values())


@pytest.fixture(scope="module")
def clips() -> list[RenderedClip]:
    return [render_clip(plan, SIZE, FRAMES) for plan in one_of_each()]


def test_every_pair_of_type_and_action_was_rendered(clips: list[RenderedClip]) -> None:
    assert len(clips) == sum(len(kind.actions) for kind in object_types())
    assert {clip.plan.action for clip in clips} == set(AFFORDANCES)


def test_shapes_and_types(clips: list[RenderedClip]) -> None:
    for clip in clips:
        assert clip.rgb.shape == (FRAMES, SIZE, SIZE, 3)
        assert clip.rgb.dtype == np.uint8
        assert clip.depth.shape == clip.parts.shape == (FRAMES, SIZE, SIZE)
        assert clip.depth.dtype == np.uint16
        assert clip.flow.shape == (FRAMES, SIZE, SIZE, 3)
        assert clip.flow.dtype == np.int16
        assert 20 < clip.rgb.mean() < 235


def test_every_used_part_can_be_seen_at_the_end(clips: list[RenderedClip]) -> None:
    for clip in clips:
        model = clip.scene.model
        for use in model.uses.values():
            share = (clip.parts[-1] == model.part_index(use.part) + 1).mean()
            assert share > 0.7 * MIN_SHARE, (clip.plan.name, use.part)


def test_object_rests_and_hand_is_gone_at_the_end(clips: list[RenderedClip]) -> None:
    for clip in clips:
        assert not clip.flow[0].any()
        # The hand (label 0) would be the only thing that moves.
        assert not clip.flow[-1][clip.parts[-1] > 0].any(), clip.plan.name
        assert not clip.flow[-1].any(), clip.plan.name


def test_something_moves_in_between(clips: list[RenderedClip]) -> None:
    for clip in clips:
        assert np.abs(clip.flow[2:8].astype(int)).max() > 50, clip.plan.name


def test_the_concerned_part_moves_unless_it_is_typed_on(clips: list[RenderedClip]) -> None:
    for clip in clips:
        use = clip.scene.model.uses[clip.plan.action]
        mine = clip.parts == clip.scene.model.part_index(use.part) + 1
        moved = np.abs(clip.flow.astype(int)).max(axis=-1)[mine]
        assert (moved.max() > 20) == (clip.plan.action != "type"), clip.plan.name


def test_the_action_leaves_no_trace_in_the_last_frame() -> None:
    for plan in one_of_each(60)[:6]:
        others = [action for action in plan.type.actions if action != plan.action]
        one, two = render_clip(plan, 48, 4), render_clip(replace(plan, action=others[0]), 48, 4)
        np.testing.assert_array_equal(one.rgb[-1], two.rgb[-1])
        np.testing.assert_array_equal(one.depth[-1], two.depth[-1])
        np.testing.assert_array_equal(one.parts[-1], two.parts[-1])
        assert (one.rgb[1:-1] != two.rgb[1:-1]).any()


def test_same_plan_same_clip() -> None:
    plan = plan_clips(0, "val", 3)[2]
    one, two = (render_clip(plan, 40, 3) for _ in range(2))
    for name in ("rgb", "depth", "parts", "flow"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_flow_leads_back_to_the_same_part_of_the_frame_before(clips: list[RenderedClip]) -> None:
    """A point of a part, moved back by its flow, is seen as that part at that depth, unless something hides it."""
    good, total = 0, 0
    for clip in clips:
        camera = clip.scene.camera
        for now in range(2, FRAMES - 1):
            v, u = np.nonzero((clip.parts[now] > 0) & (clip.depth[now] > 0) & (clip.flow[now] != 0).any(axis=-1))
            z = clip.depth[now][v, u] / 1000
            point = np.stack([(u - camera.cx) / camera.focal * z, (v - camera.cy) / camera.focal * z, z], axis=-1)
            old = point - clip.flow[now][v, u] * 1e-4
            back = np.rint(old[:, :2] / old[:, 2:] * camera.focal + (camera.cx, camera.cy)).astype(int)
            inside = ((back >= 0) & (back < SIZE)).all(axis=-1)
            x, y = back[inside].T
            seen = (clip.parts[now - 1][y, x] == clip.parts[now][v, u][inside]) & (clip.depth[now - 1][y, x] > 0)
            error = np.abs(clip.depth[now - 1][y, x][seen] / 1000 - old[inside][seen, 2])
            good += int((error < 0.012).sum())
            total += len(error)
    assert total > 5000
    assert good / total > 0.93


def test_depth_is_noisy_and_has_holes(clips: list[RenderedClip]) -> None:
    depth = np.stack([clip.depth for clip in clips])
    assert 0.004 < (depth == 0).mean() < 0.2
    assert depth[depth > 0].min() > 100
    assert depth.max() < 4000
    still = np.abs(np.diff(depth[0, :2].astype(int), axis=0))
    assert 0 < np.median(still[still > 0]) < 12


def test_plans_are_balanced_and_do_not_depend_on_the_size_of_the_set() -> None:
    plans = plan_clips(0, "train", 1200)
    assert plan_clips(0, "train", 70) == plans[:70]
    pairs = Counter((plan.kind, plan.action) for plan in plans)
    for kind, entry in enumerate(object_types()):
        counts = [pairs[kind, action] for action in entry.actions]
        assert max(counts) - min(counts) <= 2
    actions = Counter(plan.action for plan in plans)
    assert max(actions.values()) < 2.1 * min(actions.values())
    assert set(Counter(plan.view for plan in plans)) == {1, 2, 3}


def test_names_are_official_and_unique() -> None:
    plans = plan_clips(0, "train", 90) + plan_clips(0, "val", 90)
    assert len({plan.name for plan in plans}) == len(plans)
    for plan in plans:
        info = parse_name(plan.name)
        assert AFFORDANCES[info.action] == plan.action
        assert info.object == plan.type.official
        assert info.subject == f"Subject{plan.subject}"


def test_train_and_val_share_neither_subjects_nor_instances() -> None:
    train, val = plan_clips(0, "train", 300), plan_clips(0, "val", 300)
    assert not {plan.subject for plan in train} & {plan.subject for plan in val}
    same = [(a, b) for a in train[:60] for b in val[:60] if a.kind == b.kind][:20]
    assert same
    for a, b in same:
        one, two = settle_scene(a, 32)[0].model, settle_scene(b, 32)[0].model
        assert any(p.material != q.material for p, q in zip(one.parts, two.parts, strict=True))
        assert not np.array_equal(one.parts[0].mesh.vertices, two.parts[0].mesh.vertices)
