"""The golden file of the crate `denoising`: loops of diffusers' schedulers, step by step.

Writes into OUT_DIR/samplers.safetensors, in f32, but computed in f64:

- x_T and noise, [8, ...]: where every loop starts (inversion: its data), and what is drawn in its course,
  from the first on;
- timesteps of every loop, under `SPACING STEPS SCHEDULE/timesteps` (f64);
- CASE/states, [steps, ...]: the state that each step leads to;
- in the metadata, under `cases`, a line a case: name, sampler, spacing, steps, prediction type, clipping,
  schedule and options.

The schedulers run unchanged, but for these:

- f32 is f64 in their modules, and so in every table and every step. In f32, sigma is off by 3e-4 at t = 0.
- Their lists of timesteps and sigmas are replaced by one list for all, after a check that they are the same
  where the scheduler spaces timesteps in that way. (Solvers of several steps leave out the last of n + 1 for
  leading and linspace; Euler and Heun do not round for linspace; DPM-Solver, DEIS and UniPC round the t of
  their Karras sigmas.)
- DDIM goes to t - T // n, and neither it nor DDPM knows a t between two steps. Where that matters they run
  on a chain that has no other steps than those to be visited. DDPM of the large variance runs there too
  where its loop ends before t = 0: it would else add noise in the last step.
- DPM-Solver++(2S) takes its steps of order one and two in turn, and so is given the middle in lambda between
  two timesteps to visit as well. In Heun's list every timestep but the first comes twice. Both call the
  network twice for one step of ours.
- DEIS gets 1e-12 as its last sigma: with 0 it computes 0 * infinity.
- Where a scheduler knows no clipping (Euler, and dynamic thresholding in Heun) or not the prediction type
  (sample in Euler ancestral), it is handed the noise that belongs to the clipped x_0.
- DDIM inversion asks the network for the noise of x_s, as it is, at t; here for that of x_s scaled to where
  x_t is expected, as ours does.

Heun with churn is algorithm 2 of Karras et al. 2022 by hand, with sigma-hat at most the chain's last sigma:
diffusers has none.

    scripts/goldens check denoising
"""

import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

SHAPE = [2, 1, 3, 4]
TRAIN_TIMESTEPS = 1000

LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
SCHEDULES = {
    "linear": LINEAR,
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero-snr": {**LINEAR, "rescale_betas_zero_snr": True},
}
PREDICTION_TYPES = {"epsilon": "epsilon", "sample": "sample", "v-prediction": "v_prediction"}
SPACINGS = {"leading": 7, "trailing": 8, "linspace": 5, "karras": 6, "log-linear": 4}
SIGMA_SPACINGS = {"karras": "use_karras_sigmas", "log-linear": "use_exponential_sigmas"}

# The scheduler, its own options, and the spacings of its that are ours.
SCHEDULERS = {
    "ddpm": ("DDPMScheduler", {}, ["leading", "trailing", "linspace"]),
    "ddim": ("DDIMScheduler", {}, ["leading", "trailing"]),
    "euler": ("EulerDiscreteScheduler", {}, ["leading", "trailing", "karras", "log-linear"]),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}, ["leading", "trailing"]),
    "heun": ("HeunDiscreteScheduler", {}, ["leading", "trailing", "karras", "log-linear"]),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {}, ["trailing", "karras", "log-linear"]),
    "dpmpp-2m-sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++"},
        ["trailing", "karras", "log-linear"],
    ),
    "dpmpp-2s": ("DPMSolverSinglestepScheduler", {"lower_order_final": True}, []),
    "unipc": ("UniPCMultistepScheduler", {}, ["trailing", "karras", "log-linear"]),
    "deis": ("DEISMultistepScheduler", {}, ["trailing", "karras", "log-linear"]),
}

INVERSION = "DDIMInverseScheduler"

# Options that take turns from case to case.
OPTIONS = {
    "ddpm": ["variance=fixed-small", "variance=fixed-large"],
    "ddim": [
        "eta=0 rederive_epsilon=true",
        "eta=0 rederive_epsilon=false",
        "eta=0.5 rederive_epsilon=true",
        "eta=1 rederive_epsilon=false",
    ],
    "heun-churn": ["s_churn=2 s_tmin=0.05 s_tmax=40 s_noise=1.003", "s_churn=9"],
}


