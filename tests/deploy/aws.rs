//! The CloudFormation templates.
