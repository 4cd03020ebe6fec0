//! Every statement of the analysts' page is run, and every answer that it shows is the one that comes.

use std::{fs, path::Path};

use jiff::SignedDuration;
use logweir::schema::FieldType;
use tokio_postgres::{SimpleColumn, SimpleQueryMessage};

use crate::{
    model::Event,
    postgres::{Postgres, is_installed},
    session::Db,
    world::{World, at},
};

/// A block of the page: its language, its text, and the text of the block with the answer right behind it.
struct Block {
    language: String,
    text: String,
    answer: Option<String>,
}

fn page() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/analysts.md");
    let page = fs::read_to_string(path).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut between = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            between += line;
            continue;
        };
        let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        match blocks.last_mut().filter(|_| language == "text" && between.is_empty()) {
            Some(question) => question.answer = Some(text),
            None => blocks.push(Block { language: language.to_owned(), text, answer: None }),
        }
        between.clear();
    }
    blocks
}

/// Ten days of Seoul with more devices on each, and an eleventh that has begun.
fn events() -> Vec<Event> {
    let midnight = at("2026-11-11T15:00:00Z");
    let mut events = Vec::new();
    for day in 0..11_i64 {
        for device in 0..20 + 3 * day {
            // Each stays away on two days of five.
            if (device + 2 * day + 3) % 5 < 2 {
                continue;
            }
            for hour in [8, 21].into_iter().filter(|hour| day < 10 || *hour < 12) {
                let channel = ["mbc", "kbs", "sbs"][((device + hour) % 3) as usize];
                let model = ["s26", "iphone17"][(device % 2) as usize];
                let at = midnight + SignedDuration::from_hours(24 * day + hour) + SignedDuration::from_secs(device);
                events.push(Event {
                    id: events.len() as u64,
                    at,
                    received: at + SignedDuration::from_secs(2),
                    device: Some(format!("d-{device:04}")),
                    values: [channel, model].map(|value| Some(value.to_owned())).to_vec(),
                });
            }
        }
    }
    events
}

/// What the loader keeps beside the events.
const KEPT: &str = "
    CREATE TABLE logweir.heard_staging AS SELECT * FROM logweir.heard WHERE false;
    CREATE TABLE logweir.heard_conflicts AS SELECT h.*, ''::text AS load_id, now() AS found_at
        FROM logweir.heard h WHERE false;
    INSERT INTO logweir.heard_conflicts
        SELECT event_id, event_time, received_at, batch_id, client_time, ad_id, 'ebs', model, extra,
            '01KAJ0000000000000000000L1', '2026-11-21 01:05:00+00'
        FROM logweir.heard WHERE ad_id = 'd-0007' AND event_time > '2026-11-20 15:00:00+00' ORDER BY event_time LIMIT 1;
    CREATE TABLE logweir.logweir_loads (load_id text, stream text, received_hour timestamptz, lines bigint, loaded bigint,
        duplicates bigint, conflicts bigint, late bigint, loaded_at timestamptz);
    INSERT INTO logweir.logweir_loads
        SELECT '01KAJ0000000000000000000L1', 'heard', date_trunc('hour', received_at), count(*) + 2, count(*), 2, 0, 0, now()
        FROM logweir.heard GROUP BY date_trunc('hour', received_at);
    UPDATE logweir.logweir_loads SET lines = lines + 1, conflicts = 1
        WHERE received_hour = (SELECT max(received_hour) FROM logweir.logweir_loads);
    CREATE TABLE logweir.logweir_ledger (stream text, object text, received_hour timestamptz, state text, load_id text,
        events bigint, bytes bigint, error text, changed_at timestamptz);
    INSERT INTO logweir.logweir_ledger VALUES ('heard',
        'heard/dt=2026-11-22/hour=00/01KAH8ZJ4N6Q2V3X5Y7B9D1F3H-0000000000000042.ndjson.gz', '2026-11-22 00:00:00+00',
        'set_aside', '01KAJ0000000000000000000L1', 812, 40110, 'it is truncated', now());
    UPDATE logweir.load_status SET late_rows = 3, set_aside_objects = 1, set_aside_events = 812,
        held_back_by = 'set aside';
";

/// What a client shows of an answer: the names, and the rows.
async fn shown(db: &Db, sql: &str) -> String {
    let mut shown = String::new();
    for message in db.messages(sql).await {
        let cells: Vec<_> = match &message {
            SimpleQueryMessage::RowDescription(columns) => columns.iter().map(SimpleColumn::name).collect(),
            SimpleQueryMessage::Row(row) => (0..row.len()).map(|n| row.get(n).unwrap_or_default()).collect(),
            _ => continue,
        };
        shown += cells.join(" | ").trim_end();
        shown.push('\n');
    }
    shown
}

#[tokio::test]
async fn every_statement_of_the_analysts_page_runs_and_answers_what_the_page_shows() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let text = FieldType::String { max_bytes: 64 };
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 8, &[("channel", text), ("model", text)]).await;
    world.load(&events()).await;
    world.through(Some(at("2026-11-22T00:00:00Z"))).await;
    world.refresh("2026-11-22T00:35:00Z").await;
    world.compare().await;
    world.db.execute(KEPT).await;

    let (mut statements, mut answers, mut wrong) = (0, 0, String::new());
    for block in page().iter().filter(|block| block.language == "sql") {
        // What asks is asked as the analyst whom the page has made, everything else as whoever runs the warehouse.
        let asks = block.text.starts_with("SELECT");
        world.db.execute(if asks { "SET ROLE ana" } else { "RESET ROLE" }).await;
        let answer = shown(&world.db, &block.text).await;
        statements += 1;
        if asks {
            answers += 1;
            if block.answer.as_deref() != Some(&answer) {
                wrong.extend([&block.text, "is answered\n", &answer]);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!((statements, answers), (11, 9));
    world.db.execute("RESET ROLE").await;
    let left = "SELECT count(*) FROM logweir.heard WHERE ad_id = 'd-0007'";
    assert_eq!(world.db.lines(left).await, ["0"], "it is forgotten");
    // The question about a day of Seoul is the rollup's answer, but for what was forgotten.
    world.db.execute("UPDATE logweir.load_status SET last_load_id = 'later'").await;
    world.refresh("2026-11-22T00:45:00Z").await;
    let same = "SELECT h.events = d.events AND h.devices = d.devices FROM logweir.daily_active d, \
                (SELECT count(*) AS events, count(DISTINCT ad_id) AS devices FROM logweir.heard \
                 WHERE event_time >= '2026-11-19 15:00:00+00' AND event_time < '2026-11-20 15:00:00+00') h \
                WHERE d.day = '2026-11-20'";
    assert_eq!(world.db.lines(same).await, ["t"]);
}

#[test]
fn the_lifecycle_of_the_analysts_page_is_json_with_thirty_days_for_what_was_rejected() {
    let blocks = page();
    let block = blocks.iter().find(|block| block.language == "json").unwrap();
    let lifecycle: serde_json::Value = serde_json::from_str(&block.text).unwrap();
    let rules = lifecycle["Rules"].as_array().unwrap();
    let rejected = rules.iter().find(|rule| rule["Filter"]["Prefix"] == "_rejected/").unwrap();
    assert_eq!(rejected["Expiration"]["Days"], 30);
}