class InF64:
    """A module whose float32 is float64."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, "float64" if name == "float32" else name)


def scheduler_module(name):
    return sys.modules[getattr(diffusers, name).__module__]


def network(x, t):
    """Stands in for a network of any prediction type: smooth, not linear, another one at every t."""
    return 1.2 * torch.tanh(x) + 0.4 * torch.sin(2 * x + t / 200)


def clip(x_0, clipping):
    kind, *numbers = clipping.split("=")
    if kind == "none":
        return x_0
    if kind == "clamp":
        return x_0.clamp(-float(numbers[0]), float(numbers[0]))
    ratio, most = map(float, numbers[0].split(","))
    s = torch.quantile(x_0.abs().flatten(1), ratio, dim=1).clamp(1, most).reshape(-1, 1, 1, 1)
    return x_0.clamp(-s, s) / s


def epsilon_in_bounds(case, x, t, sigma):
    """The noise that belongs to predicted_x_0."""
    alpha = 1 / np.sqrt(sigma**2 + 1)
    return (x - alpha * predicted_x_0(case, x, t, sigma)) / (sigma * alpha)


def predicted_x_0(case, x, t, sigma):
    """The x_0 in bounds that the network's prediction stands for, given sqrt(1 - ᾱ) / sqrt(ᾱ)."""
    alpha = 1 / np.sqrt(sigma**2 + 1)
    prediction = network(x, t)
    x_0 = {
        "epsilon": (x - sigma * alpha * prediction) / alpha,
        "sample": prediction,
        "v-prediction": alpha * x - sigma * alpha * prediction,
    }[case["prediction_type"]]
    return clip(x_0, case["clipping"])


class Chain:
    """The table of sigmas of a schedule, and the timesteps that lie on it."""

    def __init__(self, schedule):
        self.settings = SCHEDULES[schedule]
        self.diffusers = diffusers.DDIMScheduler(**self.settings)
        self.alphas_cumprod = self.diffusers.alphas_cumprod.numpy()
        self.check(schedule)
        with np.errstate(divide="ignore"):
            self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        self.solver = diffusers.DPMSolverMultistepScheduler(**LINEAR)

    def check(self, schedule):
        """ᾱ is that of the definition, in f64."""
        steps = np.arange(TRAIN_TIMESTEPS)
        if schedule == "cosine":
            alpha_cumprod = lambda t: np.cos((t / TRAIN_TIMESTEPS + 0.008) / 1.008 * np.pi / 2) ** 2
            betas = np.minimum(1 - alpha_cumprod(steps + 1) / alpha_cumprod(steps), 0.999)
        else:
            betas = 1e-4 + (0.02 - 1e-4) * (steps / (TRAIN_TIMESTEPS - 1))
        expected = np.cumprod(1 - betas)
        if schedule == "zero-snr":
            roots = np.sqrt(expected)
            expected = ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2
        assert self.alphas_cumprod.dtype == np.float64
        np.testing.assert_allclose(self.alphas_cumprod, expected, rtol=1e-11, atol=0)

    def timestep(self, sigma):
        return float(self.solver._sigma_to_t(np.float64(sigma), np.log(self.sigmas)))

    def places(self, spacing, steps):
        """Timesteps and sigmas, from noise to data."""
        falling = self.sigmas[::-1]
        if spacing == "karras":
            sigmas = self.solver._convert_to_karras(falling, steps)
        elif spacing == "log-linear":
            sigmas = self.solver._convert_to_exponential(falling, steps)
        else:
            self.diffusers.register_to_config(timestep_spacing=spacing)
            self.diffusers.set_timesteps(steps)
            timesteps = self.diffusers.timesteps.numpy()
            return timesteps.astype(np.float64), self.sigmas[timesteps]
        return np.array([self.timestep(sigma) for sigma in sigmas]), sigmas


def truth(options, name, default):
    return {"true": True, "false": False}[options.get(name, default)]


