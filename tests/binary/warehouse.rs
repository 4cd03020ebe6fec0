//! From a device to an analyst's figure, with nothing but the commands of the README and a real PostgreSQL.

use serde_json::json;

use crate::{
    client::Client,
    postgres::{self, Postgres},
    process::{Place, Server},
};

const CONFIG: &str = r#"
[[sinks]]
name = "files"
dir = "objects"
prefix = "logs/"
[spool]
dir = "spool"
[drain]
linger = "0s"
[warehouse]
kind = "postgres"
[warehouse.connection]
host = "127.0.0.1"
port = PORT
database = "postgres"
user = "postgres"
tls = "off"
[rollups.streams.order]
device = "user"
dimensions = ["channel"]
[streams.order]
load = "loader"
[streams.order.fields]
user = { type = "string", required = true }
channel = "int"
"#;

/// The stream and a field are reserved words.
#[test]
fn what_devices_post_is_stored_loaded_once_counted_and_adds_up() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let place = Place::new();
    place.write("logweir.toml", &CONFIG.replace("PORT", &postgres.port.to_string()));
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", "logweir.toml"]].concat());

    let before = run(&["load"]);
    assert_eq!(before.code, Some(78), "{}", before.stderr);
    assert!(before.stderr.contains("run `logweir schema` for this warehouse"), "{}", before.stderr);
    let schema = run(&["schema", "postgres"]);
    postgres.query(&schema.stdout);

    let server = Server::start(place.command(&["--config", "logweir.toml"]));
    let mut client = Client::connect(server.address).unwrap();
    // A batch of a former second is posted again, as a device does that has lost the answer.
    for batch in ["1", "2", "1"] {
        let event = |user: &str, channel| json!({"user": user, "channel": channel, "else": {"of": batch}});
        let body = json!({"batch_id": batch, "events": [event("a", 1), event("b", 2)]});
        assert_eq!(client.post_json("order", &body).unwrap().status, 200);
    }
    server.stop();

    let loaded = run(&["load", "--json"]);
    assert_eq!(loaded.code, Some(0), "{}{}", loaded.stdout, loaded.stderr);
    let told: serde_json::Value = serde_json::from_str(&loaded.stdout).unwrap();
    let (stream, rollups) = (&told["streams"][0], &told["rollups"]);
    assert_eq!((&stream["loaded"], &stream["duplicates"], &rollups["counted"]), (&json!(4), &json!(2), &json!(1)));
    assert_eq!(postgres.query("SELECT count(*), count(DISTINCT event_id) FROM logweir.order"), "4|4");
    let figures = "SELECT sum(events), max(devices) FROM logweir.daily_active";
    assert_eq!(postgres.query(figures), "4|2");
    let again = run(&["load"]);
    assert!(again.stdout.starts_with("order: 0 objects, 0 lines"), "{}", again.stdout);

    let hours = postgres.query(
        "SELECT to_char(min(received_at), 'YYYY-MM-DD'), to_char(max(received_at) + interval '1 day', 'YYYY-MM-DD')
         FROM logweir.order",
    );
    let (from, to) = hours.split_once('|').unwrap();
    let audit = || run(&["audit", "--warehouse", "--from", from, "--to", to]);
    let sound = audit();
    assert_eq!(sound.code, Some(0), "{}{}", sound.stdout, sound.stderr);
    assert!(sound.stdout.contains("everything adds up"), "{}", sound.stdout);
    // What nobody has loaded is found.
    postgres.query("INSERT INTO logweir.order SELECT * FROM logweir.order LIMIT 1");
    let broken = audit();
    assert!(broken.code == Some(1) && broken.stdout.contains("more rows"), "{}", broken.stdout);
    postgres.query("DELETE FROM logweir.order WHERE ctid = (SELECT max(ctid) FROM logweir.order)");

    // A figure that is final stays as it is, until it is asked for that it be counted anew.
    postgres.query(
        "UPDATE logweir.daily_active SET events = 99, is_final = true;
         UPDATE logweir.rollup_status SET final_before = (SELECT max(day) + 1 FROM logweir.daily_active)",
    );
    assert_eq!(run(&["load"]).code, Some(0));
    assert_eq!(postgres.query(figures), "99|2");
    let days = postgres.query("SELECT min(day) || '..' || max(day) FROM logweir.daily_active");
    let restated = run(&["load", "--restate", &days]);
    assert_eq!(restated.code, Some(0), "{}", restated.stderr);
    assert_eq!(postgres.query(figures), "4|2");
    for days in ["2026-11-22", "2026-11-22..2026-11-21", "x..y"] {
        assert_eq!(run(&["load", "--restate", days]).code, Some(78));
    }
}
