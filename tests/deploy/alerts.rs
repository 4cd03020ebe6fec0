//! The alert rules, as Prometheus reads and tests them; where they are routed.