def clipping_settings(sampler, clipping):
    """How the scheduler is told to clip, or None if it cannot be."""
    kind, *numbers = clipping.split("=")
    if kind == "none":
        return {"clip_sample": False} if sampler in ["ddpm", "ddim", "heun"] else {}
    if kind == "clamp" and sampler in ["ddpm", "ddim", "heun"]:
        return {"clip_sample": True, "clip_sample_range": float(numbers[0])}
    if sampler in ["euler", "euler-ancestral", "heun"]:
        return None
    ratio, most = (0.9, float(numbers[0])) if kind == "clamp" else map(float, numbers[0].split(","))
    assert kind == "dynamic" or most == 1, "its only clamping is to [-1, 1]"
    return {"thresholding": True, "dynamic_thresholding_ratio": ratio, "sample_max_value": most}


def on_visited_chain(new, sigmas, settings):
    """A scheduler on the chain that has no steps but these."""
    visited = 1 / (1 + sigmas[::-1] ** 2)
    betas = 1 - visited / np.concatenate([[1], visited[:-1]])
    scheduler = new(num_train_timesteps=len(sigmas), trained_betas=betas.tolist(), **settings)
    scheduler.set_timesteps(len(sigmas))
    return scheduler


def diffusers_states(case, chain, timesteps, sigmas, x, noise):
    sampler, spacing, options = case["sampler"], case["spacing"], case["options"]
    steps = len(timesteps)
    name, settings, own_spacings = SCHEDULERS[sampler]
    settings = {**settings, "prediction_type": PREDICTION_TYPES[case["prediction_type"]]}
    clipping = clipping_settings(sampler, case["clipping"])
    by_hand = clipping is None or (sampler, case["prediction_type"]) == ("euler-ancestral", "sample")
    settings |= {"prediction_type": "epsilon"} if by_hand else clipping

    # The steps' arguments, and the scheduler's settings, that are options of ours.
    arguments = {}
    variance = options.get("variance")
    if sampler == "ddpm":
        settings["variance_type"] = variance.replace("-", "_")
    if sampler == "ddim":
        arguments["eta"] = float(options["eta"])
        arguments["use_clipped_model_output"] = truth(options, "rederive_epsilon", "true")
        settings["set_alpha_to_one"] = truth(options, "set_alpha_to_one", "true")
    to_data = truth(options, "set_alpha_to_one", "true")
    if sampler in ["dpmpp-2m", "unipc"]:
        settings["lower_order_final"] = truth(options, "lower_order_final", "true")
        settings["final_sigmas_type"] = "zero" if to_data else "sigma_min"
    if spacing in SIGMA_SPACINGS and spacing in own_spacings:
        settings[SIGMA_SPACINGS[spacing]] = True
    elif sampler not in ["dpmpp-2s"] and spacing in own_spacings:
        settings["timestep_spacing"] = spacing

    draws = iter(noise)
    # The last step draws too, and multiplies by 0.
    scheduler_module(name).randn_tensor = lambda *_, **__: next(draws)
    new = getattr(diffusers, name)

    if sampler in ["ddpm", "ddim"]:
        if spacing in own_spacings and not (variance == "fixed-large" and timesteps[-1] > 0):
            scheduler = new(**chain.settings, **settings)
            scheduler.set_timesteps(steps)
            np.testing.assert_array_equal(scheduler.timesteps, timesteps)
        else:
            scheduler = on_visited_chain(new, sigmas, settings)
            np.testing.assert_array_equal(scheduler.timesteps, np.arange(steps)[::-1])
        sequence, scales = timesteps, np.ones(steps)
    else:
        scheduler = new(**chain.settings, **settings)
        last = 0.0 if to_data else chain.sigmas[0]
        if spacing in own_spacings:
            scheduler.set_timesteps(steps)
            once = scheduler.sigmas[::2] if sampler == "heun" else scheduler.sigmas[:-1]
            np.testing.assert_allclose(once, sigmas, rtol=1e-9)
            if sampler != "deis":
                assert abs(scheduler.sigmas[-1] - last) < 1e-15
        sequence, sequence_sigmas = timesteps, sigmas
        if sampler == "heun":
            first_and_twice = [0, *np.repeat(np.arange(1, steps), 2)]
            sequence, sequence_sigmas = timesteps[first_and_twice], sigmas[first_and_twice]
        elif sampler == "dpmpp-2s":
            middles = np.sqrt(sigmas[1:] * sigmas[:-1])
            sequence = np.empty(2 * steps - 1)
            sequence[::2], sequence[1::2] = timesteps, [chain.timestep(sigma) for sigma in middles]
            sequence_sigmas = np.empty(2 * steps - 1)
            sequence_sigmas[::2], sequence_sigmas[1::2] = sigmas, middles
        elif sampler == "deis":
            last = 1e-12
        scheduler.set_timesteps(len(sequence) if sampler != "heun" else steps)
        sequence_sigmas = np.append(sequence_sigmas, last)
        assert scheduler.sigmas.shape == sequence_sigmas.shape
        assert scheduler.sigmas.dtype == torch.float64
        scheduler.sigmas = torch.from_numpy(sequence_sigmas)
        scheduler.timesteps = torch.from_numpy(sequence)
        scheduler.set_begin_index(0)
        scales = np.ones(len(sequence) + 1)
        if sampler in ["euler", "euler-ancestral", "heun"]:
            # Their x is ours over sqrt(ᾱ).
            scales = 1 / np.sqrt(sequence_sigmas**2 + 1)
        x = x / scales[0]
        scales = scales[1:]

    states = []
    for i, (own_timestep, t) in enumerate(zip(scheduler.timesteps, sequence)):
        x_t = scheduler.scale_model_input(x, own_timestep)
        prediction = network(x_t, t)
        if by_hand:
            prediction = epsilon_in_bounds(case, x_t, t, sequence_sigmas[i])
        x = scheduler.step(prediction, own_timestep, x, **arguments).prev_sample
        assert x.dtype == torch.float64
        states.append(x * scales[i])
    if sampler in ["heun", "dpmpp-2s"]:
        states = states[1::2] + states[-1:]
    return states


