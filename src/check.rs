//! `logweir check`: what a sound configuration comes to.

use bytesize::ByteSize;

use crate::{
    app,
    config::{self, Forecast, Loaded},
};

/// The effective configuration with its secrets masked, what it makes of the data, and what it may come to need.
pub fn report(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let ceiling = app::memory_ceiling(config);
    let forecast = Forecast::new(config).to_string().replace('\n', "\n# ");
    format!(
        "# {source} is sound. The effective configuration:\n\n{effective}\n# {forecast}\n# the memory ceiling is {ceiling} \
         ({bytes} bytes)\n",
        source = loaded.source,
        effective = config::print_effective(config),
        ceiling = ByteSize(ceiling),
        bytes = ceiling,
    )
}
