"""The formula of a call in float64 torch, as a function of the arguments that it is differentiated by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inputs.graphs import Spec
from .checks import Inputs
from .halves import Algebra, EdgeModel
from .world import World

Formula = Callable[..., Tensor]


class CallFormula:
    """y of named arguments: x, residual, alpha, beta, lam, pos, neg, weights, norm_weight, norm_bias."""

    def __init__(self, call: Spec, world: World, inputs: Inputs, names: Sequence[str], replaced: bool) -> None:
        self.call, self.world, self.inputs, self.names = call, world, inputs, tuple(names)
        self.square = inputs.rows == inputs.cols
        self.dense = world.dense(call["transposed"])
        # Replaced weights come in the order of the matrix; learnable ones in the order of the caller.
        self.models = [
            replace(m, order=None, sign=1.0) if replaced and isinstance(m, EdgeModel) else m for m in world.models
        ]

    @property
    def nonlinear(self) -> bool:
        """Whether the formula has more than products and sums."""
        weights = {"pos", "neg", "weights"} & set(self.names)
        curved = any(m is not None and getattr(m, "norm", "softmax") for m in self.models)
        return self.inputs.norm is not None or bool(weights and curved)

    def bind(self, alg: Algebra) -> Formula:
        return lambda *args: self._value(alg, dict(zip(self.names, args, strict=True)))

    def _halves(self, alg: Algebra, args: dict[str, Tensor]) -> list[Tensor | None]:
        scale = getattr(alg, "scale", None)
        out: list[Tensor | None] = []
        for index, name in enumerate(("pos", "neg")):
            model, dense = self.models[index], self.dense[index]
            own, other = (args.get(n, args.get("weights")) for n in (name, ("neg", "pos")[index]))
            partner = getattr(model, "partner", None) is not None and other is not None
            if model is None or dense is None:
                out.append(None)
            elif own is not None or partner:
                matrix = model.matrix(alg, own, other)
                out.append(matrix.T if self.call["transposed"] else matrix)
            elif scale is None:
                out.append(torch.from_numpy(dense.matrix))
            else:
                out.append(torch.from_numpy(dense.size) * scale)
        return out

    def _constant(self, alg: Algebra, args: dict[str, Tensor], name: str, value: Any) -> Tensor | None:
        if name in args:
            return args[name]
        return None if value is None else alg.fixed(torch.as_tensor(value, dtype=torch.float64))

    def _value(self, alg: Algebra, args: dict[str, Tensor]) -> Tensor:
        inputs = self.inputs
        pos, neg = self._halves(alg, args)
        x = self._constant(alg, args, "x", inputs.x64)
        assert x is not None
        zero = x.new_zeros(inputs.rows, x.size(1))
        if self.call["op"] == "pair":
            return torch.stack([zero if half is None else half @ x for half in (pos, neg)])
        residual = self._constant(alg, args, "residual", inputs.residual64)
        alpha, beta, lam = (
            self._constant(alg, args, name, value)
            for name, value in zip(("alpha", "beta", "lam"), inputs.coefficients[:3], strict=True)
        )
        one = alg.fixed(torch.ones((), dtype=torch.float64))
        r, p, q = alg.sub(one, lam), lam * alpha, alg.negative(lam * beta)  # type: ignore[operator, arg-type]
        for _ in range(self.call["steps"]):
            y = zero
            for coef, half in ((p, pos), (q, neg)):
                if half is not None:
                    y = y + coef * (half @ x)
            own = x if residual is None and self.square else residual
            if own is not None:
                y = y + r * own
            x = y if inputs.norm is None else self._normalize(alg, args, y)
        return x * 1.0

    def _normalize(self, alg: Algebra, args: dict[str, Tensor], y: Tensor) -> Tensor:
        norm = self.inputs.norm
        assert norm is not None
        if y.size(1) == 0:
            return y
        centred = alg.sub(y, y.mean(1, keepdim=True))
        y = centred * alg.power(centred.square().mean(1, keepdim=True) + norm.eps, -0.5)
        weight = self._constant(alg, args, "norm_weight", norm.weight)
        bias = self._constant(alg, args, "norm_bias", norm.bias)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias
