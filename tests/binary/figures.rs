//! What a test is asked for by its environment, and the figures that it tells.

use std::{fmt, str::FromStr};

/// The value of the environment variable `LOGWEIR_TEST_{name}`, or `default`.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is asked of the test, not of the server")]
pub(crate) fn asked<T: FromStr<Err: fmt::Debug>>(name: &str, default: T) -> T {
    std::env::var(format!("LOGWEIR_TEST_{name}")).map_or(default, |value| value.parse().expect(name))
}

/// Tells a figure, or why there is none, on standard error: nextest shows it with `--no-capture`.
#[expect(clippy::disallowed_macros, clippy::print_stderr, reason = "a test speaks to whoever runs it")]
pub(crate) fn tell(what: impl fmt::Display) {
    eprintln!("{what}");
}

/// Whether this runs where a test that is left out by mistake would not be noticed.
#[expect(clippy::disallowed_methods, reason = "what a build service says of itself is nothing that the server reads")]
pub(crate) fn on_a_build_service() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
