//! What a fleet costs: pure arithmetic over what was rehearsed and a file of prices.
//!
//! A cloud bills by rules with more cases than these; the sum shows which of the parts matters, not what the invoice will
//! say. Not in it: storage in S3, traffic between zones, what loads the warehouse.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fleet, Rehearsed};

/// The prices that come with this version.
const EMBEDDED: &str = include_str!("../../../config/prices.toml");
/// The hours of a month, as clouds count them.
const MONTH_HOURS: f64 = 730.0;
/// The most streams that a bill is asked for.
pub const MAX_STREAMS: u32 = 64;

/// A file of prices: in its currency, each for what its name says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// When they were written down.
    pub as_of: String,
    /// Where they hold.
    pub region: String,
    /// What they are in.
    pub currency: String,
    /// The kind of instance.
    pub instance: String,
    /// An hour of an instance.
    pub instance_hour: f64,
    /// A month of a GB of a volume.
    pub volume_gb_month: f64,
    /// A month of a MB a second of a volume, beyond what is included.
    pub volume_mbps_month: f64,
    /// MB a second of a volume that are in its price.
    pub volume_mbps_included: f64,
    /// GB of each instance's volume.
    pub volume_gb: f64,
    /// An hour of the load balancer.
    pub balancer_hour: f64,
    /// An hour of one of its capacity units.
    pub lcu_hour: f64,
    /// New connections a second that one unit takes.
    pub lcu_connections_per_second: f64,
    /// GB an hour that one unit takes.
    pub lcu_gb_per_hour: f64,
    /// A thousand PUTs of objects.
    pub put_thousand: f64,
}

/// A file of prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// It is none.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// One of them is no price.
    #[error("{0} is negative or endless, or none where something is divided by it")]
    Value(&'static str),
}

impl Prices {
    /// Those that `text` tells.
    ///
    /// # Errors
    /// [`PricesError`].
    pub fn parse(text: &str) -> Result<Self, PricesError> {
        let prices: Self = toml::from_str(text)?;
        let values = [
            ("instance_hour", prices.instance_hour),
            ("volume_gb_month", prices.volume_gb_month),
            ("volume_mbps_month", prices.volume_mbps_month),
            ("volume_mbps_included", prices.volume_mbps_included),
            ("volume_gb", prices.volume_gb),
            ("balancer_hour", prices.balancer_hour),
            ("lcu_hour", prices.lcu_hour),
            ("put_thousand", prices.put_thousand),
        ];
        let divisors = [
            ("lcu_connections_per_second", prices.lcu_connections_per_second),
            ("lcu_gb_per_hour", prices.lcu_gb_per_hour),
        ];
        let wrong = |value: f64| !value.is_finite() || value < 0.0;
        let bad = values.iter().find(|(_, value)| wrong(*value));
        let bad = bad.or_else(|| divisors.iter().find(|(_, value)| wrong(*value) || *value <= 0.0));
        bad.map_or(Ok(prices.clone()), |(name, _)| Err(PricesError::Value(name)))
    }

    /// Those that come with this version.
    ///
    /// # Errors
    /// None is expected: a test reads them.
    pub fn embedded() -> Result<Self, PricesError> {
        Self::parse(EMBEDDED)
    }
}

/// What a fleet costs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bill {
    /// Instances.
    pub instances: u32,
    /// For how long they are there, in hours.
    pub hours: f64,
    /// Instances times hours.
    pub instance_hours: f64,
    /// Tries that the load balancer passed on.
    pub requests: u64,
    /// What it is billed for: capacity units times hours, by connections or bytes, whichever is more.
    pub lcu_hours: f64,
    /// The capacity units of its busiest second: what to reserve before, since it does not grow within seconds.
    pub peak_lcus: f64,
    /// Objects and pages of the books.
    pub puts: u64,
    /// What the instances cost.
    pub instances_cost: f64,
    /// What their volumes cost.
    pub volumes_cost: f64,
    /// What the load balancer costs, if its peak is reserved for the time.
    pub balancer_cost: f64,
    /// What the PUTs cost.
    pub puts_cost: f64,
    /// All of it.
    pub cost: f64,
}

