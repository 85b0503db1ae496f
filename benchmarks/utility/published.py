"""Figures that others published on the same data: copied from where they say, not made here.

FLamby's are means over its seeds 42 to 46, each as its result files give it. Models, steps and optimizers are others,
and what is measured is named where it is not the pooled test patients of our tables.
"""

from __future__ import annotations

from typing import Final

from benchmarks.utility.study import Published

_FLAMBY: Final = "github.com/owkin/FLamby, flamby/"
_TCGA: Final = f"{_FLAMBY}results and new_results, results_benchmark_fed_tcga_brca, seeds 42 to 46, Pooled Test"
_HEART: Final = f"{_FLAMBY}new_results/results_benchmark_fed_heart_disease, seeds 42 to 46, Pooled Test"
_HEART_PRIVATE: Final = (
    f"{_FLAMBY}dp_example/results_fed_heart_disease.csv, delta 1e-4, seeds 42 to 46; "
    "mean over the four hospitals' own test patients"
)
_MEDMNIST: Final = "MedMNIST v2 (Yang et al. 2023), ResNet-18 at 28 x 28"

HEART: Final = (
    Published("FLamby, pooled", None, "accuracy", 0.671, _HEART),
    Published("FLamby, FedAvg", None, "accuracy", 0.569, _HEART),
    Published("FLamby, FedAvg, by hospital", None, "accuracy", 0.789, _HEART_PRIVATE),
    Published("FLamby, FedAvg, DP-SGD at each hospital", 1.0, "accuracy", 0.781, _HEART_PRIVATE),
    Published("FLamby, FedAvg, DP-SGD at each hospital", 5.0, "accuracy", 0.774, _HEART_PRIVATE),
)
TCGA_COX: Final = (
    Published("FLamby, pooled", None, "c_index", 0.704, _TCGA),
    Published("FLamby, FedAvg", None, "c_index", 0.735, _TCGA),
    Published("FLamby, FedAdam", None, "c_index", 0.842, _TCGA),
    Published("FLamby, each alone", None, "c_index", 0.671, _TCGA),
)
BREASTMNIST: Final = (
    Published("MedMNIST v2, pooled", None, "accuracy", 0.863, _MEDMNIST),
    Published("MedMNIST v2, pooled", None, "auc", 0.901, _MEDMNIST),
)
PNEUMONIAMNIST: Final = (
    Published("MedMNIST v2, pooled", None, "accuracy", 0.854, _MEDMNIST),
    Published("MedMNIST v2, pooled", None, "auc", 0.944, _MEDMNIST),
)
