//! The reference of the metrics.