def inversion(case, chain, timesteps, sigmas, x, noise):
    """From x as data to noise."""
    scheduler = on_visited_chain(getattr(diffusers, INVERSION), sigmas, {"clip_sample": False})
    alpha_before = 1.0
    states = []
    for own_timestep, t, sigma in zip(scheduler.timesteps, timesteps[::-1], sigmas[::-1]):
        alpha = 1 / np.sqrt(sigma**2 + 1)
        epsilon = epsilon_in_bounds(case, x * (alpha / alpha_before), t, sigma)
        x = scheduler.step(epsilon, own_timestep, x).prev_sample
        alpha_before = alpha
        states.append(x)
    return states


def heun_with_churn(case, chain, timesteps, sigmas, x, noise):
    options = {name: float(value) for name, value in case["options"].items()}
    s_tmin, s_tmax = options.get("s_tmin", 0), options.get("s_tmax", np.inf)
    s_noise = options.get("s_noise", 1)
    share = min(options["s_churn"] / len(sigmas), np.sqrt(2) - 1)
    draws = iter(noise)

    def slope(x_hat, sigma, t):
        return (x_hat - predicted_x_0(case, x_hat / np.sqrt(sigma**2 + 1), t, sigma)) / sigma

    x_hat = x * np.sqrt(sigmas[0] ** 2 + 1)
    states = []
    for i, (sigma, t) in enumerate(zip(sigmas, timesteps)):
        gamma = share if s_tmin <= sigma <= s_tmax else 0
        churned = min(sigma * (1 + gamma), chain.sigmas[-1])
        # The first of the Karras sigmas may differ from the last of the chain by rounding.
        if churned > sigma * (1 + 1e-9):
            x_hat = x_hat + s_noise * np.sqrt(churned**2 - sigma**2) * next(draws)
            sigma, t = churned, chain.timestep(churned)
        following = sigmas[i + 1] if i + 1 < len(sigmas) else 0.0
        first = slope(x_hat, sigma, t)
        x_next = x_hat + (following - sigma) * first
        if following > 0:
            second = slope(x_next, following, timesteps[i + 1])
            x_next = x_hat + (following - sigma) * (first + second) / 2
        x_hat = x_next
        states.append(x_hat / np.sqrt(following**2 + 1))
    return states


