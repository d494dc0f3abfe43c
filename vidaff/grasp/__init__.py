"""Choosing a grasp: candidates of any grasp planner, ranked by where the picture affords an action.

Worked example, a picture of 640x480 pixels and 100 candidates in the frame of the robot's base::

    heat = grounder(rgb, "hold")                                        # (480, 640), sums to 1
    grasps = read_grasps("candidates.npy")                              # 100 positions (metres) and rotations
    ranking = rank(heat, grasps, Intrinsics(615, 615, 320, 240), camera_from_base)
    ranking.order                                                       # (100,) int, best first
    ranking.heat, ranking.pixels, ranking.problems                      # (100,), (100, 2), 100 texts

Source: Xu et al., ICLR 2025, tries grasps on a robot with and without the heat map (its Table 13) and does not write
down how a grasp is chosen; the rule here is ours, see :func:`rank`.
"""

from vidaff.grasp.candidates import Grasps, as_grasps, as_pose, read_grasps, read_pose
from vidaff.grasp.ranking import BEHIND, OUTSIDE, Ranking, rank

__all__ = ["BEHIND", "OUTSIDE", "Grasps", "Ranking", "as_grasps", "as_pose", "rank", "read_grasps", "read_pose"]
