//! Manual pages, completions, and the version.