LOOPS = {"heun-churn": heun_with_churn, "ddim-inversion": inversion}


def cases():
    """Every pair of a sampler, a spacing, a prediction type, a clipping and an option that exists."""

    def case(sampler, spacing, prediction_type, kind, schedule, options):
        narrow = sampler in ["ddpm", "ddim", "heun", "heun-churn"]
        clippings = {"none": "none", "clamp": f"clamp={0.8 if narrow else 1}", "dynamic": "dynamic=0.7,2.5"}
        return {
            "sampler": sampler,
            "spacing": spacing,
            "steps": SPACINGS[spacing],
            "prediction_type": prediction_type,
            "clipping": clippings[kind],
            "schedule": schedule,
            "options": dict(option.split("=") for option in options.split()),
        }

    kinds = ["none", "clamp", "dynamic"]
    for sampler in [*SCHEDULERS, "heun-churn"]:
        turns = OPTIONS.get(sampler, [""])
        for i in range(2 if len(turns) > 2 else 1):
            for j, spacing in enumerate(SPACINGS):
                for k, prediction_type in enumerate(PREDICTION_TYPES):
                    options = turns[(3 * j + k + 2 * i) % len(turns)]
                    yield case(sampler, spacing, prediction_type, kinds[(j + k + i) % 3], "linear", options)
        for spacing, prediction_type, kind in [
            ("trailing", "v-prediction", "none"),
            ("karras", "sample", "dynamic"),
            ("leading", "epsilon", "clamp"),
        ]:
            yield case(sampler, spacing, prediction_type, kind, "cosine", turns[0])
    for spacing in SPACINGS:
        for prediction_type in PREDICTION_TYPES:
            yield case("ddim-inversion", spacing, prediction_type, "none", "linear", "")
    for prediction_type, kind in [("sample", "none"), ("v-prediction", "dynamic")]:
        for options in ["eta=0", "eta=0.5"]:
            yield case("ddim", "trailing", prediction_type, kind, "zero-snr", options)
        yield case("ddpm", "trailing", prediction_type, kind, "zero-snr", "variance=fixed-small")
    for prediction_type, kind in [("epsilon", "clamp"), ("v-prediction", "none")]:
        yield case("ddim", "trailing", prediction_type, kind, "linear", "eta=0 set_alpha_to_one=false")
        for sampler in ["dpmpp-2m", "unipc"]:
            for lower in ["true", "false"]:
                options = f"set_alpha_to_one=false lower_order_final={lower}"
                yield case(sampler, "trailing", prediction_type, kind, "linear", options)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    for name in [INVERSION, *(name for name, _, _ in SCHEDULERS.values())]:
        module = scheduler_module(name)
        module.torch, module.np = InF64(torch), InF64(np)
    generator = torch.Generator().manual_seed(0)
    # Drawn in f32, so that both sides begin with the same numbers.
    x, *noise = torch.randn([9, *SHAPE], generator=generator, dtype=torch.float32)
    tensors = {"x_T": x, "noise": torch.stack(noise)}
    x, noise = x.double(), [z.double() for z in noise]

    chains = {schedule: Chain(schedule) for schedule in SCHEDULES}
    lines = []
    for number, case in enumerate(cases()):
        chain = chains[case["schedule"]]
        timesteps, sigmas = chain.places(case["spacing"], case["steps"])
        states_of = LOOPS.get(case["sampler"], diffusers_states)
        states = torch.stack(states_of(case, chain, timesteps, sigmas, x, noise))
        assert states.isfinite().all() and len(states) == case["steps"], case
        options = " ".join(f"{name}={value}" for name, value in case["options"].items())
        words = [f"case_{number}", *(str(value) for value in case.values() if not isinstance(value, dict))]
        lines.append(" ".join([*words, options]).strip())
        tensors[f"case_{number}/states"] = states.float()
        spaced = f"{case['spacing']} {case['steps']} {case['schedule']}/timesteps"
        tensors[spaced] = torch.from_numpy(timesteps)
    out_dir = Path(sys.argv[1])
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "samplers.safetensors"
    # One entry, for entries are written in no fixed order.
    save_file(tensors, path, {"cases": "\n".join(lines)})
    print(f"{len(lines)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
