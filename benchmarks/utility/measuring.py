"""How good a model is on some patients: accuracy and AUC of a classification, the c-index of a survival model."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.utility.study import Scores
from benchmarks.utility.survival import concordance
from training.evaluation import evaluate
from training.records import Records
from training.task import Task

SURVIVAL = "benchmarks.utility.survival:"


def measured(task: Task, module: nn.Module, records: Records) -> Scores:
    """On scaled records."""
    if task.spec.kind.startswith(SURVIVAL):
        module.eval()
        with torch.no_grad():
            risks = task.scores(module(torch.from_numpy(records.features)))[:, 1].double().numpy()
        return Scores(records.patient_count, c_index=concordance(records.labels, risks))
    found = evaluate(task, module, records, torch.device("cpu"))
    return Scores(found.patients, found.accuracy, found.auc)
