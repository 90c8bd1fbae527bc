//! Followers, and those who deal with them.

mod beginning;
mod consumers;
mod hints;
mod leaving;
mod throttle;
