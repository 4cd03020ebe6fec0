//! The watcher of an instance's lifecycle on AWS.
