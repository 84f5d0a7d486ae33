//! torch's CPU generator of normal numbers, so that a stochastic sampler can be held against diffusers'
//! own sums: MT19937 (Matsumoto & Nishimura 1998) and Box–Muller in f32 over blocks of 16.

const N: usize = 624;
const M: usize = 397;

/// `torch.Generator("cpu").manual_seed(seed)`.
pub(crate) struct TorchNormal {
    state: [u32; N],
    next: usize,
}

impl TorchNormal {
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(previous ^ (previous >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `torch.randn(count, generator=self)`, for a multiple of 16.
    pub(crate) fn randn(&mut self, count: usize) -> Vec<f32> {
        assert_eq!(count % 16, 0, "torch fills other counts in another way");
        let uniform = |_| (self.next_u32() & 0x00ff_ffff) as f32 / (1 << 24) as f32;
        let mut data: Vec<f32> = (0..count).map(uniform).collect();
        for block in data.chunks_exact_mut(16) {
            for j in 0..8 {
                let radius = (-2.0 * (1.0 - block[j]).ln()).sqrt();
                let angle = std::f32::consts::TAU * block[j + 8];
                block[j] = radius * angle.cos();
                block[j + 8] = radius * angle.sin();
            }
        }
        data
    }
}

#[test]
fn seed_0_starts_as_in_torch() {
    let numbers = TorchNormal::new(0).randn(16);
    for (number, expected) in numbers
        .iter()
        .zip([-1.12584_f32, -1.15236, -0.250579, -0.433879])
    {
        assert!(
            (number - expected).abs() < 2e-6,
            "{number} is not {expected}"
        );
    }
}
