"""The five data sets, and the recipes that were chosen for them: `docs/utility.md` says how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.utility import places, published
from benchmarks.utility.study import Mode, Recipe, Regime, Study

_ROOT: Final = Path(__file__).parent.parent.parent
_EXAMPLES: Final = _ROOT / "docs" / "examples"
_TASKS: Final = Path(__file__).parent / "tasks"

Recipes = dict[tuple[Mode, Regime], Recipe]


def _shared(strict: Recipe, loose: Recipe) -> Recipes:
    """One recipe for a curator, for `distributed`, whose step is the same, and for each hospital by itself."""
    modes: tuple[Mode, ...] = ("pooled", "distributed", "alone")
    recipes: dict[Regime, Recipe] = {"strict": strict, "loose": loose}
    return {(mode, regime): recipe for mode in modes for regime, recipe in recipes.items()}


_PNEUMONIA: Final = Recipe(steps=300, sampling_rate=256 / 4708, learning_rate=1.0, clip=0.5)
_PNEUMONIA_LOCAL: Final = Recipe(
    steps=300, local_steps=5, sampling_rate=0.05, learning_rate=0.1, momentum=0.0, clip=1.0
)

PNEUMONIA: Final = Study(
    name="pneumoniamnist",
    title="PneumoniaMNIST, 40 hospitals",
    task=_EXAMPLES / "pneumonia.toml",
    places=places.pneumoniamnist,
    recipes={
        **_shared(_PNEUMONIA, _PNEUMONIA),
        ("local", "strict"): _PNEUMONIA_LOCAL,
        ("local", "loose"): _PNEUMONIA_LOCAL,
        ("pooled", "open"): Recipe(steps=300, sampling_rate=256 / 4708, learning_rate=0.03),
        ("federated", "open"): Recipe(steps=300, local_steps=3, sampling_rate=16 / 118, learning_rate=0.05),
        ("alone", "open"): Recipe(steps=300, sampling_rate=16 / 118, learning_rate=0.03),
    },
    measures=("accuracy", "auc"),
    seeds=3,
    published=published.PNEUMONIAMNIST,
)

HEART: Final = Study(
    name="heart",
    title="UCI Heart Disease, its four hospitals",
    task=_EXAMPLES / "heart-bounds.toml",
    places=places.heart,
    recipes={
        **_shared(
            Recipe(steps=60, sampling_rate=1.0, learning_rate=0.1, clip=1.0),
            Recipe(steps=20, sampling_rate=1.0, learning_rate=0.3, clip=1.0),
        ),
        ("local", "strict"): Recipe(steps=60, local_steps=5, sampling_rate=0.3, learning_rate=1.0, clip=0.3),
        ("local", "loose"): Recipe(steps=20, local_steps=5, sampling_rate=0.3, learning_rate=0.3, clip=1.0),
        ("pooled", "open"): Recipe(steps=200, sampling_rate=0.3, learning_rate=0.1),
        ("federated", "open"): Recipe(steps=50, sampling_rate=0.3, learning_rate=0.1),
        ("alone", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.003),
    },
    measures=("accuracy", "auc"),
    seeds=5,
    noise_levels=(4,),
    published=published.HEART,
)

TCGA: Final = Study(
    name="tcga-brca",
    title="TCGA-BRCA, its six regions, discrete-time Cox model",
    task=_TASKS / "tcga-brca.toml",
    places=places.tcga_brca,
    recipes={
        **_shared(
            Recipe(steps=60, sampling_rate=1.0, learning_rate=0.3, clip=0.3),
            Recipe(steps=60, sampling_rate=1.0, learning_rate=1.0, clip=1.0),
        ),
        ("local", "strict"): Recipe(steps=60, local_steps=5, sampling_rate=0.3, learning_rate=0.1, clip=0.3),
        ("local", "loose"): Recipe(steps=60, local_steps=5, sampling_rate=0.3, learning_rate=0.1, clip=0.3),
        ("pooled", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.1),
        ("federated", "open"): Recipe(steps=200, local_steps=5, sampling_rate=0.3, learning_rate=0.1),
        ("alone", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.1),
    },
    measures=("c_index",),
    seeds=3,
    noise_levels=(6,),
)

TCGA_COX: Final = Study(
    name="tcga-brca-cox",
    title="TCGA-BRCA, its six regions, Cox's partial likelihood",
    task=_TASKS / "tcga-brca-cox.toml",
    places=places.tcga_brca,
    recipes={
        ("pooled", "open"): Recipe(steps=200, sampling_rate=0.3, learning_rate=0.03),
        ("federated", "open"): Recipe(steps=200, local_steps=5, sampling_rate=0.3, learning_rate=0.1),
        ("alone", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.003),
    },
    measures=("c_index",),
    seeds=3,
    regimes=("open",),
    published=published.TCGA_COX,
)

BREAST_CANCER: Final = Study(
    name="breast-cancer",
    title="Breast cancer (Wisconsin), the demo's eight hospitals",
    task=_ROOT / "cli" / "demo_task.toml",
    places=places.breast_cancer,
    recipes={
        **_shared(
            Recipe(steps=60, sampling_rate=1.0, learning_rate=1.0, clip=0.3),
            Recipe(steps=60, sampling_rate=1.0, learning_rate=1.0, clip=1.0),
        ),
        ("local", "strict"): Recipe(steps=60, local_steps=5, sampling_rate=0.3, learning_rate=1.0, clip=0.3),
        ("local", "loose"): Recipe(steps=60, local_steps=5, sampling_rate=0.3, learning_rate=1.0, clip=0.3),
        ("pooled", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.1),
        ("federated", "open"): Recipe(steps=100, local_steps=5, sampling_rate=0.3, learning_rate=0.1),
        ("alone", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.1),
    },
    measures=("accuracy", "auc"),
    seeds=3,
    noise_levels=(8,),
)

BREASTMNIST: Final = Study(
    name="breastmnist",
    title="BreastMNIST, 5 hospitals",
    task=_TASKS / "breastmnist.toml",
    places=places.breastmnist,
    recipes={
        **_shared(
            Recipe(steps=40, sampling_rate=0.3, learning_rate=0.1, clip=0.5),
            Recipe(steps=40, sampling_rate=0.3, learning_rate=1.0, clip=0.5),
        ),
        ("local", "strict"): Recipe(steps=40, local_steps=5, sampling_rate=0.3, learning_rate=0.1, clip=0.5),
        ("local", "loose"): Recipe(steps=40, local_steps=5, sampling_rate=0.3, learning_rate=0.3, clip=0.5),
        ("pooled", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.003),
        ("federated", "open"): Recipe(steps=100, local_steps=5, sampling_rate=0.3, learning_rate=0.01),
        ("alone", "open"): Recipe(steps=100, sampling_rate=0.3, learning_rate=0.01),
    },
    measures=("accuracy", "auc"),
    seeds=3,
    noise_levels=(5,),
    published=published.BREASTMNIST,
)

STUDIES: Final = (HEART, BREAST_CANCER, TCGA, TCGA_COX, BREASTMNIST, PNEUMONIA)


def named(name: str) -> Study:
    """The study called so."""
    return next(study for study in STUDIES if study.name == name)


def shortened(study: Study, steps: int) -> Study:
    """The same with no more steps than these, to try the command."""
    recipes = {
        key: msgspec.structs.replace(recipe, steps=min(steps, recipe.steps)) for key, recipe in study.recipes.items()
    }
    return replace(study, recipes=recipes)
