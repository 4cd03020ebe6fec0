//! How far the figures of each stream stand.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{
    super::{
        Names,
        load::{Failure, Session},
    },
    count::{Figures, HOURS_A_DAY, Plan},
};

/// How far the figures of each stream stand, as a refresh reads it before it writes its scripts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing(BTreeMap<String, Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    definition: String,
    /// What ended before it, by the analysts' clock, is final.
    final_before: Option<DateTime>,
    counted_at: Option<Timestamp>,
    /// Whether the loader says how far it has come.
    is_loaded_through: bool,
    /// Whether something was loaded since, or it has come further.
    has_changed: bool,
}

impl Standing {
    /// Reads how far they stand.
    ///
    /// # Errors
    /// [`Failure`] of the question.
    pub async fn read(session: &mut dyn Session, names: &Names) -> Result<Self, Failure> {
        let (known, loaded) = (names.of(Names::ROLLUP_STATUS), names.of(Names::STATUS));
        let counted_at = session.dialect().local("r.\"counted_at\"", "UTC");
        // Without a row of its own nobody knows whether a stream has changed.
        let sql = format!(
            "SELECT r.\"stream\", r.\"definition\", TO_CHAR(r.\"final_before\", 'YYYY-MM-DD HH24:MI:SS'), \
             TO_CHAR({counted_at}, 'YYYY-MM-DD HH24:MI:SS'), \
             CASE WHEN l.\"complete_through\" IS NOT NULL THEN 'yes' ELSE 'no' END, \
             CASE WHEN r.\"last_load_id\" = l.\"last_load_id\" AND (r.\"complete_through\" = l.\"complete_through\" OR \
             (r.\"complete_through\" IS NULL AND l.\"complete_through\" IS NULL)) THEN 'no' ELSE 'yes' END \
             FROM {known} r LEFT JOIN {loaded} l ON l.\"stream\" = r.\"stream\""
        );
        let mut standing = BTreeMap::new();
        for row in session.rows(&sql).await? {
            let mut row = row.into_iter();
            let mut next = || row.next().flatten();
            let (Some(stream), Some(definition)) = (next(), next()) else { continue };
            let final_before = next().and_then(|clock| clock.parse().ok());
            let counted_at = next().and_then(|clock| clock.parse::<DateTime>().ok());
            let counted_at = counted_at.and_then(|clock| Some(clock.to_zoned(TimeZone::UTC).ok()?.timestamp()));
            let (loaded, changed) = (next(), next());
            let known = Known {
                definition,
                final_before,
                counted_at,
                is_loaded_through: loaded.as_deref() == Some("yes"),
                has_changed: changed.as_deref() != Some("no"),
            };
            standing.insert(stream, known);
        }
        Ok(Self(standing))
    }

    /// What is to be counted; `None` if everything stands as it stood.
    pub(super) fn plan(&self, figures: &Figures<'_>, zone: &TimeZone) -> Option<Plan> {
        let Some(known) = self.0.get(figures.stream) else { return Some(Plan::New) };
        if known.definition != figures.definition {
            return Some(Plan::Other { zone: !known.definition.starts_with(&figures.of_zone()) });
        }
        if !known.has_changed {
            return None;
        }
        Some(match (known.is_loaded_through, known.final_before, known.counted_at) {
            (true, Some(final_before), _) => Plan::NotFinal(final_before),
            (true, None, _) | (false, _, None) => Plan::New,
            (false, _, Some(counted_at)) => {
                let late = jiff::SignedDuration::from_hours(i64::from(figures.days - 1) * HOURS_A_DAY);
                let from = counted_at.saturating_sub(late).unwrap_or(counted_at);
                Plan::Lately(zone.to_datetime(from))
            }
        })
    }
}