impl Bill {
    /// What `fleet` costs by `prices`, if it is kept for `keep`, and its batches go to so many `streams`.
    pub fn of(fleet: &Fleet, rehearsed: &Rehearsed, prices: &Prices, keep: Duration, streams: u32) -> Self {
        let Rehearsed { report, figures } = rehearsed;
        let hours = keep.as_secs_f64().max(report.setup.lasted) / 3_600.0;
        let instance_hours = f64::from(fleet.instances) * hours;
        let requests = report.totals.sent;
        // Refused bodies pass the load balancer, too.
        let gigabytes = requests as f64 * fleet.body_bytes / 1e9;
        let by_connections = requests as f64 / 3_600.0 / prices.lcu_connections_per_second;
        let lcu_hours = by_connections.max(gigabytes / prices.lcu_gb_per_hour);
        let gb_in_hour = figures.peak_tries as f64 * fleet.body_bytes * 3_600.0 / 1e9;
        let peak_lcus =
            (figures.peak_tries as f64 / prices.lcu_connections_per_second).max(gb_in_hour / prices.lcu_gb_per_hour);
        // Of each segment an object a stream, and a page of the books.
        let puts = figures.segments * u64::from(streams.clamp(1, MAX_STREAMS) + 1);
        let throughput = (fleet.machine.disk / 1e6 - prices.volume_mbps_included).max(0.0);
        let volume_month = prices.volume_gb * prices.volume_gb_month + throughput * prices.volume_mbps_month;
        let instances_cost = instance_hours * prices.instance_hour;
        let volumes_cost = instance_hours / MONTH_HOURS * volume_month;
        let balancer_cost = hours * prices.balancer_hour + (peak_lcus * hours).max(lcu_hours) * prices.lcu_hour;
        let puts_cost = puts as f64 / 1_000.0 * prices.put_thousand;
        Self {
            instances: fleet.instances,
            hours,
            instance_hours,
            requests,
            lcu_hours,
            peak_lcus,
            puts,
            instances_cost,
            volumes_cost,
            balancer_cost,
            puts_cost,
            cost: instances_cost + volumes_cost + balancer_cost + puts_cost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{
        profile::{Flood, Profile},
        report::{Report, Totals},
        simulate::Figures,
    };

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < expected.abs() * 1e-6 + 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn the_bill_is_the_sum_of_its_parts() {
        let prices = Prices::embedded().unwrap();
        let mut fleet = Fleet::new(Flood::new(Profile::Advert, 1.0), 100, 10);
        (fleet.machine.disk, fleet.body_bytes) = (225e6, 5_000.0);
        let totals = Totals { sent: 9_000_000, ..Totals::default() };
        let report = Report { totals, ..Report::default() };
        let figures = Figures { peak_tries: 250_000, segments: 300, ..Figures::default() };
        let rehearsed = Rehearsed { report, figures };
        let bill = Bill::of(&fleet, &rehearsed, &prices, Duration::from_hours(2), 3);
        close(bill.instances_cost, 200.0 * 0.0725);
        // 20 GB and 100 MB/s more than are included.
        close(bill.volumes_cost, 200.0 / 730.0 * (1.6 + 4.0));
        // 45 GB in an hour, and 9,000,000 connections in it: 100 units of 25 a second.
        close(bill.lcu_hours, 100.0);
        // 250,000 connections a second, each with 5,000 bytes: 4,500 GB an hour.
        close(bill.peak_lcus, 10_000.0);
        close(bill.balancer_cost, 2.0 * 0.0225 + 2.0 * 10_000.0 * 0.008);
        assert_eq!((bill.puts, bill.requests), (1_200, 9_000_000));
        close(bill.cost, bill.instances_cost + bill.volumes_cost + bill.balancer_cost + 0.006);
    }

    #[test]
    fn what_is_no_price_is_told() {
        let told = |from: &str, to: &str| Prices::parse(&EMBEDDED.replace(from, to)).unwrap_err().to_string();
        assert!(told("instance_hour = 0.0725", "instance_hour = -1.0").contains("instance_hour"));
        assert!(told("lcu_gb_per_hour = 1.0", "lcu_gb_per_hour = 0.0").contains("lcu_gb_per_hour"));
        assert!(told("put_thousand = 0.005", "put_thousand = nan").contains("put_thousand"));
        assert!(told("put_thousand = 0.005", "puts = 1").contains("unknown field"));
    }
}
