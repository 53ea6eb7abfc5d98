"""Losses: pure functions of tensors, one file per family. :mod:`emer.losses.arguments` has what they share."""

from emer.losses.auc_pairs import auc_pair_loss
from emer.losses.aucm import aucm_loss, aucm_min_max_loss
from emer.losses.bce import multi_objective_bce_loss, reconstruction_loss
from emer.losses.candidate_weighted import candidate_weighted_pairwise_loss
from emer.losses.graded import graded_pairwise_loss
from emer.losses.intel import intel_bpr_loss, intel_mse_loss, intel_pl_loss
from emer.losses.label_aggregation import label_aggregation_loss
from emer.losses.listwise import lambdarank_loss, listnet_loss
from emer.losses.pairwise import pairwise_logistic_loss, pairwise_logistic_terms
from emer.losses.pairwise_square import pairwise_square_loss
from emer.losses.soft_rank import rank_sum_auc_loss, soft_rank
from emer.losses.urem import urem_similarity_loss

__all__ = [
    "auc_pair_loss",
    "aucm_loss",
    "aucm_min_max_loss",
    "candidate_weighted_pairwise_loss",
    "graded_pairwise_loss",
    "intel_bpr_loss",
    "intel_mse_loss",
    "intel_pl_loss",
    "label_aggregation_loss",
    "lambdarank_loss",
    "listnet_loss",
    "multi_objective_bce_loss",
    "pairwise_logistic_loss",
    "pairwise_logistic_terms",
    "pairwise_square_loss",
    "rank_sum_auc_loss",
    "reconstruction_loss",
    "soft_rank",
    "urem_similarity_loss",
]
