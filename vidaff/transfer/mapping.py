"""Mappings from the classes of SOR3D-AFF to those of a still set: YAML files, checked strictly.

A file::

    dataset: umd
    about: one sentence for people
    classes:
      hammer: [pound]            # SOR3D-AFF class: classes of the other set
      lift: [wrap-grasp]
      squeeze: [wrap-grasp]      # several may lead to one
      paint: []                  # no counterpart, like every class that is not named
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BeforeValidator, ValidationError, model_validator

from vidaff.config import MAX_RECIPE_BYTES, Settings
from vidaff.datasets import STILLS
from vidaff.datasets.taxonomies import Taxonomy, taxonomy_of
from vidaff.datasets.taxonomy import AFFORDANCES, NUM_AFFORDANCES
from vidaff.errors import VidaffError, first_line


def _as_list(value: Any) -> Any:
    """``pound`` stands for ``[pound]``, and nothing for ``[]``."""
    return [] if value is None else [value] if isinstance(value, str) else value


Targets = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class ClassMapping(Settings):
    """What each class of SOR3D-AFF means in the still set ``dataset``; classes not named mean nothing there."""

    dataset: str
    about: str = ""
    classes: dict[str, Targets]

    @model_validator(mode="after")
    def _known(self) -> ClassMapping:
        if self.dataset not in STILLS:
            raise ValueError(f"dataset must be one of {', '.join(STILLS)}, got {self.dataset!r}")
        for source, targets in self.classes.items():
            if source not in AFFORDANCES:
                raise ValueError(f"{source!r} is no class of SOR3D-AFF; known: {', '.join(AFFORDANCES)}")
            for name in targets:
                if name not in self.taxonomy.affordances:
                    known = ", ".join(self.taxonomy.affordances)
                    raise ValueError(f"{source}: {name!r} is no class of {self.dataset}; known: {known}")
            if len(set(targets)) != len(targets):
                raise ValueError(f"{source}: a class is named twice")
        if not self.table().any():
            raise ValueError("no class has a counterpart, so that there is nothing to score")
        return self

    @property
    def taxonomy(self) -> Taxonomy:
        """Classes of the still set."""
        return taxonomy_of(self.dataset)

    def sources(self, target: str) -> list[str]:
        """Classes of SOR3D-AFF that mean ``target``, in the order of their ids."""
        return [name for name in AFFORDANCES if target in self.classes.get(name, ())]

    def table(self) -> np.ndarray:
        """(K, 9) bool: whether class ``s`` of SOR3D-AFF means class ``t`` of the still set, at ``[t, s]``."""
        targets = self.taxonomy.affordances
        table = np.zeros((len(targets), NUM_AFFORDANCES), bool)
        for source, names in self.classes.items():
            table[[targets.index(name) for name in names], AFFORDANCES.index(source)] = True
        return table


def load_mapping(dataset: str, path: str | Path | None = None) -> ClassMapping:
    """The mapping in a YAML file, or without ``path`` the one that ships for ``dataset``.

    Raises:
        VidaffError: no such file, no YAML, a class that does not exist, a class named twice, another data set.
    """
    if path is None:
        text = (importlib.resources.files("vidaff") / "mappings" / f"{dataset}.yaml").read_text(encoding="utf-8")
        where = f"mapping {dataset}"
    else:
        text, where = _read(Path(path)), str(path)
    mapping = _validated(_parse(text, where), where)
    if mapping.dataset != dataset:
        raise VidaffError(f"{where}: is for {mapping.dataset}, not for {dataset}")
    return mapping


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise VidaffError(f"{path}: larger than {MAX_RECIPE_BYTES >> 20} MiB, refused as a mapping")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise VidaffError(f"{path}: no such file; a mapping is a YAML file, see docs/transfer.md") from error
    except (OSError, UnicodeDecodeError) as error:
        raise VidaffError(f"{path}: not readable as a mapping ({first_line(error)})") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key stands once: of two lines for one class, PyYAML would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # a safe loader: plain values only
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise VidaffError(f"{where}: not readable as YAML ({first_line(error)})") from error
    if not isinstance(data, dict):
        raise VidaffError(f"{where}: a mapping has the keys dataset and classes")
    return data


def _validated(data: dict[str, Any], where: str) -> ClassMapping:
    try:
        return ClassMapping.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(first["type"], first["msg"])
        reason = reason.removeprefix("Value error, ")
        raise VidaffError(f"{where}: {key}: {reason}" if key else f"{where}: {reason}") from error
