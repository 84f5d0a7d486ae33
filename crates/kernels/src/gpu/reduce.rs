//! A number of each unit of a cube to one for all of them, in an order that depends on their count alone.

use cubecl::prelude::*;

/// The largest or the sum of a number of each unit of the cube, for all of them.
#[cube]
pub(super) fn over_cube(value: f32, partial: &mut Shared<[f32]>, #[comptime] largest: bool) -> f32 {
    let unit = UNIT_POS as usize;
    // All have read the last result.
    sync_cube();
    partial[unit] = value;
    sync_cube();
    let mut active = CUBE_DIM as usize;
    while active > 1 {
        let half = active.div_ceil(2);
        if unit < active / 2 {
            let other = partial[unit + half];
            if comptime!(largest) {
                partial[unit] = f32::max(partial[unit], other);
            } else {
                partial[unit] += other;
            }
        }
        active = half;
        sync_cube();
    }
    partial[0]
}
