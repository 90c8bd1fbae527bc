//! `kastle`: one binary for the node and its tools.

fn main() {}
