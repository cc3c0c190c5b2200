"""Methods by name. To add one, write a file in a folder of this package, and add an entry here and a preset."""

from __future__ import annotations

from .base import Model, Network
from .convolution.gat import GAT
from .convolution.gcn import GCN
from .convolution.mlp import MLP
from .convolution.sgc import SGC
from .convolution.wgcn import WGCN
from .dropping.dropedge import DropEdge
from .dropping.dropmessage import DropMessage
from .normalization.batchnorm import BatchNorm
from .normalization.contranorm import ContraNorm
from .normalization.pairnorm import PairNorm
from .sbp.feature_sbp import FeatureSBP
from .sbp.feature_sbp_v2 import FeatureSBPv2
from .sbp.label_sbp import LabelSBP
from .sbp.label_sbp_v2 import LabelSBPv2
from .skip_connections.appnp import APPNP
from .skip_connections.dagnn import DAGNN
from .skip_connections.gcnii import GCNII
from .skip_connections.jknet import JKNet
from .skip_connections.residual import Residual

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
