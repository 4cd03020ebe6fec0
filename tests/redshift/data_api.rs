//! The session by the Data API.

use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use logweir::warehouse::load::{DataApi, DataApiPacing, DataApiSettings, Failure, Guard, Script, Session, Step};

use crate::{
    api::{Api, Commit, Fault},
    postgres,
    warehouse::{LINES, Warehouse, copying},
};

const BATCH: &str = "BatchExecuteStatement";
const DESCRIBE: &str = "DescribeStatement";

pub(crate) fn settings(endpoint: &str) -> DataApiSettings {
    DataApiSettings {
        workgroup: Some("analysts".to_owned()),
        cluster: None,
        database: "dev".to_owned(),
        db_user: None,
        secret_arn: None,
        region: None,
        endpoint: Some(endpoint.to_owned()),
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
        copying: copying(),
        pacing: DataApiPacing {
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(100),
            describe_wait: Duration::from_secs(2),
            call_timeout: Duration::from_secs(1),
            patience: Duration::from_secs(8),
        },
    }
}

pub(crate) fn session(settings: DataApiSettings) -> DataApi {
    let credentials = Credentials::new("AKIALOGWEIRTESTS", "a secret", None, None, "tests");
    let config = SdkConfig::builder()
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    DataApi::with_config(&config, settings).unwrap()
}

async fn world() -> (Warehouse, Api, DataApi) {
    let warehouse = Warehouse::start();
    let api = Api::start(warehouse.postgres.port, warehouse.bucket()).await;
    let session = session(settings(&api.endpoint()));
    (warehouse, api, session)
}

fn sql(text: &str) -> Step {
    Step::Sql { what: "a test", sql: text.to_owned() }
}

#[tokio::test]
async fn a_script_is_one_batch_and_one_transaction() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, mut session) = world().await;
    warehouse.store("heard/a.gz");
    warehouse.store("heard/b.gz");
    let script = warehouse.load(&["heard/a.gz", "heard/b.gz"], 1);
    session.run(&script).await.unwrap();
    assert_eq!(warehouse.counts(), (2 * LINES, 2 * LINES, 2));
    assert_eq!((api.seen(BATCH).len(), api.executed()), (1, 1));
    assert_eq!(api.seen(BATCH)[0]["Sqls"].as_array().unwrap().len(), script.steps.len());
    // The end is waited for, not asked for again and again.
    assert!(api.seen(DESCRIBE).len() <= 2, "{:?}", api.seen(DESCRIBE));
    // An empty one asks nobody.
    session.run(&Script::default()).await.unwrap();
    assert_eq!(api.seen(BATCH).len(), 1);
}

#[tokio::test]
async fn a_copy_is_told_how_its_objects_are_compressed_and_reads_no_other() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, _api, mut session) = world().await;
    for key in ["heard/a.ndjson.zst", "heard/b.ndjson.zst", "heard/c.ndjson.gz"] {
        warehouse.store(key);
    }
    session.run(&warehouse.load(&["heard/a.ndjson.zst", "heard/b.ndjson.zst"], 1)).await.unwrap();
    session.run(&warehouse.load(&["heard/c.ndjson.gz"], 2)).await.unwrap();
    assert_eq!(warehouse.counts(), (3 * LINES, 3 * LINES, 3));
    // What the loader never does: the codec is that of the first.
    warehouse.store("heard/d.ndjson.zst");
    warehouse.store("heard/e.ndjson.gz");
    let failure = session.run(&warehouse.load(&["heard/d.ndjson.zst", "heard/e.ndjson.gz"], 3)).await.unwrap_err();
    let Failure::Object { object: Some(object), why } = failure else { panic!("{failure:?}") };
    assert!(object == "heard/e.ndjson.gz" && why.contains("decompress zstd"), "{object}: {why}");
    assert_eq!(warehouse.counts(), (3 * LINES, 3 * LINES, 3));
}

