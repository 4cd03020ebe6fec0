//! The dashboard: every expression names metrics that exist.
