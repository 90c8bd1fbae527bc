//! Runs seeds of the simulation and tells the story of those that fail.

fn main() {}
