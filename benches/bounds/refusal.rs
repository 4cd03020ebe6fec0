//! What a refusal costs, against a bare handler that reads the same body.

use serde_json::json;

use crate::{
    EVENTS,
    figure::{Figure, Of},
    price::Price,
    rig::Rig,
};

const LIMIT: f64 = 1.1;

/// The server's CPU for a request that is refused, to that of a bare handler for the same.
pub(crate) fn figures(rig: &Rig, rounds: usize) -> Vec<Figure> {
    println!("\nrefusal: the server's CPU a request in µs, {EVENTS} events a batch");
    let mut prices = Vec::new();
    for _ in 0..rounds {
        let price = Price::measure(rig, EVENTS);
        let Price { bare, accepted, muted, gate } = price;
        println!("  bare {bare:.2}, accepted {accepted:.2}, muted {muted:.2}, refused at the gate {gate:.2}");
        prices.push(price);
    }
    let more = prices.iter().map(|price| {
        json!({"bare_us": price.bare, "accepted_us": price.accepted, "muted_us": price.muted, "gate_us": price.gate})
    });
    let more: serde_json::Value = more.collect();
    let figure = |name, refusal: fn(&Price) -> f64| Figure {
        name,
        unit: "",
        limit: LIMIT,
        rounds: prices.iter().map(|price| refusal(price) / price.bare).collect(),
        of: Of::Median,
        more: more.clone(),
    };
    vec![
        figure("CPU of a refusal at the gate ÷ bare's request", |price| price.gate),
        figure("CPU of a refusal by a mute rule ÷ bare's request", |price| price.muted),
    ]
}
