//! Which logweir this is, as the build script found it out.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first 12 digits of the commit that was checked out where it was built, what `LOGWEIR_COMMIT` said there, or
/// "unknown".
pub const COMMIT: &str = env!("LOGWEIR_COMMIT");

/// What `--version` tells behind the name: version, commit, profile and target.
pub const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("LOGWEIR_COMMIT"),
    ", ",
    env!("LOGWEIR_PROFILE"),
    ", ",
    env!("LOGWEIR_TARGET"),
    ")"
);
