"""The golden file of the crate `noising`: the chain over categories, by its matrices multiplied out in f64.

Hoogeboom et al. 2021 and Austin et al. 2021 (D3PM) as they stand: Q_t for each step, their products for
several, the posterior by D3PM's equation 3, p(x_s | x_t) by summing it over x_0, and the terms of the bound by
torch's own KL between categorical distributions. Nothing here knows a closed form.

Writes into OUT_DIR/categorical.safetensors, in f64, for each case, where S is the number of states and K
that of categories (the mask, where there is one, is the last state):

- CASE/cumulative [S, S]: the product of steps 0 to t;
- CASE/log_p_x_0 [S, K]: what a network says of x_0 for each x_t;
- CASE/posterior [K, S, S]: q(x_s | x_t, x_0) for each x_0 and x_t, -1 where x_t is impossible;
- CASE/p [S, S]: p(x_s | x_t) for each x_t;
- CASE/kl [K, S]: the term of the bound in nats, -1 where x_t is impossible;
- in the metadata, under `cases`, a line a case: name, transition, K, schedule, t, s.

    scripts/goldens check noising
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributions import Categorical, kl_divergence

F64 = torch.float64
SCHEDULES = {
    "linear": torch.linspace(1e-4, 0.02, 1000, dtype=F64),
    "short": torch.tensor([0.1, 0.3, 0.6, 1.0], dtype=F64),
}
# Transition, K, schedule, t, s; s = -1 is data.
CASES = [
    ("uniform", 2, "short", 0, -1),
    ("uniform", 5, "short", 2, 1),
    ("uniform", 3, "short", 3, 0),
    ("uniform", 4, "linear", 999, 998),
    ("uniform", 7, "linear", 300, 120),
    ("uniform", 7, "linear", 0, -1),
    ("absorbing", 2, "short", 0, -1),
    ("absorbing", 5, "short", 2, 1),
    ("absorbing", 3, "short", 3, 0),
    ("absorbing", 4, "linear", 999, 998),
    ("absorbing", 7, "linear", 300, 120),
    ("absorbing", 7, "linear", 120, -1),
]


def step_matrix(transition: str, k: int, beta: torch.Tensor) -> torch.Tensor:
    if transition == "uniform":
        return (1 - beta) * torch.eye(k, dtype=F64) + beta * torch.full((k, k), 1 / k, dtype=F64)
    matrix = (1 - beta) * torch.eye(k + 1, dtype=F64)
    matrix[:, k] += beta
    return matrix


def product(transition: str, k: int, betas: torch.Tensor) -> torch.Tensor:
    matrix = step_matrix(transition, k, torch.tensor(0.0, dtype=F64))
    for beta in betas:
        matrix = matrix @ step_matrix(transition, k, beta)
    return matrix


def main() -> None:
    out = Path(sys.argv[1])
    generator = torch.Generator().manual_seed(0)
    tensors, lines = {}, []
    for transition, k, schedule, t, s in CASES:
        name = f"{transition}-{k}-{schedule}-{t}-{s}"
        betas = SCHEDULES[schedule]
        to_s, from_s = product(transition, k, betas[: s + 1]), product(transition, k, betas[s + 1 : t + 1])
        to_t = product(transition, k, betas[: t + 1])
        states = len(to_t)
        log_p_x_0 = torch.randn(states, k, generator=generator, dtype=F64).mul(1.5).log_softmax(1)
        if transition == "absorbing":
            # What is unmasked is known.
            log_p_x_0[:k] = torch.eye(k, dtype=F64).log()
        posterior = torch.full((k, states, states), -1.0, dtype=F64)
        p = torch.zeros(states, states, dtype=F64)
        for x_0 in range(k):
            for x_t in range(states):
                evidence = to_t[x_0, x_t]
                if evidence > 0:
                    posterior[x_0, x_t] = from_s[:, x_t] * to_s[x_0] / evidence
                    p[x_t] += log_p_x_0[x_t, x_0].exp() * posterior[x_0, x_t]
        kl = torch.full((k, states), -1.0, dtype=F64)
        for x_0 in range(k):
            for x_t in range(states):
                if to_t[x_0, x_t] > 0:
                    kl[x_0, x_t] = kl_divergence(Categorical(posterior[x_0, x_t]), Categorical(p[x_t]))
        parts = {"cumulative": to_t, "log_p_x_0": log_p_x_0, "posterior": posterior, "p": p, "kl": kl}
        tensors |= {f"{name}/{part}": values.contiguous() for part, values in parts.items()}
        lines.append(f"{name} {transition} {k} {schedule} {t} {s}")
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "categorical.safetensors", metadata={"cases": "\n".join(lines)})


if __name__ == "__main__":
    main()