/// Whatever becomes of an answer, the script runs once, and its session finds out.
#[tokio::test]
async fn an_answer_that_is_lost_never_makes_a_script_run_twice() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, mut session) = world().await;
    let faults = [
        Fault::Lose,
        Fault::LoseAfter,
        Fault::Silence,
        Fault::SilenceAfter,
        Fault::Answer(500, "InternalServerException"),
        Fault::AnswerAfter(500, "InternalServerException"),
        Fault::AnswerAfter(503, "ServiceUnavailable"),
    ];
    let mut loads = 0;
    for operation in [BATCH, DESCRIBE] {
        for fault in faults {
            loads += 1;
            let key = format!("heard/{loads}.gz");
            warehouse.store(&key);
            // Without the guard and the ledger: nothing but the token saves it.
            let mut script = warehouse.load(&[&key], loads);
            script.steps.retain(|step| !matches!(step, Step::Guard { what: Guard::NotLoaded, .. }));
            let before = api.seen(BATCH).len();
            api.fault(operation, 2, fault);
            session.run(&script).await.unwrap_or_else(|failure| panic!("{operation} {fault:?}: {failure}"));
            assert_eq!(api.faults_left(), 0);
            let total = LINES * u64::from(loads);
            assert_eq!(warehouse.counts(), (total, total, u64::from(loads)), "{operation} {fault:?}");
            assert_eq!(api.executed() as u32, loads, "{operation} {fault:?}");
            let tokens: Vec<_> = api.seen(BATCH)[before..].iter().map(|body| body["ClientToken"].clone()).collect();
            assert_eq!(tokens.len(), if operation == BATCH { 3 } else { 1 });
            assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
        }
    }
    // Each script has a token of its own.
    let mut tokens: Vec<_> = api.seen(BATCH).iter().map(|body| body["ClientToken"].to_string()).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len() as u32, loads);
}

#[tokio::test]
async fn an_api_that_is_asked_too_much_is_asked_again_later_and_not_for_ever() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, mut session) = world().await;
    warehouse.store("heard/a.gz");
    let script = warehouse.load(&["heard/a.gz"], 1);
    api.fault(BATCH, 3, Fault::Answer(400, "ThrottlingException"));
    api.fault(BATCH, 2, Fault::Answer(400, "ActiveStatementsExceededException"));
    api.fault(DESCRIBE, 2, Fault::Answer(400, "ThrottlingException"));
    api.fault(DESCRIBE, 1, Fault::Answer(400, "ActiveWaitingRequestsExceededException"));
    session.run(&script).await.unwrap();
    assert_eq!((api.faults_left(), warehouse.counts()), (0, (LINES, LINES, 1)));

    let mut hasty = settings(&api.endpoint());
    hasty.pacing.patience = Duration::from_millis(300);
    let mut hasty = crate::data_api::session(hasty);
    api.fault(BATCH, 1_000, Fault::Answer(400, "ThrottlingException"));
    let failure = hasty.run(&warehouse.load(&["heard/b.gz"], 2)).await.unwrap_err();
    // It has surely done nothing.
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("ThrottlingException")), "{failure:?}");
    assert_eq!(api.executed(), 1);
}

