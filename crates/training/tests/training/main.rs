//! The library as somebody else uses it.

#![allow(clippy::unwrap_used)]

#[path = "../../examples/own_data.rs"]
mod own_data;
mod precision;
mod tables;

#[test]
fn the_example_learns_its_circle_in_at_most_sixty_lines() {
    own_data::main().unwrap();
    let source = include_str!("../../examples/own_data.rs");
    assert!(source.lines().count() <= 60);
}
