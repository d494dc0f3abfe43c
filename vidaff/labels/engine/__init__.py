"""The engine under ``vidaff label``: steps over many pictures, deterministic, resumable, in one or many processes.

A worked example::

    class Dark:                                     # one step; see Work
        name = "dark"
        def setup(self): ...
        def run(self, item, image):                 # (H, W, 3) uint8
            mask = image.mean(2) < 60
            return Outcome([mask_file("initial", item.picture, mask)], {"area": int(mask.sum())})

    items = find_items("AGD20K")                    # or a CSV file, or a folder of tar archives
    run_work(Dark(), items, "labels", hashes={"model": "", "settings": "", "code": hash_code(__name__)})

The output folder is a label folder (:mod:`vidaff.datasets.agd20k.labels`) and, besides::

    OUT/manifest/<step>.jsonl           one line a shard: what was done, skipped and why, hashes
    OUT/records/<step>/<shard>.jsonl    one line an item: the files written, and what the step says of it
    OUT/shards/<step>/<shard>.tar       with archive=True, instead of single files
    OUT/timings/<step>.jsonl            seconds a shard: the one file in which equal runs differ

No part of this package imports torch.
"""

from vidaff.labels.engine.hashes import hash_code as hash_code
from vidaff.labels.engine.hashes import hash_files as hash_files
from vidaff.labels.engine.hashes import hash_value as hash_value
from vidaff.labels.engine.items import csv_items as csv_items
from vidaff.labels.engine.items import find_items as find_items
from vidaff.labels.engine.items import is_tree as is_tree
from vidaff.labels.engine.items import pair_items as pair_items
from vidaff.labels.engine.items import tree_items as tree_items
from vidaff.labels.engine.lock import lock_folder as lock_folder
from vidaff.labels.engine.manifest import read_manifest as read_manifest
from vidaff.labels.engine.manifest import read_records as read_records
from vidaff.labels.engine.pictures import encode_mask as encode_mask
from vidaff.labels.engine.pictures import mask_file as mask_file
from vidaff.labels.engine.pictures import read_item as read_item
from vidaff.labels.engine.run import Engine as Engine
from vidaff.labels.engine.run import Summary as Summary
from vidaff.labels.engine.run import run_work as run_work
from vidaff.labels.engine.tars import tar_items as tar_items
from vidaff.labels.engine.types import Basis as Basis
from vidaff.labels.engine.types import Item as Item
from vidaff.labels.engine.types import Outcome as Outcome
from vidaff.labels.engine.types import SkipItem as SkipItem
from vidaff.labels.engine.types import Source as Source
from vidaff.labels.engine.types import Work as Work

__all__ = [
    "Basis", "Engine", "Item", "Outcome", "SkipItem", "Source", "Summary", "Work", "csv_items", "encode_mask",
    "find_items", "hash_code", "hash_files", "hash_value", "is_tree", "lock_folder", "mask_file", "pair_items",
    "read_item", "read_manifest", "read_records", "run_work", "tar_items", "tree_items",
]  # fmt: skip
