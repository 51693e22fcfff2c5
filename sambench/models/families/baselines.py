"""Baselines without learned weights."""

from __future__ import annotations

from sambench.models.cards import ModelCard

NOTHING = "None: there is nothing to download."

CARDS = (
    ModelCard(
        "region_tree",
        "region_tree",
        "embedded baseline without learned weights",
        adapter="sambench.models.region_tree.region_tree",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=frozenset(),
        parameters=0,
        weights=NOTHING,
        ran_released_weights=True,
        uses_torch=False,
    ),
    *(
        ModelCard(
            name,
            "edge detectors",
            summary,
            adapter="sambench.models.edges.detectors",
            capabilities=frozenset({"edges"}),
            trained_on=frozenset(),
            parameters=0,
            citation=citation,
            weights=NOTHING,
            ran_released_weights=True,
            uses_torch=False,
            options=options,
        )
        for name, summary, citation, options in (
            ("sobel", "edges: the Sobel gradient", "", "SobelOptions"),
            (
                "canny",
                "edges: Canny's detector without thresholds",
                "Canny, A Computational Approach to Edge Detection, PAMI 1986",
                "CannyOptions",
            ),
            (
                "felzenszwalb",
                "edges: boundaries of Felzenszwalb and Huttenlocher's segments at several scales",
                "Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004",
                "FelzenszwalbOptions",
            ),
        )
    ),
)
