"""AGD20K: pictures of objects and of their use, and where on the object an action is done.

Pictures of the image branch, not clips: training pictures have no labels but a verb and a noun, so pseudo-labels come
from a label folder. No part of this package imports torch.

A worked example::

    train = Agd20kTrain("AGD20K", "seen")       # 1 exocentric picture each, pseudo-labels beside the pictures
    train.epoch = 3
    sample = train[0]                           # image (3, 224, 224), heatmap (1, 224, 224), verb 3, noun 42, ...
    test = Agd20kTest("AGD20K", "seen")
    test[0].heatmap.sum()                       # 1.0

Source: Luo et al., "Learning Affordance Grounding from Exocentric Images", CVPR 2022 (the set); Xu et al.,
"Weakly-Supervised Affordance Grounding Guided by Part-Level Semantic Priors", ICLR 2025 (the samples).
"""

from vidaff.datasets.agd20k.classes import AFFORDANCES as AFFORDANCES
from vidaff.datasets.agd20k.classes import OBJECTS as OBJECTS
from vidaff.datasets.agd20k.classes import Classes as Classes
from vidaff.datasets.agd20k.classes import read_classes as read_classes
from vidaff.datasets.agd20k.draws import Draw as Draw
from vidaff.datasets.agd20k.draws import Stitch as Stitch
from vidaff.datasets.agd20k.labels import Box as Box
from vidaff.datasets.agd20k.labels import LabelFolder as LabelFolder
from vidaff.datasets.agd20k.labels import SimilarityTable as SimilarityTable
from vidaff.datasets.agd20k.pixels import CLIP_MEAN as CLIP_MEAN
from vidaff.datasets.agd20k.pixels import CLIP_STD as CLIP_STD
from vidaff.datasets.agd20k.samples import TestSample as TestSample
from vidaff.datasets.agd20k.samples import TrainSample as TrainSample
from vidaff.datasets.agd20k.testing import Agd20kTest as Agd20kTest
from vidaff.datasets.agd20k.text import TextFeatures as TextFeatures
from vidaff.datasets.agd20k.text import read_text_features as read_text_features
from vidaff.datasets.agd20k.text import write_text_features as write_text_features
from vidaff.datasets.agd20k.training import Agd20kTrain as Agd20kTrain
from vidaff.datasets.agd20k.tree import SPLITS as SPLITS
from vidaff.datasets.agd20k.tree import Agd20kTree as Agd20kTree
from vidaff.datasets.agd20k.tree import Picture as Picture

__all__ = [
    "AFFORDANCES", "CLIP_MEAN", "CLIP_STD", "OBJECTS", "SPLITS", "Agd20kTest", "Agd20kTrain", "Agd20kTree", "Box",
    "Classes", "Draw", "LabelFolder", "Picture", "SimilarityTable", "Stitch", "TestSample", "TextFeatures",
    "TrainSample", "read_classes", "read_text_features", "write_text_features",
]  # fmt: skip
