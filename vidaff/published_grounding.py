"""Published numbers on AGD20K, to be shown beside one's own. Nothing here was measured by us.

KLD is lower, SIM and NSS are higher when better. Most methods were scored by LOCATE's evaluator or one like it; see
:mod:`vidaff.metrics.heatmaps` for what differs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SOURCE: Final = (
    'P. Xu, Y. Mu, "Weakly-Supervised Affordance Grounding Guided by Part-Level Semantic Priors", ICLR 2025, '
    "Tables 1, 6 and 7"
)


class Row(NamedTuple):
    """One method's KLD, SIM and NSS."""

    kld: float
    sim: float
    nss: float


_SEEN_UNSEEN: Final[dict[str, tuple[Row, Row]]] = {
    "Hotspots": (Row(1.773, 0.278, 0.615), Row(1.994, 0.237, 0.577)),
    "Cross-View-AG": (Row(1.538, 0.334, 0.927), Row(1.787, 0.285, 0.829)),
    "Cross-View-AG+": (Row(1.489, 0.342, 0.981), Row(1.765, 0.279, 0.882)),
    "AffCorrs": (Row(1.407, 0.359, 1.026), Row(1.618, 0.348, 1.021)),
    "LOCATE": (Row(1.226, 0.401, 1.177), Row(1.405, 0.372, 1.157)),
    "WSMA": (Row(1.176, 0.416, 1.247), Row(1.335, 0.382, 1.220)),
    "Strategies": (Row(1.194, 0.400, 1.223), Row(1.407, 0.362, 1.170)),
    "WorldAfford": (Row(1.201, 0.406, 1.255), Row(1.393, 0.380, 1.225)),
    "WSAG-PLSP, baseline": (Row(0.938, 0.503, 1.477), Row(1.256, 0.428, 1.346)),
    "WSAG-PLSP": (Row(0.890, 0.510, 1.547), Row(1.153, 0.437, 1.418)),
    "AffordanceCLIP (zero-shot)": (Row(1.628, 0.335, 0.791), Row(1.812, 0.301, 0.760)),
    "OVAL-Prompt (zero-shot)": (Row(10.649, 0.339, 1.044), Row(8.832, 0.365, 0.925)),
    "OOAL (one labelled example)": (Row(0.740, 0.577, 1.745), Row(1.070, 0.461, 1.503)),
}

PUBLISHED: Final[dict[str, dict[str, Row]]] = {
    "seen": {name: rows[0] for name, rows in _SEEN_UNSEEN.items()},
    "unseen": {
        **{name: rows[1] for name, rows in _SEEN_UNSEEN.items()},
        "AffordanceLLM (supervised)": Row(1.463, 0.377, 1.070),
    },
    "hard": {
        "Cross-View-AG": Row(2.092, 0.209, 0.138),
        "Cross-View-AG+": Row(2.034, 0.218, 0.342),
        "LOCATE": Row(1.829, 0.282, 0.276),
        "LOCATE-Sup (supervised)": Row(2.003, 0.224, 0.435),
        "LOCATE-Sup-OWL (supervised)": Row(2.127, 0.206, 0.314),
        "3DOI (supervised)": Row(4.017, 0.200, 0.549),
        "AffordanceLLM (supervised)": Row(1.661, 0.361, 0.947),
        "ManipVQA (supervised)": Row(12.67, 0.246, 1.735),
        "WSAG-PLSP, baseline": Row(1.402, 0.353, 1.122),
        "WSAG-PLSP": Row(1.395, 0.354, 1.151),
    },
}
"""Split -> method -> its row."""

ABLATION: Final[dict[str, dict[str, Row]]] = {
    "seen": {
        "base": Row(0.938, 0.503, 1.477),
        "refinement": Row(0.916, 0.506, 1.524),
        "refinement-raw": Row(0.943, 0.503, 1.483),
        "alignment": Row(0.924, 0.507, 1.486),
        "reasoning": Row(0.943, 0.508, 1.464),
        "full": Row(0.890, 0.510, 1.547),
    },
    "unseen": {
        "base": Row(1.256, 0.428, 1.346),
        "refinement": Row(1.246, 0.427, 1.336),
        "alignment": Row(1.176, 0.437, 1.407),
        "alignment-picture": Row(1.259, 0.422, 1.312),
        "reasoning-part": Row(1.244, 0.426, 1.331),
        "reasoning-object": Row(1.234, 0.424, 1.323),
        "reasoning": Row(1.242, 0.433, 1.353),
        "full": Row(1.153, 0.437, 1.418),
    },
}
"""Split -> row of the ablations in Tables 2, 8, 9 and 10 -> its numbers; means of five seeds."""
