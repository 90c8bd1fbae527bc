//! Followers, and those who deal with them: one program, for every one that runs whole nodes takes long to build.

mod beginning;
mod consumers;
mod hints;
mod leaving;
#[allow(dead_code, reason = "each test program uses its own part of it")]
#[path = "../support/mod.rs"]
mod support;
mod throttle;
