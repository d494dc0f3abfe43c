"""Object types: shapes, uses and how they share out the actions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.datasets.synthetic import geometry
from vidaff.datasets.synthetic.grips import holds
from vidaff.datasets.synthetic.objects import ObjectType, object_types
from vidaff.datasets.taxonomy import AFFORDANCES, OBJECTS

TYPES = pytest.mark.parametrize("kind", object_types(), ids=lambda kind: kind.name)


def volume(mesh: geometry.Mesh) -> float:
    """Signed volume in cubic metres: positive when the triangles are wound outwards."""
    a, b, c = (mesh.vertices[mesh.triangles[:, k]].astype(float) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@TYPES
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_instance_is_sound(kind: ObjectType, seed: int) -> None:
    model = kind.build(np.random.default_rng(seed))
    assert set(model.uses) == set(kind.actions)
    points = np.concatenate([part.mesh.vertices for part in model.parts])
    assert np.isfinite(points).all()
    assert points[:, 2].min() == pytest.approx(0, abs=1e-5)
    assert 0.08 < np.ptp(points, axis=0).max() < 0.4
    for part in model.parts:
        assert part.mesh.triangles.max() < len(part.mesh.vertices)
        assert volume(part.mesh) > 1e-7, part.name


@TYPES
def test_actions_concern_different_parts(kind: ObjectType) -> None:
    model = kind.build(np.random.default_rng(0))
    parts = [use.part for use in model.uses.values()]
    assert len(parts) >= 2
    assert len(set(parts)) == len(parts)
    assert kind.official in OBJECTS
    assert set(kind.actions) <= set(AFFORDANCES)
    for action, use in model.uses.items():
        assert model.affordances(use.part) == [action]


@TYPES
def test_holds_are_rigid_frames(kind: ObjectType) -> None:
    model = kind.build(np.random.default_rng(1))
    for use in model.uses.values():
        for hold in holds(use.grip):
            np.testing.assert_allclose(hold.frame[:3, :3] @ hold.frame[:3, :3].T, np.eye(3), atol=1e-9)
            assert np.linalg.det(hold.frame[:3, :3]) == pytest.approx(1)
            assert np.linalg.norm(hold.arm) == pytest.approx(1)


def test_same_seed_same_shape() -> None:
    for kind in object_types():
        first, second = (kind.build(np.random.default_rng(7)) for _ in range(2))
        for a, b in zip(first.parts, second.parts, strict=True):
            np.testing.assert_array_equal(a.mesh.vertices, b.mesh.vertices)
            assert a.material == b.material


def test_actions_are_balanced_and_occur_on_several_types() -> None:
    share: dict[str, float] = dict.fromkeys(AFFORDANCES, 0.0)
    types: Counter[str] = Counter()
    for kind in object_types():
        for action in kind.actions:
            share[action] += kind.weight / len(kind.actions)
            types[action] += 1
    assert max(share.values()) < 2 * min(share.values())
    assert min(types.values()) >= 2
    assert {kind.official for kind in object_types()} == set(OBJECTS)


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (geometry.cylinder(0.1, 0, 0.2, 64), np.pi * 0.1**2 * 0.2),
        (geometry.ellipsoid((0.1, 0.2, 0.3), 64), 4 / 3 * np.pi * 0.006),
        (geometry.slab((0.2, 0.3, 0.1), radius=1e-6), 0.006),
        (geometry.superquadric((0.2, 0.2, 0.2), 1.0, 64), 4 / 3 * np.pi * 0.001),
        (geometry.sweep(np.array([[0, 0, 0], [0.5, 0, 0], [1, 0, 0]]), 0.1, 64), np.pi * 0.01),
    ],
    ids=["cylinder", "ellipsoid", "slab", "superquadric", "sweep"],
)
def test_primitives_have_the_volume_of_their_solid(mesh: geometry.Mesh, expected: float) -> None:
    assert volume(mesh) == pytest.approx(expected, rel=0.15)


def test_rotation_is_right_handed() -> None:
    np.testing.assert_allclose(geometry.rotation((0, 0, 2), np.pi / 2) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    turned = geometry.about((1, 0, 0), geometry.rotation((0, 0, 1), np.pi)) @ [2, 0, 0, 1]
    np.testing.assert_allclose(turned[:3], [0, 0, 0], atol=1e-12)