#[tokio::test]
async fn what_nobody_knows_is_called_so_and_nothing_else_is() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, _) = world().await;
    let mut hasty = settings(&api.endpoint());
    hasty.pacing.patience = Duration::from_millis(300);
    let mut session = session(hasty.clone());
    warehouse.store("heard/a.gz");
    // It was taken, every answer is lost, and so are those to the other attempts.
    api.fault(BATCH, 1_000, Fault::LoseAfter);
    let failure = session.run(&warehouse.load(&["heard/a.gz"], 1)).await.unwrap_err();
    assert!(matches!(failure, Failure::Ambiguous(_)), "{failure:?}");
    api.rest().await;
    assert_eq!((api.executed(), warehouse.counts()), (1, (LINES, LINES, 1)));
    // A refusal behind a lost answer says nothing about the lost one.
    let other = Api::start(warehouse.postgres.port, warehouse.bucket()).await;
    hasty.endpoint = Some(other.endpoint());
    let mut session = crate::data_api::session(hasty.clone());
    other.fault(BATCH, 1, Fault::LoseAfter);
    other.fault(BATCH, 1, Fault::Answer(400, "ValidationException"));
    let failure = session.run(&Script { steps: vec![sql("SELECT 1")] }).await.unwrap_err();
    assert!(matches!(failure, Failure::Ambiguous(_)), "{failure:?}");
    // One without a lost answer does.
    other.fault(BATCH, 1, Fault::Answer(400, "ValidationException"));
    let failure = session.run(&Script { steps: vec![sql("SELECT 1")] }).await.unwrap_err();
    assert!(matches!(&failure, Failure::Refused { why, .. } if why.contains("ValidationException")), "{failure:?}");
    // A statement that cannot be described any more.
    other.fault(DESCRIBE, 1_000, Fault::Lose);
    let failure = session.run(&Script { steps: vec![sql("SELECT 1")] }).await.unwrap_err();
    assert!(matches!(failure, Failure::Ambiguous(_)), "{failure:?}");
    // Nobody listens: nothing was sent.
    hasty.endpoint = Some("http://127.0.0.1:1".to_owned());
    let mut nobody = crate::data_api::session(hasty);
    let failure = nobody.run(&Script { steps: vec![sql("SELECT 1")] }).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    let failure = nobody.rows("SELECT 1").await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
}

#[tokio::test]
async fn the_statement_that_fails_tells_why_and_nothing_has_happened() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, mut session) = world().await;
    warehouse.store("heard/a.gz");
    session.run(&warehouse.load(&["heard/a.gz"], 1)).await.unwrap();
    let loaded = warehouse.counts();

    let failure = session.run(&warehouse.load(&["heard/a.gz"], 2)).await.unwrap_err();
    assert_eq!(failure, Failure::Guard(Guard::NotLoaded));
    warehouse.store_text("heard/short.gz", "{\"event_id\":\"1\",\"n\":1}\n");
    let failure = session.run(&warehouse.load(&["heard/short.gz"], 3)).await.unwrap_err();
    assert_eq!(failure, Failure::Guard(Guard::Counted));

    warehouse.store("heard/b.gz");
    warehouse.store_text("heard/bad.gz", "{\"event_id\":\"1\",\"n\":1}\n{\"event_id\":\"2\",\"n\":\"s3cret\"}\n");
    let failure = session.run(&warehouse.load(&["heard/b.gz", "heard/bad.gz"], 4)).await.unwrap_err();
    let why = "line 2, column n (int8): Invalid digit, Value '…', Pos 0, Type: Long (code 1207)".to_owned();
    assert_eq!(failure, Failure::Object { object: Some("heard/bad.gz".to_owned()), why });
    warehouse.store_bytes("heard/no.gz", b"this is no gzip");
    let failure = session.run(&warehouse.load(&["heard/b.gz", "heard/no.gz"], 5)).await.unwrap_err();
    assert!(matches!(&failure, Failure::Object { object: Some(key), .. } if key == "heard/no.gz"), "{failure:?}");
    let failure = session.run(&warehouse.load(&["heard/b.gz", "heard/gone.gz"], 6)).await.unwrap_err();
    assert!(matches!(&failure, Failure::Object { object: Some(key), .. } if key == "heard/gone.gz"), "{failure:?}");

    let mut script = warehouse.load(&["heard/b.gz"], 7);
    script.steps.push(sql("INSERT INTO logweir.nowhere VALUES (1)"));
    let failure = session.run(&script).await.unwrap_err();
    let Failure::Refused { step, why } = &failure else { panic!("{failure:?}") };
    assert!(step == "a test" && why.contains("nowhere") && why.contains("logweir schema redshift"), "{failure}");

    api.commit(Commit::Refused("ERROR: 1023 DETAIL: Serializable isolation violation on table - 7"));
    let failure = session.run(&warehouse.load(&["heard/b.gz"], 8)).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    assert_eq!(warehouse.counts(), loaded);
    // It has committed, and the API does not know it.
    api.commit(Commit::DoneBut("ERROR: the connection was closed"));
    let failure = session.run(&warehouse.load(&["heard/b.gz"], 9)).await.unwrap_err();
    assert!(matches!(failure, Failure::Ambiguous(_)), "{failure:?}");
    assert_eq!(warehouse.counts(), (2 * LINES, 2 * LINES, 2));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled_and_many_short_ones_are_not() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, _) = world().await;
    let mut settings = settings(&api.endpoint());
    settings.statement_timeout = Duration::from_secs(2);
    settings.pacing.describe_wait = Duration::from_secs(1);
    let mut session = session(settings);
    let short = Script { steps: (0..4).map(|_| sql("SELECT pg_sleep(0.8)")).collect() };
    session.run(&short).await.unwrap();
    assert!(api.seen("CancelStatement").is_empty());

    let slow = Script { steps: vec![sql("INSERT INTO logweir.ledger VALUES ('x', 1)"), sql("SELECT pg_sleep(60)")] };
    let failure = session.run(&slow).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable(why) if why.contains("cancelled after 2s")), "{failure:?}");
    assert!(!api.seen("CancelStatement").is_empty());
    assert_eq!(warehouse.counts(), (0, 0, 0));
}

