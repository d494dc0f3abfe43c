"""Objects and pictures of the still sets: sound shapes, and labels where the geometry of the parts projects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.datasets.synthetic import IitAffSettings, UmdSettings, geometry, still_iit_aff, still_umd
from vidaff.datasets.synthetic.objects import object_types
from vidaff.datasets.synthetic.still_iit_aff import INSTANCES, IitPlan
from vidaff.datasets.synthetic.still_kinds import IIT_KINDS, UMD_KINDS, UMD_NOVEL
from vidaff.datasets.synthetic.still_scene import StillScene, StillShot
from vidaff.datasets.synthetic.still_shapes import plate, shell, smooth, squared, vessel
from vidaff.datasets.synthetic.still_umd import UmdPlan
from vidaff.datasets.taxonomies import IIT_AFF, UMD
from vidaff.datasets.umd import CATEGORY_LABELS
from vidaff.errors import VidaffError

SHAPE = (144, 192)
BUILDERS = {
    **{f"umd-{name}": (kind.build, set(kind.ranks)) for name, kind in UMD_KINDS.items()},
    **{f"iit-{name}": (kind.build, set(kind.affordances)) for name, kind in IIT_KINDS.items()},
}


def volume(mesh: geometry.Mesh) -> float:
    """Signed volume in cubic metres: positive when the triangles are wound outwards."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]].astype(float) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("name", BUILDERS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_instance_is_sound(name: str, seed: int) -> None:
    build, known = BUILDERS[name]
    parts = build(np.random.default_rng(seed))
    assert {part.name for part in parts} <= known
    points = np.concatenate([part.mesh.vertices for part in parts])
    assert np.isfinite(points).all()
    assert points[:, 2].min() == pytest.approx(0, abs=1e-5)
    assert 0.06 < np.ptp(points, axis=0).max() < 0.5
    for part in parts:
        assert part.mesh.triangles.max() < len(part.mesh.vertices)
        assert volume(part.mesh) > 1e-8, part.name
    again = build(np.random.default_rng(seed))
    for one, two in zip(parts, again, strict=True):
        np.testing.assert_array_equal(one.mesh.vertices, two.mesh.vertices)
        assert one.material == two.material


def test_no_builder_is_one_of_the_clips() -> None:
    theirs = {kind.build for kind in object_types()}
    assert not theirs & {build for build, _ in BUILDERS.values()}


def test_tables_agree_with_what_is_known_of_the_real_sets() -> None:
    assert set(UMD_KINDS) == set(UMD.objects)
    assert set(IIT_KINDS) == set(IIT_AFF.objects)
    assert set(UMD_NOVEL) < set(UMD_KINDS)
    for name, kind in UMD_KINDS.items():
        assert {ranks.index(1) + 1 for ranks in kind.ranks.values()} == CATEGORY_LABELS[name]
        assert all(set(ranks) <= {1, 2, 3, 9} and ranks.count(1) == 1 for ranks in kind.ranks.values())
    used = {affordance for kind in IIT_KINDS.values() for affordance in kind.affordances.values()}
    assert used - {""} == set(IIT_AFF.affordances)


FINE = 4


def silhouette(scene: StillScene, points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W) bool that the triangles touch, and those that they fill: by a rasterizer of finer pixels."""
    camera = scene.camera
    local = points @ camera.view[:, :3].T + camera.view[:, 3]
    pixel = camera.focal * local[:, :2] / local[:, 2:] + (camera.cx, camera.cy)
    height, width = camera.shape
    mask = np.zeros((FINE * height, FINE * width), np.uint8)
    for corners in np.rint(((pixel[triangles] + 0.5) * FINE - 0.5) * 16).astype(np.int32):
        cv2.fillConvexPoly(mask, corners, 1, shift=4)
    # What the rasterizer fills is up to a fine pixel too much all around.
    blocks = (
        mask.reshape(height, FINE, width, FINE),
        cv2.erode(mask, np.ones((3, 3))).reshape(height, FINE, width, FINE),
    )
    return blocks[0].max(axis=(1, 3)) > 0, blocks[1].min(axis=(1, 3)) > 0


def check_parts(scene: StillScene, shot: StillShot) -> None:
    """A part is seen only where it projects, and everywhere where nothing else does."""
    placed = [*scene.items, *scene.clutter]
    found = [
        silhouette(scene, part.mesh.vertices @ item.pose[:3, :3].T + item.pose[:3, 3], part.mesh.triangles)
        for item in placed
        for part in item.parts
    ]
    touched, filled = (np.stack(masks) for masks in zip(*found, strict=True))  # (P, H, W) each
    for number in range(1, len(scene.numbers()) + 1):
        seen = shot.parts == number
        assert not (seen & ~touched[number - 1]).any()
        others = np.delete(touched, number - 1, axis=0).any(axis=0)
        assert seen[filled[number - 1] & ~others].all()
    assert not shot.parts[~touched.any(axis=0)].any()


@pytest.mark.parametrize("category", UMD_KINDS)
def test_umd_labels_lie_where_the_parts_project(category: str) -> None:
    for rank in range(2):
        scene, shot = still_umd.shoot(UmdPlan(3, "train", category, rank, 1), SHAPE)
        assert scene.items[0].kind == category
        assert set(shot.parts.ravel()) <= set(range(len(scene.numbers()) + 1))
        check_parts(scene, shot)


def test_iit_labels_lie_where_the_parts_project() -> None:
    for number in range(12):
        scene, shot = still_iit_aff.shoot(IitPlan(1, "train", number, 4), SHAPE)
        assert 1 <= len(scene.items) <= 4
        check_parts(scene, shot)
        table = still_iit_aff.affordance_table(scene)
        for index, (item, part) in enumerate(scene.numbers(), start=1):
            affordance = IIT_KINDS[scene.items[item].kind].affordances[part]
            assert table[index] == (IIT_AFF.affordances.index(affordance) + 1 if affordance else 0)


def test_depth_is_that_of_the_geometry_in_the_nominal_camera() -> None:
    """Labelled pixels, lifted by depth and the set's intrinsics, lie in the box around the tool."""
    scene, shot = still_umd.shoot(UmdPlan(0, "val", "bowl", 0, 2), (480, 640))
    assert (scene.camera.focal, scene.camera.cx, scene.camera.cy) == (570.3, 320, 240)
    v, u = np.nonzero((shot.parts > 0) & (shot.depth > 0))
    z = shot.depth[v, u] / 1000
    local = np.column_stack([(u - 320) / 570.3 * z, (v - 240) / 570.3 * z, z])
    world = (local - scene.camera.view[:, 3]) @ scene.camera.view[:, :3]
    points = scene.items[0].points()
    inside = (world > points.min(axis=0) - 0.008) & (world < points.max(axis=0) + 0.008)
    assert inside.all(axis=1).mean() > 0.98
    assert 0.4 < z.min() < z.max() < 1.5
    assert 0.002 < (shot.depth == 0).mean() < 0.2


