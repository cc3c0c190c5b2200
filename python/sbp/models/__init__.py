"""Methods by name; to add one, write a file beside these, enter it here, give it a preset."""

from __future__ import annotations

from .appnp import APPNP
from .base import Model, Network
from .batchnorm import BatchNorm
from .contranorm import ContraNorm
from .dagnn import DAGNN
from .dropedge import DropEdge
from .dropmessage import DropMessage
from .feature_sbp import FeatureSBP
from .feature_sbp_v2 import FeatureSBPv2
from .gat import GAT
from .gcn import GCN
from .gcnii import GCNII
from .jknet import JKNet
from .label_sbp import LabelSBP
from .label_sbp_v2 import LabelSBPv2
from .mlp import MLP
from .pairnorm import PairNorm
from .residual import Residual
from .sgc import SGC
from .wgcn import WGCN

MODELS: dict[str, type[Model]] = {
    "mlp": MLP,
    "sgc": SGC,
    "gcn": GCN,
    "gat": GAT,
    "batchnorm": BatchNorm,
    "pairnorm": PairNorm,
    "contranorm": ContraNorm,
    "dropedge": DropEdge,
    "dropmessage": DropMessage,
    "residual": Residual,
    "appnp": APPNP,
    "jknet": JKNet,
    "dagnn": DAGNN,
    "gcnii": GCNII,
    "wgcn": WGCN,
    "label-sbp": LabelSBP,
    "feature-sbp": FeatureSBP,
    "label-sbp-v2": LabelSBPv2,
    "feature-sbp-v2": FeatureSBPv2,
}

__all__ = ["MODELS", "Model", "Network"]
