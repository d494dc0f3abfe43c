"""The model card that goes with a saved checkpoint: what it is, how to use it, how it was made, what it reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from vidaff.config import Recipe, dump_recipe
from vidaff.datasets.taxonomies import taxonomy_of_model

USAGE = """```python
import vidaff

segmenter = vidaff.VideoSegmenter.from_pretrained("PATH_OR_HUB_ID")
for rgb, depth in frames:              # (H, W, 3) uint8, (H, W) uint16 millimetres
    result = segmenter.step(rgb, depth)
    print(result.action, result.labels.shape)
```

or `vidaff infer clip.mp4 --checkpoint PATH_OR_HUB_ID --out runs/clip`."""

STREAMS = {"none": "one stream", "flow2d": "second stream: 2D flow", "flow3d": "second stream: 3D scene flow"}


def model_card_text(model: nn.Module, recipe: Recipe, info: Mapping[str, Any], *, metadata: str) -> str:
    """Markdown, ready to be a hub repository's README.md.

    ``info``: whatever the checkpoint says of itself (data, results, ...); nested values are listed flat.
    ``metadata``: YAML (library, licence, tags) for the card's header.
    """
    parameters = sum(p.numel() for p in model.parameters())
    height, width = recipe.input.size
    kind = ", ".join(("RGB-D" if recipe.model.depth else "RGB", STREAMS[recipe.model.second_stream]))
    names = taxonomy_of_model(info).affordances
    told = "and the action that is being performed." if recipe.model.num_actions else "each frame by itself."
    known = "\n".join(f"| {key} | {value} |" for key, value in _flat(info)) or "| nothing recorded | |"
    return f"""---
{metadata.strip()}
---

# {recipe.name}: affordances in video

{recipe.about or "A spatio-temporal affordance autoencoder."}
It gives, for every frame, a per-pixel map of {len(names)} affordances ({", ".join(names)}) and background,
{told}

Method: Thermos, Daras, Potamianos, "A Deep Learning Approach to Object Affordance Segmentation", ICASSP 2020.

| | |
|---|---|
| input | {kind}, {width}x{height} pixels at {recipe.input.fps:g} frames a second (any frame size is resized) |
| parameters | {parameters:,} |
| width, attention | {recipe.model.width:g}, {recipe.model.attention} |

## Use

{USAGE}

## What the checkpoint says of itself

| | |
|---|---|
{known}

## Recipe

```yaml
{dump_recipe(recipe).rstrip()}
```
"""


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield name, text.replace("|", "/").replace("\n", " ")[:200]