def test_objects_of_a_table_do_not_run_into_each_other() -> None:
    for number in range(6):
        scene, _ = still_iit_aff.shoot(IitPlan(2, "val", number, 8), (96, 128))
        boxes = [(item.points().min(axis=0), item.points().max(axis=0)) for item in scene.items]
        assert all(low[2] > -1e-4 for low, _ in boxes)
        feet = [still_iit_aff._footprint(item) for item in (*scene.items, *scene.clutter)]
        masks = [cv2.fillConvexPoly(np.zeros((900, 900), np.uint8), _grid(foot), 1) for foot in feet]
        assert np.sum(masks, axis=0).max() == 1


def _grid(corners: np.ndarray) -> np.ndarray:
    """Millimetres around the middle of the table, a little shrunk."""
    centre = corners.mean(axis=0)
    pixels: np.ndarray = np.rint(450 + 400 * (centre + 0.97 * (corners - centre))).astype(np.int32)
    return pixels


def test_pools_of_instances_are_disjoint() -> None:
    plans = [IitPlan(0, "train", 0, 4), IitPlan(0, "train", 7, 4), IitPlan(0, "val", 0, 4)]
    assert [plan.pool for plan in plans] == ["train", "holdout", "val"]
    assert set(INSTANCES) == {plan.pool for plan in plans}
    shapes = [plan.instance("hammer", 5)[0].mesh.vertices for plan in plans]
    for one in range(3):
        for two in range(one):
            assert not np.array_equal(shapes[one], shapes[two])


def test_umd_instances_of_the_splits_differ_in_name_and_shape() -> None:
    plan = UmdSettings(frames=2).plan
    train, val = ([plan(split, index) for index in range(200)] for split in ("train", "val"))
    assert not {each.tool for each in train} & {each.tool for each in val}
    assert {each.category for each in train[:34]} == set(UMD_KINDS)
    for category, kind in UMD_KINDS.items():
        one, two = (
            kind.build(next(each for each in plans if each.category == category).rng(still_umd._INSTANCE))
            for plans in (train, val)
        )
        same = len(one) == len(two) and all(
            np.array_equal(a.mesh.vertices, b.mesh.vertices) for a, b in zip(one, two, strict=True)
        )
        assert not same


def test_a_picture_does_not_depend_on_the_size_of_the_set() -> None:
    small, large = UmdSettings(pictures_train=5), UmdSettings(pictures_train=500)
    assert [small.plan("train", index) for index in range(5)] == [large.plan("train", index) for index in range(5)]
    one, two = (still_iit_aff.shoot(IitAffSettings().plan("val", 3), (96, 128))[1] for _ in range(2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "bad",
    [{"size": 8}, {"pictures_val": -1}, {"pictures_train": 0, "pictures_val": 0}, {"seed": -1}, {"frames": 0}],
)
def test_impossible_settings(bad: dict[str, int]) -> None:
    with pytest.raises(VidaffError):
        UmdSettings(**bad)


def test_plates_shells_and_vessels_have_the_volume_of_their_solid() -> None:
    along = np.linspace(0, 0.1, 5)
    assert volume(plate(along, -0.01, 0.01, 0.0, 0.004)) == pytest.approx(0.1 * 0.02 * 0.004, rel=1e-4)
    fine = np.linspace(0, 0.1, 101)
    assert volume(shell(fine, 0.02, 0.0, 0.01, 0.002)) == pytest.approx(0.1 * 0.04 * 0.002, rel=0.02)
    outside, inside = vessel([(0.03, 0.0), (0.03, 0.1)], 0.003, 64)
    wall = np.pi * (0.03**2 - 0.027**2) * 0.097 + np.pi * 0.03**2 * 0.003
    assert volume(outside) == pytest.approx(wall, rel=0.02)
    assert 0 < volume(inside) < 0.3 * wall


def test_squared_and_smooth_keep_what_they_promise() -> None:
    ring = geometry.cylinder(0.05, 0, 0.1, 40)
    np.testing.assert_allclose(squared(ring, 2.0).vertices, ring.vertices, atol=1e-6)
    assert volume(squared(ring, 8.0)) > 1.1 * volume(ring)
    path = np.array([[0.0, 0], [1, 0], [1, 1]])
    np.testing.assert_array_equal(smooth(path)[[0, -1]], path[[0, -1]])
    assert not (smooth(path) == path[1]).all(axis=1).any()
