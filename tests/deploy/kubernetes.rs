//! The Kubernetes manifests.