#[tokio::test]
async fn an_answer_of_many_pages_is_read_whole() {
    if !postgres::is_installed() {
        return;
    }
    let (_warehouse, api, mut session) = world().await;
    api.fault("GetStatementResult", 1, Fault::Answer(400, "ThrottlingException"));
    api.fault("GetStatementResult", 2, Fault::LoseAfter);
    let rows = session.rows("SELECT n, NULLIF(n % 2, 0) FROM generate_series(1, 350) AS n ORDER BY n").await.unwrap();
    assert_eq!(rows.len(), 350);
    assert_eq!(rows[348], [Some("349".to_owned()), Some("1".to_owned())]);
    assert_eq!(rows[349], [Some("350".to_owned()), None]);
    assert_eq!(api.seen("GetStatementResult").len(), 4 + 3);
    assert!(rows.len() > 3 * Api::PAGE);
    let failure = session.rows("SELECT * FROM logweir.nowhere").await.unwrap_err();
    assert!(matches!(failure, Failure::Refused { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_script_that_no_batch_takes_is_refused_before_it_is_sent() {
    let mut session = session(settings("http://127.0.0.1:1"));
    for (steps, setting) in [
        (vec![sql("SELECT 1"); DataApi::MAX_STATEMENTS + 1], "warehouse.api"),
        (vec![sql(&"x".repeat(DataApi::MAX_STATEMENT_BYTES + 1))], "warehouse.max_objects"),
    ] {
        let failure = session.run(&Script { steps }).await.unwrap_err();
        assert!(matches!(&failure, Failure::Refused { why, .. } if why.contains(setting)), "{failure:?}");
    }
}

/// Two sessions load the same object over and over, in bad weather: the lock and the guard let one of them.
#[tokio::test]
async fn two_at_once_load_an_object_once_whatever_is_lost() {
    if !postgres::is_installed() {
        return;
    }
    let (warehouse, api, mut one) = world().await;
    let mut two = session(settings(&api.endpoint()));
    let rounds = 12;
    for round in 0..rounds {
        let key = format!("heard/{round}.gz");
        warehouse.store(&key);
        for (operation, fault) in [(BATCH, Fault::LoseAfter), (DESCRIBE, Fault::Lose), (BATCH, Fault::Lose)] {
            api.fault(operation, 1 + round % 2, fault);
        }
        let (first, second) =
            (warehouse.load(&[&key], 100 + round as u32), warehouse.load(&[&key], 200 + round as u32));
        let outcomes = tokio::join!(one.run(&first), two.run(&second));
        match outcomes {
            (Ok(()), Err(failure)) | (Err(failure), Ok(())) => assert_eq!(failure, Failure::Guard(Guard::NotLoaded)),
            other => panic!("{other:?}"),
        }
    }
    let total = LINES * rounds as u64;
    assert_eq!(warehouse.counts(), (total, total, rounds as u64));
}
