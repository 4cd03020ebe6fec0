//! How devices behave when they are refused.

use serde::{Deserialize, Serialize};

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// It keeps the client contract: it comes back when told, and else backs off.
    Behave,
    /// It comes back after a second, whatever it is told, and gives up some day.
    Careless,
    /// It comes back at once, and never gives up.
    Stubborn,
}

impl Behaviour {
    /// Every behaviour.
    pub const ALL: [Self; 3] = [Self::Behave, Self::Careless, Self::Stubborn];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Behave => "behave",
            Self::Careless => "careless",
            Self::Stubborn => "stubborn",
        }
    }
}

/// Which share of the devices behaves how. The shares need not sum to 1: they are weights.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mix {
    /// The share of [`Behaviour::Behave`].
    pub behave: f64,
    /// The share of [`Behaviour::Careless`].
    pub careless: f64,
    /// The share of [`Behaviour::Stubborn`].
    pub stubborn: f64,
}
