//! The systemd units.
