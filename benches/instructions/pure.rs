//! The modules of logweir that are pure, without the rest of it: they stand alone, or this does not compile.

pub use src::{admission, batch, gzip, schema, validate};

#[path = "../../src"]
mod src {
    pub mod admission;
    pub mod batch;
    pub mod gzip;
    pub mod schema;
    pub mod validate;
}
